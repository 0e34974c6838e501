"""Speech for a voice to be learned from: lines of the corpus, said clean, unhurried and by every voice at its own size.

What ears learn from has noise, and speakers larger and smaller than they are; a voice would learn both. It writes
`shards/voice-train`, `shards/voice-val` and `voice.json` into the run folder whose lines it reads; `write_held_out`
writes `shards/held-out`, of voices that nothing was trained on.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Generator, Tensor
from torch.nn.functional import pad
from tqdm import tqdm

from amalia_mm.data.schema import Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.prepare.clips import Prosody, speak_lines
from amalia_mm.prepare.espeak import SpeakerPool
from amalia_mm.prepare.jumbled import JUMBLED
from amalia_mm.prepare.kept_rate import check_rate
from amalia_mm.prepare.lines import LINES, Line, read_lines, voiced
from amalia_mm.prepare.spoken import MAX_UNSPOKEN_SHARE
from amalia_mm.prepare.staging import staged, write_summary
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES, Voice
from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples

VOICE_SUMMARY = "voice.json"
"""Written last: where it is missing, the speech is not whole."""
VOICE_PRODUCTS = ("shards/voice-train", "shards/voice-val", VOICE_SUMMARY)
VOICE_STAGING = ".voice"
_AROUND_S = 0.08
"""Silence before and after a clip, for the pauses around it to be learned."""
_MANY_VOICES = Prosody(rate_wpm=(120, 165), pitch=(40, 60), tract_scale=(1.0, 1.0))
"""A pace at which one is understood: a voice speaks at the middle of what it has heard. The ways lie closer together
than those that ears are to learn: what no text tells, a voice can only blur."""
HELD_OUT = "shards/held-out"
HELD_OUT_PRODUCTS = (HELD_OUT, "held_out.json")
_STAGING_HELD_OUT = ".held-out"
_ONE_PERSON = Prosody(rate_wpm=(150, 175), pitch=(45, 55), tract_scale=(1.0, 1.0))
"""A person's ways of speaking lie closer together than those that a model of many voices is to learn."""
_SHORTEST_LINE_S = 1.0
"""No line of the corpus is said faster: so many lines are enough for the minutes that are asked for."""


def write_voice(
    output: Path,
    *,
    num_clips: int = 3000,
    num_val_clips: int = 48,
    seed: int = 0,
    num_children: int = 2,
    rate_hz: int = SAMPLE_RATE_HZ,
    progress: bool = True,
) -> dict[str, object]:
    """Return the summary of the speech (also `voice.json`), after speaking lines of `output/lines.jsonl` clean.

    The same lines and arguments give the same shards, byte for byte, whatever the number of children.

    Args:
        output: The run folder, in which `write_text` has left the lines.
        num_clips: Clips to train on, at most: lines are not said twice. The training voices share them evenly.
        num_val_clips: Clips to validate on, at most.
        seed: Decides which lines, by whom, and how.
        num_children: Synthesiser processes side by side.
        rate_hz: What the clips are kept at; at most 22,050 Hz, at which the synthesiser speaks.
        progress: Show a bar on stderr.

    Raises:
        InputError: There are no lines, more than 1 % of them cannot be said, the synthesiser does not work, or the
            disk is full.
    """
    start_s = time.monotonic()
    check_rate(rate_hz)
    lines = read_lines(output / LINES)
    chosen: dict[Split, list[Line]] = {
        "train": _chosen(lines, "train", num_clips, TRAIN_VOICES, seed),
        "val": _chosen(lines, "val", num_val_clips, TRAIN_VOICES, seed),
    }
    with staged(output, VOICE_STAGING, VOICE_PRODUCTS) as staging:
        with SpeakerPool(num_children) as pool:
            seconds = {
                split: _speak(staging / f"shards/voice-{split}", some, pool, seed, progress, rate_hz)
                for split, some in chosen.items()
            }
        summary: dict[str, object] = {
            "rate_hz": rate_hz,
            "hours": {split: round(total / 3600, 3) for split, total in seconds.items()},
            "clips": {split: len(some) for split, some in chosen.items()},
            "voices": sorted({line.voice.name for line in chosen["train"] if line.voice is not None}),
            "seconds_taken": round(time.monotonic() - start_s, 1),
        }
        write_summary(staging / VOICE_SUMMARY, summary)
    return summary


