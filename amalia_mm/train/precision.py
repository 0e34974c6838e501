"""Which precision a machine computes fast in."""

from __future__ import annotations

import torch

ALLOWED = ("32-true", "32", "bf16-mixed")
"""Lightning's `*-true` half precisions would convert waveforms; fp16 overflows with decoders of this family."""


def native_precision() -> str:
    """Return `bf16-mixed` where the hardware multiplies bf16 itself, else `32-true`.

    Processors without such units emulate bf16, many times slower than float32; a GPU of the last years has them.
    """
    if torch.cuda.is_available():
        return "bf16-mixed"
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if has_bf16 else "32-true"
