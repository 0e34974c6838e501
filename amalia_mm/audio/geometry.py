"""How many decoder positions a waveform takes. Nothing else in the project does this arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class LengthStage:
    """One convolution, stack or query window: how its output length follows from its input length.

    The output is `emits` positions for each window of `kernel` inputs, windows `stride` apart, over the input
    with `pad_left` and `pad_right` positions added. `partial="pad"` completes a last window that is cut
    short, and makes none that would hold padding alone; `"drop"` leaves it out, as convolutions do.
    """

    kernel: int
    stride: int
    pad_left: int = 0
    pad_right: int = 0
    emits: int = 1
    partial: Literal["drop", "pad"] = "drop"

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.stride < 1 or self.emits < 1 or self.pad_left < 0 or self.pad_right < 0:
            raise ValueError(f"kernel, stride and emits must be at least 1 and paddings at least 0: {self}")

    def __call__(self, length: int) -> int:
        """Return the output length for an input of `length` positions."""
        if length <= 0:
            return 0
        room = length + self.pad_left + self.pad_right - self.kernel
        if self.partial == "drop":
            return 0 if room < 0 else (room // self.stride + 1) * self.emits
        to_the_end = -(-max(room, 0) // self.stride) + 1
        with_input = -(-(length + self.pad_left) // self.stride)
        return min(to_the_end, with_input) * self.emits

    def lengths(self, lengths: Tensor) -> Tensor:
        """Return `self(length)` for each of the lengths (k) int64, on their device."""
        room = lengths + (self.pad_left + self.pad_right - self.kernel)
        if self.partial == "drop":
            windows = (room.div(self.stride, rounding_mode="floor") + 1).clamp(min=0)
        else:
            to_the_end = self._divided_up(room.clamp(min=0)) + 1
            windows = torch.minimum(to_the_end, self._divided_up(lengths + self.pad_left))
        return torch.where(lengths > 0, windows * self.emits, torch.zeros_like(lengths))

    def _divided_up(self, lengths: Tensor) -> Tensor:
        return (lengths + self.stride - 1).div(self.stride, rounding_mode="floor")


def centre_samples(stages: tuple[LengthStage, ...], position: float) -> float:
    """Return the sample that a frame is centred on; a position between two frames lies between their samples.

    Several positions that a stage emits for a window share its time evenly.

    Args:
        stages: From samples to frames.
        position: Counted in frames from the first one, which is 0.
    """
    for stage in reversed(stages):
        # Each has `stride / emits` inputs for itself, and half of what windows reach beyond that lies on either side.
        share = Fraction(stage.stride, stage.emits)
        position = float((Fraction(position) + Fraction(1, 2)) * share) - 0.5
        position += (stage.kernel - stage.stride) / 2 - stage.pad_left
    return position


@dataclass(frozen=True)
class AudioGeometry:
    """The way from samples to decoder positions, as the sum of its parts.

    Features, encoder and projector each contribute their stages from their own configuration.
    `pad_to_samples` is the fixed window of encoders such as Whisper (480,000), or None. `max_samples` is the longest
    clip of an encoder that hears no longer ones and pads none, or None.
    """

    sample_rate_hz: int
    pad_to_samples: int | None
    stages: tuple[LengthStage, ...]
    max_samples: int | None = None

    @property
    def longest_samples(self) -> int | None:
        """The longest clip that the encoder hears as one; None where it hears any."""
        return self.pad_to_samples if self.max_samples is None else self.max_samples

    def num_audio_tokens(self, num_samples: int) -> int:
        """Return the decoder positions of a clip.

        Raises:
            ValueError: The clip is shorter than one audio token, or longer than the encoder's fixed window.
        """
        longest = self.longest_samples
        if longest is not None and num_samples > longest:
            raise ValueError(
                f"{num_samples} samples do not fit the encoder's window of {longest}: cut the audio into chunks first"
            )
        length = num_samples if self.pad_to_samples is None or num_samples < 1 else self.pad_to_samples
        for stage in self.stages:
            length = stage(length)
        if length < 1:
            raise ValueError(
                f"{num_samples} samples are shorter than one audio token ({self.min_samples} samples at "
                f"{self.sample_rate_hz} Hz)"
            )
        return length

    @property
    def min_samples(self) -> int:
        """The fewest samples that give one audio token."""
        if self.pad_to_samples is not None:
            return 1
        samples = 1
        while _run(self.stages, samples) < 1:
            samples *= 2
        low, high = samples // 2, samples
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _run(self.stages, middle) >= 1 else (middle, high)
        return high


def is_frame(num_frames: Tensor, size: int) -> Tensor:
    """Return (k size) bool: True on the `num_frames` (k) frames of each clip, False on its padding."""
    return torch.arange(size, device=num_frames.device) < num_frames[:, None]


def _run(stages: tuple[LengthStage, ...], length: int) -> int:
    for stage in stages:
        length = stage(length)
    return length


def rate_hz(sample_rate_hz: int, stages: tuple[LengthStage, ...]) -> Fraction:
    """Return how many positions stages make of a second, exactly; what edges add or take is not in it."""
    rate = Fraction(sample_rate_hz)
    for stage in stages:
        rate *= Fraction(stage.emits, stage.stride)
    return rate
