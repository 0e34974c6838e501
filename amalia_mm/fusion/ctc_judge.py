"""What CTC thinks of the texts that a decoder is about to write.

The two write different tokens: the decoder "Podes ir?", CTC the spoken form "podes ir". So a beginning is compared
as text, whole words by their tokens and the word that is still open by every token that may continue it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor

from amalia_mm.fusion.ctc_prefix import Array, CtcPrefixes, Prefix
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.tokenizer import SPACE

_INCOMPLETE = "\ufffd"
_MOST_BYTES = 3
"""Of a character that is not whole yet."""
_UNSAID = re.compile(r"[,;:]\s*[.,;:?!]|([^\w\s]\s*){7}")
"""Signs between which nothing is said, as in ",,": with them a text could put off being judged."""
_BYTE = "<0x"
_LAST_CHARACTER = "\U0010ffff"


Indices = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class _Reading:
    """What CTC has written of a beginning: the classes of whole words, and letters of one that may go on."""

    complete: Prefix
    open_word: str


class ClassIndex:
    """The classes of CTC by how they begin; made once, for 128,000 of them it takes a moment.

    Args:
        classes: What CTC writes, and the decoder's tokenizer.
    """

    def __init__(self, classes: CtcClasses) -> None:
        self.classes = classes
        self.entries = classes.entries("let the decoder write alone (--beams 1)")
        order = sorted(range(len(self.entries)), key=self.entries.__getitem__)
        self._sorted = [self.entries[token] for token in order]
        self._order = np.array(order)
        self.openers = self.that_begin(SPACE)
        """Classes that begin a word."""
        alone = [token for token in self.openers.tolist() if self.entries[token] == SPACE]
        self.space: Prefix = tuple(alone)
        """The class of the mark alone; nothing where there is none."""

    def that_begin(self, beginning: str) -> Indices:
        """Return the classes whose entry begins so."""
        first = bisect_left(self._sorted, beginning)
        return self._order[first : bisect_left(self._sorted, beginning + _LAST_CHARACTER, lo=first)]


class CtcJudge:
    """Judges the decoder's hypotheses of several clips while they grow; a `text.beam.Judge`.

    Args:
        log_probs: (f v+1) of each clip, the blank last; on the CPU.
        index: What CTC writes; it may be other tokens than the decoder's.
        spoken_form: What CTC was taught to write for a text.
    """

    def __init__(
        self, log_probs: Sequence[Tensor], index: ClassIndex, spoken_form: Callable[[str], str]
    ) -> None:
        self._prefixes = [CtcPrefixes(each) for each in log_probs]
        self._spoken_form = spoken_form
        self._index = index
        classes, tokenizer = index.classes, index.classes.tokenizer
        # A beam's text comes back for each of the ways on, and with them a step later.
        self._encode = lru_cache(maxsize=4096)(lambda text: tuple(classes.encode(text)))
        self._ways = lru_cache(maxsize=4096)(self._find_ways)
        self._that_begin = lru_cache(maxsize=4096)(index.that_begin)
        self._decode = lru_cache(maxsize=4096)(lambda tokens: tokenizer.decode(list(tokens)))

    def judge(
        self, row: int, beginnings: Sequence[Sequence[int]], wholes: Sequence[Sequence[int]]
    ) -> tuple[list[float], list[float]]:
        """Return log p that clip `row` begins with each of some texts, and that it is each of others, in nats.

        Args:
            row: Which clip.
            beginnings: The decoder's tokens of each text that goes on.
            wholes: The decoder's tokens of each text that ends.
        """
        prefixes = self._prefixes[row]
        readings = [self._readings(tuple(tokens)) for tokens in beginnings]
        ended = [self._decode(tuple(tokens)) for tokens in wholes]
        said = [self._encode(self._spoken_form(text)) for text in ended]
        needed = {parent for each in readings for reading in each for parent, _ in self._ways(reading)}
        prefixes.prepare([*needed, *said])
        return (
            [_log_sum([self._beginning(prefixes, reading) for reading in each]) for each in readings],
            [
                float("-inf") if _INCOMPLETE in text else prefixes.whole(tokens)
                for text, tokens in zip(ended, said, strict=True)
            ],
        )

    def whole(self, row: int, text: str) -> float:
        """Return log p of the spoken form of a text, in nats."""
        return self._prefixes[row].whole(self._encode(self._spoken_form(text)))

    def _readings(self, tokens: Prefix) -> set[_Reading]:
        """Return what may have been said of a text that goes on: its last word may be whole, or not, or either.

        Bytes that are no text have no reading.
        """
        # A character of several tokens may still be open: what it will be is not known.
        num_open = 0
        while num_open < min(_MOST_BYTES, len(tokens)) and _INCOMPLETE in self._decode(
            tokens[: len(tokens) - num_open]
        ):
            num_open += 1
        text = self._decode(tokens[: len(tokens) - num_open])
        readings: set[_Reading] = set()
        if _INCOMPLETE in text or _UNSAID.search(text):
            return readings
        # Whatever the spoken form does at the end of a word, it does before the next character: a letter, or where
        # a comma or a point may be a part of what goes on, a digit ("2,5") or the sign of an ordinal ("n.º").
        followers = ["a", *("1" * text[-2:-1].isdigit()), *("º" * text.endswith("."))]
        for character in followers:
            *complete, grown = self._spoken_form(text + character).split()
            readings.add(_Reading(self._encode(" ".join(complete)), grown[:-1]))
        return readings

    def _beginning(self, prefixes: CtcPrefixes, reading: _Reading) -> float:
        """Return log p that a clip begins as a reading does."""
        found = [prefixes.extended(parent)[entries] for parent, entries in self._ways(reading)]
        if not reading.open_word:
            # After a word that is whole comes another one, or nothing.
            found.append(np.array([prefixes.whole(reading.complete)]))
        return _log_sum(np.concatenate(found)) if found else float("-inf")

    def _find_ways(self, reading: _Reading) -> list[tuple[Prefix, Indices]]:
        """Return the prefixes that a reading may begin with, each with the tokens that may follow.

        A word is cut otherwise when it is longer ("▁r", but "▁" "ri" "ta"), so its last token may begin anywhere.
        """
        word, complete = reading.open_word, reading.complete
        if not word:
            return [(complete, self._index.openers)]
        ways = [(complete, self._that_begin(SPACE + word))]
        ways += [((*complete, space), self._that_begin(word)) for space in self._index.space]
        ways += [
            ((*complete, *self._word(word[:place], bool(complete))), self._that_begin(word[place:]))
            for place in range(1, len(word))
        ]
        tokens = (*complete, *self._word(word, bool(complete)))
        if self._index.entries[tokens[-1]].startswith(_BYTE):
            # A character that is no entry is written byte by byte, and goes on with the next character.
            ways.append((tokens[:-1], np.array(tokens[-1:])))
        return [(parent, entries) for parent, entries in ways if len(entries)]

    def _word(self, word: str, is_inside: bool) -> Prefix:
        """Return the tokens of a word as it is at the start of a text, or inside; words are tokens apart."""
        if not is_inside:
            return self._encode(word)
        return self._encode(f"a {word}")[len(self._encode("a")) :]


def _log_sum(values: Sequence[float] | Array) -> float:
    return float(np.logaddexp.reduce(np.asarray(values), initial=-np.inf))
