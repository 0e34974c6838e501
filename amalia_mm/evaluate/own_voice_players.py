"""Clips of people's own voices for a run's report, where `own_voice` or one of `own_voice_*` in it lists them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from amalia_mm.audio.io import load_audio
from amalia_mm.errors import InputError
from amalia_mm.evaluate.figures import data_uri

LISTS = ("own_voice/own_voice.json", "own_voice_*/own_voice.json")
KINDS = {"reference": "gravação da pessoa", "copy": "cópia pelo vocoder"}
"""What a clip may be, in the order of the table. Others come after these: made of so many seconds (`60s`), the fewest
first, or under their own name."""
_SECONDS = re.compile(r"(\d+)s")
_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".opus": "audio/ogg"}
_REMEDY = "write it again, or remove it from the run"


@dataclass(frozen=True)
class OwnVoiceClip:
    """One clip of a person's voice: recorded, copied, or made of so much of their speech."""

    speaker: str
    kind: str
    path: Path
    text: str
    listed_in: str
    """The name of the folder."""

    @property
    def sound(self) -> str:
        """The file as an address; it stays as it is, with its mark and manifest."""
        return data_uri(self.path.read_bytes(), _TYPES[self.path.suffix.lower()])


@dataclass(frozen=True)
class OwnVoiceTable:
    """The clips, a row for each speaker and a column for each kind."""

    name: str
    """Of the folder that lists them."""
    kinds: tuple[str, ...]
    labels: dict[str, str]
    """Of the kinds, in Portuguese."""
    rows: tuple[tuple[str, tuple[tuple[OwnVoiceClip, ...], ...]], ...]
    """Each with its speaker and the clips of each kind."""


def read_own_voice(run: Path) -> list[list[OwnVoiceClip]]:
    """Return the clips of own voices that lie in a run folder, a list for each that is there and has any.

    Raises:
        InputError: A list is broken, or a clip is missing or is no recording.
    """
    lists = [listed for pattern in LISTS for listed in sorted(run.glob(pattern))]
    return [clips for listed in lists if (clips := _read_list(listed))]


def _read_list(listed: Path) -> list[OwnVoiceClip]:
    try:
        clips = json.loads(listed.read_text(encoding="utf-8"))["clips"]
        found = [_clip(listed, row) for row in clips]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        wanted = "clips: a list of {speaker, kind, path, text}"
        raise InputError(listed, found=error, wanted=wanted, remedy=_REMEDY) from error
    return found


def own_voice_table(clips: list[OwnVoiceClip]) -> OwnVoiceTable:
    """Return the clips of a list as a table."""
    kinds = tuple(sorted(dict.fromkeys(clip.kind for clip in clips), key=_place))
    rows = tuple(
        (
            speaker,
            tuple(tuple(c for c in clips if (c.speaker, c.kind) == (speaker, kind)) for kind in kinds),
        )
        for speaker in dict.fromkeys(clip.speaker for clip in clips)
    )
    return OwnVoiceTable(clips[0].listed_in, kinds, {kind: _label(kind) for kind in kinds}, rows)


def _place(kind: str) -> tuple[int, int]:
    """Return where a kind comes in a table; those of one place as they were listed."""
    if kind in KINDS:
        return list(KINDS).index(kind), 0
    made_of = _SECONDS.fullmatch(kind)
    return (len(KINDS), int(made_of[1])) if made_of else (len(KINDS) + 1, 0)


def _label(kind: str) -> str:
    made_of = _SECONDS.fullmatch(kind)
    if made_of is None:
        return KINDS.get(kind, kind)
    minutes, rest = divmod(int(made_of[1]), 60)
    return f"voz de {minutes} min" if minutes and not rest else f"voz de {made_of[1]} s"


def _clip(listed: Path, row: dict[str, str]) -> OwnVoiceClip:
    path = listed.parent / row["path"]
    if path.suffix.lower() not in _TYPES:
        wanted = " or ".join(_TYPES)
        raise InputError(listed, field="path", found=row["path"], wanted=wanted, remedy=_REMEDY)
    if not path.is_file():
        found = f"no such file: {path}"
        raise InputError(listed, field="path", found=found, wanted="a clip", remedy=_REMEDY)
    load_audio(path)
    return OwnVoiceClip(
        str(row["speaker"]), str(row["kind"]), path, str(row.get("text") or ""), listed.parent.name
    )
