"""Lines to be spoken or read: what each says, why, by which voice, and the file that holds them between two stages.

It knows voices by name, and records; not how a line sounds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from amalia_mm.audio.no_speech import NO_SPEECH
from amalia_mm.batch import Turn
from amalia_mm.data.schema import TRANSCRIBE, Record, Split
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.staging import write_jsonl
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES, Voice
from amalia_mm.variety import Variety

LINES = "lines.jsonl"
"""What is to be spoken: written by the stage that knows the text, read by the one that knows the voices."""
ANSWER = "answer"
"""The task in which a spoken question is answered, not written down."""
BUILT_IN = "synthetic"
"""The source of the built-in sentences."""
LICENCE = "Apache-2.0"

_VOICES = {voice.name: voice for voice in (*TRAIN_VOICES, *TEST_VOICES)}


@dataclass(frozen=True)
class Line:
    """What one clip says, why, and by which voice; without a voice it is only read, or it is silence or noise.

    `answer` makes it a spoken question. `template`, `kind` and `heldout` say where a sentence comes from.
    """

    id: str
    text: str
    split: Split
    voice: Voice | None = None
    answer: str | None = None
    template: str | None = None
    kind: str | None = None
    heldout: str | None = None
    source: str = BUILT_IN
    variety: Variety = Variety.PT_PT
    licence: str = LICENCE

    @property
    def task(self) -> str:
        """Whether the line is to be written down or answered."""
        return TRANSCRIBE if self.answer is None else ANSWER

    def record(self, seconds: float | None = None) -> Record:
        """Return the record of the line: a transcription, or a heard question and its answer."""
        is_answered = self.answer is not None
        return Record(
            id=self.id,
            task=self.task,
            variety=self.variety,
            speaker="" if self.voice is None else self.voice.name,
            source=self.source,
            licence=self.licence,
            split=self.split,
            text=None if is_answered else self.text,
            turns=(Turn("user", "", has_audio=True), Turn("assistant", self.answer or ""))
            if is_answered
            else (),
            spoken=spoken_form(self.text) if is_answered else None,
            seconds=seconds,
        )

    def row(self, audio: str | None) -> dict[str, object]:
        """Return the row of a manifest; `audio` is relative to it, None where the clip lies in a shard."""
        return {
            "id": self.id,
            "audio": audio,
            "text": self.text,
            "voice": None if self.voice is None else self.voice.name,
            "template": self.template,
            "task": self.task,
            "answer": self.answer,
            "kind": self.kind,
            "heldout": self.heldout,
            "source": self.source,
            "variety": self.variety.value,
        }


def voiced(lines: Iterable[Line], voices: Sequence[Voice], rng: random.Random) -> list[Line]:
    """Return the lines with a voice each: every voice says as many as any other, in random order."""
    lines = list(lines)
    shares = [voices[i % len(voices)] for i in range(len(lines))]
    rng.shuffle(shares)
    return [replace(line, voice=voice) for line, voice in zip(lines, shares, strict=True)]


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write the lines, one a row, the voice by its name."""
    voices = ((line, None if line.voice is None else line.voice.name) for line in lines)
    write_jsonl(
        path, (asdict(line) | {"voice": name, "variety": line.variety.value} for line, name in voices)
    )


def read_lines(path: Path) -> list[Line]:
    """Return the lines that `write_lines` wrote.

    Raises:
        InputError: The file is missing or empty, or a row of it is not a line that can be spoken.
    """
    remedy = "run `amalia corpus --part text`, which writes it"
    try:
        # Not splitlines(): a text may hold what Unicode calls the end of a line.
        rows = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise InputError(path, found="no such file", wanted="the lines to be spoken", remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise InputError(path, found=error, wanted="UTF-8 text", remedy=remedy) from None
    if rows == [""]:
        raise InputError(path, found="no lines", wanted="the lines to be spoken", remedy=remedy)
    lines: list[Line] = []
    for number, row in enumerate(rows, start=1):
        try:
            lines.append(_line(json.loads(row)))
        except (ValueError, KeyError, TypeError) as error:
            where, wanted = f"{path}: line {number}", "a line to be spoken"
            raise InputError(where, found=repr(error), wanted=wanted, remedy=remedy) from error
    return lines


def _line(values: dict[str, Any]) -> Line:
    voice = None if values["voice"] is None else _VOICES[values["voice"]]
    line = Line(**{**values, "voice": voice, "variety": Variety(values["variety"])})
    if not isinstance(line.id, str) or not isinstance(line.text, str) or line.split not in get_args(Split):
        raise ValueError(f"id {line.id!r}, text {line.text!r}, split {line.split!r}")
    if voice is None and line.template not in NO_SPEECH:
        raise ValueError(f"neither a voice nor a kind of silence or noise: template {line.template!r}")
    return line
