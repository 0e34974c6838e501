"""`amalia shards`: its actions, which write shards by hand, check them, count them and look into them.

Those that make more voices are in `voices.py`. Each imports its room only when it is called. It knows nothing
of what shards are used for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.commands.voices import add_voices
from amalia_mm.errors import InputError
from amalia_mm.terminal import note, result

if TYPE_CHECKING:
    from amalia_mm.data.index import ShardIndex

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
BAD_RECORDS = 2
EARS_HZ = 16_000
"""`units.SAMPLE_RATE_HZ`, which is not imported for a number."""
RATE_HELP = "samples a second of the clips that are kept: 16000 to be heard (default), 24000 for a voice"


def add_shards(commands: Commands) -> None:
    """Add `shards` and its actions to the sub-commands."""
    shards = commands.add_parser("shards", help="write, check, count and look into shards")
    actions = shards.add_subparsers(title="actions", metavar="ACTION", required=True)

    write = actions.add_parser("write", help="recordings with text, as a folder of shards")
    write.add_argument("manifest", type=Path, help="JSONL with audio (relative to the file) and text")
    write.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    write.add_argument("--split", choices=("train", "val", "test"), help="only these rows (default: all)")
    write.add_argument(
        "--copies", type=int, default=0, help="changed copies of each: other vocal tracts, another pace"
    )
    write.add_argument("--rate-hz", type=int, default=EARS_HZ, help=RATE_HELP)
    write.set_defaults(run=_write_shards)

    text = actions.add_parser("write-text", help="documents and conversations, as a folder of shards")
    text.add_argument(
        "paths", nargs="+", type=Path, help=".txt, .tsv, .jsonl (text, messages, conversations) or folders"
    )
    text.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    text.add_argument("--split", choices=("train", "val", "test"), help="only these texts (default: all)")
    text.set_defaults(run=_write_text)

    pairs = actions.add_parser("write-pairs", help="pairs of preference, as a folder of shards")
    pairs.add_argument(
        "paths", nargs="+", type=Path, help=".jsonl with prompt (or messages), chosen and rejected"
    )
    pairs.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    pairs.add_argument("--split", choices=("train", "val", "test"), help="only these pairs (default: all)")
    pairs.set_defaults(run=_write_pairs)

    add_voices(actions)

    verify = actions.add_parser("verify", help="read, check and decode every record")
    verify.add_argument("folders", nargs="+", type=Path)
    verify.set_defaults(run=_verify)

    stats = actions.add_parser("stats", help="counts, hours, sources and varieties")
    stats.add_argument("folders", nargs="+", type=Path)
    stats.set_defaults(run=_stats)

    show = actions.add_parser("show", help="records as JSON, one a line")
    show.add_argument("folder", type=Path)
    show.add_argument("records", nargs="*", help="numbers or ids (default: the first three)")
    show.add_argument("--audio", type=Path, help="also write the clips into this folder")
    show.set_defaults(run=_show)

    index = actions.add_parser("index", help="index tars made elsewhere; with a tokenizer, count tokens too")
    index.add_argument("folders", nargs="+", type=Path)
    index.add_argument("--tokenizer", type=Path)
    index.set_defaults(run=_index)

    tokenize = actions.add_parser(
        "tokenize", help="keep text as token ids beside its shards: training reads those"
    )
    tokenize.add_argument("folders", nargs="+", type=Path)
    tokenize.add_argument("--tokenizer", type=Path, required=True)
    tokenize.set_defaults(run=_tokenize)


def _verify(options: argparse.Namespace) -> int:
    from amalia_mm.data.shards import verify

    num_bad = 0
    for folder in options.folders:
        found = verify(folder)
        for error in found.bad:
            note(f"amalia: {error}")
        num_bad += len(found.bad)
        rates = ", ".join(f"{count} clips at {rate_hz} Hz" for rate_hz, count in found.rates_hz.items())
        counts = f"{found.num_shards} shards\t{found.num_records} records\t{len(found.bad)} bad"
        result(f"{folder}\t{counts}" + (f"\t{rates}" if rates else ""))
    return BAD_RECORDS if num_bad else 0


def _stats(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from amalia_mm.data.shards import stats

    for folder in options.folders:
        result(json.dumps({"folder": str(folder), **asdict(stats(folder))}, ensure_ascii=False, indent=1))
    return 0


def _show(options: argparse.Namespace) -> int:
    from amalia_mm.data.index import ShardIndex, read_record

    index = ShardIndex.load(options.folder)
    numbers = [_record_number(index, word) for word in options.records] or range(min(3, len(index)))
    for number in numbers:
        record, audio = read_record(index, number)
        result(json.dumps({"record": number, **record.to_json()}, ensure_ascii=False))
        if options.audio is not None and audio is not None:
            options.audio.mkdir(parents=True, exist_ok=True)
            path = options.audio / f"{index.strings['key'][number]}.{index.coded['suffix'][number]}"
            path.write_bytes(audio)
            note(str(path))
    return 0


def _record_number(index: ShardIndex, word: str) -> int:
    """Return which record a number or an id means; an id may look like a number, so ids come first."""
    if word in index.strings["id"]:
        return index.strings["id"].index(word)
    if word.isdecimal() and int(word) < len(index):
        return int(word)
    raise InputError(
        index.folder,
        field="record",
        found=word,
        wanted=f"an id, or a number below {len(index)}",
        remedy="`amalia shards stats` counts them",
    )


def _index(options: argparse.Namespace) -> int:
    from amalia_mm.data.index import INDEX_NAME, ShardIndex
    from amalia_mm.data.shards import index_folder

    for folder in options.folders:
        # Only tars without an index are indexed: a new index would hide that a tar was changed.
        index = ShardIndex.load(folder) if (folder / INDEX_NAME).is_file() else index_folder(folder)
        tokens = ""
        if options.tokenizer is not None:
            from amalia_mm.data.tokens import index_tokens
            from amalia_mm.text.tokenizer import Tokenizer

            counts = index_tokens(folder, Tokenizer.load(options.tokenizer))
            tokens = f"\t{int(counts.num_tokens.sum())} tokens"
        result(f"{folder}\t{len(index)} records{tokens}")
    return 0


def _tokenize(options: argparse.Namespace) -> int:
    from amalia_mm.data.token_ids import write_token_ids
    from amalia_mm.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(options.tokenizer)
    for folder in options.folders:
        num_tokens = write_token_ids(folder, tokenizer).num_tokens
        result(f"{folder}\t{len(num_tokens)} records\t{int(num_tokens.sum())} tokens")
    return 0


def _write_shards(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from amalia_mm.data.shards import ShardWriter
    from amalia_mm.prepare.kept_rate import check_rate
    from amalia_mm.prepare.own_speech import decode_own_speech, read_own_speech
    from amalia_mm.prepare.respoken import copies_of

    if options.copies < 0:
        raise InputError("--copies", found=options.copies, wanted="at least 0", remedy="change it")
    speech = read_own_speech([options.manifest])
    if options.split is not None:
        speech.recordings = [row for row in speech.recordings if row.split == options.split]
        if not speech.recordings:
            remedy = "give rows that split, or leave --split out"
            found = f"no row of {options.manifest} in it"
            raise InputError("--split", found=found, wanted=f"recordings for {options.split}", remedy=remedy)
    check_rate(options.rate_hz)
    _check_new(options.output)
    num_written, seconds = 0, 0.0
    with (
        ShardWriter(options.output) as writer,
        tqdm(total=len(speech.recordings), unit="clip", desc="shards", dynamic_ncols=True) as bar,
    ):
        for clip in decode_own_speech(speech, bar.update, options.rate_hz):
            for one in (clip, *copies_of(clip, options.copies)):
                writer.write(one.record, one.flac)
                num_written += 1
                seconds += one.record.seconds or 0.0
    for reason, count in speech.notes.items():
        note(f"{options.manifest}: {reason}: {count} rows")
    counts = f"{num_written} records\t{seconds / 3600:.3f} hours\t{options.rate_hz} Hz"
    result(f"{options.output}\t{counts}\t{len(speech.bad)} left out")
    return 0


def _write_text(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.written_shards import write_written

    _check_new(options.output)
    tasks, notes = write_written(options.paths, options.output, options.split)
    for reason, count in notes.items():
        note(f"{reason}: {count}")
    result("\t".join([str(options.output), *(f"{count} of {task}" for task, count in sorted(tasks.items()))]))
    return 0


def _write_pairs(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.preferences import write_preferences

    _check_new(options.output)
    result(f"{options.output}\t{write_preferences(options.paths, options.output, options.split)} pairs")
    return 0


def _check_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found, wanted = f"{folder} exists", "a folder that does not exist yet, or is empty"
        raise InputError("--output", found=found, wanted=wanted, remedy="choose another, or remove it first")
