"""Banked phrases: a recording of the person is played as it is when exactly its text is to be said."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import soundfile

_MARKS = ".,;:!?…\"'«»“”‘’()[]{}–—-"
_BETWEEN_WORDS = re.compile(rf"(?<!\w)[{re.escape(_MARKS)}]+|[{re.escape(_MARKS)}]+(?!\w)")


@dataclass(frozen=True)
class Clip:
    """A recording of the person, and what is said in it.

    Args:
        text: What is said.
        audio: The bytes of a wav or flac file.
    """

    text: str
    audio: bytes = field(repr=False)

    def samples(self) -> tuple[np.ndarray, int]:
        """Return the recording as (n) float32, channels averaged, and its sample rate in Hz.

        Raises:
            soundfile.LibsndfileError: It is not audio.
        """
        sound, rate_hz = soundfile.read(io.BytesIO(self.audio), dtype="float32", always_2d=True)
        return sound.mean(axis=1), rate_hz


def phrase_key(text: str) -> str:
    """Return what two texts share that are said alike: equal but for case, punctuation and spaces, and no more.

    Marks inside a word or a number stay (`diga-me`, `12,50`), so do signs that are read out (`%`, `€`, `+`). Whether it
    asks is kept: "Estás cansado?" and "Estás cansado." differ in nothing but how they are said. "" where nothing is.
    """
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    asks = "?" if "?" in text else ""
    words = _BETWEEN_WORDS.sub(" ", text).casefold().split()
    return " ".join(words) + asks if words else ""


class Phrases:
    """The recordings of a person by what is said in them; of two alike the first is played.

    Args:
        clips: The recordings.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._by_key: dict[str, Clip] = {}
        for clip in clips:
            self._by_key.setdefault(phrase_key(clip.text), clip)
        self._by_key.pop("", None)

    def replay(self, text: str) -> Clip | None:
        """Return the recording in which exactly this text is said, None where there is none."""
        return self._by_key.get(phrase_key(text))
