"""What a person reads out to bank their voice: sentences in short sessions, how far somebody is, and what is covered.

The sentences in `data/banking_script.tsv` were written for this project: things that are said every day, questions and
exclamations among them, in which every sound of Lisbon Portuguese and its frequent pairs of sounds occur. It knows
nothing of audio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from amalia_mm.errors import InputError

_HEADER = ("number", "session", "text")
_SOUND = (".wav", ".flac")
_EDGE = "#"
"""Stands for silence in a pair of sounds."""

Sounds = Callable[[str], Sequence[str]]
"""A text to its sounds in order, breaks among them."""


@dataclass(frozen=True)
class Prompt:
    """One sentence to read out; its recording is called `<number>.wav`."""

    number: str
    session: int
    text: str


def load_script() -> tuple[Prompt, ...]:
    """Return all sentences that ship with the package, session by session."""
    text = files("amalia_mm.portuguese").joinpath("data/banking_script.tsv").read_text(encoding="utf-8")
    return parse_script(text, where="banking_script.tsv")


def parse_script(text: str, where: str) -> tuple[Prompt, ...]:
    """Return the sentences of a script; `InputError` names the line that is none, or comes twice."""
    lines = text.splitlines()
    if not lines or tuple(lines[0].split("\t")) != _HEADER:
        found = lines[0] if lines else "an empty file"
        remedy = "use the three columns, tab-separated"
        raise InputError(where, field="header", found=found, wanted="\t".join(_HEADER), remedy=remedy)
    prompts, numbers = [], set()
    for line_number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if (
            len(cells) != len(_HEADER)
            or not cells[0].isdigit()
            or not cells[1].isdigit()
            or not cells[2].strip()
        ):
            wanted = "a number, the number of a session and a sentence"
            raise InputError(f"{where}:{line_number}", found=line, wanted=wanted, remedy="correct the row")
        if cells[0] in numbers:
            wanted = "a number that no other row has"
            raise InputError(
                f"{where}:{line_number}", found=cells[0], wanted=wanted, remedy="renumber the rows"
            )
        numbers.add(cells[0])
        prompts.append(Prompt(cells[0], int(cells[1]), cells[2]))
    return tuple(prompts)


def sessions(script: Iterable[Prompt]) -> dict[int, tuple[Prompt, ...]]:
    """Return the sentences of each session, in order."""
    found: dict[int, list[Prompt]] = {}
    for prompt in script:
        found.setdefault(prompt.session, []).append(prompt)
    return {session: tuple(found[session]) for session in sorted(found)}


def recorded(folder: Path, script: Iterable[Prompt]) -> dict[str, Path]:
    """Return the recording of each sentence that a folder has (`007.wav` or `007.flac`), by the sentence's number.

    The files are the only record of how far somebody is: a sitting can end after any sentence, and one that is deleted
    is asked for again. An empty file is none: its recording broke off.

    Raises:
        InputError: The folder is a file, or has two recordings of one sentence.
    """
    if folder.exists() and not folder.is_dir():
        remedy = "give the folder that the recordings are in, or will be"
        raise InputError(folder, found="a file", wanted="a folder", remedy=remedy)
    found: dict[str, Path] = {}
    for prompt in script:
        paths = [folder / f"{prompt.number}{suffix}" for suffix in _SOUND]
        there = [path for path in paths if path.is_file() and path.stat().st_size]
        if len(there) > 1:
            names = " and ".join(path.name for path in there)
            raise InputError(folder, found=names, wanted="one recording", remedy="remove the worse one")
        if there:
            found[prompt.number] = there[0]
    return found


def next_session(script: Iterable[Prompt], done: Collection[str]) -> tuple[Prompt, ...]:
    """Return what is left of the first session that is not complete; nothing where all is recorded.

    Args:
        script: All sentences.
        done: The numbers of those that need not be read any more.
    """
    for prompts in sessions(script).values():
        left = tuple(prompt for prompt in prompts if prompt.number not in done)
        if left:
            return left
    return ()


def pairs(texts: Iterable[str], sounds: Sounds, breaks: Collection[str]) -> Counter[tuple[str, str]]:
    """Return how often each sound follows each other; a break, and the edge of a text, is silence."""
    found: Counter[tuple[str, str]] = Counter()
    for text in texts:
        heard = [_EDGE, *(_EDGE if sound in breaks else sound for sound in sounds(text)), _EDGE]
        found.update(pair for pair in pairwise(heard) if pair != (_EDGE, _EDGE))
    return found


@dataclass(frozen=True)
class Coverage:
    """Which sounds and frequent pairs of sounds occur in some sentences."""

    sounds: Mapping[str, int]
    """How often each sound occurs, those that never do included."""
    num_pairs: int
    """How many different pairs occur."""
    frequent: Mapping[tuple[str, str], int]
    """The frequent pairs of the text they are compared with, and how often each occurs here."""
    share: float
    """Of all pairs of that text, counted as often as they come: how many are of a kind that occurs here."""

    @property
    def missing_sounds(self) -> tuple[str, ...]:
        """Sounds that never occur."""
        return tuple(sound for sound, count in self.sounds.items() if not count)

    @property
    def missing_pairs(self) -> tuple[tuple[str, str], ...]:
        """Frequent pairs that never occur, the most frequent first."""
        return tuple(pair for pair, count in self.frequent.items() if not count)


def coverage(
    texts: Iterable[str],
    reference: Iterable[str],
    sounds: Sounds,
    inventory: Iterable[str],
    breaks: Collection[str],
    frequent_share: float = 0.9,
) -> Coverage:
    """Return what sentences cover of all sounds, and of the pairs that are frequent in a reference.

    Args:
        texts: The sentences.
        reference: Other texts, as they are spoken.
        sounds: What a text sounds like.
        inventory: Every sound there is.
        breaks: Which of its sounds are silence.
        frequent_share: The most frequent pairs that make this share of the reference are the frequent ones.
    """
    here, there = pairs(texts, sounds, breaks), pairs(reference, sounds, breaks)
    heard: Counter[str] = Counter()
    for (_, second), count in here.items():
        heard[second] += count
    total, reached, frequent = sum(there.values()), 0, {}
    for pair, count in there.most_common():
        if reached >= frequent_share * total:
            break
        reached += count
        frequent[pair] = here[pair]
    known = sum(count for pair, count in there.items() if here[pair])
    return Coverage(
        sounds={sound: heard[sound] for sound in inventory if sound not in breaks},
        num_pairs=len(here),
        frequent=frequent,
        share=known / total if total else 1.0,
    )
