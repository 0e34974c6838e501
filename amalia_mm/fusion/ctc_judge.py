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
from amalia_mm.text.tokenizer import SPACE, Tokenizer

_INCOMPLETE = "\ufffd"
_MOST_INCOMPLETE = 3
"""Bytes of a character that is not whole yet; more of them are none."""
_UNSAID = re.compile(r"[,;:]\s*[.,;:]|\W{6}|\n")
"""Signs between which nothing is said, as in ",,", and ends of lines: with them a text could put off being judged."""
_NEXT = "a1"
"""A letter and a digit: between digits a comma is a part of the number."""
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class _Reading:
    """Tokens of CTC that a text begins with; those from `num_complete` on are of a word that may go on."""

    said: Prefix
    num_complete: int

    @property
    def is_open(self) -> bool:
        return len(self.said) > self.num_complete

    @property
    def places(self) -> range:
        """How many of the tokens are certain, in each way to go on."""
        return range(self.num_complete, len(self.said) + (not self.is_open))


class TokenIndex:
    """The tokens of a vocabulary by how they begin; made once, for 128,000 of them it takes a moment.

    Args:
        tokenizer: Of decoder and CTC alike.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.entries = [tokenizer.token(token) for token in range(tokenizer.vocab_size)]
        self._order = sorted(range(len(self.entries)), key=self.entries.__getitem__)
        self._sorted = [self.entries[token] for token in self._order]
        self.openers = self.that_begin(SPACE) or self._order
        """Tokens that begin a word; all of them where the vocabulary does not mark these."""

    def that_begin(self, beginning: str) -> list[int]:
        """Return the tokens whose entry begins so."""
        first = bisect_left(self._sorted, beginning)
        return self._order[first : bisect_left(self._sorted, beginning + _LAST_CHARACTER, lo=first)]


class CtcJudge:
    """Judges the decoder's hypotheses of several clips while they grow; a `text.beam.Judge`.

    Args:
        log_probs: (f v+1) of each clip, the blank last; on the CPU.
        index: The tokens that decoder and CTC share.
        spoken_form: What CTC was taught to write for a text.
    """

    def __init__(
        self, log_probs: Sequence[Tensor], index: TokenIndex, spoken_form: Callable[[str], str]
    ) -> None:
        self._prefixes = [CtcPrefixes(each) for each in log_probs]
        self._spoken_form = spoken_form
        self._index = index
        tokenizer = index.tokenizer
        # A beam's text comes back for each of the ways on, and with them a step later.
        self._encode = lru_cache(maxsize=4096)(lambda text: tuple(tokenizer.encode(text)))
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
        readings = [self._readings(tokens) for tokens in beginnings]
        ended = [self._encode(self._spoken_form(self._decode(tuple(tokens)))) for tokens in wholes]
        needed = {reading.said[:place] for each in readings for reading in each for place in reading.places}
        prefixes.prepare([*needed, *ended])
        return (
            [_log_sum([self._beginning(prefixes, reading) for reading in each]) for each in readings],
            [prefixes.whole(tokens) for tokens in ended],
        )

    def whole(self, row: int, text: str) -> float:
        """Return log p of the spoken form of a text, in nats."""
        return self._prefixes[row].whole(self._encode(self._spoken_form(text)))

    def _readings(self, tokens: Sequence[int]) -> set[_Reading]:
        """Return what may have been said of a text that goes on: its last word may be whole, or not, or either.

        Bytes that are no text have no reading.
        """
        # A character of several tokens may still be open: what it will be is not known.
        decoded = self._decode(tuple(tokens))
        text = decoded.rstrip(_INCOMPLETE)
        readings: set[_Reading] = set()
        if len(decoded) - len(text) > _MOST_INCOMPLETE or _INCOMPLETE in text or _UNSAID.search(text):
            return readings
        for character in _NEXT if text[-2:-1].isdigit() else _NEXT[0]:
            # Whatever the spoken form does at the end of a word, it does before the next character.
            *complete, grown = self._spoken_form(text + character).split()
            whole = self._encode(" ".join(complete))
            readings.add(_Reading((*whole, *self._word(grown[:-1], bool(complete))), len(whole)))
        return readings

    def _word(self, word: str, is_inside: bool) -> Prefix:
        """Return the tokens of a word as it is at the start of a text, or inside; words are tokens apart."""
        if not word or not is_inside:
            return self._encode(word)
        return self._encode(f"a {word}")[len(self._encode("a")) :]

    def _beginning(self, prefixes: CtcPrefixes, reading: _Reading) -> float:
        """Return log p that a clip begins with the tokens of a reading."""
        said = reading.said
        if not reading.is_open:
            # After a word that is whole comes another one, or nothing.
            return _log_sum([prefixes.whole(said), *prefixes.extended(said)[self._index.openers].tolist()])
        entries = [self._index.entries[token] for token in said]
        # The word may come to be cut otherwise when it is longer: "▁p" "od" is also the beginning of "▁p" "odes".
        ways = [
            prefixes.extended(said[:place])[self._index.that_begin("".join(entries[place:]))]
            for place in reading.places
        ]
        return _log_sum(np.concatenate(ways))


def _log_sum(values: Sequence[float] | Array) -> float:
    return float(np.logaddexp.reduce(np.asarray(values), initial=-np.inf))
