"""Sentences in both varieties, and which of their contrasts are preferred, watched and measured.

A contrast belongs to one of the three, so what is measured must follow from other contrasts. It knows sentences; it
does not know documents, shards or models.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from amalia_mm.prepare.brazilian import (
    ACCUSATIVE,
    ADDRESS,
    ENCLISIS,
    INFINITIVE,
    POSSESSIVE,
    PRETERITE,
    PROGRESSIVE,
    to_brazilian,
)

MEASURED_GRAMMAR = frozenset((PROGRESSIVE, ENCLISIS, ADDRESS, POSSESSIVE))
WATCHED_GRAMMAR = frozenset((INFINITIVE, ACCUSATIVE))
"""Clitics too: a preference shown of them would show half of what is measured as `ENCLISIS`."""


@dataclass(frozen=True)
class Told:
    """A sentence in both varieties, and the contrasts between the two (none in most)."""

    european: str
    brazilian: str
    contrasts: frozenset[str]

    @classmethod
    def of(cls, european: str) -> Told:
        """Return a European sentence with its Brazilian form."""
        return cls(european, *to_brazilian(european))


@dataclass(frozen=True)
class Contrasts:
    """Which contrasts are for what; none is for two."""

    preferred: frozenset[str]
    watched: frozenset[str]
    measured: frozenset[str]


def share_contrasts(told: Iterable[Told], rng: random.Random) -> Contrasts:
    """Return half of the words to be preferred, a sixth to be watched and a third to be measured; grammar is fixed."""
    found = {name for one in told for name in one.contrasts}
    grammar = {name for name in found if name.startswith("grammar/")} | {PRETERITE}
    words = sorted(found - grammar - MEASURED_GRAMMAR)
    rng.shuffle(words)
    half, rest = words[: len(words) // 2], words[len(words) // 2 :]
    watched, measured = rest[: len(rest) // 3], rest[len(rest) // 3 :]
    return Contrasts(
        frozenset(half) | (grammar - WATCHED_GRAMMAR),
        WATCHED_GRAMMAR | frozenset(watched),
        MEASURED_GRAMMAR | frozenset(measured),
    )


def pairs_of(
    told: Sequence[Told], contrasts: Collection[str], num_per_grammar: int, rng: random.Random
) -> list[Told]:
    """Return sentences of one contrast each: so many of each of grammar, and as many of words in all.

    Words take turns, and each keeps half of its sentences or more for the documents.
    """
    by_contrast: defaultdict[str, list[Told]] = defaultdict(list)
    for one in rng.sample(told, len(told)):
        if len(one.contrasts) == 1:
            by_contrast[next(iter(one.contrasts))].append(one)
    enough = {
        name: some[: max(1, len(some) // 2)]
        for name, some in sorted(by_contrast.items())
        if name in contrasts
    }
    is_grammar = MEASURED_GRAMMAR | WATCHED_GRAMMAR
    grammar = [one for name in enough if name in is_grammar for one in enough[name][:num_per_grammar]]
    turns = sorted(
        (turn, name) for name in enough if name not in is_grammar for turn in range(len(enough[name]))
    )
    return [*grammar, *(enough[name][turn] for turn, name in turns[: len(grammar)])]


def preferences_of(
    told: Sequence[Told], preferred: Collection[str], most: int, rng: random.Random
) -> list[Told]:
    """Return sentences whose contrasts are all preferred ones, at most so many of any one contrast."""
    uses: Counter[str] = Counter()
    kept = []
    for one in rng.sample(told, len(told)):
        if one.contrasts and one.contrasts <= set(preferred) and all(uses[n] < most for n in one.contrasts):
            uses.update(one.contrasts)
            kept.append(one)
    return kept
