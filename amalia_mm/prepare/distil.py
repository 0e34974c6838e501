"""What a decoder itself says of the words of clips: records with the same clips, and its own answers to learn from.

An adapter that is taught with these learns to let the decoder say of speech what it says of text. The answers are the
decoder's, by the text path: how well it hears has no part in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from amalia_mm.assistant import Assistant
from amalia_mm.batch import Turn
from amalia_mm.data.pipeline import spoken_of
from amalia_mm.data.schema import TRANSCRIBE, Record
from amalia_mm.data.shards import ShardIndex, ShardWriter, read_record
from amalia_mm.data.tars import sha256
from amalia_mm.errors import InputError, writing
from amalia_mm.portuguese.contrast import find_markers, load_contrasts, markers
from amalia_mm.prepare.staging import write_summary
from amalia_mm.text.chat import instruction, read_in_place
from amalia_mm.text.sampling import Sampling

SUMMARY = "distil.json"
_CARD = "README.md"
BLOCK_RECORDS = 128
"""Records answered before they are kept: what an interruption costs, and what draws are counted by."""
CUT, EMPTY, BRAZILIAN = "met the limit of their length", "empty", "with Brazilian forms"
SILENT = "in which nothing is said"


@dataclass(frozen=True)
class DistilOptions:
    """What is asked, and how it is answered.

    Args:
        tasks: Of `text.chat.INSTRUCTIONS`; of `transcribe` the answer is the transcript.
        seed: Of draws and of ways of asking.
        temperature: 0 takes the likeliest token.
        max_new_tokens: Longer answers are left out: one that is cut would teach to stop there.
        paraphrases: Ask in several ways, one for each record.
        variety_check: Leave out answers with forms that are Brazilian alone.
    """

    tasks: tuple[str, ...] = ("continue",)
    seed: int = 0
    temperature: float = 0.0
    max_new_tokens: int = 128
    paraphrases: bool = False
    variety_check: bool = False

    def way(self, task: str, record: Record) -> str:
        """Return how a task is asked for."""
        return instruction(task, f"{self.seed} {record.id}" if self.paraphrases else None)


@dataclass(frozen=True)
class _Answer:
    """What the decoder wrote for a task of a record; `number` is that of the record."""

    number: int
    task: str
    text: str
    is_cut: bool


def write_distilled(
    model: Path | str | None,
    shards: Path,
    output: Path,
    options: DistilOptions = DistilOptions(),
    *,
    batch_size: int = 32,
) -> dict[str, object]:
    """Write the answers to all transcribed records of a folder as shards of their own; return the counts.

    Answers are kept beside the output while they are made, and an interrupted run goes on with them. A record keeps
    its clip, words, variety, speaker, source, licence and split.

    Args:
        model: Whose decoder answers, as `Assistant.load` takes it.
        shards: A folder with transcribed records.
        output: A new or empty folder.
        options: What is asked, and how.
        batch_size: Answers written at once; they do not depend on it.

    Raises:
        InputError: A task is unknown, nothing is transcribed, nothing is left to learn from, or the answers that are
            there are of another run.
    """
    for task in options.tasks:
        instruction(task)
    if not options.tasks:
        raise InputError("--tasks", found="none", wanted="one or more", remedy="name them")
    index = ShardIndex.load(shards)
    numbers = [number for number in range(len(index)) if index.coded["task"][number] == TRANSCRIBE]
    if not numbers:
        remedy = "give a folder of transcribed speech"
        raise InputError(
            shards, field="task", found="none", wanted=f"records of task {TRANSCRIBE}", remedy=remedy
        )
    if (output / "index.json").exists():
        raise InputError(
            output, found="shards", wanted="a new or empty folder", remedy="delete it or choose another one"
        )
    assistant = Assistant.load(model)
    kept = _Kept(
        output.with_name(output.name + ".answers.jsonl"),
        {
            "model": str(assistant.folder.resolve()),
            "model_sha256": _content_of(assistant.folder),
            "shards": index.fingerprint,
            **asdict(options),
        },
    )
    blocks = [numbers[start : start + BLOCK_RECORDS] for start in range(0, len(numbers), BLOCK_RECORDS)]
    answers = kept.answers
    num_done = kept.num_blocks
    with tqdm(total=len(numbers), initial=sum(map(len, blocks[:num_done])), unit="record", delay=2.0) as bar:
        for place, block in enumerate(blocks[num_done:], start=num_done):
            found = _answered(assistant, index, block, place, options, batch_size)
            kept.add(found)
            answers += found
            bar.update(len(block))
    num_silent = len(numbers) - len({answer.number for answer in answers})
    summary = _write_shards(index, output, answers, options, num_silent)
    counts = {"model": str(assistant.folder), "shards": str(shards), **asdict(options)}
    counts |= {"records": len(numbers), **summary}
    with writing(output):
        write_summary(output / SUMMARY, counts)
        kept.path.unlink(missing_ok=True)
    return counts


def _content_of(folder: Path) -> str:
    """Return sha256 over the files of a model folder, but for its card: a model trained anew is another one."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _CARD):
        whole.update(f"{path.relative_to(folder)} {sha256(path)}\n".encode())
    return whole.hexdigest()


