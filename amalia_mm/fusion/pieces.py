"""How recordings become pieces that a model hears at once, and how what is written of them is joined again.

What is longer than a chunk is cut at its pauses; pieces of like length, of whichever recording, go together. It knows
waveforms and texts, not models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from tqdm import tqdm

from amalia_mm.audio import vad as speech_detection
from amalia_mm.fusion.responder import Written, report_cuts
from amalia_mm.units import samples_to_seconds

MAX_PAUSE_S = 0.6
"""A longer pause ends a piece of a long recording: a model hears best what it was trained on, utterances."""
SPEECH_THRESHOLD = 0.4
MIN_SPEECH_MS = 100
"""More sensitive than the detector's own: at 0.5 and 250 ms one "bom dia" in thirty was taken for silence."""
POOL_BATCHES = 16
"""Clips are read and sorted by length this many batches at a time, so that any number fits in memory."""


@dataclass(frozen=True)
class Clip:
    """A piece of one of the caller's audios; `part` counts the pieces."""

    item: int
    part: int
    waveform: Tensor


Writer = Callable[[Sequence[Clip]], list[Written]]


def cut(waveform: Tensor, longest_samples: int, *, vad: bool) -> list[Tensor]:
    """Return what of an audio goes to the model: the whole, its speech cut at pauses, or nothing.

    Args:
        waveform: (n) float32 at 16 kHz.
        longest_samples: The longest piece.
        vad: Whether to look for speech first; without it everything is kept, in equal windows.
    """
    if not vad:
        return list(waveform.tensor_split(-(-len(waveform) // longest_samples)))
    speech = speech_detection.speech_segments(
        waveform, threshold=SPEECH_THRESHOLD, min_speech_ms=MIN_SPEECH_MS
    )
    if len(waveform) <= longest_samples:
        return [waveform] if speech else []
    longest_s = samples_to_seconds(longest_samples)
    pieces = speech_detection.chunk(waveform, longest_s, max_pause_seconds=MAX_PAUSE_S, segments=speech)
    return [waveform[piece.start_samples : piece.end_samples] for piece in pieces]


def write_each(
    clips: Iterable[Clip], num_items: int, writers: Sequence[Writer], batch_size: int, progress: bool
) -> list[list[str]]:
    """Return every writer's text of each audio: sorted by length, batched, put together in order."""
    texts: dict[tuple[int, int], list[Written]] = {}
    with tqdm(desc="a ouvir", unit=" s", disable=not progress) as bar:
        for batch in by_length(clips, batch_size):
            written = zip(*[write(batch) for write in writers], strict=True)
            for clip, each in zip(batch, written, strict=True):
                texts[clip.item, clip.part] = list(each)
            bar.update(round(sum(samples_to_seconds(len(clip.waveform)) for clip in batch)))
    # What is shown is the first writer's; the others are there to be compared with it.
    report_cuts(sum(each[0].is_cut for each in texts.values()), len(texts))
    joined: list[list[list[str]]] = [[[] for _ in range(num_items)] for _ in writers]
    for item, part in sorted(texts):
        for writer, piece in enumerate(texts[item, part]):
            joined[writer][item] += [piece.text] if piece.text else []
    return [[" ".join(parts) for parts in of_writer] for of_writer in joined]


def by_length(clips: Iterable[Clip], batch_size: int) -> Iterator[list[Clip]]:
    """Yield batches of clips of like length, longest first in a pool: what overfills memory shows early."""
    pool: list[Clip] = []
    for clip in clips:
        pool.append(clip)
        if len(pool) == POOL_BATCHES * batch_size:
            yield from _batches(pool, batch_size)
            pool = []
    yield from _batches(pool, batch_size)


def _batches(pool: list[Clip], batch_size: int) -> Iterator[list[Clip]]:
    pool = sorted(pool, key=lambda clip: len(clip.waveform), reverse=True)
    for start in range(0, len(pool), batch_size):
        yield pool[start : start + batch_size]
