"""Error counts, confusions, exactness and preference: sums that add up over clips, workers and processes.

Words and characters are compared on the spoken form (lower case, no punctuation); rates are taken once, at
the end, from the sums. It knows nothing of models and files.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

from amalia_mm.portuguese.normalise import spoken_form

_FINAL_PUNCTUATION = re.compile(r"[\s.!?…]+$")


@dataclass(frozen=True)
class ErrorCount:
    """Substitutions, deletions and insertions against the words or characters that were said."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    num_reference: int = 0

    @property
    def num_errors(self) -> int:
        """All errors together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors for each reference unit (it may exceed 1), or None where nothing was said."""
        return self.num_errors / self.num_reference if self.num_reference else None

    def __add__(self, other: ErrorCount) -> ErrorCount:
        return ErrorCount(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.num_reference + other.num_reference,
        )


@dataclass(frozen=True)
class HitCount:
    """How many of how many; `hits` may hold halves, where a tie counts half."""

    hits: float = 0
    total: int = 0

    @property
    def rate(self) -> float | None:
        """The share, or None where there was nothing to count."""
        return self.hits / self.total if self.total else None

    def __add__(self, other: HitCount) -> HitCount:
        return HitCount(self.hits + other.hits, self.total + other.total)


@dataclass(frozen=True)
class WordPair:
    """One step of an alignment: a word said and a word written; "" where one is missing."""

    reference: str
    hypothesis: str

    @property
    def is_error(self) -> bool:
        """Whether the two differ."""
        return self.reference != self.hypothesis


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCount:
    """Return the word errors of `hypotheses`, summed over all sentences (WER is its `rate`).

    Raises:
        ValueError: The two lists differ in length.
    """
    said, written = _spoken(references, hypotheses)
    found = jiwer.process_words(said, written)
    return _count(found)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCount:
    """Return the character errors, spaces included, summed over all sentences (CER is its `rate`).

    Raises:
        ValueError: The two lists differ in length.
    """
    said, written = _spoken(references, hypotheses)
    found = jiwer.process_characters(said, written)
    return _count(found)


def align(reference: str, hypothesis: str) -> list[WordPair]:
    """Return the best alignment of the words of two sentences, in spoken form."""
    found = jiwer.process_words([spoken_form(reference)], [spoken_form(hypothesis)])
    said, written = found.references[0], found.hypotheses[0]
    pairs: list[WordPair] = []
    for chunk in found.alignments[0]:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = written[chunk.hyp_start_idx : chunk.hyp_end_idx]
        length = max(len(left), len(right))
        left, right = left + [""] * (length - len(left)), right + [""] * (length - len(right))
        pairs += [WordPair(a, b) for a, b in zip(left, right, strict=True)]
    return pairs


def confusions(references: Sequence[str], hypotheses: Sequence[str]) -> Counter[WordPair]:
    """Return how often each word was written as another, left out (hypothesis "") or added (reference "").

    Raises:
        ValueError: The two lists differ in length.
    """
    counts: Counter[WordPair] = Counter()
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        counts.update(pair for pair in align(reference, hypothesis) if pair.is_error)
    return counts


def strict_form(text: str) -> str:
    """Return an answer as exact match compares it: NFC, single spaces, final punctuation (. ! ? …) removed.

    Case, accents and inner punctuation stay and count.
    """
    collapsed = " ".join(unicodedata.normalize("NFC", text).split())
    return _FINAL_PUNCTUATION.sub("", collapsed)


def is_exact(answer: str, expected: str) -> bool:
    """Return whether an answer equals the expected one in strict form."""
    return strict_form(answer) == strict_form(expected)


def exact(answers: Sequence[str], expected: Sequence[str]) -> HitCount:
    """Return how many answers are exact; `ValueError` where the two lists differ in length."""
    hits = sum(is_exact(given, wanted) for given, wanted in zip(answers, expected, strict=True))
    return HitCount(hits, len(answers))


def similarity(answers: Sequence[str], expected: Sequence[str]) -> float | None:
    """Return chrF of all answers together, from 0 to 1 (Popović 2015, "chrF"); None where there are none.

    Raises:
        ValueError: The two lists differ in length.
    """
    if len(answers) != len(expected):
        raise ValueError(f"{len(answers)} answers and {len(expected)} expected ones")
    if not answers:
        return None
    from sacrebleu.metrics.chrf import CHRF  # slow to load, and only answers of several words need it

    return CHRF().corpus_score(list(answers), [list(expected)]).score / 100


def preferred(european: Sequence[float], brazilian: Sequence[float]) -> HitCount:
    """Return how often the European member of a pair scores higher; a tie counts half.

    Raises:
        ValueError: The two lists differ in length.
    """
    pairs = list(zip(european, brazilian, strict=True))
    return HitCount(sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs), len(pairs))


def _spoken(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[list[str], list[str]]:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses")
    return [spoken_form(text) for text in references], [spoken_form(text) for text in hypotheses]


def _count(found: jiwer.WordOutput | jiwer.CharacterOutput) -> ErrorCount:
    num_reference = found.hits + found.substitutions + found.deletions
    return ErrorCount(found.substitutions, found.deletions, found.insertions, num_reference)
