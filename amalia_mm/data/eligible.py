"""Which records of a folder a run can use, known from the index before anything is read.

Records that cannot be used are never part of the order; they are counted as bad records and told.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.speed import num_samples_at
from amalia_mm.data.conversation import TooLong
from amalia_mm.data.ctc_paths import CtcPaths
from amalia_mm.data.index import Integers, ShardIndex
from amalia_mm.data.parts import Parts
from amalia_mm.data.reader import Folder
from amalia_mm.data.visits import Source
from amalia_mm.errors import InputError

_LOG = logging.getLogger(__name__)
_TOLD = {
    "split": "%s: %d of %d records are conversations longer than a row of %d tokens; they give %d parts that fit",
    "cut": "%s: %d of %d records are conversations longer than a row of %d tokens; they are cut where rows end"
    " (as whole questions with answers they would be %d parts: too_long: split)",
}
_REMEDY = "leave the record out of the shards, cut it at pauses, or raise the limit"


@dataclass(frozen=True)
class Eligible:
    """The records of a folder that can be used, and why others cannot: one error for each of those."""

    source: Source
    left_out: tuple[InputError, ...]


def eligible_text(folder: Folder, weight: float, parts: Parts, too_long: TooLong) -> Eligible:
    """Return the records of a folder of text: all but those that could not be read when they were counted.

    Of conversations longer than a row the parts, none, or the whole of them, as `too_long` says; it is told how many
    there are.
    """
    long = parts.conversations
    if len(long) and too_long != "refuse":
        _LOG.warning(
            _TOLD[too_long], folder.index.folder, len(long), len(folder.index), parts.most, len(parts.part)
        )
    wanted = f"at most {parts.most} tokens (row_tokens and the decoder's max_position_embeddings)"
    is_refused = np.zeros(len(folder.index), dtype=bool)
    if too_long == "refuse":
        is_refused[long] = True
    elif too_long == "split":
        is_refused[np.setdiff1d(long, parts.record)] = True
    problems = (("turns", is_refused, "too long a conversation", wanted),)
    num_audio_tokens = np.zeros(len(folder.index), dtype=np.int64)
    if too_long != "split":
        return _eligible(folder, weight, num_audio_tokens, problems)
    found = _eligible(folder, weight, num_audio_tokens, problems, parts)
    exchanges = [
        InputError(
            folder.index.where(record),
            field="turns",
            found=f"a question with its answer of {num_tokens} tokens",
            wanted=wanted,
            remedy=_REMEDY,
        )
        for record, num_tokens in zip(
            parts.refused_record.tolist(), parts.refused_tokens.tolist(), strict=True
        )
        if not is_refused[record]
    ]
    return Eligible(found.source, (*found.left_out, *exchanges))


def eligible_pairs(folder: Folder, weight: float, row_tokens: int) -> Eligible:
    """Return the pairs of preference of a folder of which both sides fit a row: neither is ever cut."""
    is_long = folder.counts.num_tokens > row_tokens
    too_long = (
        "rejected",
        is_long,
        "too long a pair",
        f"at most {row_tokens} tokens on both sides (row_tokens)",
    )
    return _eligible(folder, weight, np.zeros(len(folder.index), dtype=np.int64), (too_long,))


def eligible_speech(
    folder: Folder,
    weight: float,
    *,
    geometry: AudioGeometry | None,
    paths: CtcPaths | None,
    max_audio_tokens: int,
    max_text_tokens: int,
    max_positions: int | None = None,
    speeds: tuple[float, ...] = (1.0,),
) -> Eligible:
    """Return the records of a folder whose clip (or simulated path) and text fit a batch, and a row of the decoder.

    The length of a path is not known before it is drawn: the longest it can be is counted. A clip must fit at each of
    its speeds.

    Raises:
        InputError: There are clips to hear, and no geometry.
    """
    counts, num_samples = folder.counts, folder.index.num_samples
    is_heard = (num_samples > 0) | (counts.num_spoken >= 0)
    if paths is not None:
        is_unknown = is_heard & (counts.num_spoken < 0)
        longest = np.array([paths.max_length(n) for n in range(int(counts.num_spoken.max(initial=0)) + 1)])
        num_audio_tokens = np.where(is_heard, longest[np.maximum(counts.num_spoken, 0)], 0)
        at_speed = num_audio_tokens[None]
        missing = (
            "spoken",
            is_unknown,
            "a clip of which nobody knows what is said",
            "words to simulate a path of",
        )
    else:
        at_speed = np.stack([_audio_tokens(folder, geometry, speed) for speed in speeds])
        num_audio_tokens = at_speed.max(axis=0)
        missing = ("audio", is_heard & (num_samples == 0), "no clip", "a clip to hear, or simulated paths")
    longest_samples = None if geometry is None or paths is not None else geometry.longest_samples
    beyond = np.zeros_like(is_heard)
    if longest_samples is not None:
        lengths, which = np.unique(num_samples, return_inverse=True)
        slowest = np.array([num_samples_at(int(length), min(speeds)) for length in lengths])
        beyond = slowest[which] > longest_samples
    too_short = is_heard & (at_speed.min(axis=0) < 1) & ~missing[1]
    too_long = num_audio_tokens > max_audio_tokens
    most = np.iinfo(np.int64).max if max_positions is None else max_positions
    problems = (
        missing,
        ("audio", beyond, "a clip longer than the encoder's window", f"at most {longest_samples} samples"),
        ("audio", too_short, "a clip shorter than one audio token", "a clip that the encoder can hear"),
        ("audio", too_long, "too long a clip", f"at most {max_audio_tokens} audio tokens (max_audio_tokens)"),
        (
            "text",
            counts.num_tokens > max_text_tokens,
            "too long a text",
            f"at most {max_text_tokens} tokens (max_text_tokens)",
        ),
        (
            "text",
            counts.num_tokens + num_audio_tokens > most,
            "too long a row",
            f"at most {max_positions} positions of text and audio (the decoder's max_position_embeddings)",
        ),
    )
    found = _eligible(folder, weight, num_audio_tokens, problems)
    if len(at_speed) == 1:
        return found if paths is not None else replace(found, source=replace(found.source, speeds=speeds))
    spoken_at = {"speeds": speeds, "tokens_at_speed": at_speed[:, found.source.records]}
    return replace(found, source=replace(found.source, **spoken_at))


def kept_at_least(index: ShardIndex, sample_rate_hz: int) -> np.ndarray:
    """Return (r) which records a voice of a rate can learn from: not those kept at less, which are told.

    Their clips have nothing in the upper part of the spectrum, and people would be learned to have nothing there. What
    an older index does not say is taken to be right.

    Raises:
        InputError: No clip is kept at that rate or more.
    """
    is_low = (index.rate_hz > 0) & (index.rate_hz < sample_rate_hz)
    has_clip = index.num_samples > 0
    if not is_low.any():
        return ~is_low
    rates = ", ".join(f"{rate_hz} Hz" for rate_hz in np.unique(index.rate_hz[is_low]).tolist())
    if is_low.sum() == has_clip.sum():
        raise InputError(
            index.folder,
            field="rate_hz",
            found=f"clips of {rates} alone",
            wanted=f"{sample_rate_hz} Hz or more, the rate of the model",
            remedy=f"write them again with --rate-hz {sample_rate_hz}, from recordings that have it",
        )
    told = "%s: %d of %d clips are kept at %s, less than the %d Hz of the model, and left out"
    _LOG.warning(told, index.folder, int(is_low.sum()), int(has_clip.sum()), rates, sample_rate_hz)
    return ~is_low


def eligible_voice(
    folder: Folder,
    weight: float,
    num_frames: Integers,
    max_frames: int,
    max_phones: int,
    is_kept: np.ndarray | None = None,
) -> Eligible:
    """Return the records of a folder that say something, and whose clip and phones fit a batch.

    Clips in which nobody speaks, and records without a clip, teach a voice nothing: they are told and passed over, and
    count as no bad records.

    Args:
        folder: Its counts are of phones, below 0 where nothing is said.
        weight: Visits of each record.
        num_frames: (r) of each clip.
        max_frames: Most of a batch.
        max_phones: Most of a batch.
        is_kept: (r) the records to choose from, from `kept_at_least`; None is all.
    """
    num_phones = folder.counts.num_tokens
    says_nothing = num_phones < 0
    if says_nothing.any():
        _LOG.warning(
            "%s: in %d of %d records nobody says anything; a voice learns from the others",
            folder.index.folder,
            int(says_nothing.sum()),
            len(folder.index),
        )
    problems = (
        ("audio", num_frames > max_frames, "too long a clip", f"at most {max_frames} frames (max_frames)"),
        ("text", num_phones > max_phones, "too long a text", f"at most {max_phones} phones (max_phones)"),
        ("audio", num_frames < num_phones, "fewer frames than phones", "a frame for each phone"),
    )
    passed_over = says_nothing if is_kept is None else says_nothing | ~is_kept
    return _eligible(folder, weight, num_frames, problems, passed_over=passed_over)


_Problem = tuple[str, np.ndarray, str, str]
"""Field, (r) which records have it, found, wanted."""


def _eligible(
    folder: Folder,
    weight: float,
    num_audio_tokens: Integers,
    problems: tuple[_Problem, ...],
    parts: Parts | None = None,
    passed_over: np.ndarray | None = None,
) -> Eligible:
    """Return what has none of the problems; where parts are given, these in place of the records they are of.

    What is `passed_over` (r) has no problem, and is not in it either.
    """
    index, counts = folder.index, folder.counts
    unreadable = ("json", counts.num_tokens < 1, "a record that cannot be read", "a record of version 1")
    is_good = np.ones(len(index), dtype=bool) if passed_over is None else ~passed_over
    errors = []
    for field, has_problem, found, wanted in (unreadable, *problems):
        for record in np.flatnonzero(has_problem & is_good):
            where = index.where(int(record))
            errors.append(InputError(where, field=field, found=found, wanted=wanted, remedy=_REMEDY))
        is_good &= ~has_problem
    records = np.flatnonzero(is_good)
    source = Source(weight, records, counts.num_tokens[records], num_audio_tokens[records])
    if parts is not None and len(parts.record):
        source = _in_parts(source, parts)
    if source.num_visits < 1:
        raise InputError(
            index.folder,
            field="weight",
            found=f"{len(records)} usable records of {len(index)} with weight {weight:g}" + _example(errors),
            wanted="at least one visit in an epoch",
            remedy="raise the weight or leave the folder out",
        )
    return Eligible(source, tuple(errors))


def _in_parts(source: Source, parts: Parts) -> Source:
    is_whole = ~np.isin(source.records, parts.record)
    num_parts = len(parts.record)
    return Source(
        source.weight,
        np.concatenate([source.records[is_whole], parts.record]),
        np.concatenate([source.num_tokens[is_whole], parts.num_tokens]),
        np.concatenate([source.num_audio_tokens[is_whole], np.zeros(num_parts, dtype=np.int64)]),
        np.concatenate([np.full(int(is_whole.sum()), -1, dtype=np.int64), parts.part]),
    )


def _example(errors: list[InputError]) -> str:
    return f" ({errors[0].found} at {errors[0].where})" if errors else ""


def _audio_tokens(folder: Folder, geometry: AudioGeometry | None, speed: float) -> Integers:
    """Return the audio tokens of each record at a speed; 0 without a clip, or with one that the encoder cannot take."""
    lengths, which = np.unique(folder.index.num_samples, return_inverse=True)
    if lengths.max(initial=0) > 0 and geometry is None:
        raise InputError(
            folder.index.folder,
            field="geometry",
            found="clips, and no audio geometry",
            wanted="the model's geometry, or simulated paths",
            remedy="link model.geometry to data.geometry, or set data.paths",
        )
    fitting = [_fits(geometry, num_samples_at(int(length), speed)) for length in lengths]
    return np.array(fitting, dtype=np.int64)[which]


def _fits(geometry: AudioGeometry | None, num_samples: int) -> int:
    if geometry is None or num_samples == 0:
        return 0
    try:
        return geometry.num_audio_tokens(num_samples)
    except ValueError:
        return 0
