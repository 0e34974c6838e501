"""Masks over time and frequency of mel frames, in training."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn


class SpecAugment(nn.Module):
    """Hides random stretches of time and bands of frequency of normalised mel frames (Park et al. 2019).

    Draws from torch's global generator, once for each clip and mask; the hidden part becomes 0, the mean.
    """

    def __init__(
        self,
        num_time_masks: int,
        max_time_mask_frames: int,
        num_frequency_masks: int,
        max_frequency_mask_bins: int,
    ) -> None:
        super().__init__()
        self.num_time_masks = num_time_masks
        self.max_time_mask_frames = max_time_mask_frames
        self.num_frequency_masks = num_frequency_masks
        self.max_frequency_mask_bins = max_frequency_mask_bins

    def forward(self, mel: Tensor, num_frames: Tensor) -> Tensor:
        """Return mel (k m f) with its masks."""
        longest = (num_frames // 5).clamp(max=self.max_time_mask_frames)
        for _ in range(self.num_time_masks):
            hidden = _random_stretch(num_frames, longest, mel.shape[2])
            mel = mel.masked_fill(rearrange(hidden, "k f -> k 1 f"), 0.0)
        num_bins = torch.full_like(num_frames, mel.shape[1])
        widest = num_bins.clamp(max=self.max_frequency_mask_bins)
        for _ in range(self.num_frequency_masks):
            hidden = _random_stretch(num_bins, widest, mel.shape[1])
            mel = mel.masked_fill(rearrange(hidden, "k m -> k m 1"), 0.0)
        return mel


def _random_stretch(num_positions: Tensor, longest: Tensor, size: int) -> Tensor:
    """Return (k size) bool, True on one stretch a row of 0 to `longest` of its `num_positions` positions."""
    draws = torch.rand(2, len(num_positions), device=num_positions.device)
    width = (draws[0] * (longest + 1)).long()
    start = (draws[1] * (num_positions - width + 1)).long()
    positions = torch.arange(size, device=num_positions.device)
    return (positions >= start[:, None]) & (positions < (start + width)[:, None])
