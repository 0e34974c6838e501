"""`amalia shards split | recite`: more voices, and recordings kept apart by what they share.

Each action imports its room only when it is called. It knows nothing of what shards are used for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.terminal import note, result

Actions = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]


def add_voices(actions: Actions) -> None:
    """Add the actions to those of `amalia shards`."""
    split = actions.add_parser("split", help="a manifest of recordings, split by a field that they share")
    split.add_argument("manifest", type=Path, help="JSONL with audio (relative to the file) and text")
    split.add_argument("--output", type=Path, required=True, help="the new manifest")
    split.add_argument("--by", metavar="FIELD", help="rows with the same value stay together, such as lesson")
    split.add_argument("--test", type=float, default=0.15, help="least share of rows to test on")
    split.add_argument("--val", type=float, default=0.1, help="least share of rows to watch")
    split.add_argument(
        "--where",
        action="append",
        default=[],
        help="only rows with FIELD=VALUE (of a field named twice with either), or FIELD!=VALUE",
    )
    split.set_defaults(run=_split)

    recite = actions.add_parser("recite", help="text read out by the synthetic voices, as a folder of shards")
    recite.add_argument("paths", nargs="+", type=Path, help=".txt, .tsv, .jsonl or folders")
    recite.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    recite.add_argument("--clips", type=int, default=10_000)
    recite.add_argument(
        "--words",
        type=float,
        default=0.4,
        help="share of single words among lines that are no whole sentence",
    )
    recite.add_argument(
        "--without",
        action="append",
        type=Path,
        default=[],
        metavar="MANIFEST",
        help="say nothing of what its rows say, but for those of split train",
    )
    recite.add_argument("--seed", type=int, default=0)
    recite.set_defaults(run=_recite)


def _split(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.choice import parse_choices
    from amalia_mm.prepare.grouped import GroupedSplit, write_split

    if options.output.exists() and options.output.resolve() == options.manifest.resolve():
        remedy = "choose another --output"
        raise InputError("--output", found=options.output, wanted="not the manifest itself", remedy=remedy)
    for name in ("test", "val"):
        if not 0 <= getattr(options, name) < 1:
            found = getattr(options, name)
            raise InputError(f"--{name}", found=found, wanted="from 0 to below 1", remedy="change it")
    wanted = GroupedSplit(options.by, parse_choices(options.where), options.test, options.val)
    counts = write_split(options.manifest, options.output, wanted)
    shown = "\t".join(f"{count} {name}" for name, count in sorted(counts.items()))
    result(f"{options.output}\t{shown}")
    return 0


def _recite(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.recited import read_withheld, recite
    from amalia_mm.prepare.recited_shards import write_recited

    if options.clips < 1:
        raise InputError("--clips", found=options.clips, wanted="at least 1", remedy="change it")
    if not 0 <= options.words <= 1:
        raise InputError("--words", found=options.words, wanted="from 0 to 1", remedy="change it")
    recited = recite(
        options.paths, options.clips, options.words, read_withheld(options.without), options.seed
    )
    for reason, count in recited.notes.items():
        note(f"{reason}: {count}")
    seconds, unspoken = write_recited(recited.lines, options.output, options.seed)
    num_clips = len(recited.lines) - len(unspoken)
    result(f"{options.output}\t{num_clips} records\t{seconds / 3600:.3f} hours\t{len(unspoken)} left out")
    return 0
