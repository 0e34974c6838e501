"""What a shard record says about one example: the schema, and the check every record passes.

A record is a JSON object, beside which stands at most one clip of audio, at whatever rate it was written; models that
hear take it at 16 kHz, and at that rate the index counts its samples (`num_samples` beside `rate_hz`). Version 2 adds
`rejected`, version 3 `written`; a record without them is written as version 1, which older readers take. It knows
nothing of tars, tokens or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, cast, get_args

from amalia_mm.batch import Role, Turn
from amalia_mm.data.conversation import fault_in
from amalia_mm.errors import InputError
from amalia_mm.variety import Variety

VERSION = 1
VERSION_OF_PAIRS = 2
"""The version of a record with `rejected`."""
VERSION_OF_WRITTEN = 3
"""The version of a record with `written`."""
AUDIO_SUFFIXES = ("flac", "wav", "mp3", "ogg", "opus")
TRANSCRIBE = "transcribe"
"""The task whose `text` is what is said in the clip, not a document."""

Split = Literal["train", "val", "test"]

_REQUIRED = ("version", "id", "task", "variety", "speaker", "source", "licence", "split")
_OPTIONAL = ("text", "turns", "spoken", "seconds")
_ADDED = {VERSION: (), VERSION_OF_PAIRS: ("rejected",), VERSION_OF_WRITTEN: ("written",)}
_TURN_FIELDS = ("role", "text", "audio")


@dataclass(frozen=True)
class Record:
    """One checked record.

    Exactly one of `text` and `turns` is filled. `text` is a plain document, or, where `task` is "transcribe",
    what is said in the clip ("" where nobody speaks). `spoken` is what is heard, in spoken form, and `written` the same
    as it is written, where `text` does not say so. `rejected` makes a pair of preference: what was less wanted in place
    of the last turn, an assistant's, or of the document.
    """

    id: str
    task: str
    variety: Variety
    speaker: str
    source: str
    licence: str
    split: Split
    text: str | None = None
    turns: tuple[Turn, ...] = ()
    spoken: str | None = None
    seconds: float | None = None
    rejected: str | None = None
    written: str | None = None

    @property
    def is_transcription(self) -> bool:
        """Whether `text` is what is said in a clip."""
        return self.text is not None and self.task == TRANSCRIBE

    @property
    def is_heard(self) -> bool:
        """Whether the record has a place where a clip is heard."""
        return self.is_transcription or any(turn.has_audio for turn in self.turns)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that `validate` turns back into this record."""
        version = VERSION if self.rejected is None else VERSION_OF_PAIRS
        version = version if self.written is None else VERSION_OF_WRITTEN
        fields: dict[str, object] = {"version": version, "id": self.id}
        if self.text is not None:
            fields["text"] = self.text
        else:
            fields["turns"] = [{"role": t.role, "text": t.text, "audio": t.has_audio} for t in self.turns]
        fields |= {"task": self.task, "variety": self.variety.value, "speaker": self.speaker}
        fields |= {"source": self.source, "licence": self.licence, "split": self.split}
        if self.spoken is not None:
            fields["spoken"] = self.spoken
        if self.seconds is not None:
            fields["seconds"] = self.seconds
        if self.rejected is not None:
            fields["rejected"] = self.rejected
        if self.written is not None:
            fields["written"] = self.written
        return fields


def validate(record: object, where: str, *, has_audio: bool | None = None) -> Record:
    """Return the checked record of a JSON object.

    Args:
        record: The object, as read from JSON.
        where: The file and member it comes from, for the message.
        has_audio: Whether a clip stands beside it; None where that is not known yet.

    Raises:
        InputError: A field is missing, unknown, or of another type or value than the schema says; the clip
            and the record disagree. The message names `where` and the field.
    """
    if not isinstance(record, Mapping):
        _fail(where, "", type(record).__name__, "a JSON object")
    fields = cast(Mapping[str, object], record)
    version = fields.get("version")
    if not isinstance(version, int) or version not in _ADDED:
        known = f"{VERSION}, {VERSION_OF_PAIRS} or {VERSION_OF_WRITTEN}"
        _fail(where, "version", "nothing" if version is None else version, known)
    optional = _OPTIONAL + _ADDED[version]
    for name in _REQUIRED:
        if name not in fields:
            _fail(where, name, "no such field", "a value: the schema requires it")
    for name in fields:
        if name not in _REQUIRED + optional:
            _fail(where, str(name), "an unknown field", "one of " + ", ".join(_REQUIRED + optional))
    checked = Record(
        id=_string(fields, "id", where),
        task=_string(fields, "task", where),
        variety=Variety.parse(_string(fields, "variety", where), where),
        speaker=_string(fields, "speaker", where, may_be_empty=True),
        source=_string(fields, "source", where),
        licence=_string(fields, "licence", where, may_be_empty=True),
        split=_split(fields, where),
        text=_optional_string(fields, "text", where),
        turns=_turns(fields.get("turns"), where),
        spoken=_optional_string(fields, "spoken", where),
        seconds=_seconds(fields, where),
        rejected=_optional_string(fields, "rejected", where),
        written=_optional_string(fields, "written", where),
    )
    _check_content(checked, where, has_audio)
    return checked


