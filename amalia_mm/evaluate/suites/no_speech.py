"""Silence and noise: how many clips without a word give one, with and without speech detection."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amalia_mm.assistant import Assistant
from amalia_mm.audio.augment import no_speech_clip
from amalia_mm.evaluate.metrics import HitCount
from amalia_mm.portuguese.normalise import words

NUM_CLIPS = 20
KINDS = ("silence", "white", "pink", "brown", "hum", "clicks")
DURATIONS_S = (1.0, 2.0, 3.5, 5.0)
SEED = 7_000_000_000
"""Training draws its seeds from small numbers and record ids; these clips are never the same noise."""


@dataclass(frozen=True)
class NoSpeechResult:
    """What was written for each clip: `(kind, with detection, without detection)`."""

    rows: tuple[tuple[str, str, str], ...]

    @property
    def with_words(self) -> HitCount:
        """Clips that gave words, the way `amalia transcribe` works."""
        return HitCount(sum(bool(words(text)) for _, text, _ in self.rows), len(self.rows))

    @property
    def with_words_without_vad(self) -> HitCount:
        """Clips that gave words when everything is sent to the model."""
        return HitCount(sum(bool(words(text)) for _, _, text in self.rows), len(self.rows))


def clips() -> list[tuple[str, Tensor]]:
    """Return the 20 clips with their kinds, the same every time."""
    return [
        (
            KINDS[number % len(KINDS)],
            no_speech_clip(
                KINDS[number % len(KINDS)],
                DURATIONS_S[number % len(DURATIONS_S)],
                torch.Generator().manual_seed(SEED + number),
            ),
        )
        for number in range(NUM_CLIPS)
    ]


def measure(assistant: Assistant) -> NoSpeechResult:
    """Return what is written for each clip."""
    made = clips()
    waveforms = [waveform for _, waveform in made]
    gated = assistant.transcribe(waveforms)
    open_ = assistant.transcribe(waveforms, vad=False)
    return NoSpeechResult(tuple(zip([kind for kind, _ in made], gated, open_, strict=True)))
