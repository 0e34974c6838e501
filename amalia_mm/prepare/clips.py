"""Synthetic clips: what each says, by which voice, and the sound of it as a flac file.

It knows voices, noise and records; it does not know which sentences are chosen or where clips are kept.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import soxr
import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from amalia_mm.audio.augment import NO_SPEECH, Augment, no_speech_clip
from amalia_mm.audio.io import encode_flac
from amalia_mm.batch import Turn
from amalia_mm.data.schema import TRANSCRIBE, Record, Split
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.espeak import SpeakerPool, Utterance, Voice
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds, seconds_to_samples
from amalia_mm.variety import Variety

ANSWER = "answer"
"""The task in which a spoken question is answered, not written down."""
BUILT_IN = "synthetic"
"""The source of the built-in sentences."""
LICENCE = "Apache-2.0"
NOBODY = "nobody"

_RATE_WPM = (140, 200)
_PITCH = (35, 65)
_TRACT_SCALE = (0.86, 1.16)
"""From a child's or small woman's to a large man's vocal tract, around that of the voice itself."""
_SILENCE_S = (0.05, 0.3)
_LEVEL_DB = (-32.0, -16.0)
_PEAK = 0.98
_NO_SPEECH_S = (0.5, 4.0)


@dataclass(frozen=True)
class Line:
    """What one clip says, why, and by which voice; without a voice it is only text.

    `answer` makes it a spoken question. `template`, `kind` and `heldout` say where a sentence comes from.
    """

    id: str
    text: str
    split: Split
    voice: Voice | None = None
    answer: str | None = None
    template: str | None = None
    kind: str | None = None
    heldout: str | None = None
    source: str = BUILT_IN
    variety: Variety = Variety.PT_PT
    licence: str = LICENCE

    @property
    def task(self) -> str:
        """Whether the line is to be written down or answered."""
        return TRANSCRIBE if self.answer is None else ANSWER

    def record(self, seconds: float | None = None) -> Record:
        """Return the record of the line: a transcription, or a heard question and its answer."""
        is_answered = self.answer is not None
        return Record(
            id=self.id,
            task=self.task,
            variety=self.variety,
            speaker="" if self.voice is None else self.voice.name,
            source=self.source,
            licence=self.licence,
            split=self.split,
            text=None if is_answered else self.text,
            turns=(Turn("user", "", has_audio=True), Turn("assistant", self.answer or ""))
            if is_answered
            else (),
            spoken=spoken_form(self.text) if is_answered else None,
            seconds=seconds,
        )

    def row(self, audio: str | None) -> dict[str, object]:
        """Return the row of a manifest; `audio` is relative to it, None where the clip lies in a shard."""
        return {
            "id": self.id,
            "audio": audio,
            "text": self.text,
            "voice": None if self.voice is None else self.voice.name,
            "template": self.template,
            "task": self.task,
            "answer": self.answer,
            "kind": self.kind,
            "heldout": self.heldout,
            "source": self.source,
            "variety": self.variety.value,
        }


@dataclass(frozen=True)
class Clip:
    """A line as heard."""

    line: Line
    flac: bytes
    num_samples: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return samples_to_seconds(self.num_samples)


def voiced(lines: Iterable[Line], voices: Sequence[Voice], rng: random.Random) -> list[Line]:
    """Return the lines with a voice each: every voice says as many as any other, in random order."""
    lines = list(lines)
    shares = [voices[i % len(voices)] for i in range(len(lines))]
    rng.shuffle(shares)
    return [replace(line, voice=voice) for line, voice in zip(lines, shares, strict=True)]


def speak_lines(lines: Sequence[Line], pool: SpeakerPool, seed: int) -> Iterator[Clip | InputError]:
    """Yield the clip of each line, in order, or the error where it cannot be said.

    Rate, pitch, size, silence, level and noise are drawn from the seed and the line's id alone, so a clip is
    the same in whatever order and by however many processes it is made. Only training clips change in size:
    held-out voices are heard as they are.
    """

    def finish(number: int, waveform: Tensor) -> Clip:
        generator = _generator(seed, lines[number].id)
        if lines[number].split == "train":
            waveform = scale_tract(waveform, _between(_TRACT_SCALE, generator))
        clip = dress(waveform, generator)
        return Clip(lines[number], encode_flac(clip), len(clip))

    return pool.speak((_utterance(line, seed) for line in lines), finish)


def scale_tract(waveform: Tensor, scale: float) -> Tensor:
    """Return (n / scale) as a speaker with formants, pitch and pace `scale` times as high would say it.

    The synthesiser has few voices; this makes of each a family, whose members no two clips need to share
    (vocal tract length perturbation by resampling: Jaitly and Hinton 2013).
    """
    scaled = soxr.resample(waveform.numpy(), SAMPLE_RATE_HZ * scale, SAMPLE_RATE_HZ)
    return torch.from_numpy(scaled)


def dress(waveform: Tensor, generator: Generator) -> Tensor:
    """Return a sentence (n) as a recording might have it: pauses around it, some level, a little noise."""
    rms = waveform.square().mean().sqrt().clamp(min=1e-6)
    gain = 10.0 ** (_between(_LEVEL_DB, generator) / 20.0) / rms
    before, after = (seconds_to_samples(_between(_SILENCE_S, generator)) for _ in range(2))
    clip = pad(waveform * torch.minimum(gain, _PEAK / waveform.abs().max().clamp(min=1e-6)), (before, after))
    return Augment(noise_probability=0.85, noise_snr_db=(15.0, 40.0), gain_probability=0.0)(clip, generator)


def no_speech(num: int, split: Split, seed: int) -> Iterator[Clip]:
    """Yield clips of silence, noise, hum and clicks, whose transcription is empty."""
    for number in range(num):
        line = Line(f"{split}-nobody-{number:04d}", "", split, template=NO_SPEECH[number % len(NO_SPEECH)])
        generator = _generator(seed, line.id)
        seconds = _between(_NO_SPEECH_S, generator)
        waveform = no_speech_clip(NO_SPEECH[number % len(NO_SPEECH)], seconds, generator)
        yield Clip(line, encode_flac(waveform), len(waveform))


def _utterance(line: Line, seed: int) -> Utterance:
    if line.voice is None:
        raise ValueError(f"line {line.id} has no voice")
    rng = random.Random(f"{seed} {line.id} prosody")
    return Utterance(line.text, line.voice, rate_wpm=rng.randint(*_RATE_WPM), pitch=rng.randint(*_PITCH))


def _generator(seed: int, identity: str) -> Generator:
    digest = hashlib.sha256(f"{seed} {identity}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _between(limits: tuple[float, float], generator: Generator) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))
