"""Speech for the benchmarks: sentences of the built-in corpus, said by the synthesiser; the same every time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.prepare.corpus import build_corpus
from amalia_mm.prepare.espeak import SpeakerPool, Utterance
from amalia_mm.prepare.voices import TRAIN_VOICES
from amalia_mm.units import samples_to_seconds, seconds_to_samples

NUM_SENTENCES = 360


@dataclass(frozen=True)
class Said:
    """A text and how it sounds."""

    text: str
    waveform: Tensor
    """(n) float32 at 16 kHz."""

    @property
    def seconds(self) -> float:
        return samples_to_seconds(len(self.waveform))


@lru_cache
def sentences() -> tuple[Said, ...]:
    """Return sentences of one to five seconds, each by another voice than the one before it."""
    texts = [sentence.text for sentence in build_corpus(smoke=True).train[:NUM_SENTENCES]]
    utterances = [
        Utterance(text, TRAIN_VOICES[number % len(TRAIN_VOICES)]) for number, text in enumerate(texts)
    ]
    with SpeakerPool() as pool:
        waveforms = list(pool.speak(utterances, lambda _, waveform: waveform))
    for waveform in waveforms:
        if isinstance(waveform, InputError):
            raise waveform
    return tuple(
        Said(text, waveform)
        for text, waveform in zip(texts, waveforms, strict=True)
        if isinstance(waveform, Tensor)
    )


def joined(said: Sequence[Said], pause_s: float) -> Said:
    """Return sentences one after the other, with pauses between them."""
    pause = torch.zeros(seconds_to_samples(pause_s))
    pieces = [piece for one in said for piece in (one.waveform, pause)]
    return Said(" ".join(one.text for one in said), torch.cat(pieces[:-1]))


def of_mixed_lengths(num_clips: int, seed: int = 0, most_s: float = 30.0, pause_s: float = 0.2) -> list[Said]:
    """Return clips of whole sentences, as long as fit lengths that are drawn evenly from 1 s to `most_s`."""
    dice = random.Random(seed)
    clips = []
    while len(clips) < num_clips:
        wanted_s, chosen = dice.uniform(1.0, most_s), [dice.choice(sentences())]
        while True:
            more = dice.choice(sentences())
            if sum(one.seconds + pause_s for one in (*chosen, more)) > wanted_s:
                break
            chosen.append(more)
        clips.append(joined(chosen, pause_s))
    return clips


def recording(seconds: float, pause_s: float = 0.5) -> Tensor:
    """Return one recording (n) of exactly so many seconds, of sentence after sentence."""
    num_samples = seconds_to_samples(seconds)
    said = joined(sentences() * 2, pause_s).waveform
    if len(said) < num_samples:
        raise ValueError(f"{len(said)} samples of speech, {num_samples} wanted")
    return said[:num_samples].clone()
