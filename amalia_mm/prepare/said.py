"""What recordings say, so that what is tested on is not learned from text, nor what was learned tested.

It knows sentences; it does not know manifests, splits or the built-in corpus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.sentences import split_sentences

MIN_WORDS = 3
"""What is shorter ("sim", "bom dia") stands in any text: it is no sentence that could be kept apart."""


class Said:
    """The sentences of some recordings, of `MIN_WORDS` words or more; empty, it is in no text."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_beginning: defaultdict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
        for text in texts:
            for sentence in split_sentences(text):
                spoken = tuple(words(sentence))
                if len(spoken) >= MIN_WORDS:
                    self._by_beginning[spoken[:MIN_WORDS]].add(spoken)

    def __bool__(self) -> bool:
        return bool(self._by_beginning)

    def is_in(self, text: str) -> bool:
        """Return whether one of the sentences stands in a text, word for word, wherever that breaks its lines."""
        if not self:
            return False
        spoken = tuple(words(text))
        return any(
            spoken[start : start + len(sentence)] == sentence
            for start in range(len(spoken) - MIN_WORDS + 1)
            for sentence in self._by_beginning.get(spoken[start : start + MIN_WORDS], ())
        )
