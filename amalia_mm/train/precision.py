"""Which precision a machine computes fast in."""

from __future__ import annotations

import torch

ALLOWED = ("32-true", "32", "bf16-mixed")
"""Lightning's `*-true` half precisions would convert waveforms; fp16 overflows with decoders of this family."""


def native_precision() -> str:
    """Return `bf16-mixed` where the hardware multiplies bf16 itself, else `32-true`.

    Processors without such units emulate bf16, many times slower than float32; a GPU of the last years has them.
    """
    return "bf16-mixed" if torch.cuda.is_available() or cpu_multiplies_bf16() else "32-true"


def cpu_multiplies_bf16() -> bool:
    """Return whether the processor has units for products of bf16."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
