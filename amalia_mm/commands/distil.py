"""`amalia prepare distil | negatives`: shards of speech that a model or nobody speaks in, made of others or of nothing.

Each imports its room only when it is called.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.terminal import note

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]


def add_distil(jobs: Commands) -> None:
    """Add `distil` and `negatives` to the jobs of `amalia prepare`."""
    distil = jobs.add_parser("distil", help="what a decoder itself says of transcribed clips, as shards")
    distil.add_argument("--model", required=True, help="whose decoder answers: model, stage or run folder")
    distil.add_argument("--shards", type=Path, required=True, help="a folder of transcribed speech")
    distil.add_argument("--output", type=Path, required=True, help="a new folder of shards")
    distil.add_argument(
        "--tasks", default="continue", help="any of transcribe,continue,summarise,translate_en,answer"
    )
    distil.add_argument("--seed", type=int, default=0)
    distil.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest token")
    distil.add_argument("--max-new-tokens", type=int, default=128, help="longer answers are left out")
    distil.add_argument("--batch-size", type=int, default=32, help="answers written at once")
    distil.add_argument("--paraphrases", action="store_true", help="ask in several ways")
    distil.add_argument("--variety-check", action="store_true", help="leave out Brazilian answers")
    distil.set_defaults(run=_distil)

    negatives = jobs.add_parser("negatives", help="clips in which nobody speaks, with an empty transcript")
    negatives.add_argument("--output", type=Path, required=True, help="a new folder of shards")
    negatives.add_argument("--records", type=int, required=True, help="how many clips")
    negatives.add_argument("--min-s", type=float, default=0.5, help="shortest clip, in seconds")
    negatives.add_argument("--max-s", type=float, default=4.0, help="longest clip, in seconds")
    negatives.add_argument("--seed", type=int, default=0)
    negatives.set_defaults(run=_negatives)


def _distil(options: argparse.Namespace) -> int:
    for name in ("max_new_tokens", "batch_size"):
        if getattr(options, name) < 1:
            option, remedy = f"--{name.replace('_', '-')}", "correct it"
            raise InputError(option, found=getattr(options, name), wanted="at least 1", remedy=remedy)
    from amalia_mm.prepare.distil import DistilOptions, write_distilled

    made = write_distilled(
        options.model,
        options.shards,
        options.output,
        DistilOptions(
            tasks=tuple(dict.fromkeys(options.tasks.split(","))),
            seed=options.seed,
            temperature=options.temperature,
            max_new_tokens=options.max_new_tokens,
            paraphrases=options.paraphrases,
            variety_check=options.variety_check,
        ),
        batch_size=options.batch_size,
    )
    for about in ("written", "left_out"):
        counts = made[about]
        assert isinstance(counts, dict)
        told = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
        note(f"{options.output}: {about.replace('_', ' ')}: {told} of {made['records']} records")
    return 0


def _negatives(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.negatives import write_negatives

    made = write_negatives(options.output, options.records, (options.min_s, options.max_s), seed=options.seed)
    note(f"{options.output}: " + ", ".join(f"{count} {kind}" for kind, count in made.items()))
    return 0
