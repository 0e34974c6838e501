"""Templates and the sentences that they stand for.

A template is a pattern such as "[Queria|Quero] {um serving}, {person}." over the classes of the lexicon:

- `[a|b|]` is a choice, possibly of nothing;
- `{drink}` is an entry, `{o drink}` a form of it; the same slot again is the same entry, `{drink.2}` another;
- `{clean~room}` is an adjective that agrees with `{room}`, `{está/estão~room}` a word that does, with its two
  forms or four;
- `||` parts a pattern into turns (a question and its answer).

It knows nothing of splits or of what is spoken.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import prod
from typing import Self

from amalia_mm.portuguese.normalise import spoken_form, words
from amalia_mm.prepare.lexicon import AGREEMENTS, Lexicon, load_lexicon, read_data

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([^{}]*)\}")
_SENTENCE_START = re.compile(r"(^|\|\|\s*|[.?!]\s+)([^\W\d_])")


@dataclass(frozen=True)
class Sentence:
    """One sentence as it is written, the template that it comes from and what it is about."""

    text: str
    template: str
    topic: str


@dataclass(frozen=True)
class _Piece:
    """Text that depends on one variable, or on two (an adjective and what it agrees with)."""

    variables: tuple[int, ...]
    texts: tuple[tuple[str, ...], ...]
    """[entry of the second variable][entry of the first]; of one variable the first index is 0."""


class Pattern:
    """One pattern without choices: a numbered list of texts, made on demand.

    `size` counts the combinations of its slots; `text(i)` is None where two slots of a class hold one entry.
    """

    def __init__(self, pattern: str, lexicon: Lexicon) -> None:
        self.pattern = pattern
        self._lexicon = lexicon
        self._variables: dict[str, int] = {}
        parts = _SLOT.split(pattern)
        self._pieces = tuple(self._piece(part) if i % 2 else part for i, part in enumerate(parts) if part)
        names = [name.partition(".")[0] for name in self._variables]
        self._sizes = tuple(len(self._class(name)) for name in names)
        self._rivals = tuple((i, j) for j, name in enumerate(names) for i in range(j) if names[i] == name)
        self.size = prod(self._sizes)

    def _class(self, name: str) -> Sequence[Mapping[str, str]]:
        if name not in self._lexicon:
            raise ValueError(f"{self.pattern!r} names an unknown class of words: {name}")
        return [entry.forms for entry in self._lexicon[name]]

    def _variable(self, name: str) -> int:
        return self._variables.setdefault(name, len(self._variables))

    def _forms(self, name: str, form: str) -> tuple[str, ...]:
        entries = self._class(name.partition(".")[0])
        missing = [entry for entry in entries if form not in entry]
        if missing:
            raise ValueError(f"{self.pattern!r} asks for the form {form!r}, which {missing[0]} does not have")
        return tuple(entry[form] for entry in entries)

    def _piece(self, slot: str) -> _Piece:
        agreeing, tilde, name = slot.rpartition("~")
        if not tilde:
            form, _, name = slot.rpartition(" ")
            return _Piece((self._variable(name),), (self._forms(name, form),))
        entries = self._lexicon.get(name.partition(".")[0], ())
        agreements = [entry.agreement for entry in entries]
        if "/" not in agreeing:
            by_agreement = [self._forms(agreeing, form) for form in AGREEMENTS]
            variables = (self._variable(agreeing), self._variable(name))
            return _Piece(variables, tuple(by_agreement[agreement] for agreement in agreements))
        forms = agreeing.split("/")
        # Two forms are singular and plural; four are those of AGREEMENTS.
        chosen = (forms[a] if len(forms) == len(AGREEMENTS) else forms[a // 2] for a in agreements)
        return _Piece((self._variable(name),), (tuple(chosen),))

    def text(self, number: int) -> str | None:
        """Return text `number` (below `size`), capitalised; None where two slots hold one entry."""
        values = []
        for size in self._sizes:
            number, value = divmod(number, size)
            values.append(value)
        if any(values[i] == values[j] for i, j in self._rivals):
            return None
        return _capitalised("".join(self._spell(piece, values) for piece in self._pieces))

    def _spell(self, piece: str | _Piece, values: Sequence[int]) -> str:
        if isinstance(piece, str):
            return piece
        row = values[piece.variables[1]] if len(piece.variables) == 2 else 0
        return piece.texts[row][values[piece.variables[0]]]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word form that one of its texts may hold, in spoken form."""
        texts: set[str] = set()
        for piece in self._pieces:
            texts.update([piece] if isinstance(piece, str) else (text for row in piece.texts for text in row))
        return frozenset(word for text in texts for word in words(text))


def _capitalised(text: str) -> str:
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)


def expand_choices(pattern: str) -> list[str]:
    """Return the patterns that the choices of a pattern stand for, in order."""
    choice = _CHOICE.search(pattern)
    if choice is None:
        return [pattern]
    before, after = pattern[: choice.start()], pattern[choice.end() :]
    options = (f"{before}{option}{after}" for option in choice[1].split("|"))
    return [expanded for option in options for expanded in expand_choices(option)]


