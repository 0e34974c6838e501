"""`amalia transcribe | ask | chat | evaluate | export`: what a person does with a model.

Each imports its room only when it is called. It knows nothing of how models are made.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.commands.copying import add_copying, evaluate_copying
from amalia_mm.commands.own_voice import add_own_voice, evaluate_people
from amalia_mm.commands.round_trip import add_round_trip, check_sentences, evaluate_says
from amalia_mm.commands.transcribe import add_transcribe, nobody
from amalia_mm.errors import InputError
from amalia_mm.terminal import note, piece, result

if TYPE_CHECKING:
    from amalia_mm.assistant import Assistant

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
REGRESSED = 3
MODEL_HELP = "model, stage or run folder (default: $AMALIA_MODEL, else runs/quickstart)"


def add_model_commands(commands: Commands) -> None:
    """Add the sub-commands that use or measure a model."""
    add_transcribe(commands, MODEL_HELP, _load)

    ask = commands.add_parser("ask", help="a spoken question, a written answer")
    ask.add_argument("audio", type=Path)
    ask.add_argument(
        "--direct", action="store_true", help="without a transcript in between, if it is short enough"
    )
    what = ask.add_mutually_exclusive_group()
    what.add_argument("--task", help="answer, continue, summarise, transcribe, translate_en or translate_pt")
    what.add_argument("--instruction", help="anything to be done with what is said, in your words")
    ask.add_argument(
        "--channels",
        choices=("mix", "left", "right"),
        help="of two channels: their mean, or one (default: mix, but two speakers are refused)",
    )
    ask.add_argument("--model", help=MODEL_HELP)
    ask.set_defaults(run=_ask)

    chat = commands.add_parser("chat", help="a written conversation")
    chat.add_argument("--model", help=MODEL_HELP)
    chat.set_defaults(run=_chat)

    _add_evaluate(commands)

    export = commands.add_parser("export", help="a model for transformers, or a folder of its own")
    export.add_argument(
        "run_folder",
        nargs="?",
        help="a run, stage, model or Hugging Face folder, or a Hub id (default as --model elsewhere)",
    )
    export.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="hf (transformers loads it) or folder (our own model folder, whole)",
    )
    export.add_argument("--output", type=Path, help="a new folder (default: beside the model)")
    export.set_defaults(run=_export)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="measure a run or a model; writes report.json and report.html"
    )
    evaluate.add_argument(
        "run_folder", nargs="?", type=Path, help="a whole run, measured on its own test data"
    )
    evaluate.add_argument("--model", help="instead of a run: " + MODEL_HELP)
    evaluate.add_argument("--data", type=Path, help="folder with test.jsonl, text_test.jsonl or pairs.jsonl")
    evaluate.add_argument(
        "--output", type=Path, default=Path("runs/evaluation"), help="where --data is reported"
    )
    evaluate.add_argument(
        "--show", action="store_true", help="print the figures of an earlier evaluation again"
    )
    _add_hearing(evaluate)
    add_copying(evaluate)
    add_round_trip(evaluate)
    add_own_voice(evaluate)
    evaluate.add_argument("--quiet", action="store_true", help="write the report and print nothing")
    evaluate.add_argument(
        "--against", type=Path, help="folder of an earlier report: ends with 3 where written skills fell"
    )
    evaluate.add_argument(
        "--tolerance", type=float, default=0.01, help="how much a share of right answers may fall"
    )
    evaluate.add_argument("--command", help=argparse.SUPPRESS)
    evaluate.set_defaults(run=_evaluate)


def _add_hearing(evaluate: argparse.ArgumentParser) -> None:
    """Add what measures an encoder without a decoder."""
    for name, does in (("--spoken", "writes down"), ("--vocabulary", "tells apart, text by text")):
        about = (
            f"recordings that the encoder of --model {does}, by CTC alone; rows of split test, or without one"
        )
        evaluate.add_argument(name, type=Path, action="append", default=[], metavar="MANIFEST", help=about)
    evaluate.add_argument(
        "--text",
        type=Path,
        action="append",
        default=[],
        metavar="SHARDS",
        help="write --spoken down with a model of this text as well, counted on the spot",
    )
    evaluate.add_argument("--text-weight", type=float, default=0.5, help="what it counts beside CTC")
    evaluate.add_argument("--text-bonus", type=float, default=0.5, help="for each token that is written")
    evaluate.add_argument(
        "--token-bonus", type=float, default=0.0, help="for each token of a text of --vocabulary, in nats"
    )
    evaluate.add_argument("--split", default="test", help="the rows that are measured in place of test")


def _load(path: str | None) -> Assistant:
    """Return the model that is meant, and say which it is where that is not the run's last stage."""
    from amalia_mm.assistant import Assistant
    from amalia_mm.resolve import BEST_STAGE

    assistant = Assistant.load(path)
    stage, asked = assistant.folder.parent.name, Path(path or os.environ.get("AMALIA_MODEL") or ".").name
    if stage[:2].isdigit() and stage != BEST_STAGE and asked not in ("model", stage):
        note(f"a corrida não chegou a {BEST_STAGE}: usa-se o modelo de {assistant.folder.parent}")
    return assistant


