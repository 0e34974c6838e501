"""When somebody begins to speak and when a turn is over, told as sound comes. Knows nothing of what is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from amalia_mm.audio.vad import WINDOW_SAMPLES, SpeechDetector, loudness_gain
from amalia_mm.units import seconds_to_samples

MARGIN_S = 0.2
"""What is kept before the first sound and after the last."""
_HYSTERESIS = 0.15
"""Speech goes on until it is less likely than it had to be to begin, as in silero-vad."""


@dataclass(frozen=True)
class TurnEvent:
    """A turn begins, or has ended."""

    kind: Literal["begin", "end"]
    at_samples: int
    """The sample of the whole from, or to, which it should be heard: with a margin."""
    sound_samples: int
    """Where its first sound begins, or its last one ends."""


class Turns:
    """Finds turns in a waveform that comes bit by bit.

    Args:
        pause_s: The silence that ends a turn.
        threshold: The probability from which a window of 32 ms is speech.
        min_speech_s: Shorter sounds begin no turn.
    """

    def __init__(self, pause_s: float, threshold: float, min_speech_s: float) -> None:
        self._detector = SpeechDetector(windows_at_once=1)
        self._pause, self._least = seconds_to_samples(pause_s), seconds_to_samples(min_speech_s)
        self._margin = seconds_to_samples(MARGIN_S)
        self._threshold = threshold
        self._peak = 0.0
        self._at = 0
        """The sample that the next window begins at."""
        self._num_samples = 0
        self._first: int | None = None
        self._last_end = 0
        self._is_told = False
        self._earliest = 0

    @property
    def may_begin_at(self) -> int:
        """The earliest sample that a turn which is not told yet may begin at."""
        return max((self._at if self._first is None else self._first) - self._margin, self._earliest)

    def push(self, samples: Tensor) -> list[TurnEvent]:
        """Return what the next samples (n) tell, in order."""
        self._num_samples += len(samples)
        if len(samples):
            # How loud the whole is cannot be known yet: how loud it was so far is.
            self._peak = max(self._peak, float(samples.abs().max()))
        events: list[TurnEvent] = []
        for probability in self._detector.push(samples * loudness_gain(self._peak)).tolist():
            events += self._window(probability)
        return events

    def flush(self) -> list[TurnEvent]:
        """Return the end of a turn that was open when the sound ended."""
        events = [event for p in self._detector.flush().tolist() for event in self._window(p)]
        if self._is_told:
            events.append(self._end())
        return events

    def _window(self, probability: float) -> list[TurnEvent]:
        start, self._at = self._at, self._at + WINDOW_SAMPLES
        if self._first is None:
            if probability >= self._threshold:
                self._first, self._last_end = start, self._at
            return []
        if probability >= self._threshold - _HYSTERESIS:
            self._last_end = self._at
            if self._is_told or self._at - self._first < self._least:
                return []
            self._is_told = True
            return [TurnEvent("begin", self.may_begin_at, self._first)]
        if self._at - self._last_end < (self._pause if self._is_told else self._least):
            return []
        if self._is_told:
            return [self._end()]
        self._first = None
        return []

    def _end(self) -> TurnEvent:
        last = min(self._last_end, self._num_samples)
        self._first, self._is_told = None, False
        self._earliest = min(last + self._margin, self._at, self._num_samples)
        return TurnEvent("end", self._earliest, last)
