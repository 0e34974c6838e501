"""The spoken half of the corpus: the lines as voices say them, with the user's own recordings.

It writes what later stages hear: `shards/speech-train` and `speech-val`, `audio/` (the test clips), `examples/`,
`train.jsonl`, `test.jsonl` and `speech.json`. It knows lines and clips; not how the lines were chosen, nor models.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.data.schema import Record
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.clips import Clip, no_speech, speak_lines
from amalia_mm.prepare.espeak import SpeakerPool
from amalia_mm.prepare.lines import LINES, Line, read_lines
from amalia_mm.prepare.own_speech import OwnSpeech, decode_own_speech, read_own_speech
from amalia_mm.prepare.speech_plan import HELDOUT
from amalia_mm.prepare.staging import staged, write_jsonl, write_summary

SPEECH_SUMMARY = "speech.json"
"""Written last: where it is missing, the speech is not whole."""
SPEECH_PRODUCTS = (
    *("shards/speech-train", "shards/speech-val", "audio", "examples", "train.jsonl", "test.jsonl"),
    SPEECH_SUMMARY,
)
SPEECH_STAGING = ".speech"
MAX_UNSPOKEN_SHARE = 0.01

_NUM_EXAMPLES = 5


@dataclass
class _Done:
    """What has been written so far."""

    train: list[dict[str, object]] = field(default_factory=list)
    test: list[dict[str, object]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("train", "val", "test"), 0.0))
    clips: Counter[str] = field(default_factory=Counter)
    unspoken: list[InputError] = field(default_factory=list)


def write_speech(
    output: Path,
    *,
    seed: int = 0,
    speech: Sequence[Path] = (),
    num_children: int = 2,
    progress: bool = True,
) -> dict[str, object]:
    """Return the summary of the speech (also `speech.json`), after speaking `output/lines.jsonl`.

    The same lines and arguments give the same files, byte for byte (the summary's seconds apart), whatever the
    number of children. What an earlier or interrupted run left is replaced only when everything is there.

    Args:
        output: The run folder, in which `write_text` has left the lines.
        seed: Decides how a clip sounds.
        speech: The user's manifests of recordings, added to the training and test speech.
        num_children: Synthesiser processes side by side.
        progress: Show a bar on stderr.

    Raises:
        InputError: There are no lines, the user's recordings are not what they should be, more than a tenth of them
            cannot be used, the synthesiser does not work, or the disk is full.
    """
    start_s = time.monotonic()
    lines, own = read_lines(output / LINES), read_own_speech(speech)
    with staged(output, SPEECH_STAGING, SPEECH_PRODUCTS) as staging:
        with SpeakerPool(num_children) as pool, _one_torch_thread():
            synthesiser = pool.speakers[0].info()  # fails here, at once, where there is none
            done = _write_clips(staging, lines, own, pool, seed, progress)
        _write_examples(staging, done.test)
        summary = {
            **_speech_summary(lines, done, own, synthesiser),
            "seconds_taken": round(time.monotonic() - start_s, 1),
        }
        write_summary(staging / SPEECH_SUMMARY, summary)
    return summary


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let each thread of the pool work alone: teams of threads on one sentence wait for each other most of the time.

    And a sum over a clip is the same on any number of cores.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _write_clips(
    staging: Path, lines: Sequence[Line], own: OwnSpeech, pool: SpeakerPool, seed: int, progress: bool
) -> _Done:
    done = _Done()
    (staging / "audio").mkdir()
    voiced = [line for line in lines if line.voice is not None]
    with ExitStack() as stack:
        writers = {
            part: stack.enter_context(ShardWriter(staging / "shards" / f"speech-{part}"))
            for part in ("train", "val")
        }
        total = len(lines) + len(own.recordings)
        bar = stack.enter_context(tqdm(total=total, unit="clip", desc="voz", disable=not progress))
        for answer in speak_lines(voiced, pool, seed):
            if isinstance(answer, InputError):
                done.unspoken.append(answer)
            else:
                _keep(staging, writers, answer, done)
            bar.update()
        for line in lines:
            if line.voice is None:
                _keep(staging, writers, no_speech(line, seed), done)
                bar.update()
        for own_clip in decode_own_speech(own, bar.update):
            _keep_own(staging, writers, own_clip.record, own_clip.flac, done)
        _check_unspoken(done, len(voiced))
    write_jsonl(staging / "train.jsonl", done.train)
    write_jsonl(staging / "test.jsonl", done.test)
    return done


def _keep(staging: Path, writers: Mapping[str, ShardWriter], clip: Clip, done: _Done) -> None:
    line = clip.line
    done.seconds[line.split] += clip.seconds
    done.clips[line.split] += 1
    if line.split == "test":
        audio = f"audio/{line.id}.flac"
        (staging / audio).write_bytes(clip.flac)
        done.test.append(line.row(audio))
        return
    record = line.record(round(clip.seconds, 3))
    writers[line.split].write(record, clip.flac, num_samples=clip.num_samples)
    if line.split == "train" and line.text:
        done.train.append(line.row(None))


def _keep_own(
    staging: Path, writers: Mapping[str, ShardWriter], record: Record, flac: bytes, done: _Done
) -> None:
    line = Line(
        record.id,
        record.text or "",
        record.split,
        source=record.source,
        variety=record.variety,
        licence=record.licence,
    )
    row = line.row(None) | {"voice": record.speaker or None}
    if record.split == "test":
        audio = f"audio/own-{len(done.test):06d}.flac"
        (staging / audio).write_bytes(flac)
        done.test.append(row | {"audio": audio})
        return
    writers[record.split].write(record, flac)
    if record.split == "train":
        done.train.append(row)


def _check_unspoken(done: _Done, num_lines: int) -> None:
    if len(done.unspoken) > MAX_UNSPOKEN_SHARE * num_lines:
        first = done.unspoken[0]
        raise InputError(
            first.where,
            field=first.field,
            found=f"{len(done.unspoken)} of {num_lines} sentences not spoken, this one: {first.found}",
            wanted=f"at most {MAX_UNSPOKEN_SHARE:.0%}",
            remedy="run `amalia doctor`, or leave these sentences out of the text",
        )


def _write_examples(staging: Path, test: Sequence[Mapping[str, object]]) -> None:
    """Copy a few test clips, each by another voice if there are as many, and a spoken question, as wav."""
    (staging / "examples").mkdir()
    sentences = [row for row in test if row["task"] == "transcribe" and row["heldout"] not in (None, HELDOUT)]
    by_voice = {row["voice"]: row for row in reversed(sentences)}
    chosen = [*by_voice.values(), *(row for row in sentences if row not in by_voice.values())][:_NUM_EXAMPLES]
    question = next((row for row in test if row["task"] == "answer"), None)
    named = [(f"frase_{number}.wav", row) for number, row in enumerate(chosen, start=1)]
    named += [("pergunta.wav", question)] if question is not None else []
    for name, row in named:
        write_audio(staging / "examples" / name, load_audio(staging / str(row["audio"])))


def _speech_summary(
    lines: Sequence[Line], done: _Done, own: OwnSpeech, synthesiser: Mapping[str, str]
) -> dict[str, object]:
    spoken = {part: [line for line in lines if line.split == part and line.voice] for part in done.seconds}
    return {
        "synthesiser": f"espeak-ng {synthesiser['version']}, {synthesiser['language']}",
        "hours": {part: round(seconds / 3600, 3) for part, seconds in sorted(done.seconds.items())},
        "clips": dict(done.clips),
        "tasks": {part: dict(Counter(line.task for line in lines)) for part, lines in spoken.items()},
        "words": len({word for line in spoken["train"] for word in words(line.text)}),
        "voices": {
            part: sorted({line.voice.name for line in lines if line.voice is not None})
            for part, lines in spoken.items()
        },
        "not_spoken": [str(error) for error in done.unspoken],
        "own": {
            "recordings": len(own.recordings),
            "hours": {part: round(seconds / 3600, 3) for part, seconds in sorted(own.seconds.items())},
            "notes": dict(own.notes),
            "speakers_in_training_and_test": _heard_on_both_sides(own),
            "without_a_speaker": {
                split: sum(not recording.speaker for recording in own.recordings if recording.split == split)
                for split in ("train", "test")
            },
            "bad": [str(error) for error in own.bad],
        },
    }


def _heard_on_both_sides(own: OwnSpeech) -> list[str]:
    """Return the speakers of training recordings who are also tested on: a manifest without splits has them."""
    by_split = {
        split: {recording.speaker for recording in own.recordings if recording.split == split}
        for split in ("train", "test")
    }
    return sorted(name for name in by_split["train"] & by_split["test"] if name)