def write_held_out(
    output: Path,
    *,
    minutes: float,
    num_test_clips: int = 40,
    seed: int = 0,
    num_children: int = 2,
    rate_hz: int = SAMPLE_RATE_HZ,
    progress: bool = True,
) -> dict[str, object]:
    """Return the summary of the test voices' speech (also `held_out.json`): `shards/held-out/train` and `test`.

    To adapt to, and to compare with: each voice says lines of the training sentences until the minutes are full, and
    then sentences of the test set, the same ones for every voice. Deterministic as `write_voice`.

    Args:
        output: The run folder, in which `write_text` has left the lines.
        minutes: Speech of each voice to adapt to.
        num_test_clips: Clips of each voice to compare with, at most.
        seed: Decides which lines, and how they are said.
        num_children: Synthesiser processes side by side.
        rate_hz: Samples a second of the clips, as `write_voice`.
        progress: Show a bar on stderr.

    Raises:
        InputError: As `write_voice`; or the lines are too few for the minutes.
    """
    start_s = time.monotonic()
    if minutes <= 0:
        raise InputError("--held-out", found=minutes, wanted="minutes above 0", remedy="correct it")
    lines = read_lines(output / LINES)
    learned = _said(lines, "train", seed)
    test = [line for line in _said(lines, "test", seed) if line.heldout == "heldout_template"]
    with staged(output, _STAGING_HELD_OUT, HELD_OUT_PRODUCTS) as staging:
        with SpeakerPool(num_children) as pool:
            place = staging / HELD_OUT
            seconds = {
                "train": _speak_until(place / "train", learned, pool, seed, 60 * minutes, progress, rate_hz),
                "test": _speak(
                    place / "test",
                    [_by(line, voice) for voice in TEST_VOICES for line in test[:num_test_clips]],
                    pool,
                    seed,
                    progress,
                    rate_hz,
                    _ONE_PERSON,
                ),
            }
        summary: dict[str, object] = {
            "hours": {split: round(total / 3600, 3) for split, total in seconds.items()},
            "voices": sorted(voice.name for voice in TEST_VOICES),
            "seconds_taken": round(time.monotonic() - start_s, 1),
        }
        write_summary(staging / HELD_OUT_PRODUCTS[-1], summary)
    return summary


def _said(lines: Sequence[Line], split: Split, seed: int) -> list[Line]:
    """Return the sentences of a split in an order of the seed, without questions and words in random order."""
    wanted = [line for line in lines if line.split == split and line.voice is not None and not line.answer]
    wanted = [line for line in wanted if line.template != JUMBLED]
    random.Random(f"held-out {split} {seed}").shuffle(wanted)
    return wanted


def _by(line: Line, voice: Voice) -> Line:
    return replace(line, id=f"{line.id}-{voice.name}", voice=voice)


def _speak_until(
    folder: Path,
    lines: Sequence[Line],
    pool: SpeakerPool,
    seed: int,
    seconds: float,
    progress: bool,
    rate_hz: int,
) -> float:
    """Write clips of every test voice, each until it has spoken so long, and return how many seconds there are."""
    total_s = 0.0
    clean = partial(_clean, rate_hz=rate_hz)
    share = len(lines) // len(TEST_VOICES)
    with ShardWriter(folder) as writer:
        for number, voice in enumerate(tqdm(TEST_VOICES, unit="voice", desc="voz", disable=not progress)):
            spoken_s = 0.0
            own = [_by(line, voice) for line in lines[number * share : (number + 1) * share]]
            most = math.ceil(seconds / _SHORTEST_LINE_S)
            for answer in speak_lines(own[:most], pool, seed, _ONE_PERSON, recorded=clean, rate_hz=rate_hz):
                if spoken_s >= seconds:
                    break
                if isinstance(answer, InputError):
                    raise answer
                spoken_s += answer.seconds
                record = answer.line.record(round(answer.seconds, 3))
                counted = answer.num_samples if rate_hz == SAMPLE_RATE_HZ else None
                writer.write(record, answer.flac, num_samples=counted)
            if spoken_s < seconds:
                found, remedy = f"{spoken_s / 60:.1f} minutes in {len(own)} lines", "ask for fewer minutes"
                wanted = f"{seconds / 60:g} minutes of each voice"
                raise InputError("--held-out", found=found, wanted=wanted, remedy=remedy)
            total_s += spoken_s
    return total_s


def _chosen(lines: Sequence[Line], split: Split, num: int, voices: Sequence[Voice], seed: int) -> list[Line]:
    """Return some sentences and questions of a split, by all voices in turn; words in random order last of all."""
    rng = random.Random(f"voice {split} {seed}")
    said = [line for line in lines if line.split == split and line.voice is not None]
    rng.shuffle(said)
    said.sort(key=lambda line: line.template == JUMBLED)
    # Of a question what is asked is to be said, as it is written; its answer is nobody's business here.
    return [replace(line, answer=None) for line in voiced(said[:num], voices, rng)]


def _speak(
    folder: Path,
    lines: Sequence[Line],
    pool: SpeakerPool,
    seed: int,
    progress: bool,
    rate_hz: int,
    prosody: Prosody = _MANY_VOICES,
) -> float:
    """Write the clips of lines as shards, and return how many seconds they last."""
    unspoken: list[InputError] = []
    total_s = 0.0
    with ShardWriter(folder) as writer:
        clean = partial(_clean, rate_hz=rate_hz)
        answers = speak_lines(lines, pool, seed, prosody, recorded=clean, rate_hz=rate_hz)
        for answer in tqdm(answers, total=len(lines), unit="clip", desc="voz", disable=not progress):
            if isinstance(answer, InputError):
                if answer.field == "rate_hz":
                    raise answer
                unspoken.append(answer)
                continue
            total_s += answer.seconds
            record = answer.line.record(round(answer.seconds, 3))
            counted = answer.num_samples if rate_hz == SAMPLE_RATE_HZ else None
            writer.write(record, answer.flac, num_samples=counted)
    if len(unspoken) > MAX_UNSPOKEN_SHARE * len(lines):
        raise unspoken[0]
    return total_s


def _clean(waveform: Tensor, generator: Generator, rate_hz: int) -> Tensor:
    around = seconds_to_samples(_AROUND_S, rate_hz)
    return pad(waveform, (around, around))
