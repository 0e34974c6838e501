"""Values at zero mean and unit variance over a clip's own positions, whatever it is padded to."""

from __future__ import annotations

import torch
from torch import Tensor

from amalia_mm.audio.geometry import is_frame


def standardised(values: Tensor, lengths: Tensor, dim: int, eps: float, *, unbiased: bool = False) -> Tensor:
    """Return values with zero mean and unit variance over the first positions of each clip, and zero beyond.

    Args:
        values: (k ...) float32; what stands beyond a clip's length does not matter.
        lengths: (k) int64, how many positions of `dim` each clip has.
        dim: Which of the others are positions.
        eps: Added to the variance, so that silence stays at zero instead of blowing up rounding errors.
        unbiased: Whether the variance is that of a sample, divided by one less.
    """
    shape = [len(values)] + [1] * (values.dim() - 1)
    count = lengths.view(shape)
    shape[dim] = values.shape[dim]
    outside = ~is_frame(lengths, values.shape[dim]).view(shape)
    mean = values.masked_fill(outside, 0.0).sum(dim=dim, keepdim=True) / count.clamp(min=1)
    centred = (values - mean).masked_fill(outside, 0.0)
    variance = centred.square().sum(dim=dim, keepdim=True) / (count - int(unbiased)).clamp(min=1)
    return centred * torch.rsqrt(variance + eps)
