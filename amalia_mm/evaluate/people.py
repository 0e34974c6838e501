"""People and their clips, out of shards: some to learn a voice from, and others to compare it with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.voice_phones import said_in
from amalia_mm.errors import InputError
from amalia_mm.voice.phrases import Clip

LEARN, TEST = "train", "test"
"""The folders of shards in what is given, as `amalia prepare corpus` calls them, too."""


@dataclass(frozen=True)
class Person:
    """Somebody's clips: to learn from, and others to compare with."""

    name: str
    learn: tuple[Clip, ...]
    test: tuple[Clip, ...]


def people(folder: Path, names: Sequence[str], sentences: int, longest_s: float) -> list[Person]:
    """Return the people of a folder with shards `train` and `test`, by name.

    Args:
        folder: As `amalia prepare voice --held-out` and `amalia prepare corpus` write it.
        names: Whose clips; nobody named is everybody who has clips in both.
        sentences: Clips of each to compare with, at most.
        longest_s: As many clips are learned from as add up to it, at most.

    Raises:
        InputError: A folder is missing, or somebody has no clips there.
    """
    learn, test = (ShardIndex.load(folder / name) for name in (LEARN, TEST))
    known = [name for name in _names(learn) if name in _names(test)]
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        found, wanted = (unknown or ["nobody"])[0], ", ".join(known) or f"clips in {LEARN} and in {TEST}"
        raise InputError(folder, field="speaker", found=found, wanted=wanted, remedy="choose one of these")
    return [
        Person(name, first(_some(learn, name), longest_s), tuple(_some(test, name, sentences)))
        for name in names or known
    ]


def first(clips: Iterable[Clip], seconds: float) -> tuple[Clip, ...]:
    """Return as many clips, the first ones, as add up to so many seconds; all of them where these are fewer."""
    chosen, total_s = [], 0.0
    for clip in clips:
        if total_s >= seconds:
            break
        chosen.append(clip)
        total_s += seconds_of([clip])
    return tuple(chosen)


def seconds_of(clips: Sequence[Clip]) -> float:
    """Return how long clips are in all."""
    return sum(len(samples) / rate_hz for samples, rate_hz in (clip.samples() for clip in clips))


def _names(index: ShardIndex) -> list[str]:
    return sorted({name for name in index.coded["speaker"].values if name})


def _some(index: ShardIndex, name: str, most: int | None = None) -> Iterator[Clip]:
    """Yield clips of somebody in an order that hangs on their name alone, those in which something is said."""
    own = [r for r in range(len(index)) if index.coded["speaker"][r] == name and index.num_samples[r]]
    random.Random(f"own voice {name}").shuffle(own)
    given = 0
    for number in own:
        if given == most:
            return
        record, audio = read_record(index, number)
        text = said_in(record)
        if text and audio is not None:
            given += 1
            yield Clip(text, audio)
