"""The words of the built-in grammar, with the forms that agreement and contraction ask of them.

A class of words ("drink", "state", "household") is a tuple of entries; an entry maps names of forms to their
texts. It knows morphology only: which words may stand together is said by the templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from amalia_mm.portuguese.numbers import cardinal
from amalia_mm.portuguese.reading.clock import at_clock, clock, from_clock, it_is_clock

AGREEMENTS = ("ms", "fs", "mp", "fp")
"""Gender and number, in the order in which four alternatives are written: "novo/nova/novos/novas"."""

_AGREEMENT_OF = {"m": 0, "f": 1, "mp": 2, "fp": 3, "n": 1}

_DETERMINERS = {
    "o": "o a os as",
    "um": "um uma uns umas",
    "no": "no na nos nas",
    "do": "do da dos das",
    "ao": "ao à aos às",
    "pelo": "pelo pela pelos pelas",
    "num": "num numa nuns numas",
    "este": "este esta estes estas",
    "esse": "esse essa esses essas",
    "deste": "deste desta destes destas",
    "neste": "neste nesta nestes nestas",
    "meu": "meu minha meus minhas",
    "teu": "teu tua teus tuas",
    "seu": "seu sua seus suas",
    "nosso": "nosso nossa nossos nossas",
}
_POSSESSIVES = ("meu", "teu", "seu", "nosso")
_WITHOUT_ARTICLE = {"o": "", "no": "em", "do": "de", "ao": "a", "pelo": "por"}
"""Names of cities and countries that take no article: "em Lisboa", "de Portugal"."""


@dataclass(frozen=True)
class Entry:
    """A word of a class: its forms by name ("" is the bare form), its agreement as an index in AGREEMENTS."""

    forms: Mapping[str, str]
    agreement: int = 0


Lexicon = Mapping[str, tuple[Entry, ...]]


def read_data(name: str) -> Any:
    """Return the content of a YAML file of `prepare/data`."""
    text = files("amalia_mm.prepare").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return yaml.safe_load(text)


@cache
def load_lexicon() -> Lexicon:
    """Return every class of `lexicon.yaml`, and those that are computed: hours, numbers, ages, prices."""
    return build_lexicon(read_data("lexicon.yaml")) | dict(_computed())


def build_lexicon(data: Mapping[str, Any]) -> dict[str, tuple[Entry, ...]]:
    """Return the classes that a lexicon file describes; its head explains the five sections.

    A class named twice, or a union of an unknown class, raises `ValueError`.
    """
    classes: dict[str, tuple[Entry, ...]] = {}
    readers = {"nouns": _nouns, "adjectives": _adjectives, "phrases": _phrases, "tables": _table}
    for section, reader in readers.items():
        for name, content in (data.get(section) or {}).items():
            if name in classes:
                raise ValueError(f"the class {name} stands twice in the lexicon")
            classes[name] = tuple(reader(content))
    for name, members in (data.get("unions") or {}).items():
        missing = [member for member in _split(members) if member not in classes]
        if missing:
            raise ValueError(f"the class {name} unites unknown classes: {missing}")
        classes[name] = tuple(entry for member in _split(members) for entry in classes[member])
    return classes


def _split(text: str, separator: str = ",") -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def noun(text: str, gender: str) -> Entry:
    """Return a noun with every article, contraction and possessive in front of it.

    `gender` is m, f, mp, fp, or n for a name without article.
    """
    agreement = _AGREEMENT_OF[gender]
    if gender == "n":
        heads = {name: _WITHOUT_ARTICLE.get(name) for name in _DETERMINERS}
        forms = {name: f"{head} {text}".strip() for name, head in heads.items() if head is not None}
        return Entry(forms | {"": text}, agreement)
    heads = {name: words.split()[agreement] for name, words in _DETERMINERS.items()}
    for possessive in _POSSESSIVES:
        owned = heads.pop(possessive)
        heads |= {
            f"{name} {possessive}": f"{heads[name]} {owned}" for name in ("o", "no", "do", "ao", "pelo")
        }
    return Entry({name: f"{head} {text}" for name, head in heads.items()} | {"": text}, agreement)


def _nouns(content: Mapping[str, str]) -> Iterator[Entry]:
    for gender, words in content.items():
        yield from (noun(word, gender) for word in _split(words))


def adjective(text: str) -> Entry:
    """Return an adjective with its four forms: as given ("bom/boa/bons/boas"), or inflected if regular.

    Regular are those in -o, in -e or -a (one form for both genders), and in -l ("azul", "azuis"; "fácil",
    "fáceis").
    """
    forms = text.split("/")
    if len(forms) == 1:
        stem = text[:-1]
        if text.endswith("o"):
            forms = [text, f"{stem}a", f"{text}s", f"{stem}as"]
        elif text.endswith(("e", "a")):
            forms = [text, text, f"{text}s", f"{text}s"]
        elif text.endswith("il"):
            forms = [text, text, f"{text[:-2]}eis", f"{text[:-2]}eis"]
        elif text.endswith("l"):
            forms = [text, text, f"{stem}is", f"{stem}is"]
    if len(forms) != len(AGREEMENTS):
        raise ValueError(
            f"{text!r} has {len(forms)} forms; wanted a regular adjective or {len(AGREEMENTS)} forms"
        )
    return Entry(dict(zip(AGREEMENTS, forms, strict=True)) | {"": forms[0]})


def _adjectives(content: str) -> Iterator[Entry]:
    return (adjective(text) for text in _split(content))


def _phrases(content: str) -> Iterator[Entry]:
    return (Entry({"": text}) for text in _split(content))


def _table(content: Mapping[str, Any]) -> Iterator[Entry]:
    columns = content["columns"].split()
    for row in content["rows"]:
        head, _, objects = row.partition("+")
        cells = _split(head, "|")
        if len(cells) != len(columns):
            raise ValueError(f"{row!r} has {len(cells)} cells for the columns {columns}")
        for obj in _split(objects, ";") or [""]:
            yield Entry({name: f"{cell} {obj}".strip() for name, cell in zip(columns, cells, strict=True)})


def _computed() -> Iterator[tuple[str, tuple[Entry, ...]]]:
    yield "hour", tuple(_clock_entries(range(7, 23), (0, 10, 15, 20, 30, 45, 50)))
    yield "full_hour", tuple(_clock_entries(range(7, 23), (0, 30)))
    yield "digit", tuple(_number(n) for n in range(10))
    yield "few", tuple(_number(n) for n in range(2, 13))
    yield "count", tuple(_number(n) for n in (*range(2, 21), 25, 30, 40, 50))
    yield "age", tuple(_number(n) for n in range(3, 100))
    yield "cents", tuple(_number(n) for n in range(10, 100, 5))
    yield "day_of_month", tuple(_number(n) for n in range(1, 29))


def _number(number: int) -> Entry:
    masculine, feminine = cardinal(number), cardinal(number, feminine=True)
    return Entry(dict(zip(AGREEMENTS, (masculine, feminine) * 2, strict=True)) | {"": masculine})


def _clock_entries(hours: Iterable[int], minutes: tuple[int, ...]) -> Iterator[Entry]:
    seen: set[str] = set()
    for hour in hours:
        for minute in minutes:
            bare = clock(hour, minute)
            if bare not in seen:
                seen.add(bare)
                forms = {
                    "": bare,
                    "at": at_clock(hour, minute),
                    "from": from_clock(hour, minute),
                }
                yield Entry(forms | {"is": it_is_clock(hour, minute)})
