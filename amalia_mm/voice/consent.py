"""Consent: whose voice it is, what it may be used for, until when, and who decides where the person no longer can.

A voice identifies a person, so consent is explicit, bound to uses and to a date, and given in the voice it is about.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from amalia_mm.errors import InputError


class Use(StrEnum):
    """What a voice may be used for; each is asked for by itself."""

    SPEECH = "speech"
    """To say what the person chose to say: synthesis, and the replay of recordings."""
    TRAINING = "training"
    """To adapt a model further on the recordings, after enrolment."""
    EXPORT = "export"
    """To take the speaker data (embedding and adapters) out of the pack, for another system."""


_IN_PORTUGUESE = {
    Use.SPEECH: "dizer o que eu escolher dizer",
    Use.TRAINING: "melhorar o modelo da minha voz",
    Use.EXPORT: "levar o modelo da minha voz para outro sistema",
}
_MONTHS = (
    *("janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro"),
    *("novembro", "dezembro"),
)


@dataclass(frozen=True)
class Consent:
    """What a person has agreed to.

    Args:
        person: Whose voice it is, by the name the person is known by.
        uses: What it may be used for.
        given: The day on which consent was given.
        until: The last day on which it holds.
        decides_later: Who may revoke or delete where the person no longer can.
        is_compared: Whether ears compared what the consent clip says with the statement. None: nobody noted it, as in
            packs of before it was asked.

    Raises:
        InputError: A field is empty, no use is named, or the last day is before the first.
    """

    person: str
    uses: frozenset[Use]
    given: date
    until: date
    decides_later: str
    is_compared: bool | None = None

    def __post_init__(self) -> None:
        for field in ("person", "decides_later"):
            if not getattr(self, field).strip():
                raise InputError(
                    "consent",
                    field=field,
                    found="nothing",
                    wanted="a name",
                    remedy="ask the person, write it down",
                )
        if not self.uses:
            wanted = f"one or more of {', '.join(Use)}"
            raise InputError("consent", field="uses", found="none", wanted=wanted, remedy="ask the person")
        if self.until < self.given:
            wanted = f"a day from {self.given} on, when consent was given"
            raise InputError(
                "consent", field="until", found=self.until, wanted=wanted, remedy="correct the date"
            )

    def check(self, use: Use, today: date, where: str) -> None:
        """Raise `InputError` where consent does not cover a use on a day."""
        if use not in self.uses:
            raise InputError(
                where,
                field="consent",
                found=f"consent for {', '.join(sorted(self.uses))}",
                wanted=f"consent for {use}",
                remedy="ask the person, and enrol the voice again with a consent that covers it",
            )
        if not self.given <= today <= self.until:
            raise InputError(
                where,
                field="consent",
                found=f"consent from {self.given} until {self.until}, and today is {today}",
                wanted="consent that holds today",
                remedy="ask the person, and enrol the voice again with a new consent",
            )

    def statement(self) -> str:
        """Return what the person says aloud in the consent clip, in European Portuguese."""
        uses = [_IN_PORTUGUESE[use] for use in Use if use in self.uses]
        listed = " e para ".join(", para ".join(uses).rsplit(", para ", 1))
        return (
            f"Eu, {self.person}, autorizo que a minha voz seja usada para {listed}, até {_said(self.until)}. "
            f"Se eu não puder decidir, decide por mim {self.decides_later}. "
            "Posso retirar esta autorização quando quiser."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is kept in a pack."""
        dates = {"given": self.given.isoformat(), "until": self.until.isoformat()}
        record = {**asdict(self), **dates, "uses": sorted(self.uses)}
        # Left out as before it was asked: the id of a consent is of its record.
        return {name: value for name, value in record.items() if name != _COMPARED or value is not None}

    @classmethod
    def from_json(cls, record: object, where: str) -> Consent:
        """Return a record as `to_json` wrote it.

        Raises:
            InputError: A field is missing, unknown or of another kind.
        """
        fields = set(cls.__dataclass_fields__) - {_COMPARED}
        if not isinstance(record, dict) or set(record) - {_COMPARED} != fields:
            found = sorted(record) if isinstance(record, dict) else type(record).__name__
            wanted = f"the fields {', '.join(sorted(fields))}"
            raise InputError(where, field="consent", found=found, wanted=wanted, remedy=_ASK_AGAIN)
        try:
            return cls(
                str(record["person"]),
                frozenset(map(Use, record["uses"])),
                date.fromisoformat(record["given"]),
                date.fromisoformat(record["until"]),
                str(record["decides_later"]),
                _yes_or_no(record.get(_COMPARED)),
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            wanted = "a list of uses, two dates as 2027-01-31, and whether it was compared"
            raise InputError(
                where, field="consent", found=str(error), wanted=wanted, remedy=_ASK_AGAIN
            ) from error


_COMPARED = "is_compared"
_ASK_AGAIN = "correct the record as the person gave it, or ask again"


def _yes_or_no(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{_COMPARED} is {value!r}")
    return value


def _said(day: date) -> str:
    return f"{day.day} de {_MONTHS[day.month - 1]} de {day.year}"
