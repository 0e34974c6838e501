"""How long each phone is said and how high: learned from speech, changed by whoever asks for another rate or pitch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from amalia_mm.voice.alignment import frames_of_phones
from amalia_mm.voice.blocks import Stack

MIDDLE_HZ = 150.0
"""Of log pitch, which is counted from here."""


class PhonePredictor(nn.Module):
    """One number for each phone, from what the encoder knows of it; its gradient does not reach the encoder.

    Args:
        width: Of the encoder's phones, and inside.
        kernel: Phones that a convolution sees.
        num_blocks: Blocks.
        dropout: On what a block adds.
        middle: What it predicts before it has learned anything.
    """

    def __init__(self, width: int, kernel: int, num_blocks: int, dropout: float, middle: float) -> None:
        super().__init__()
        self.stack = Stack(num_blocks, width, kernel, 2, dropout=dropout)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)
        self.middle = middle

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return (b p) float32 of hidden (b p d); `valid` (b p) bool."""
        changed = self.norm(self.stack(hidden.detach(), valid))
        return self.out(changed)[..., 0].float() + self.middle


def whole_frames(frames: Tensor, valid: Tensor, rate: float = 1.0) -> Tensor:
    """Return durations (b p) int64 of predicted frames (b p), `rate` times as fast; every phone has one or more.

    What is lost or won by rounding one phone goes to the next: the sum is that of the predictions, to half a frame,
    where no phone had to be made longer than it was.

    Raises:
        ValueError: The rate is not above 0.
    """
    if not 0 < rate < math.inf:
        raise ValueError(f"a rate of speech must be above 0: {rate}")
    wanted = (frames.double() / rate).clamp(min=1.0) * valid
    # Not round(): it takes halves to even numbers, and 1.5 and 2.5 to the same.
    ends = (wanted.cumsum(1) + 0.5).floor().long()
    return ends.diff(dim=1, prepend=ends.new_zeros(len(ends), 1))


def log_pitch(pitch_hz: Tensor) -> Tensor:
    """Return the logarithm of a pitch in Hz, 0 at 150 Hz; 0 as well where there is no pitch."""
    return torch.where(pitch_hz > 0, (pitch_hz.clamp(min=1.0) / MIDDLE_HZ).log(), 0.0)


def semitones(number: float) -> float:
    """Return by how much log pitch rises with a number of semitones."""
    return number * math.log(2.0) / 12


def pitch_contour(durations: Tensor, log_pitch: Tensor) -> Tensor:
    """Return (b f) the pitch at each frame: a straight line from the middle of one phone to that of the next.

    Args:
        durations: (b p) int64, frames of each phone, 0 on padding.
        log_pitch: (b p), how high each phone is.
    """
    phone_of_frame = frames_of_phones(durations)
    frame = torch.arange(phone_of_frame.shape[1], device=durations.device)
    middles = durations.cumsum(1) - 0.5 * durations
    own = middles.gather(1, phone_of_frame)
    centre = frame + 0.5
    last = (durations > 0).sum(1, keepdim=True) - 1
    step = torch.where(centre < own, -1, 1)
    other = torch.minimum((phone_of_frame + step).clamp(min=0), last)
    apart = (middles.gather(1, other) - own).abs().clamp(min=1e-6)
    share = ((centre - own).abs() / apart).clamp(max=1.0) * (other != phone_of_frame)
    here, there = log_pitch.gather(1, phone_of_frame), log_pitch.gather(1, other)
    return here + share * (there - here)
