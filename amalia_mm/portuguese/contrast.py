"""The European and Brazilian forms that mark their variety, read from `data/contrasts.tsv`.

It knows word forms and their plurals, not sentences: a marker found is a sign of the variety, not a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form

Side = Literal["european", "brazilian"]

_FLAGS = frozenset("SPBAV")
_HEADER = ("category", "pt_PT", "pt_BR", "flag", "note")
_MIN_MARKER_LETTERS = 3


@dataclass(frozen=True)
class Contrast:
    """One row: the same thing as it is said on either side.

    `flag` tells how far a form may be trusted alone: S both sides mark, P only the European form marks, B
    only the Brazilian one, A ambiguous, V a tendency. An empty tuple means that the variety has no such word.
    """

    category: str
    european: tuple[str, ...]
    brazilian: tuple[str, ...]
    flag: str
    note: str


def load_contrasts() -> tuple[Contrast, ...]:
    """Return all rows of the table that ships with the package, in its order."""
    text = files("amalia_mm.portuguese").joinpath("data/contrasts.tsv").read_text(encoding="utf-8")
    return parse_contrasts(text, where="contrasts.tsv")


def parse_contrasts(text: str, where: str) -> tuple[Contrast, ...]:
    """Return the rows of a contrasts table; `InputError` names the line that is not one."""
    lines = text.splitlines()
    if not lines or tuple(lines[0].split("\t")) != _HEADER:
        raise InputError(
            where,
            field="header",
            found=lines[0] if lines else "an empty file",
            wanted="\t".join(_HEADER),
            remedy="use the five columns, tab-separated",
        )
    return tuple(_parse_row(line, f"{where}:{number}") for number, line in enumerate(lines[1:], start=2))


def _parse_row(line: str, where: str) -> Contrast:
    cells = line.split("\t")
    if len(cells) != len(_HEADER) or cells[3] not in _FLAGS:
        raise InputError(
            where,
            found=line,
            wanted=f"{len(_HEADER)} cells, the fourth one of {''.join(sorted(_FLAGS))}",
            remedy="correct the row",
        )
    category, european, brazilian, flag, note = cells
    return Contrast(category, _alternatives(european), _alternatives(brazilian), flag, note)


def _alternatives(cell: str) -> tuple[str, ...]:
    # Parentheses go first: a remark may itself hold a semicolon, as in "(distrito; bairro)".
    without_remarks = re.sub(r"\([^)]*\)", " ", cell)
    return tuple(" ".join(part.split()) for part in without_remarks.split(";") if part.strip())


def markers(contrasts: Iterable[Contrast], side: Side, flags: Collection[str] = ("S",)) -> frozenset[str]:
    """Return the spoken forms, with regular plurals, that mark one side in the rows of these flags.

    Literal patterns ("não ... mais", quotation marks) and forms under three letters are left out.
    """
    found: set[str] = set()
    for contrast in contrasts:
        if contrast.flag in flags:
            for form in getattr(contrast, side):
                spoken = spoken_form(form)
                if "..." not in form and len(spoken) >= _MIN_MARKER_LETTERS:
                    found.update((spoken, plural(spoken)))
    return frozenset(found)


def plural(form: str) -> str:
    """Return the regular plural of a form; the first word carries it in "casa de banho"."""
    if form.endswith("gol"):
        return f"{form}s"
    head, space, rest = form.partition(" ")
    for ending, plural in (
        ("ão", "ões"),
        ("m", "ns"),
        ("el", "éis"),
        ("l", "is"),
        ("r", "res"),
        ("z", "zes"),
    ):
        if head.endswith(ending):
            return f"{head[: -len(ending)]}{plural}{space}{rest}"
    return form if head.endswith("s") else f"{head}s{space}{rest}"


def find_markers(text: str, marking: Collection[str]) -> tuple[str, ...]:
    """Return the forms of `marking` (from `markers`) that stand in the text as whole words, in order."""
    spoken = spoken_form(text).split()
    longest = max((form.count(" ") + 1 for form in marking), default=0)
    spans = (
        " ".join(spoken[start : start + size])
        for start in range(len(spoken))
        for size in range(1, min(longest, len(spoken) - start) + 1)
    )
    return tuple(span for span in spans if span in marking)
