"""Which rows of a corpus or a manifest are wanted, as a person says it on the command line.

It knows fields and their values; not what they are of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amalia_mm.errors import InputError


@dataclass(frozen=True)
class Choice:
    """The wanted values of a field, or with `is_equal` False the unwanted ones; upper and lower case are one."""

    field: str
    values: tuple[str, ...]
    is_equal: bool = True

    def takes(self, value: str) -> bool:
        """Return whether a row with this value of the field is wanted."""
        return (value.lower() in (each.lower() for each in self.values)) == self.is_equal

    def __str__(self) -> str:
        sign = "=" if self.is_equal else "!="
        return " or ".join(f"{self.field}{sign}{value}" for value in self.values)


def parse_choices(texts: Iterable[str]) -> tuple[Choice, ...]:
    """Return the choices of `--where FIELD=VALUE` and `--where FIELD!=VALUE`, all of which a row must pass.

    A field that is named twice may have either value, and is none of those that are refused.

    Raises:
        InputError: A text is no choice.
    """
    wanted: dict[str, list[str]] = {}
    refused: list[Choice] = []
    for text in texts:
        name, equals, value = text.partition("=")
        field = name.removesuffix("!").strip()
        if not equals or not field.strip("! "):
            wishes, remedy = "FIELD=VALUE or FIELD!=VALUE", "correct the choice"
            raise InputError("--where", found=text, wanted=wishes, remedy=remedy)
        if name.endswith("!"):
            refused.append(Choice(field, (value.strip(),), is_equal=False))
        else:
            wanted.setdefault(field, []).append(value.strip())
    return (*(Choice(field, tuple(values)) for field, values in wanted.items()), *refused)
