"""Which variety an accent belongs to, as volunteers write it ("Português de Portugal", "Carioca", "Minho").

It knows places and peoples, from `data/accents.yaml`; where none is named, or two that contradict each other, the
variety is unknown.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from amalia_mm.variety import Variety


def variety_of_accent(accent: str, notes: Counter[str] | None = None) -> Variety:
    """Return the variety of an accent; `UNKNOWN` where it names none or several, counted in `notes`.

    A locale code is one too (`pt-PT`, `pt_br`); a bare `pt` says nothing.
    """
    plain = unicodedata.normalize("NFD", accent.strip().lower().replace("_", "-"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    if not plain or plain == "pt":
        return Variety.UNKNOWN
    found: set[Variety] = set()
    for variety, names in _known().items():
        for name in (*names["codes"], *names["places"]):
            plain, count = re.subn(rf"\b{name}\b", " ", plain)
            found |= {Variety(variety)} if count else set()
        if not {*names["words"]}.isdisjoint(re.findall(r"[a-z]+(?:-[a-z]+)*", plain)):
            found.add(Variety(variety))
    if len(found) == 1:
        return found.pop()
    if notes is not None:
        why = "names several varieties" if found else "names no variety"
        notes[f"accent {accent.strip()[:40]!r} {why}: unknown"] += 1
    return Variety.UNKNOWN


@cache
def _known() -> dict[str, Any]:
    return yaml.safe_load(files("amalia_mm.prepare").joinpath("data/accents.yaml").read_text("utf-8"))
