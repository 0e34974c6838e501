"""A person's recordings in a folder, and what is said in each: by the banking script, a text beside it, or a row.

It imports no torch: it reads files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.portuguese.banking_script import load_script
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.voice.phrases import Clip

ENDINGS = (".wav", ".flac")
_OTHER_ENDINGS = (".mp3", ".m4a", ".mp4", ".aac", ".ogg", ".opus", ".wma", ".amr", ".3gp", ".aif", ".aiff")
"""What telephones and other programs write."""
CONSENT = "consent"
"""What the clip in which the person consents is called; it is no recording, whether it is the one used or not."""


def read_recordings(folder: Path, leave_out: Path | None = None) -> list[tuple[Path, Clip]]:
    """Return each recording of a folder by its path, with what is said in it.

    What is said stands in a row of a `.jsonl` in the folder (`audio`, `text`), else in the `.txt` beside it, else in
    the banking script, whose number of the sentence is the name of the file.

    Args:
        folder: Of wav and flac files.
        leave_out: A file that is none of them, such as the consent clip.

    Raises:
        InputError: There is no recording, or one of which nobody knows what is said; or a row names no file.
    """
    if not folder.is_dir():
        raise InputError(folder, found="no such folder", wanted="recordings", remedy="check the path")
    texts = {**_script(folder), **_beside(folder), **_rows(folder)}
    own = leave_out.resolve() if leave_out is not None else None
    paths = dict.fromkeys([*sorted(_sounds(folder)), *texts])
    paths = [path for path in paths if path.resolve() != own and path.stem != CONSENT]
    if not paths:
        wanted = " or ".join(ENDINGS)
        raise InputError(folder, found="no recording", wanted=f"{wanted} files", remedy="check the path")
    for path in paths:
        if not spoken_form(texts.get(path, "")).strip():
            remedy = (
                f"write it into {path.with_suffix('.txt').name}, or name the file as the script's sentence"
            )
            raise InputError(
                path, found="a recording without words", wanted="what is said in it", remedy=remedy
            )
    return [(path, Clip(texts[path].strip(), _audio(path))) for path in paths]


def other_sounds(folder: Path) -> list[Path]:
    """Return the recordings of a folder that `read_recordings` does not read, for their person to be told."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _OTHER_ENDINGS)


def _script(folder: Path) -> dict[Path, str]:
    numbered = {prompt.number: prompt.text for prompt in load_script()}
    return {path: numbered[path.stem] for path in _sounds(folder) if path.stem in numbered}


def _beside(folder: Path) -> dict[Path, str]:
    from amalia_mm.json_rows import content_of

    texts = {path: path.with_suffix(".txt") for path in _sounds(folder)}
    return {path: content_of(text) for path, text in texts.items() if text.is_file()}


def _rows(folder: Path) -> dict[Path, str]:
    from amalia_mm.json_rows import json_rows

    found: dict[Path, str] = {}
    for listed in sorted(folder.glob("*.jsonl")):
        for where, row in json_rows(listed):
            audio, text = row.get("audio"), row.get("text")
            if not isinstance(audio, str) or not (folder / audio).is_file():
                wanted = "the path of a recording, from the folder on"
                raise InputError(where, field="audio", found=audio, wanted=wanted, remedy="correct it")
            if isinstance(text, str):
                found[folder / audio] = text
    return found


def _sounds(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def _audio(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(path, found=found, wanted="a recording", remedy="check the file") from error
