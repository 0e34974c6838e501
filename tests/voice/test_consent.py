"""Consent: explicit, bound to uses and a date, said aloud in Portuguese."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta

import pytest
from voices import TODAY, consent

from amalia_mm.errors import InputError
from amalia_mm.voice.consent import Consent, Use


def test_a_use_that_was_not_agreed_to_is_refused():
    consent(Use.SPEECH).check(Use.SPEECH, TODAY, "ana")
    with pytest.raises(InputError, match="ana: consent: found consent for speech; wanted consent for export"):
        consent(Use.SPEECH).check(Use.EXPORT, TODAY, "ana")


def test_consent_holds_from_its_first_day_to_its_last():
    agreed = consent(until=TODAY)
    agreed.check(Use.SPEECH, TODAY, "ana")
    agreed.check(Use.SPEECH, agreed.given, "ana")
    for day in (TODAY + timedelta(1), agreed.given - timedelta(1)):
        with pytest.raises(InputError, match=f"today is {day}"):
            agreed.check(Use.SPEECH, day, "ana")


@pytest.mark.parametrize(
    ("field", "value"),
    [("person", " "), ("decides_later", ""), ("uses", frozenset()), ("until", date(2026, 1, 1))],
)
def test_a_record_with_a_hole_is_none(field, value):
    whole = {name: getattr(consent(), name) for name in Consent.__dataclass_fields__}
    with pytest.raises(InputError, match=f"consent: {field}"):
        Consent(**{**whole, field: value})


def test_a_record_comes_back_from_json():
    agreed = consent(Use.SPEECH, Use.EXPORT)
    record = json.loads(json.dumps(agreed.to_json()))
    assert Consent.from_json(record, "x") == agreed
    for changed in (
        {**record, "extra": 1},
        {**record, "uses": ["anything"]},
        {**record, "until": "soon"},
        [],
        None,
    ):
        with pytest.raises(InputError, match="x: consent"):
            Consent.from_json(changed, "x")
    for field in record:
        with pytest.raises(InputError, match="x: consent"):
            Consent.from_json({name: value for name, value in record.items() if name != field}, "x")


@pytest.mark.parametrize("is_compared", [True, False])
def test_whether_the_clip_was_compared_is_part_of_the_record(is_compared):
    agreed = replace(consent(), is_compared=is_compared)
    record = json.loads(json.dumps(agreed.to_json()))
    assert record["is_compared"] is is_compared
    assert Consent.from_json(record, "x") == agreed
    with pytest.raises(InputError, match="x: consent"):
        Consent.from_json({**record, "is_compared": "yes"}, "x")


def test_a_record_of_before_it_was_asked_stays_what_it_was():
    """A consent's id is of its record: a field that comes later must not change it."""
    record = consent().to_json()
    assert "is_compared" not in record
    assert Consent.from_json(record, "x").is_compared is None


def test_the_statement_says_all_of_it_in_portuguese():
    assert consent(Use.SPEECH, Use.TRAINING, Use.EXPORT).statement() == (
        "Eu, Ana Sousa, autorizo que a minha voz seja usada para dizer o que eu escolher dizer, para melhorar o modelo "
        "da minha voz e para levar o modelo da minha voz para outro sistema, até 31 de dezembro de 2029. Se eu não "
        "puder decidir, decide por mim Rui Sousa. Posso retirar esta autorização quando quiser."
    )
    assert "usada para dizer o que eu escolher dizer, até 31 de" in consent(Use.SPEECH).statement()
