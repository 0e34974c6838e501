"""What was said and when: the record that transcription returns, and its form as JSON. Plain Python, no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

WordSource = Literal["letters", "tokens"]
"""Which CTC head the times of words are from: letters, which are finer, or the decoder's tokens."""


@dataclass(frozen=True)
class Word:
    """A written word with its punctuation, and when it is said."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None
    """How likely the model holds what it aligned, 0 to 1; None where times are interpolated from the neighbours."""


@dataclass(frozen=True)
class TimedText:
    """A piece of a recording that was heard at once: the speech between two pauses."""

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording, or in one channel of it."""

    text: str
    duration_s: float
    segments: tuple[TimedText, ...] = ()
    word_source: WordSource | None = None
    """None where the model has no CTC head: then segments alone have times."""
    channel: str | None = None
    """Which one it is, where the channels of a file are heard each by itself."""

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, in order; none where the model gives them no times."""
        return tuple(word for segment in self.segments for word in segment.words)


def as_json(transcript: Transcript, file: str) -> dict[str, Any]:
    """Return a transcript as JSON has it, times in seconds to the millisecond; `note` says what is missing in it."""
    segments = [
        {"start_s": round(segment.start_s, 3), "end_s": round(segment.end_s, 3), "text": segment.text}
        for segment in transcript.segments
    ]
    words = [
        asdict(word)
        | {"start_s": round(word.start_s, 3), "end_s": round(word.end_s, 3)}
        | {"confidence": None if word.confidence is None else round(word.confidence, 4)}
        for word in transcript.words
    ]
    return {
        "file": file,
        **({"channel": transcript.channel} if transcript.channel else {}),
        "text": transcript.text,
        "duration_s": round(transcript.duration_s, 3),
        "segments": segments,
        "words": words,
        "word_times": transcript.word_source,
        **({} if transcript.word_source else {"note": NO_WORD_TIMES}),
    }


NO_WORD_TIMES = "the model has no CTC head: segments have times, words have none"
