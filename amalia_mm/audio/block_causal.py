"""What makes an encoder hear as sound comes: every frame knows its own block and some before it, none after.

With these the output for a whole clip is what comes out block by block (`streaming.py`), so a model is trained on
whole clips and used live. Nothing here looks at the whole of a clip, as its loudest moment or its mean do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

DEEPEST = 8.0
"""Log-mel values more than this below the loudest so far, in powers of ten, are raised to it."""
PRIOR_FRAMES = 50
"""The statistics of a bin begin as if half a second of ordinary speech had been heard."""
PRIOR_MEAN, PRIOR_VARIANCE = 0.05, 0.13
"""Of log-mel values within a bin of a clip, measured on synthetic and real voices."""


def running_floor(log_mel: Tensor, loudest: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-mel (k m f), no deeper than 8 below the loudest up to each frame, and (x + 4) / 4; and the loudest.

    Args:
        log_mel: (k m f), log10 of the power.
        loudest: (k 1 1), of the frames before.
    """
    highest = torch.maximum(log_mel.amax(dim=1, keepdim=True).cummax(dim=2).values, loudest)
    return (torch.maximum(log_mel, highest - DEEPEST) + 4.0) / 4.0, highest[:, :, -1:]


def running_normal(mel: Tensor, sums: Tensor, num_before: int) -> tuple[Tensor, Tensor]:
    """Return mel (k m f) by the mean and variance of each bin up to each frame; and the sums to go on with.

    Args:
        mel: (k m f), the next frames of each clip.
        sums: (2 k m 1) float64, of the values and of their squares in the frames before.
        num_before: How many frames there were before.
    """
    values = torch.stack([mel, mel.square()]).double().cumsum(dim=3) + sums
    counts = PRIOR_FRAMES + num_before + torch.arange(1, mel.shape[2] + 1, device=mel.device)
    mean = (values[0] + PRIOR_FRAMES * PRIOR_MEAN) / counts
    squares = (values[1] + PRIOR_FRAMES * (PRIOR_VARIANCE + PRIOR_MEAN**2)) / counts
    variance = (squares - mean.square()).clamp(min=1e-5)
    return ((mel - mean) * variance.rsqrt()).to(mel.dtype), values[..., -1:]


def no_sums(mel: Tensor) -> Tensor:
    """Return the sums (2 k m 1) before the first frame of mel (k m f)."""
    return torch.zeros(2, *mel.shape[:2], 1, dtype=torch.float64, device=mel.device)


def block_mask(valid: Tensor, block_frames: int, left_blocks: int) -> Tensor:
    """Return (k 1 f f) bool, True where a frame (first) attends to another: of its own block or those just before.

    Args:
        valid: (k f) bool, True on the frames of a clip; padding is attended to by padding alone.
        block_frames: Frames of a block.
        left_blocks: Blocks before its own.
    """
    block = torch.arange(valid.shape[1], device=valid.device) // block_frames
    behind = block[:, None] - block[None, :]
    near = (behind >= 0) & (behind <= left_blocks)
    attended = near & (valid[:, None, :] | ~valid[:, :, None])
    return rearrange(attended, "k f g -> k 1 f g")


def block_convolution(conv: nn.Conv1d, hidden: Tensor, block_frames: int) -> Tensor:
    """Return a convolution (k e f) of hidden (k e f) that finds zeros after the block of each frame."""
    reach = conv.kernel_size[0] // 2
    num_frames = hidden.shape[2]
    padded = F.pad(hidden, (reach, -num_frames % block_frames))
    blocks = padded.unfold(2, reach + block_frames, block_frames)
    joined = rearrange(blocks, "k e c w -> (k c) e w")
    found = unpadded(conv, F.pad(joined, (0, reach)))
    return rearrange(found, "(k c) e w -> k e (c w)", k=len(hidden))[:, :, :num_frames]


def unpadded(conv: nn.Conv1d, hidden: Tensor) -> Tensor:
    """Return the convolution of hidden (k e f) as it stands, without its own padding."""
    return F.conv1d(hidden, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
