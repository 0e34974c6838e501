"""Clips of people's own voices for the report of a run, where `own_voice/own_voice.json` lists them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from amalia_mm.audio.io import load_audio
from amalia_mm.errors import InputError
from amalia_mm.evaluate.figures import data_uri

LISTED = Path("own_voice") / "own_voice.json"
KINDS = {
    "reference": "gravação da pessoa",
    "copy": "cópia pelo vocoder",
    "10s": "voz de 10 s",
    "60s": "voz de 1 min",
    "300s": "voz de 5 min",
}
"""What a clip may be, in the order of the table; others come after these, under their own name."""
_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".opus": "audio/ogg"}
_REMEDY = "write it again, or remove it from the run"


@dataclass(frozen=True)
class OwnVoiceClip:
    """One clip of a person's voice: recorded, copied, or made of so much of their speech."""

    speaker: str
    kind: str
    path: Path
    text: str

    @property
    def sound(self) -> str:
        """The file as an address; it stays as it is, with its mark and manifest."""
        return data_uri(self.path.read_bytes(), _TYPES[self.path.suffix.lower()])


@dataclass(frozen=True)
class OwnVoiceTable:
    """The clips, a row for each speaker and a column for each kind."""

    kinds: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[OwnVoiceClip, ...], ...]], ...]
    """Each with its speaker and the clips of each kind."""


def read_own_voice(run: Path) -> list[OwnVoiceClip]:
    """Return the clips of own voices that lie in a run folder; none where there is no list.

    Raises:
        InputError: The list is broken, or a clip is missing or is no recording.
    """
    listed = run / LISTED
    if not listed.is_file():
        return []
    try:
        clips = json.loads(listed.read_text(encoding="utf-8"))["clips"]
        found = [_clip(listed, row) for row in clips]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        wanted = "clips: a list of {speaker, kind, path, text}"
        raise InputError(listed, found=error, wanted=wanted, remedy=_REMEDY) from error
    return found


def own_voice_table(clips: list[OwnVoiceClip]) -> OwnVoiceTable | None:
    """Return the clips as a table; None without clips."""
    if not clips:
        return None
    kinds = tuple(dict.fromkeys([*(kind for kind in KINDS if _any(clips, kind)), *(c.kind for c in clips)]))
    rows = tuple(
        (
            speaker,
            tuple(tuple(c for c in clips if (c.speaker, c.kind) == (speaker, kind)) for kind in kinds),
        )
        for speaker in dict.fromkeys(clip.speaker for clip in clips)
    )
    return OwnVoiceTable(kinds, rows)


def _any(clips: list[OwnVoiceClip], kind: str) -> bool:
    return any(clip.kind == kind for clip in clips)


def _clip(listed: Path, row: dict[str, str]) -> OwnVoiceClip:
    path = listed.parent / row["path"]
    if path.suffix.lower() not in _TYPES:
        wanted = " or ".join(_TYPES)
        raise InputError(listed, field="path", found=row["path"], wanted=wanted, remedy=_REMEDY)
    if not path.is_file():
        found = f"no such file: {path}"
        raise InputError(listed, field="path", found=found, wanted="a clip", remedy=_REMEDY)
    load_audio(path)
    return OwnVoiceClip(str(row["speaker"]), str(row["kind"]), path, str(row.get("text") or ""))
