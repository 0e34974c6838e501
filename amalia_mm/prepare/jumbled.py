"""Words in random order: who cannot guess what comes next must read.

A small decoder that has only seen sentences of known templates writes the likeliest sentence and not the one
before it; lines that nobody could foresee teach it to copy. This file knows nothing of shards or voices.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from amalia_mm.portuguese.normalise import spoken_form

JUMBLED = "jumbled"
"""The template of such lines."""

_NUM_WORDS = (3, 9)
_AROUND_WORDS = ".,;:!?…«»\"'()"


def jumbled(texts: Iterable[str], num: int, rng: random.Random, taken: Collection[str]) -> list[str]:
    """Return lines of words drawn at random from texts, written as a sentence is.

    Args:
        texts: Where the words come from; one that opens a text is left out, its capital may not be its own.
        num: How many lines.
        rng: The source of every choice.
        taken: Spoken forms that no line has.
    """
    found = {word.strip(_AROUND_WORDS) for text in texts for word in text.split()[1:]}
    words = sorted(word for word in found if spoken_form(word))
    if not words:
        return []
    lines: list[str] = []
    while len(lines) < num:
        line = " ".join(rng.choice(words) for _ in range(rng.randint(*_NUM_WORDS)))
        line = f"{line[0].upper()}{line[1:]}."
        if spoken_form(line) not in taken:
            lines.append(line)
    return lines
