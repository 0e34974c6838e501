"""`amalia evaluate --vocoder`: what a vocoder loses of real speech. Its room is imported only when it is called."""

from __future__ import annotations

import argparse
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.terminal import result


def add_copying(evaluate: argparse.ArgumentParser) -> None:
    """Add what measures a vocoder by itself."""
    group = evaluate.add_argument_group("a vocoder by itself, beside Griffin-Lim, on real speech")
    group.add_argument("--vocoder", type=Path, help="a stage, model or Vocos folder")
    group.add_argument(
        "--copied",
        type=Path,
        action="append",
        default=[],
        metavar="CLIPS",
        help="a folder of recordings, or a manifest",
    )
    group.add_argument("--clips", type=int, default=20, help="clips of each, drawn by chance")
    group.add_argument("--min-s", type=float, default=1.0, help="shortest of them, in seconds")
    group.add_argument(
        "--dnsmos", type=Path, metavar="FOLDER", help="weights of DNSMOS, for opinions as well"
    )


def evaluate_copying(options: argparse.Namespace) -> int:
    """Measure it, and print a line for each vocoder and source."""
    from amalia_mm.evaluate.copying import REPORT, evaluate_copies, lines

    if not options.copied:
        raise InputError(
            "evaluate",
            field="--copied",
            found="--vocoder without it",
            wanted="recordings to say again",
            remedy="add --copied with a folder of recordings",
        )
    if options.clips < 1:
        raise InputError("--clips", found=options.clips, wanted="at least 1", remedy="correct it")
    figures = evaluate_copies(
        options.vocoder,
        options.copied,
        options.output,
        dnsmos=options.dnsmos,
        num_clips=options.clips,
        min_s=options.min_s,
        split=options.split,
    )
    if not options.quiet:
        result("\n".join([*lines(figures), str(options.output / REPORT)]))
    return 0
