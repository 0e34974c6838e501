"""Muon for the matrices inside a network, AdamW for everything else, as one optimiser.

Muon (Jordan et al. 2024) moves a matrix by its momentum with all singular values brought to about one, so that rare
directions learn as fast as common ones. torch.optim.Muon does the same in bfloat16 whatever the processor, which
takes longer than the training step itself on one without bfloat16 units, and takes no other parameters beside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

_COEFFICIENTS = (
    (8.2987, -24.4305, 18.0903),
    (3.9152, -2.9211, 0.5592),
    (3.1746, -2.3804, 0.4978),
    (2.1895, -1.5672, 0.4079),
)
"""Of four quintic iterations, each the one that brings what the one before leaves nearest to 1 (Amsel et al. 2025,
arXiv 2505.16932, algorithm 1), for singular values from 0.005 to 1: they end between 0.92 and 1.08."""


class MuonAdamW(AdamW):
    """Groups with `muon: True` hold matrices that Muon moves; the others are AdamW's.

    Args:
        groups: Parameter groups, each with `params`, `lr`, `weight_decay` and `muon`.
        betas: AdamW's.
        eps: AdamW's.
        momentum: Muon's, by Nesterov's rule.
    """

    def __init__(
        self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float, momentum: float
    ) -> None:
        super().__init__(groups, betas=betas, eps=eps, fused=True)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Move every parameter that has a gradient, and return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        taken: list[tuple[nn.Parameter, Tensor]] = []
        for group in self.param_groups:
            if group["muon"]:
                taken += self._step_by_muon(group)
        # AdamW leaves alone what has no gradient.
        for parameter, _ in taken:
            parameter.grad = None
        super().step()
        for parameter, gradient in taken:
            parameter.grad = gradient
        return loss

    def _step_by_muon(self, group: dict[str, Any]) -> list[tuple[nn.Parameter, Tensor]]:
        """Move a group's matrices, and return those that were moved with their gradients."""
        moved = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
        for parameter, gradient in moved:
            state = self.state[parameter]
            if not state:
                # AdamW looks for a step in every state that it loads.
                state.update(step=torch.zeros(()), momentum=torch.zeros_like(parameter))
            state["step"] += 1
            mean = state["momentum"].lerp_(gradient, 1 - self.momentum)
            step = orthogonalised(gradient.lerp(mean, self.momentum))
            # A tall matrix has more rows than directions: they would move less than those of a wide one.
            size = group["lr"] * max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-size)
        return moved


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix (r c) with its singular vectors as they were and its singular values near 1.

    Newton-Schulz iterations, done on the small square matrix of products of rows, or of columns: half the work for a
    matrix four times as wide as high. They start from the norm of these products, which is nearer to the largest
    singular value (squared) than the norm of the matrix is: that alone is worth an iteration.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.mT if is_tall else matrix).float()
    gram = wide @ wide.mT
    size = gram.norm().clamp(min=1e-14)
    gram = gram / size
    factor = polynomial = None
    for a, b, c in _COEFFICIENTS:
        if polynomial is not None:
            gram = polynomial @ (polynomial @ gram)
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        factor = polynomial if factor is None else polynomial @ factor
    assert factor is not None
    near = factor @ (wide / size.sqrt())
    return (near.mT if is_tall else near).to(matrix.dtype)
