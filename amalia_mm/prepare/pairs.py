"""Minimal pairs: the same sentence as it is said in Portugal and in Brazil, for the preference test only.

`pairs.yaml` holds a carrier sentence for each contrast of words and patterns for the contrasts of grammar;
nothing is trained on the Brazilian members.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.grammar import read_patterns, sample_texts
from amalia_mm.prepare.lexicon import build_lexicon, load_lexicon, read_data

_CONTRAST = re.compile(r"<([^<>|]*)\|([^<>|]*)>")


@dataclass(frozen=True)
class Pair:
    """One sentence in both varieties. `contrast` is the European form of the table, or "grammar/name"."""

    european: str
    brazilian: str
    contrast: str
    in_vocabulary: bool
    """Whether every word of the European member also stands in the training sentences."""


def build_pairs(
    rng: random.Random, vocabulary: Collection[str], num_per_grammar: int = 12
) -> tuple[Pair, ...]:
    """Return the pairs of all contrasts: of words as they are written, of grammar drawn from their patterns.

    Args:
        rng: The source of every choice.
        vocabulary: The word forms that training has.
        num_per_grammar: How many pairs of each contrast of grammar, at most.
    """
    data = read_data("pairs.yaml")
    found = (*_lexical(data["words"]), *_grammatical(data, rng, num_per_grammar))
    return tuple(
        Pair(european, brazilian, contrast, all(word in vocabulary for word in words(european)))
        for contrast, european, brazilian in found
    )


def _lexical(carriers: Mapping[str, str | list[str]]) -> Iterator[tuple[str, str, str]]:
    for contrast, texts in carriers.items():
        for text in [texts] if isinstance(texts, str) else texts:
            if not _CONTRAST.search(text):
                raise ValueError(f"the carrier of {contrast} shows no <European|Brazilian>: {text!r}")
            european, brazilian = (_CONTRAST.sub(rf"\{side}", text) for side in (1, 2))
            yield contrast, _capital(european), _capital(brazilian)


def _grammatical(data: Mapping[str, Any], rng: random.Random, num: int) -> Iterator[tuple[str, str, str]]:
    lexicon = dict(load_lexicon()) | build_lexicon(data["lexicon"])
    for name, content in data["grammar"].items():
        texts = sample_texts(read_patterns(content, lexicon), num, rng)
        for text in sorted(texts.values()):
            european, brazilian = text.split(" || ")
            yield f"grammar/{name}", european, brazilian


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
