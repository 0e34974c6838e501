"""Silence, noise and music: how many clips without a word give one, with and without speech detection."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amalia_mm.assistant import Assistant
from amalia_mm.audio.music import music_clip
from amalia_mm.audio.no_speech import no_speech_clip
from amalia_mm.evaluate.metrics import HitCount
from amalia_mm.portuguese.normalise import words

NUM_CLIPS = 20
NUM_MUSIC = 10
MUSIC = "music"
KINDS = ("silence", "white", "pink", "brown", "hum", "clicks")
DURATIONS_S = (1.0, 2.0, 3.5, 5.0)
SEED = 7_000_000_000
"""Training draws its seeds from small numbers and record ids; these clips are never the same noise."""


@dataclass(frozen=True)
class NoSpeechResult:
    """What was written for each clip: `(kind, with detection, without detection)`."""

    rows: tuple[tuple[str, str, str], ...]

    @property
    def noise(self) -> NoSpeechResult:
        """The clips of silence and noise."""
        return NoSpeechResult(tuple(row for row in self.rows if row[0] != MUSIC))

    @property
    def music(self) -> NoSpeechResult:
        """The clips of music."""
        return NoSpeechResult(tuple(row for row in self.rows if row[0] == MUSIC))

    @property
    def with_words(self) -> HitCount:
        """Clips that gave words, the way `amalia transcribe` works."""
        return HitCount(sum(bool(words(text)) for _, text, _ in self.rows), len(self.rows))

    @property
    def with_words_without_vad(self) -> HitCount:
        """Clips that gave words when everything is sent to the model."""
        return HitCount(sum(bool(words(text)) for _, _, text in self.rows), len(self.rows))


def clips() -> list[tuple[str, Tensor]]:
    """Return 20 clips of silence and noise, then 10 of music, with their kinds, the same every time."""
    made = []
    for number in range(NUM_CLIPS + NUM_MUSIC):
        generator = torch.Generator().manual_seed(SEED + number)
        kind, duration_s = KINDS[number % len(KINDS)], DURATIONS_S[number % len(DURATIONS_S)]
        if number < NUM_CLIPS:
            made.append((kind, no_speech_clip(kind, duration_s, generator)))
        else:
            made.append((MUSIC, music_clip(duration_s, generator)))
    return made


def measure(assistant: Assistant) -> NoSpeechResult:
    """Return what is written for each clip."""
    made = clips()
    waveforms = [waveform for _, waveform in made]
    gated = assistant.transcribe(waveforms)
    open_ = assistant.transcribe(waveforms, vad=False)
    return NoSpeechResult(tuple(zip([kind for kind, _ in made], gated, open_, strict=True)))
