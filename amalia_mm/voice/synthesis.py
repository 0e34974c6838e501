"""A written text to the speech of one voice, whole or as it is made.

Sentences are said one after the other; within one, frames are made a piece at a time, and heard before the next are
made. What comes out carries the watermark: there is no way to speech without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from tqdm import tqdm

from amalia_mm.portuguese.read_aloud import ReadAloud, read_aloud, sentences
from amalia_mm.voice.acoustic import AcousticModel, Manner, Outline, Phones, noise_like
from amalia_mm.voice.vocoder import Vocoder
from amalia_mm.voice.watermark import Marker

FIRST_S, PIECE_S = 0.4, 1.2
"""How much is made before the first sound, and at a time afterwards: less would be marked badly."""


@dataclass(frozen=True)
class Synthesiser:
    """Says texts with one voice.

    Args:
        acoustic: Phones to frames, in evaluation mode.
        vocoder: Frames to sound, of the same frames.
        speaker: (e) who speaks, as the acoustic model was taught to be told.
        manner: How it is said.

    Raises:
        ValueError: The two parts have other frames, or the vector another length.
    """

    acoustic: AcousticModel
    vocoder: Vocoder
    speaker: Tensor
    manner: Manner = field(default_factory=Manner)

    def __post_init__(self) -> None:
        names = ("sample_rate_hz", "num_mels", "fft_samples", "hop_samples")
        ours, theirs = ([getattr(part.mel, name) for name in names] for part in (self.acoustic, self.vocoder))
        if ours != theirs:
            raise ValueError(f"frames of {ours} made for a vocoder of {theirs} ({', '.join(names)})")
        if self.speaker.shape != (self.acoustic.speaker_size,):
            raise ValueError(
                f"a speaker of shape {tuple(self.speaker.shape)}; wanted ({self.acoustic.speaker_size},)"
            )

    @property
    def sample_rate_hz(self) -> int:
        """The rate of what is said."""
        return self.vocoder.sample_rate_hz

    @cached_property
    def _frames_a_second(self) -> float:
        return self.sample_rate_hz / self.acoustic.mel.hop_samples

    def say(self, text: str, seed: int = 0) -> Tensor:
        """Return a text as speech (n) float32: the pieces of `stream`, together.

        Raises:
            InputError: Nothing in the text can be said, or it has markup.
        """
        return torch.cat(list(self.stream(text, seed)))

    def stream(self, text: str, seed: int = 0, progress: bool = False) -> Iterator[Tensor]:
        """Return a text as speech (n) float32, piece by piece, each as soon as it is made.

        Args:
            text: What to say.
            seed: Another one says it a little otherwise.
            progress: Whether to show a bar of sentences on stderr, where it takes more than two seconds.

        Raises:
            InputError: As `say`, and before the first piece is asked for.
        """
        return self._marked(list(sentences(read_aloud(text))), seed, progress)

    def _marked(self, said: list[ReadAloud], seed: int, progress: bool) -> Iterator[Tensor]:
        marker = Marker(self.sample_rate_hz)
        for piece in self._unmarked(said, seed, progress):
            done = marker.push(piece)
            if len(done):
                yield done
        rest = marker.flush()
        if len(rest):
            yield rest

    @torch.no_grad()
    def _unmarked(self, said: list[ReadAloud], seed: int, progress: bool = False) -> Iterator[Tensor]:
        is_first = True
        bar = tqdm(said, desc="a dizer", unit=" frases", delay=2.0, disable=not progress)
        for number, sentence in enumerate(bar):
            outline = self.outline(sentence)
            noise = noise_like(outline.mean, seed + number)
            piece = round(PIECE_S * self._frames_a_second)
            first = round(FIRST_S * self._frames_a_second) if is_first else piece
            # What the vocoder must know of later frames is made with the first ones.
            first += self.vocoder.context_frames or 0
            frames = self.acoustic.pieces(outline, noise, self.manner, piece, first)
            for waveform in self.vocoder.stream(frames):
                yield waveform[0]
            is_first = False

    @torch.no_grad()
    def outline(self, sentence: ReadAloud) -> Outline:
        """Return what the frames of a sentence are to be."""
        device = self.speaker.device
        phones = Phones(
            torch.tensor([sentence.symbols], device=device),
            torch.tensor([sentence.is_stressed], device=device),
            torch.tensor([sentence.is_word_start], device=device),
        )
        return self.acoustic.plan(phones, self.speaker[None], self.manner)[0]