def _check_content(record: Record, where: str, has_audio: bool | None) -> None:
    if (record.text is None) == (not record.turns):
        found = "neither" if record.text is None else "both"
        _fail(where, "text, turns", found, "exactly one of the two")
    if record.text is not None and not record.text.strip() and not record.is_transcription:
        _fail(
            where,
            "text",
            "an empty text",
            "a document; only a transcription of a clip without speech is empty",
        )
    heard = sum(turn.has_audio for turn in record.turns)
    if heard > 1:
        _fail(where, "turns", f"{heard} turns with audio", "at most one: a record has one clip")
    fault = fault_in(record.turns) if record.turns else None
    if fault is not None:
        field = "turns" if fault.turn is None else f"turns[{fault.turn}].{fault.field}"
        _fail(where, field, fault.found, fault.wanted)
    if has_audio and not record.is_heard:
        _fail(
            where,
            "turns",
            "a clip, and no turn with audio",
            "`audio: true` in one turn, or task `transcribe`",
        )
    if has_audio is False and record.is_heard and record.spoken is None and not record.is_transcription:
        _fail(where, "spoken", "a turn with audio, but no clip and no `spoken`", "one of the two")
    if record.written is not None and (record.is_transcription or not record.is_heard):
        _fail(where, "written", "beside the text of a document or transcription", "a turn with audio")
    if record.rejected is not None:
        _check_pair(record, record.rejected, where)


def _check_pair(record: Record, rejected: str, where: str) -> None:
    if record.is_heard:
        _fail(where, "rejected", "beside a clip", "pairs of written text only")
    if record.turns and record.turns[-1].role != "assistant":
        _fail(where, "rejected", f"a last turn of role {record.turns[-1].role}", "the assistant's turn last")
    chosen = record.turns[-1].text if record.turns else record.text
    if not rejected.strip() or not (chosen or "").strip():
        side = "rejected" if not rejected.strip() else "turns"
        _fail(where, side, "an empty side of a pair", "a text on both sides")
    if rejected == chosen:
        _fail(where, "rejected", f"{rejected[:60]!r}, which is also chosen", "two different texts")


def _turns(value: object, where: str) -> tuple[Turn, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        _fail(where, "turns", repr(value), "a list of at least one turn")
    return tuple(_turn(item, where, f"turns[{number}]") for number, item in enumerate(value))


def _turn(value: object, where: str, field: str) -> Turn:
    if not isinstance(value, Mapping):
        _fail(where, field, repr(value), "an object with role, text and audio")
    fields = cast(Mapping[str, object], value)
    for name in fields:
        if name not in _TURN_FIELDS:
            _fail(where, f"{field}.{name}", "an unknown field", "one of " + ", ".join(_TURN_FIELDS))
    role, has_audio = fields.get("role"), fields.get("audio", False)
    if role not in get_args(Role):
        _fail(where, f"{field}.role", repr(role), "one of " + ", ".join(get_args(Role)))
    if not isinstance(has_audio, bool):
        _fail(where, f"{field}.audio", repr(has_audio), "true or false")
    if has_audio and role != "user":
        _fail(where, f"{field}.audio", f"true in a turn of role {role}", "audio in user turns only")
    if not isinstance(fields.get("text"), str):
        _fail(where, f"{field}.text", repr(fields.get("text")), "a string")
    return Turn(role=cast(Role, role), text=cast(str, fields["text"]), has_audio=has_audio)


def _string(fields: Mapping[str, object], name: str, where: str, *, may_be_empty: bool = False) -> str:
    value = fields[name]
    if not isinstance(value, str) or (not value.strip() and not may_be_empty):
        _fail(where, name, repr(value), "a string" if may_be_empty else "a string that is not empty")
    return value


def _optional_string(fields: Mapping[str, object], name: str, where: str) -> str | None:
    return None if fields.get(name) is None else _string(fields, name, where, may_be_empty=True)


def _split(fields: Mapping[str, object], where: str) -> Split:
    value = fields["split"]
    if value not in get_args(Split):
        _fail(where, "split", repr(value), "one of " + ", ".join(get_args(Split)))
    return cast(Split, value)


def _seconds(fields: Mapping[str, object], where: str) -> float | None:
    value = fields.get("seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        _fail(where, "seconds", repr(value), "a duration in seconds, at least 0")
    return float(value)


def _fail(where: str, field: str, found: object, wanted: str) -> NoReturn:
    remedy = "correct the record and write the shard again"
    raise InputError(where, field=field, found=found, wanted=wanted, remedy=remedy)