def _ask(options: argparse.Namespace) -> int:
    from amalia_mm.audio.channels import open_recording
    from amalia_mm.text.chat import instruction

    if options.instruction is not None and not options.instruction.strip():
        remedy = "say what is to be done, or leave it out for an answer"
        raise InputError("--instruction", found="no words", wanted="an instruction", remedy=remedy)
    asked = instruction(options.task) if options.task else options.instruction or ""
    assistant = _load(options.model)
    question = open_recording(options.audio, options.channels, assistant.min_samples).whole()
    has_answer = False
    for part in assistant.listen(question, direct=options.direct, instruction=asked):
        has_answer = True
        piece(part)
    result("")
    if not has_answer:
        note(nobody(options.audio))
    return 0


def _chat(options: argparse.Namespace) -> int:
    from amalia_mm.commands.chat import chat

    chat(_load(options.model))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    _check_alone(options)
    if options.vocoder is not None:
        return evaluate_copying(options)
    if options.says is not None:
        return evaluate_says(options)
    if options.own_voice is not None:
        return evaluate_people(options)
    if options.spoken or options.vocabulary:
        return _evaluate_hearing(options)
    from amalia_mm.evaluate.table import read_report, table

    output = options.run_folder or (options.output if options.data else Path("runs/quickstart"))
    _check_run_or_data(options)
    check_sentences(options.sentences)
    if not options.show:
        from amalia_mm.evaluate.harness import evaluate, evaluate_run

        began_s = options.began_s
        if options.data:
            command, data = options.command, options.data
            evaluate(options.model, data, output, num_processes=2, command=command, began_s=began_s)
        else:
            spoken = {} if options.sentences is None else {"num_sentences": options.sentences}
            command, dnsmos = options.command, options.dnsmos
            evaluate_run(output, num_processes=2, command=command, began_s=began_s, dnsmos=dnsmos, **spoken)
        for reason in read_report(output).get("skipped", []):
            note(f"não se mede {reason}")
    if not options.quiet:
        result(table(read_report(output)) + str(output / "report.html"))
    return 0 if options.against is None else _compare(options.against, output, options.tolerance)


def _check_alone(options: argparse.Namespace) -> None:
    """Raise `InputError` where a run is named beside what measures none: it would be left out in silence."""
    of_no_run = {"--vocoder": options.vocoder, "--says": options.says}
    named = next((name for name, given in of_no_run.items() if given is not None), None)
    if named is not None and options.run_folder is not None:
        raise InputError(
            "evaluate",
            found=f"{named} and {options.run_folder}",
            wanted=f"{named} alone: it measures no run",
            remedy="give each of several folders of recordings its own --copied, or leave the folder out",
        )


def _check_run_or_data(options: argparse.Namespace) -> None:
    """Raise `InputError` where it is not clear what is to be measured, or on what."""
    if options.run_folder is not None and (options.data or options.model):
        raise InputError(
            "evaluate",
            found=f"the run {options.run_folder} and --data or --model",
            wanted="a run, whose own model and data are measured, or --data with --model",
            remedy="leave one of them out",
        )
    if options.model and not options.data:
        raise InputError(
            "evaluate",
            field="--model",
            found=f"{options.model} without --data",
            wanted="a folder of test sets",
            remedy="add --data, for example --data runs/quickstart",
        )
    if options.data and (options.dnsmos or options.sentences is not None):
        found, wanted = "--dnsmos or --sentences with --data", "a run that speaks, or --says"
        raise InputError("evaluate", found=found, wanted=wanted, remedy="name the run folder instead")


def _compare(before: Path, after: Path, tolerance: float) -> int:
    from amalia_mm.evaluate.regression import regression_table, text_changes
    from amalia_mm.evaluate.table import read_report

    if not 0 <= tolerance < 1:
        raise InputError(
            "--tolerance", found=tolerance, wanted="a share, from 0 to below 1", remedy="correct it"
        )
    changes = text_changes(read_report(before), read_report(after), before, after)
    result(regression_table(changes, tolerance).rstrip())
    return REGRESSED if any(change.is_worse(tolerance) for change in changes) else 0


def _evaluate_hearing(options: argparse.Namespace) -> int:
    from amalia_mm.evaluate.hearing import TextModel, evaluate_hearing, lines

    if not options.model or options.run_folder or options.data or options.show:
        raise InputError(
            "evaluate",
            found="--spoken or --vocabulary without --model, or beside a run, --data or --show",
            wanted="--model with them, and nothing else to measure",
            remedy="add --model, or leave the others out",
        )
    figures = evaluate_hearing(
        options.model,
        options.output,
        spoken=options.spoken,
        vocabularies=options.vocabulary,
        split=options.split,
        text=TextModel(options.text, options.text_weight, options.text_bonus) if options.text else None,
        token_bonus=options.token_bonus,
    )
    if not options.quiet:
        result("\n".join([*lines(figures), str(options.output / "hearing.json")]))
    return 0


def _export(options: argparse.Namespace) -> int:
    from amalia_mm.export import export

    exported = export(options.run_folder, options.to, options.output)
    if exported.left_out:
        note(f"só vai o descodificador de texto; ficam de fora: {', '.join(exported.left_out)}")
    result(str(exported.folder))
    return 0
