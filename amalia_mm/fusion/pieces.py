"""How recordings become pieces that a model hears at once, and how what is written of them is joined again.

What is longer than a chunk is cut at its pauses; pieces of like length, of whichever recording, go together. It knows
waveforms and texts, not models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace

from torch import Tensor
from tqdm import tqdm

from amalia_mm.audio import vad as speech_detection
from amalia_mm.audio.recording import Recording, Window
from amalia_mm.audio.vad import Segment
from amalia_mm.fusion.responder import Written, report_cuts
from amalia_mm.fusion.word_times import TimedWritten
from amalia_mm.transcript import TimedText, Transcript, WordSource
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds

MAX_TOKENS_PER_S = 25
"""Fast speech is 6 syllables a second; text that falls apart into single bytes still fits."""
MAX_EXTRA_TOKENS = 16

MAX_PAUSE_S = 0.6
"""A longer pause ends a piece of a long recording: a model hears best what it was trained on, utterances."""
SPEECH_THRESHOLD = 0.4
MIN_SPEECH_MS = 100
"""More sensitive than the detector's own: at 0.5 and 250 ms one "bom dia" in thirty was taken for silence."""
POOL_BATCHES = 16
POOL_SAMPLES = 900 * SAMPLE_RATE_HZ
"""Clips are read and sorted by length this many batches, or samples (58 MB), at a time: any number fits in memory."""


@dataclass(frozen=True)
class Clip:
    """A piece of one of the caller's audios; `part` counts the pieces."""

    item: int
    part: int
    waveform: Tensor
    start_samples: int
    """Where it begins in the audio."""
    speech: Segment
    """Where somebody speaks in the piece, from the first sound to the last."""


@dataclass(frozen=True)
class Piece:
    """A clip without its sound, and what every writer made of it."""

    num_samples: int
    start_samples: int
    speech: Segment
    written: tuple[Written, ...]


Writer = Callable[[Sequence[Clip]], Sequence[Written]]


def cut(recording: Recording, longest_samples: int, *, vad: bool, item: int = 0) -> Iterator[Clip]:
    """Yield what of an audio goes to the model: the whole, its speech cut at pauses, or nothing.

    Args:
        recording: Read in blocks; what comes out stays in memory as long as the caller keeps it.
        longest_samples: The longest piece.
        vad: Whether to look for speech first; without it everything is kept, in equal windows.
        item: Which of the caller's audios it is.
    """
    window = recording.window()
    for part, (piece, speech) in enumerate(_stretches(recording, window, longest_samples, vad)):
        start, end = piece.start_samples, piece.end_samples
        inside = Segment(speech.start_samples - start, speech.end_samples - start)
        yield Clip(item, part, window[start:end], start, inside)
        window.forget(end)


def _stretches(
    recording: Recording, window: Window, longest_samples: int, vad: bool
) -> Iterator[tuple[Segment, Segment]]:
    """Yield the stretches that are heard, and where there is speech in each, in samples of the recording."""
    whole = Segment(0, recording.num_samples)
    if not vad:
        for piece in _equal(whole, longest_samples):
            yield piece, piece
        return
    speech = speech_detection.find_speech(recording, threshold=SPEECH_THRESHOLD, min_speech_ms=MIN_SPEECH_MS)
    if recording.num_samples <= longest_samples:
        if speech:
            yield whole, Segment(speech[0].start_samples, speech[-1].end_samples)
        return
    longest_s = samples_to_seconds(longest_samples)
    for piece in speech_detection.chunks(window, longest_s, max_pause_seconds=MAX_PAUSE_S, segments=speech):
        yield piece, piece


def _equal(whole: Segment, longest_samples: int) -> Iterator[Segment]:
    """Yield windows of like length, none longer than allowed, the first ones longer by a sample where they must."""
    num_windows = -(-whole.num_samples // longest_samples)
    length, num_longer = divmod(whole.num_samples, num_windows)
    start = 0
    for number in range(num_windows):
        end = start + length + (number < num_longer)
        yield Segment(start, end)
        start = end


def write_each(
    clips: Iterable[Clip], num_items: int, writers: Sequence[Writer], batch_size: int, progress: bool
) -> list[list[Piece]]:
    """Return what was written of the pieces of each audio, in order: sorted by length, batched, put together again."""
    pieces: dict[tuple[int, int], Piece] = {}
    with tqdm(desc="a ouvir", unit=" s", disable=not progress) as bar:
        for batch in by_length(clips, batch_size):
            written = zip(*[write(batch) for write in writers], strict=True)
            for clip, each in zip(batch, written, strict=True):
                piece = Piece(len(clip.waveform), clip.start_samples, clip.speech, tuple(each))
                pieces[clip.item, clip.part] = piece
            bar.update(round(sum(samples_to_seconds(len(clip.waveform)) for clip in batch)))
    # What is shown is the first writer's; the others are there to be compared with it.
    report_cuts(sum(piece.written[0].is_cut for piece in pieces.values()), len(pieces))
    of_items: list[list[Piece]] = [[] for _ in range(num_items)]
    for item, part in sorted(pieces):
        of_items[item].append(pieces[item, part])
    return of_items


def joined(pieces: Sequence[Piece], writer: int = 0) -> str:
    """Return one writer's text of an audio."""
    return " ".join(piece.written[writer].text for piece in pieces if piece.written[writer].text)


def timed_transcript(
    pieces: Sequence[Piece], duration_s: float, word_source: WordSource | None, channel: str | None
) -> Transcript:
    """Return the first writer's text of an audio with the times of its pieces and of its words, in the whole audio."""
    segments: list[TimedText] = []
    for piece in pieces:
        written, begin_s = piece.written[0], samples_to_seconds(piece.start_samples)
        if not written.text:
            continue
        last_s = samples_to_seconds(piece.start_samples + piece.num_samples)
        words = written.words if isinstance(written, TimedWritten) else ()
        moved = tuple(
            replace(
                word, start_s=min(begin_s + word.start_s, last_s), end_s=min(begin_s + word.end_s, last_s)
            )
            for word in words
        )
        start_s, end_s = (samples_to_seconds(piece.start_samples + n) for n in astuple(piece.speech))
        # CTC hears a word from its first sound on, which may be too soft for the detector of speech.
        start_s = min([start_s, *(word.start_s for word in moved)])
        end_s = max([end_s, *(word.end_s for word in moved)])
        segments.append(TimedText(written.text, start_s, end_s, moved))
    return Transcript(joined(pieces), duration_s, tuple(segments), word_source, channel)


def by_length(clips: Iterable[Clip], batch_size: int) -> Iterator[list[Clip]]:
    """Yield batches of clips of like length, longest first in a pool: what overfills memory shows early."""
    pool: list[Clip] = []
    num_samples = 0
    for clip in clips:
        pool.append(clip)
        num_samples += len(clip.waveform)
        if len(pool) == POOL_BATCHES * batch_size or num_samples >= POOL_SAMPLES:
            yield from _batches(pool, batch_size)
            pool, num_samples = [], 0
    yield from _batches(pool, batch_size)


def _batches(pool: list[Clip], batch_size: int) -> Iterator[list[Clip]]:
    pool = sorted(pool, key=lambda clip: len(clip.waveform), reverse=True)
    for start in range(0, len(pool), batch_size):
        yield pool[start : start + batch_size]


def transcript_limit(num_samples: int) -> int:
    """Return the most tokens that a transcript of so many samples may have."""
    return MAX_EXTRA_TOKENS + round(MAX_TOKENS_PER_S * samples_to_seconds(num_samples))