def share_out(total: int, sizes: Sequence[int]) -> list[int]:
    """Return how many to take of each, as evenly as the sizes allow; all of them where there are too few."""
    shares = [0] * len(sizes)
    left, order = total, sorted(range(len(sizes)), key=lambda i: (sizes[i], i))
    for rank, i in enumerate(order):
        shares[i] = min(sizes[i], left // (len(order) - rank))
        left -= shares[i]
    return shares


def sample_texts(
    patterns: Sequence[Pattern], num: int, rng: random.Random, taken: Collection[str] = ()
) -> dict[str, str]:
    """Return up to `num` texts by their spoken form, spread over the patterns as evenly as their sizes allow.

    Spoken forms in `taken` are passed over; fewer texts come back where the patterns hold fewer.
    """
    found: dict[str, str] = {}
    walks = [_Walk(pattern, rng) for pattern in patterns]
    while len(found) < num and any(walk.left for walk in walks):
        shares = share_out(num - len(found), [walk.left for walk in walks])
        # A share of nothing for everyone would never end: the last few come from the first that has any.
        shares = shares if any(shares) else [int(walk is next(w for w in walks if w.left)) for walk in walks]
        for walk, share in zip(walks, shares, strict=True):
            for text in walk.take(share):
                spoken = spoken_form(text)
                if spoken not in taken:
                    found.setdefault(spoken, text)
    return found


class _Walk:
    """The texts of one pattern in random order, each number once, without listing a large pattern."""

    _LISTED = 4096

    def __init__(self, pattern: Pattern, rng: random.Random) -> None:
        self._pattern = pattern
        self._numbers = self._walk(pattern.size, rng)
        self.left = pattern.size

    def _walk(self, size: int, rng: random.Random) -> Iterator[int]:
        if size <= self._LISTED:
            yield from rng.sample(range(size), size)
            return
        seen: set[int] = set()
        while len(seen) < size:
            number = rng.randrange(size)
            if number not in seen:
                seen.add(number)
                yield number

    def take(self, num: int) -> Iterator[str]:
        for number in islice(self._numbers, min(num, self.left)):
            self.left -= 1
            text = self._pattern.text(number)
            if text is not None:
                yield text


class Grammar:
    """The templates of `templates.yaml`: what can be said, and which of them training never sees."""

    def __init__(
        self, patterns: Mapping[str, tuple[Pattern, ...]], heldout: frozenset[str] = frozenset()
    ) -> None:
        unknown = heldout - set(patterns)
        if unknown:
            raise ValueError(f"held-out templates that do not exist: {sorted(unknown)}")
        self._patterns = dict(patterns)
        self.heldout = heldout
        """Templates that training never sees; each of their words also stands in one that it does see."""

    @classmethod
    def load(cls) -> Self:
        """Return the grammar that ships with the package."""
        data = read_data("templates.yaml")
        lexicon = load_lexicon()
        patterns = {
            f"{topic}/{name}": read_patterns(content, lexicon)
            for topic, templates in data["templates"].items()
            for name, content in templates.items()
        }
        return cls(patterns, frozenset(data["heldout"]))

    @property
    def templates(self) -> tuple[str, ...]:
        """The names of the templates, "topic/name", in the order of the file."""
        return tuple(self._patterns)

    def size(self, template: str) -> int:
        """Return how many combinations a template has (some may give no sentence, or the same one)."""
        return sum(pattern.size for pattern in self._patterns[template])

    def vocabulary(self, templates: Iterable[str]) -> frozenset[str]:
        """Return every word form that sentences of these templates may hold, in spoken form."""
        return frozenset(
            word for name in templates for pattern in self._patterns[name] for word in pattern.vocabulary
        )

    def sentences(self, template: str) -> Iterator[Sentence]:
        """Yield the sentences of a template, all of them, always in the same order, no spoken form twice."""
        seen: set[str] = set()
        for pattern in self._patterns[template]:
            for number in range(pattern.size):
                text = pattern.text(number)
                if text is not None and (spoken := spoken_form(text)) not in seen:
                    seen.add(spoken)
                    yield _sentence(text, template)

    def sample(
        self, num: int, rng: random.Random, templates: Sequence[str], taken: Collection[str] = ()
    ) -> list[Sentence]:
        """Return up to `num` sentences, as evenly over the templates as their sizes allow, in random order.

        No two have one spoken form, and none has one in `taken`. Fewer come back only where templates hold
        fewer.
        """
        found: dict[str, Sentence] = {}
        smallest_first = sorted(templates, key=lambda name: (self.size(name), name))
        excluded = set(taken)
        for rank, template in enumerate(smallest_first):
            share = (num - len(found)) // (len(templates) - rank)
            texts = sample_texts(self._patterns[template], share, rng, excluded)
            excluded.update(texts)
            found |= {spoken: _sentence(text, template) for spoken, text in texts.items()}
        sentences = list(found.values())
        rng.shuffle(sentences)
        return sentences


def read_patterns(content: str | list[str], lexicon: Lexicon) -> tuple[Pattern, ...]:
    """Return the patterns that a template's text, or list of texts, stands for."""
    texts = [content] if isinstance(content, str) else content
    return tuple(Pattern(expanded, lexicon) for text in texts for expanded in expand_choices(text))


def _sentence(text: str, template: str) -> Sentence:
    return Sentence(text, template, template.partition("/")[0])
