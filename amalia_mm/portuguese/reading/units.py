"""The names of units of measure, which `data/units.tsv` lists by their symbols: quilómetros, graus Celsius."""

from __future__ import annotations

from amalia_mm.portuguese.reading.gender import is_feminine
from amalia_mm.portuguese.reading.rules import any_of
from amalia_mm.portuguese.tables import rows

UNITS = {symbol: (one, many, gap == "yes") for symbol, one, many, gap in rows("units.tsv")}
"""Each symbol with its name for one and for many, and whether a space may stand before it."""

UNIT = f"(?:{any_of(list(UNITS))})"
"""How a unit looks."""


def of_unit(unit: str, one: bool) -> tuple[str, bool]:
    """Return the name of a unit, or of one per another ("quilómetros por hora"), and whether it is feminine."""
    name, _, per = unit.partition("/")
    singular, plural, _ = UNITS[name]
    said = singular if one else plural
    if per:
        said += f" por {UNITS[per][0] if per in UNITS else per}"
    return said, is_feminine(singular.split()[0])
