"""A corpus of speech as folders of shards: read, sorted out, decoded, written, and counted.

It leaves `train/`, `val/` and `test/` (those that have a clip), `quarantine.jsonl` with every utterance that is not
learned from and why, and `summary.json`, which comes last: where it is, the corpus is whole.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from amalia_mm.data.schema import TRANSCRIBE, Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError, writing
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.corpus_plan import Plan, Refused, Wishes, plan_corpus, without_copies
from amalia_mm.prepare.decoded import Chunk, Decoded, chunks_of, decode_chunks, decoded
from amalia_mm.prepare.odd_rates import Sound, odd_rates, pace_of_all
from amalia_mm.prepare.plausible import num_chars
from amalia_mm.prepare.readers.common_voice import read_common_voice
from amalia_mm.prepare.readers.fleurs import read_fleurs
from amalia_mm.prepare.readers.hf_dataset import read_hf_dataset
from amalia_mm.prepare.readers.manifest import read_european, read_manifest, read_tagarela
from amalia_mm.prepare.readers.mls import read_mls
from amalia_mm.prepare.readers.row import CorpusRow, Fault, Reader, Reading
from amalia_mm.prepare.readers.voxpopuli import read_voxpopuli
from amalia_mm.prepare.staging import staged, write_jsonl, write_summary

FORMATS: Mapping[str, Reader] = {
    "common-voice": read_common_voice,
    "voxpopuli": read_voxpopuli,
    "mls": read_mls,
    "fleurs": read_fleurs,
    "tagarela": read_tagarela,
    "falar": read_european,
    "camoes": read_european,
    "manifest": read_manifest,
    "hf-dataset": read_hf_dataset,
}
"""What `--format` can be."""
SUMMARY, QUARANTINE = "summary.json", "quarantine.jsonl"
_WORK, _STAGING = ".work", ".writing"
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


def write_corpus(
    path: Path,
    output: Path,
    *,
    layout: str,
    name: str = "",
    reading: Reading | None = None,
    wishes: Wishes | None = None,
    num_processes: int = 1,
    progress: bool = True,
) -> dict[str, object]:
    """Return the summary of a corpus (also `summary.json`), after writing it as shards.

    The same corpus and wishes give the same shards, byte for byte, with any number of processes and wherever an
    earlier run was stopped: it goes on from there. While it runs, `output` holds the clips twice.

    Args:
        path: The corpus.
        output: A folder of its own.
        layout: One of `FORMATS`.
        name: What figures call it; the layout where empty.
        reading: How its fields are called.
        wishes: What is wanted of it.
        num_processes: Processes that decode.
        progress: Show bars on stderr.

    Raises:
        InputError: The path is no such corpus, `output` holds another one, nothing of it can be used, or the disk is
            full.
    """
    reading, wishes, name = reading or Reading(), wishes or Wishes(), name or layout
    if (output / SUMMARY).exists():
        remedy = "remove it, or choose another folder"
        raise InputError(output, found="a corpus that is whole", wanted="a new folder", remedy=remedy)
    plan = plan_corpus(_counted(FORMATS[layout], path, reading, progress), wishes)
    _check_any(plan.rows, plan.refused, path)
    work = output / _WORK
    with writing(output):
        work.mkdir(parents=True, exist_ok=True)
    chunks = chunks_of(plan.rows, wishes.limits, work, wishes.channels)
    decode_chunks(chunks, wishes.limits, num_processes, progress)
    clips, refused = _sorted_out(chunks)
    plan.refused += refused
    if not wishes.keep_odd_rates:
        clips, refused = _without_odd_rates(clips, reading)
        plan.refused += refused
    _check_any(clips, plan.refused, path)
    splits = [split for split in _SPLITS if any(clip.row.split == split for clip in clips)]
    about = {"corpus": name, "format": layout, "path": str(path), "rate_hz": wishes.limits.rate_hz}
    summary = {**about, **_counts(clips, plan, reading)}
    with staged(output, _STAGING, (*splits, QUARANTINE, SUMMARY)) as staging:
        _write_shards(staging, clips, name, progress)
        write_jsonl(staging / QUARANTINE, (one.to_json() for one in plan.refused))
        write_summary(staging / SUMMARY, summary)
    shutil.rmtree(work)
    return summary


def _counted(reader: Reader, path: Path, reading: Reading, progress: bool) -> Iterator[CorpusRow]:
    rows = reader(path, reading)
    yield from tqdm(rows, unit="row", desc="rows", dynamic_ncols=True, disable=not progress)


def _check_any(usable: Sequence[object], refused: Sequence[Refused], path: Path) -> None:
    if usable:
        return
    reasons = Counter(one.fault.reason for one in refused).most_common(3)
    found = f"no utterance that can be used ({', '.join(f'{count} {reason}' for reason, count in reasons) or 'no row'})"
    first = refused[0] if refused else None
    example = f"; the first: {first.row.where}: {first.fault.value}" if first else ""
    remedy = "check the path, --format and --where, or change the limits"
    wanted = f"at least one (of the first: {first.fault.limit})" if first else "at least one"
    raise InputError(path, found=found + example, wanted=wanted, remedy=remedy)


def _sorted_out(chunks: Sequence[Chunk]) -> tuple[list[Decoded], list[Refused]]:
    """Return the clips to learn from in the order of their corpus, and what decoding found wrong."""
    clips: list[Decoded] = []
    refused: list[Refused] = []
    for chunk in chunks:
        for row, found in zip(chunk.rows, decoded(chunk), strict=True):
            if isinstance(found, Fault):
                refused.append(Refused(row, found))
            else:
                clips.append(found)
    rows = [clip.row for clip in clips]
    kept, copies = without_copies(rows, lambda number, _: clips[number].sha256, "sound")
    wanted = {row.id for row in kept}  # ids are of one row each by now
    return [clip for clip in clips if clip.row.id in wanted], refused + copies


def _without_odd_rates(clips: Sequence[Decoded], reading: Reading) -> tuple[list[Decoded], list[Refused]]:
    """Return the clips without those that sound as if their header lied about the sample rate."""
    sounds = [
        Sound(clip.row.speaker, num_chars(clip.row.text or ""), clip.seconds, clip.bands) for clip in clips
    ]
    odd, note = odd_rates(sounds), pace_of_all(sounds)
    if note is not None:
        reading.notes[note] += len(clips)
    kept = [clip for number, clip in enumerate(clips) if number not in odd]
    return kept, [Refused(clips[number].row, fault) for number, fault in sorted(odd.items())]


def _write_shards(folder: Path, clips: Sequence[Decoded], name: str, progress: bool) -> None:
    with ExitStack() as stack:
        writers: dict[str, ShardWriter] = {}
        for clip in tqdm(clips, unit="clip", desc="shards", dynamic_ncols=True, disable=not progress):
            row = clip.row
            assert row.split is not None
            if row.split not in writers:
                writers[row.split] = stack.enter_context(ShardWriter(folder / row.split))
            record = Record(
                id=row.id,
                task=TRANSCRIBE,
                variety=row.variety,
                speaker=row.speaker,
                source=f"speech:{name}",
                licence=row.licence,
                split=row.split,
                text=(row.text or "").strip(),
                seconds=round(clip.seconds, 3),
            )
            writers[row.split].write(record, clip.flac(), num_samples=clip.num_samples)


def _counts(clips: Sequence[Decoded], plan: Plan, reading: Reading) -> dict[str, object]:
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for clip in clips:
        seconds[str(clip.row.split), clip.row.variety.value].append(clip.seconds)
    rows = [clip.row for clip in clips]
    return {
        "clips": len(clips),
        "hours": round(sum(clip.seconds for clip in clips) / 3600, 3),
        "by_split_and_variety": [
            {"split": split, "variety": variety, "clips": len(found), "hours": round(sum(found) / 3600, 3)}
            for (split, variety), found in sorted(seconds.items())
        ],
        "quarantined": dict(Counter(one.fault.reason for one in plan.refused).most_common()),
        "left_out": dict(plan.left_out),
        "notes": dict(reading.notes),
        "licences": dict(Counter(row.licence for row in rows)),
        "speakers": {split: len(_speakers(rows, split)) for split in _SPLITS},
        "speakers_in_training_and_test": len(_speakers(rows, "train") & _speakers(rows, "test")),
        "sentences_in_training_and_test": len(_sentences(rows, "train") & _sentences(rows, "test")),
    }


def _speakers(rows: Sequence[CorpusRow], split: Split) -> set[str]:
    return {row.speaker for row in rows if row.split == split and row.speaker}


def _sentences(rows: Sequence[CorpusRow], split: Split) -> set[str]:
    return {spoken_form(row.text or "") for row in rows if row.split == split}


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the counts of a summary as lines of a table, tabs between columns."""
    lines = ["split\tvariety\tclips\thours"]
    for cell in summary["by_split_and_variety"]:
        lines.append(f"{cell['split']}\t{cell['variety']}\t{cell['clips']}\t{cell['hours']:.3f}")
    lines.append(f"all\t\t{summary['clips']}\t{summary['hours']:.3f}")
    for title in ("quarantined", "left_out", "notes"):
        lines += [f"{title}\t{reason}\t{count}" for reason, count in summary[title].items()]
    for title in ("speakers_in_training_and_test", "sentences_in_training_and_test"):
        lines.append(f"{title}\t\t{summary[title]}")
    return lines
