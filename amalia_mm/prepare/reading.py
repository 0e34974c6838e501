"""European Portuguese that is read and never spoken: the words and turns that the spoken sentences lack.

A model that is asked which of two varieties it prefers must have read one of them. `reading.yaml` holds the
patterns. This file knows nothing of splits, documents or voices.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping

from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.grammar import read_patterns, sample_texts
from amalia_mm.prepare.lexicon import Lexicon, build_lexicon, load_lexicon, read_data


def build_reading(
    rng: random.Random, taken: Collection[str], num_per_grammar: int = 200, num: int | None = None
) -> tuple[str, ...]:
    """Return sentences to read, in random order, no spoken form twice and none that is in `taken`.

    Args:
        rng: The source of every choice.
        taken: The spoken forms that stand elsewhere.
        num_per_grammar: How many sentences of each contrast of grammar, at most; of words it is all.
        num: How many of them all to keep; None keeps them all.
    """
    data = read_data("reading.yaml")
    lexicon = dict(load_lexicon()) | build_lexicon(data["lexicon"])
    found = {spoken_form(text): text for text in _all_texts(data["words"], lexicon)}
    for content in data["grammar"].values():
        found |= sample_texts(read_patterns(content, lexicon), num_per_grammar, rng, taken)
    texts = [text for spoken, text in found.items() if spoken not in taken]
    return tuple(rng.sample(texts, len(texts) if num is None else min(num, len(texts))))


def _all_texts(groups: Mapping[str, str | list[str]], lexicon: Lexicon) -> Iterator[str]:
    for content in groups.values():
        for pattern in read_patterns(content, lexicon):
            yield from (text for number in range(pattern.size) if (text := pattern.text(number)) is not None)
