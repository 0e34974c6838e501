"""Transcripts as subtitles: SubRip (.srt) and WebVTT (.vtt), cut as a person can read them.

A cue has at most two lines of 42 characters and 7 seconds, ends at a pause or where a sentence does, and never begins
before the one before has ended. Times are whole milliseconds. Plain Python, no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from amalia_mm.transcript import TimedText, Transcript, Word

MAX_LINE_CHARACTERS = 42
MAX_LINES = 2
MAX_CUE_MS = 7_000
MIN_CUE_MS = 1_000
"""A shorter cue stays until then, unless the next one begins: less than that is not read."""
_PAUSE_MS = 800
"""Words further apart are not shown together."""
_ENDS_SENTENCE = (".", "!", "?", "…")


@dataclass(frozen=True)
class Cue:
    """What is shown at once, from `start_ms` until `end_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Timed:
    """A word, or a part of one that is longer than a line."""

    text: str
    start_ms: int
    end_ms: int


def cues(transcripts: Sequence[Transcript]) -> list[Cue]:
    """Return the cues of the transcripts of one recording, in order of time.

    With several, one a channel, a cue begins with the channel's name, and one channel waits for the other to end.
    """
    found: list[Cue] = []
    for transcript in transcripts:
        label = f"[{transcript.channel}] " if transcript.channel else ""
        for segment in transcript.segments:
            found += _cues_of(_timed_words(segment), label)
    return _apart(sorted(found, key=lambda cue: cue.start_ms))


def srt(transcripts: Sequence[Transcript]) -> str:
    """Return SubRip subtitles of the transcripts of one recording; "" where nothing is said."""
    blocks = [
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues(transcripts), start=1)
    ]
    return "\n".join(blocks)


def vtt(transcripts: Sequence[Transcript]) -> str:
    """Return WebVTT subtitles of the transcripts of one recording."""
    blocks = [
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + "\n".join(map(_escaped, cue.lines))
        + "\n"
        for cue in cues(transcripts)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _timed_words(segment: TimedText) -> Iterator[_Timed]:
    """Yield the words of a segment; without times of their own they share its time by their letters."""
    words = segment.words or _shared(segment)
    for word in words:
        parts = [part for written in word.text.split() for part in _line_long(written)]
        start_ms, end_ms = _ms(word.start_s), _ms(word.end_s)
        for number, part in enumerate(parts):
            step = (end_ms - start_ms) / len(parts)
            yield _Timed(part, start_ms + round(number * step), start_ms + round((number + 1) * step))


def _shared(segment: TimedText) -> list[Word]:
    written = segment.text.split()
    total, before = sum(len(word) + 1 for word in written), 0
    words: list[Word] = []
    for word in written:
        start, end = (
            segment.start_s + (segment.end_s - segment.start_s) * place / total
            for place in (before, before + len(word) + 1)
        )
        words.append(Word(word, start, end, None))
        before += len(word) + 1
    return words


def _line_long(word: str) -> list[str]:
    """Return a word in parts that fit a line."""
    return [word[at : at + MAX_LINE_CHARACTERS] for at in range(0, len(word), MAX_LINE_CHARACTERS)]


def _cues_of(words: Iterator[_Timed], label: str) -> list[Cue]:
    found: list[Cue] = []
    held: list[_Timed] = []
    for word in words:
        if held and (_is_apart(held, word) or not _fits(label, [*held, word])):
            found.append(_cue(label, held))
            held = []
        held.append(word)
    return [*found, *([_cue(label, held)] if held else [])]


def _is_apart(held: Sequence[_Timed], word: _Timed) -> bool:
    has_ended = held[-1].text.endswith(_ENDS_SENTENCE)
    is_late = word.start_ms - held[-1].end_ms >= _PAUSE_MS
    return has_ended or is_late or word.end_ms - held[0].start_ms > MAX_CUE_MS


def _fits(label: str, words: Sequence[_Timed]) -> bool:
    return len(_lines(label, words)) <= MAX_LINES


def _lines(label: str, words: Sequence[_Timed]) -> list[str]:
    """Return the words in lines, each as full as it may be; two lines are brought to like length where they can."""
    texts = [*label.split(), *(word.text for word in words)]
    lines = _wrapped(texts, MAX_LINE_CHARACTERS)
    if len(lines) != MAX_LINES:
        return lines
    width = min(
        (width for width in range(1, MAX_LINE_CHARACTERS) if _is_narrow(texts, width)),
        default=MAX_LINE_CHARACTERS,
    )
    return _wrapped(texts, width)


def _is_narrow(texts: Sequence[str], width: int) -> bool:
    lines = _wrapped(texts, width)
    return len(lines) <= MAX_LINES and all(len(line) <= MAX_LINE_CHARACTERS for line in lines)


def _wrapped(texts: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for text in texts:
        longer = f"{lines[-1]} {text}".strip()
        if lines[-1] and len(longer) > width:
            lines.append(text)
        else:
            lines[-1] = longer
    return lines


def _cue(label: str, words: Sequence[_Timed]) -> Cue:
    return Cue(words[0].start_ms, words[-1].end_ms, tuple(_lines(label, words)))


def _apart(found: Sequence[Cue]) -> list[Cue]:
    """Return the cues one after the other: none is over before it begins, none begins before the last is over."""
    apart: list[Cue] = []
    for number, cue in enumerate(found):
        start_ms = max(cue.start_ms, apart[-1].end_ms) if apart else cue.start_ms
        end_ms = max(cue.end_ms, start_ms + 1)
        following = found[number + 1].start_ms if number + 1 < len(found) else start_ms + MIN_CUE_MS
        end_ms = max(end_ms, min(start_ms + MIN_CUE_MS, following))
        apart.append(Cue(start_ms, end_ms, cue.lines))
    return apart


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
