"""The output layer and its cross-entropy, some positions at a time: the logits of a batch never stand in memory whole.

The gradients of states and matrix are taken on the way forward, while a chunk's logits are at hand, so nothing is
computed twice. It knows nothing of batches or labels that are left out.

Source:
    Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009; the gradient on the
    way forward is that of Hsu et al. 2024, "Liger Kernel", arXiv 2410.10989, section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from amalia_mm.train.precision import cpu_multiplies_bf16

_BLOCK_ROWS = 16384
"""Rows of a matrix whose gradient is computed at once in bf16, before it is added up in float32."""


class ChunkedNll(torch.autograd.Function):
    """(sum to minimise (), negative log-likelihood of each position (n)) of states (n d) and matrix (v d)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        z_weight: float,
        chunk_tokens: int,
        is_training: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the sum with its gradient, and the parts of its first term without.

        Args:
            hidden: (n d).
            weight: (v d).
            targets: (n) int64.
            z_weight: Weight of the squared log of the normaliser.
            chunk_tokens: Positions whose logits exist at the same time.
            is_training: Whether gradients are wanted; autograd does not tell a function in here.
        """
        wants = [is_training and wanted for wanted in ctx.needs_input_grad[:2]]
        device = hidden.device.type
        product = product_type(hidden, weight)
        with torch.autocast(device, enabled=False):
            work = _Work(hidden, weight, product, chunk_tokens, wants)
            total = hidden.new_zeros((), dtype=work.exact)
            each = hidden.new_empty(len(targets), dtype=work.exact)
            for start in range(0, len(targets), chunk_tokens):
                piece = slice(start, min(start + chunk_tokens, len(targets)))
                total += work.chunk(piece, targets[piece], each[piece], z_weight)
        ctx.save_for_backward(work.hidden_gradient, work.weight_gradient)
        ctx.mark_non_differentiable(each)
        return total, each

    @staticmethod
    @once_differentiable  # a gradient of the gradient would be wrong in silence
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (what the decorator makes of it)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden (n d) and weight (v d) for that of the sum."""
        scale = gradients[0]
        # A processor can look at the scale for nothing; most times it is 1, and a large matrix is left as it is.
        is_one = scale.device.type == "cpu" and scale.item() == 1
        scaled = [g if g is None or is_one else g * scale.to(g.dtype) for g in ctx.saved_tensors]
        return (*scaled, None, None, None, None)


class _Work:
    """The memory that all chunks share."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, product: torch.dtype, chunk_tokens: int, wants: list[bool]
    ) -> None:
        self.product = product
        self.exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        self.hidden, self.weight = hidden.to(product), weight.to(product)
        size = min(chunk_tokens, len(hidden)), len(weight)
        # Memory that is asked for anew for every chunk costs as much time as the softmax itself.
        self._logits = hidden.new_empty(size, dtype=self.exact)
        self._log_probs = torch.empty_like(self._logits)
        self._rounded = None if product == self.exact else hidden.new_empty(size, dtype=product)
        self.hidden_gradient = torch.empty_like(hidden) if wants[0] else None
        self.weight_gradient = None
        if wants[1]:
            # Sums of many chunks are kept in float32: in bf16 the later ones would be rounded away.
            exact = torch.promote_types(weight.dtype, self.exact)
            self.weight_gradient = torch.zeros_like(weight, dtype=exact)

    def chunk(self, piece: slice, targets: Tensor, each: Tensor, z_weight: float) -> Tensor:
        """Return the sum of a chunk, fill `each`, and put its gradients where they belong."""
        states = self.hidden[piece]
        logits = self._logits[: len(states)]
        rounded = logits if self._rounded is None else self._rounded[: len(states)]
        torch.mm(states, self.weight.T, out=rounded)
        if rounded is not logits:
            logits.copy_(rounded)
        of_target = logits.gather(1, targets[:, None])
        log_probs = torch.log_softmax(logits, dim=1, out=self._log_probs[: len(states)])
        total = F.nll_loss(log_probs, targets, reduction="sum")
        own = log_probs.gather(1, targets[:, None])
        each.copy_(own.neg().squeeze(1))
        log_normaliser = of_target - own
        total = total + z_weight * log_normaliser.square().sum() if z_weight else total
        if self.hidden_gradient is None and self.weight_gradient is None:
            return total
        # Torch's own gradient, in the logits' place: a batch of one chunk comes out bit for bit as without chunks.
        gradient = logits.zero_().scatter_(1, targets[:, None], -1.0)
        torch.ops.aten._log_softmax_backward_data.out(gradient, log_probs, 1, self.exact, out=gradient)
        if z_weight:
            gradient.addcmul_(log_probs.exp_(), 2 * z_weight * log_normaliser)
        if rounded is not logits:
            gradient = rounded.copy_(gradient)
        self._pass_on(gradient, states, piece)
        return total

    def _pass_on(self, gradient: Tensor, states: Tensor, piece: slice) -> None:
        """Add what the gradient of a chunk's logits (c v) means for states and matrix."""
        if self.hidden_gradient is not None:
            own = self.hidden_gradient[piece]
            if own.dtype == self.product:
                torch.mm(gradient, self.weight, out=own)
            else:
                own.copy_(gradient @ self.weight)
        if self.weight_gradient is None:
            return
        if self.weight_gradient.dtype == self.product:
            self.weight_gradient.addmm_(gradient.T, states)
            return
        for start in range(0, len(self.weight), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            self.weight_gradient[rows] += gradient[:, rows].T @ states


def product_type(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """Return the type to multiply in: autocast's, unless this is a processor that would only emulate it."""
    device = hidden.device.type
    own = torch.promote_types(hidden.dtype, weight.dtype)
    is_emulated = device == "cpu" and not cpu_multiplies_bf16()
    if not torch.is_autocast_enabled(device) or is_emulated or own == torch.float64:
        return own
    return torch.get_autocast_dtype(device)
