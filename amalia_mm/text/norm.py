"""Root-mean-square norm (Zhang and Sennrich 2019, arXiv 1910.07467)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Divides by the root mean square over the last dimension, in float32, and multiplies by a gain."""

    def __init__(self, width: int, eps: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, dtype=dtype))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return (... d) normalised, in the type it came in."""
        weight = self.weight.float()
        if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            normed: Tensor = OnCpu.apply(x.float(), weight, self.eps)
        else:
            normed = F.rms_norm(x.float(), weight.shape, weight, self.eps)
        return normed.to(x.dtype)


class OnCpu(torch.autograd.Function):
    """`F.rms_norm` on a processor, where torch takes its gradient through some fifteen passes over the numbers.

    Here it takes six: a training step of the quickstart's decoder takes 0.91 of the time (recipes/LOG.md).
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # and its gradient, too
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return x (... d), normalised, times weight (d)."""
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1]
        scale = torch.rsqrt(mean_square + eps)
        normed = x * scale
        ctx.save_for_backward(normed, weight, scale)
        return normed * weight

    @staticmethod
    @once_differentiable  # a gradient of the gradient would be wrong in silence
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (what the decorators make of it)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        """Return the gradients of x and weight for that of the output, (... d)."""
        (gradient,) = gradients
        normed, weight, scale = ctx.saved_tensors
        product = gradient * normed
        # What a longer x would give back through the mean square: nothing may be left along x itself.
        along = (product @ weight).unsqueeze(-1) / -weight.shape[0]
        return (
            torch.addcmul(gradient * weight, normed, along).mul_(scale),
            product.sum_to_size(weight.shape),
            None,
        )
