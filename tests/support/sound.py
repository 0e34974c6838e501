"""Sound that is made up, and sentences that the synthesiser says: what is heard in tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import soundfile
import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TEST_VOICES, Voice
from amalia_mm.units import SAMPLE_RATE_HZ


def seeded(seed: int = 0) -> Generator:
    """Return a generator that draws the same again."""
    return torch.Generator().manual_seed(seed)


def rms(clip: Tensor) -> float:
    """Return the root of the mean of the squares of a clip."""
    return clip.double().square().mean().sqrt().item()


def noise(seconds: float, seed: int = 0) -> Tensor:
    """Return white noise (n)."""
    return 0.1 * torch.randn(round(SAMPLE_RATE_HZ * seconds), generator=seeded(seed))


def said(*texts: str, voices: Sequence[Voice] = TEST_VOICES) -> list[Tensor]:
    """Return texts as the synthesiser says them (n), each by the next voice."""
    with Speaker() as speaker:
        return [
            speaker.speak(Utterance(text, voices[number % len(voices)])) for number, text in enumerate(texts)
        ]


def stereo(path: Path, left: Tensor, right: Tensor) -> Path:
    """Write a file of two channels, the shorter one followed by silence."""
    soundfile.write(path, pad_sequence([left, right]).numpy(), SAMPLE_RATE_HZ)
    return path


def in_turns(path: Path, one: Tensor, other: Tensor, *, one_again: bool = False) -> Path:
    """Write a file in which two speak one after the other, each in a channel."""
    left = [one, torch.zeros(len(other)), one] if one_again else [one]
    return stereo(path, torch.cat(left), torch.cat([torch.zeros(len(one)), other]))
