"""`amalia evaluate --says`: whether what a run says is understood. Its room is imported only when it is called."""

from __future__ import annotations

import argparse
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.terminal import result

SENTENCES = 60


def add_round_trip(evaluate: argparse.ArgumentParser) -> None:
    """Add what measures a voice by ears; `--model` is the ears, `--data` the run with the sentences."""
    group = evaluate.add_argument_group("a voice by the ears of --model, on the sentences of --data")
    group.add_argument("--says", type=Path, metavar="RUN", help="the run that speaks")
    group.add_argument("--speakers", default="pt,f1,m3,f5", help="its voices that take turns, by name")
    group.add_argument(
        "--sentences",
        type=int,
        help=f"of each group of the test set ({SENTENCES}; for the report of a run 20)",
    )
    group.add_argument("--griffin-lim", action="store_true", help="in place of the run's vocoder")


def check_sentences(count: int | None) -> None:
    """Raise `InputError` where somebody asks for no sentence."""
    if count is not None and count < 1:
        raise InputError("--sentences", found=count, wanted="at least 1", remedy="correct it")


def evaluate_says(options: argparse.Namespace) -> int:
    """Measure it, and print a line a group."""
    from amalia_mm.assistant import Assistant
    from amalia_mm.evaluate.round_trip import REPORT, evaluate_round_trip, lines, sentences
    from amalia_mm.speaking import SpeechModel

    check_sentences(options.sentences)
    model = SpeechModel(options.says, "griffin-lim" if options.griffin_lim else None)
    speakers = [name for name in options.speakers.split(",") if name]
    if not speakers:
        raise InputError("--speakers", found="nobody", wanted="names", remedy="name one or more")
    figures = evaluate_round_trip(
        model,
        Assistant.load(options.model or options.says),
        sentences(options.data or options.says, options.sentences or SENTENCES),
        options.output,
        speakers=speakers,
        dnsmos=options.dnsmos,
    )
    if not options.quiet:
        result("\n".join([*lines(figures), str(options.output / REPORT)]))
    return 0