class _Kept:
    """The answers of a run that may be interrupted: a line that says of which run, then one for each block."""

    def __init__(self, path: Path, run: dict[str, object]) -> None:
        self.path = path
        self.answers: list[_Answer] = []
        self.num_blocks = 0
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        mine = json.dumps(run, sort_keys=True)
        if len(lines) > 1 and lines[0] != mine:
            remedy = "delete it, or give the same model, shards and options"
            raise InputError(path, found=lines[0], wanted=f"the answers of {mine}", remedy=remedy)
        # What comes after the last line break was being written when the run ended.
        for line in lines[1:-1]:
            self.answers += [_Answer(**answer) for answer in json.loads(line)]
            self.num_blocks += 1
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = [mine, *lines[1:-1]]
            path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")

    def add(self, answers: Sequence[_Answer]) -> None:
        """Keep the answers of a block, on the disk before the next one begins."""
        with writing(self.path.parent), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([asdict(answer) for answer in answers], ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _answered(
    assistant: Assistant,
    index: ShardIndex,
    numbers: Sequence[int],
    block: int,
    options: DistilOptions,
    batch_size: int,
) -> list[_Answer]:
    """Return the answers to the records of a block in which something is said."""
    records = [(number, read_record(index, number, with_audio=False)[0]) for number in numbers]
    said = [(number, record) for number, record in records if (record.text or "").strip()]
    asked = [(number, task, record) for number, record in said for task in options.tasks]
    written = [entry for entry in asked if entry[1] != TRANSCRIBE]
    sampling = Sampling(
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        seed=random.Random(f"{options.seed} {block}").getrandbits(63),
    )
    turns = [
        read_in_place((Turn("user", options.way(task, record), has_audio=True),), record.text or "")
        for _, task, record in written
    ]
    replies = iter(assistant.write_batch(turns, batch_size, sampling))
    answers = []
    for number, task, record in asked:
        reply = None if task == TRANSCRIBE else next(replies)
        text, is_cut = (record.text or "", False) if reply is None else (reply.text, reply.is_cut)
        answers.append(_Answer(number, task, text, is_cut))
    return answers


def _write_shards(
    index: ShardIndex, output: Path, answers: Sequence[_Answer], options: DistilOptions, num_silent: int
) -> dict[str, object]:
    """Write the answers that can be learned from, and return how many of each task, and what was left out."""
    drift = markers(load_contrasts(), "brazilian", ("S", "B")) if options.variety_check else frozenset[str]()
    left_out: Counter[str] = Counter({SILENT: num_silent} if num_silent else {})
    made: Counter[str] = Counter()
    with ShardWriter(output) as writer:
        for answer in _usable(answers, drift, left_out):
            record, audio = read_record(index, answer.number)
            made[answer.task] += 1
            num_samples = int(index.num_samples[answer.number])
            suffix = index.coded["suffix"][answer.number]
            writer.write(_record(record, answer, options), audio, suffix or "flac", num_samples or None)
        if not made:
            found = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "nothing said"
            remedy = "give a model that converses, more --max-new-tokens, or other shards"
            raise InputError(index.folder, found=found, wanted="answers to learn from", remedy=remedy)
    return {"written": dict(made), "left_out": dict(left_out)}


def _usable(answers: Sequence[_Answer], drift: frozenset[str], left_out: Counter[str]) -> Iterator[_Answer]:
    for answer in answers:
        if answer.is_cut:
            left_out[CUT] += 1
        elif not answer.text.strip():
            left_out[EMPTY] += 1
        elif drift and find_markers(answer.text, drift):
            left_out[BRAZILIAN] += 1
        else:
            yield answer


def _record(record: Record, answer: _Answer, options: DistilOptions) -> Record:
    asked = Turn("user", options.way(answer.task, record), has_audio=True)
    return Record(
        id=f"{record.id}-{answer.task}",
        task=answer.task,
        variety=record.variety,
        speaker=record.speaker,
        source=record.source,
        licence=record.licence,
        split=record.split,
        turns=(asked, Turn("assistant", answer.text)),
        spoken=spoken_of(record),
        seconds=record.seconds,
        written=record.text,
    )
