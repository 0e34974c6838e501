"""Written text to what a voice model reads: the phones of `g2p.py` by number, between two pauses.

Training and synthesis both read through here, so that a model is asked for what it has learned from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amalia_mm.errors import InputError
from amalia_mm.portuguese.g2p import utterance
from amalia_mm.portuguese.phonology.phonemes import SYMBOLS, Phone

_NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS)}
_PAUSE = Phone(".")
_COMMA = _NUMBER[","]
_ENDS = frozenset(_NUMBER[end] for end in (".", "?", "!"))
_PAUSES = _ENDS | {_COMMA}
LONGEST = 200
"""Phones of a sentence, some fifteen seconds; what the quickstart learns from has 65 at most."""


@dataclass(frozen=True)
class ReadAloud:
    """What is said, phone by phone."""

    symbols: tuple[int, ...]
    """Places in `SYMBOLS`; none is 0, which is padding."""
    is_stressed: tuple[bool, ...]
    is_word_start: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.symbols)


def read_aloud(text: str, where: str = "text") -> ReadAloud:
    """Return the phones of a text, as a reader from Lisbon says it, with a pause before and after.

    Raises:
        InputError: Nothing in the text can be said; `where` names it.
    """
    try:
        said = utterance(text)
    except InputError as error:
        wanted, remedy = error.wanted, error.remedy
        raise InputError(where, field="text", found=error.found, wanted=wanted, remedy=remedy) from error
    phones = (_PAUSE, *said)
    return ReadAloud(
        tuple(_NUMBER[phone.symbol] for phone in phones),
        tuple(phone.stressed for phone in phones),
        tuple(phone.word_start for phone in phones),
    )


def sentences(read: ReadAloud) -> Iterator[ReadAloud]:
    """Yield the sentences of what is read, each between two pauses, as models learn them.

    One of more than `LONGEST` phones comes in parts, each but the last ended by a comma's pause: a listener would wait
    for the whole, and memory is needed for all of it at once.
    """
    start = 1  # the pause before the first
    for place in range(1, len(read)):
        if read.symbols[place] not in _ENDS:
            continue
        for first, end in _parts(read, start, place + 1):
            yield _between_pauses(read, first, end)
        start = place + 1
    if start < len(read):
        raise ValueError(f"{len(read) - start} phones after the last pause: what is read ends with one")


def _parts(read: ReadAloud, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where the parts of a sentence begin and end: behind a comma where there is one, else between words."""
    while end - start > LONGEST:
        last = min(start + LONGEST, end - LONGEST // 4)  # not a part of two phones at the end
        within = range(last, start + LONGEST // 4, -1)
        cut = next((place for place in within if read.symbols[place - 1] == _COMMA), None)
        cut = cut or next((place for place in within if read.is_word_start[place]), last)
        yield start, cut
        start = cut
    yield start, end


def _between_pauses(read: ReadAloud, start: int, end: int) -> ReadAloud:
    said = slice(start, end)
    is_whole = read.symbols[end - 1] in _PAUSES
    return ReadAloud(
        (read.symbols[0], *read.symbols[said], *(() if is_whole else (_COMMA,))),
        (read.is_stressed[0], *read.is_stressed[said], *(() if is_whole else (False,))),
        (read.is_word_start[0], *read.is_word_start[said], *(() if is_whole else (read.is_word_start[0],))),
    )
