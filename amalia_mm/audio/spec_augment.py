"""Masks over time and frequency of mel frames, in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Generator, Tensor, nn


class SpecAugment(nn.Module):
    """Hides random stretches of time and bands of frequency of normalised mel frames (Park et al. 2019).

    What is hidden of a clip follows from its length and its seed alone, whatever else is in the batch; the hidden part
    becomes 0, the mean.
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

    def forward(self, mel: Tensor, num_frames: Tensor, clip_seeds: Sequence[int] | None) -> Tensor:
        """Return mel (k m f) with its masks.

        Args:
            mel: (k m f).
            num_frames: (k) int64.
            clip_seeds: A number for each clip; not needed where nothing is hidden.

        Raises:
            ValueError: There is something to hide, and not a seed for each clip.
        """
        num_masks = self.num_time_masks + self.num_frequency_masks
        if num_masks == 0:
            return mel
        if clip_seeds is None or len(clip_seeds) != len(mel):
            found = "none" if clip_seeds is None else f"{len(clip_seeds)}"
            raise ValueError(f"SpecAugment needs a seed for each of {len(mel)} clips, found {found}")
        draws = iter(_draws(clip_seeds, num_masks).to(mel.device))
        longest = (num_frames // 5).clamp(max=self.max_time_mask_frames)
        for _ in range(self.num_time_masks):
            hidden = _stretch(next(draws), num_frames, longest, mel.shape[2])
            mel = mel.masked_fill(rearrange(hidden, "k f -> k 1 f"), 0.0)
        num_bins = torch.full_like(num_frames, mel.shape[1])
        widest = num_bins.clamp(max=self.max_frequency_mask_bins)
        for _ in range(self.num_frequency_masks):
            hidden = _stretch(next(draws), num_bins, widest, mel.shape[1])
            mel = mel.masked_fill(rearrange(hidden, "k m -> k m 1"), 0.0)
        return mel


def _draws(clip_seeds: Sequence[int], num_masks: int) -> Tensor:
    """Return (masks 2 k) numbers from 0 to 1, those of a clip from its own seed."""
    own = [torch.rand(num_masks, 2, generator=Generator().manual_seed(seed)) for seed in clip_seeds]
    return torch.stack(own, dim=-1)


def _stretch(draws: Tensor, num_positions: Tensor, longest: Tensor, size: int) -> Tensor:
    """Return (k size) bool, True on one stretch a row of 0 to `longest` of its `num_positions` positions."""
    width = (draws[0] * (longest + 1)).long()
    start = (draws[1] * (num_positions - width + 1)).long()
    positions = torch.arange(size, device=num_positions.device)
    return (positions >= start[:, None]) & (positions < (start + width)[:, None])
