"""A record is what the schema says, or the error names the file, the field and what was found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amalia_mm.batch import Turn
from amalia_mm.data.schema import validate
from amalia_mm.errors import InputError
from amalia_mm.variety import Variety

Fields = Callable[..., dict[str, object]]
ASK = {"role": "user", "text": "", "audio": True}
ANSWER = {"role": "assistant", "text": "São oito."}


def test_a_document_is_read_as_it_stands(fields: Fields) -> None:
    record = validate(fields(variety="pt_br", seconds=2), "x.tar")
    assert record.text == "o gato come"
    assert record.variety is Variety.PT_BR
    assert record.seconds == 2.0
    assert not record.is_heard


def test_a_conversation_may_hear_one_clip(fields: Fields) -> None:
    record = validate(fields(text=None, turns=[ASK, ANSWER], task="answer", spoken="que horas são"), "x.tar")
    assert record.turns == (Turn("user", "", True), Turn("assistant", "São oito."))
    assert record.is_heard


def test_a_record_comes_back_from_its_json(fields: Fields) -> None:
    for changes in ({}, {"text": None, "turns": [ASK, ANSWER], "spoken": "olá"}, {"seconds": 1.5}):
        record = validate(fields(**changes), "x.tar")
        assert validate(record.to_json(), "y.tar") == record


def test_a_pair_keeps_both_sides_and_other_records_stay_what_older_readers_take(fields: Fields) -> None:
    """A field that older readers do not know must not look like theirs: they would learn from half a pair."""
    pair = validate(fields(version=2, rejected="o cão come"), "x.tar")
    assert (pair.text, pair.rejected) == ("o gato come", "o cão come")
    assert pair.to_json()["version"] == 2
    assert validate(pair.to_json(), "y.tar") == pair
    assert validate(fields(version=2), "x.tar").to_json()["version"] == 1


def test_what_is_heard_may_stand_as_it_is_written(fields: Fields) -> None:
    """The decoder reads sentences with their signs; the spoken form has none."""
    asked = fields(text=None, turns=[ASK, ANSWER], spoken="olá ana", written="Olá, Ana!", version=3)
    record = validate(asked, "x.tar")
    assert (record.spoken, record.written, record.to_json()["version"]) == ("olá ana", "Olá, Ana!", 3)
    assert validate(record.to_json(), "y.tar") == record


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": 4}, "version"),
        ({"written": "O gato come."}, "written"),
        ({"version": 3, "rejected": "o cão come"}, "rejected"),
        ({"version": 3, "written": "O gato come."}, "written"),
        ({"version": 3, "written": "O gato come.", "task": "transcribe"}, "written"),
        ({"rejected": "o cão come"}, "rejected"),
        ({"version": 2, "rejected": "o gato come"}, "rejected"),
        ({"version": 2, "rejected": "  "}, "rejected"),
        ({"version": 2, "rejected": 7}, "rejected"),
        ({"version": 2, "rejected": "não", "task": "transcribe"}, "rejected"),
        ({"version": 2, "rejected": "não", "text": None, "turns": [{**ANSWER, "text": ""}]}, "turns[0].text"),
        ({"version": None}, "version"),
        ({"speaker": None}, "speaker"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"variety": "fr"}, "variety"),
        ({"split": "dev"}, "split"),
        ({"txt": "a"}, "txt"),
        ({"text": None}, "text, turns"),
        ({"turns": [ANSWER]}, "text, turns"),
        ({"text": "  "}, "text"),
        ({"text": None, "turns": []}, "turns"),
        ({"text": None, "turns": "olá"}, "turns"),
        ({"text": None, "turns": [{"role": "user", "text": "olá"}]}, "turns"),
        ({"text": None, "turns": [{"role": "robot", "text": "olá"}]}, "turns[0].role"),
        ({"text": None, "turns": [ANSWER, {"role": "user"}]}, "turns[1].text"),
        ({"text": None, "turns": [{**ASK, "audio": "yes"}, ANSWER]}, "turns[0].audio"),
        ({"text": None, "turns": [{**ANSWER, "audio": True}]}, "turns[0].audio"),
        ({"text": None, "turns": [{**ASK, "sound": 1}, ANSWER]}, "turns[0].sound"),
        ({"text": None, "turns": [ASK, ANSWER, ASK, ANSWER]}, "turns"),
        ({"text": None, "turns": [ASK, {"role": "user", "text": "Sim."}, ANSWER]}, "turns[1].role"),
        ({"text": None, "turns": [ASK, ANSWER, {"role": "system", "text": "Olá."}]}, "turns[2].role"),
        ({"text": None, "turns": [ASK, {**ANSWER, "text": " "}]}, "turns[1].text"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": True}, "seconds"),
    ],
)
def test_what_is_wrong_is_named(fields: Fields, changes: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as error:
        validate(fields(**changes), "shard-000000.tar: record 3")
    assert str(error.value).startswith(f"shard-000000.tar: record 3: {field}: found ")
    assert "wanted" in str(error.value) and error.value.remedy


def test_a_list_is_not_a_record() -> None:
    with pytest.raises(InputError, match="found list"):
        validate([], "x.tar")


def test_clip_and_record_must_agree(fields: Fields) -> None:
    spoken_question = fields(text=None, turns=[ASK, ANSWER], task="answer")
    with pytest.raises(InputError, match="a clip, and no turn with audio"):
        validate(fields(), "x.tar", has_audio=True)
    with pytest.raises(InputError, match="spoken: found a turn with audio, but no clip"):
        validate(spoken_question, "x.tar", has_audio=False)
    assert validate(spoken_question, "x.tar", has_audio=True).is_heard
    assert validate(spoken_question | {"spoken": "que horas são"}, "x.tar", has_audio=False).is_heard


def test_only_a_clip_without_speech_has_no_words(fields: Fields) -> None:
    assert validate(fields(text="", task="transcribe"), "x.tar", has_audio=True).text == ""
