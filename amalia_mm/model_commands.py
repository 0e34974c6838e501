"""`amalia transcribe | ask | chat | evaluate | export`: what a person does with a model.

Each imports its room only when it is called. It knows nothing of how models are made.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.errors import InputError
from amalia_mm.terminal import note, path_column, piece, result

if TYPE_CHECKING:
    from amalia_mm.assistant import Assistant

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
BAD_INPUT = 2
FILES_AT_ONCE = 64
MODEL_HELP = "model, stage or run folder (default: $AMALIA_MODEL, else runs/quickstart)"


def add_model_commands(commands: Commands) -> None:
    """Add the sub-commands that use or measure a model."""
    transcribe = commands.add_parser("transcribe", help="speech to text, one line a file")
    transcribe.add_argument("audio", nargs="+", type=Path, help="wav, flac, mp3, ogg or opus, of any length")
    transcribe.add_argument("--model", help=MODEL_HELP)
    alone = transcribe.add_mutually_exclusive_group()
    alone.add_argument("--ctc", action="store_true", help="with the encoder alone, without the decoder")
    alone.add_argument(
        "--beams",
        type=int,
        help="texts kept in mind while decoder and CTC write, 12 unless told; with 1 the decoder writes alone",
    )
    transcribe.set_defaults(run=_transcribe)

    ask = commands.add_parser("ask", help="a spoken question, a written answer")
    ask.add_argument("audio", type=Path)
    ask.add_argument(
        "--direct", action="store_true", help="without a transcript in between, if it is short enough"
    )
    ask.add_argument("--model", help=MODEL_HELP)
    ask.set_defaults(run=_ask)

    chat = commands.add_parser("chat", help="a written conversation")
    chat.add_argument("--model", help=MODEL_HELP)
    chat.set_defaults(run=_chat)

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
    _add_hearing(evaluate)
    evaluate.add_argument(
        "--show", action="store_true", help="print the figures of an earlier evaluation again"
    )
    evaluate.add_argument("--quiet", action="store_true", help="write the report and print nothing")
    evaluate.add_argument("--command", help=argparse.SUPPRESS)
    evaluate.set_defaults(run=_evaluate)

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
    evaluate.add_argument("--text_weight", type=float, default=0.5, help="what it counts beside CTC")
    evaluate.add_argument("--text_bonus", type=float, default=0.5, help="for each token that is written")
    evaluate.add_argument(
        "--token_bonus", type=float, default=0.0, help="for each token of a text of --vocabulary, in nats"
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


def _transcribe(options: argparse.Namespace) -> int:
    if options.beams is not None and options.beams < 1:
        raise InputError("--beams", found=options.beams, wanted="1 or more", remedy="change it")
    assistant = _load(options.model)
    if (options.beams or 1) > 1 and not assistant.has_ctc:
        raise InputError(
            "--beams",
            found=f"{options.beams} for a model without a CTC head",
            wanted="1: nothing weighs them",
            remedy="leave it out",
        )
    hear = assistant.transcribe_ctc if options.ctc else assistant.transcribe
    if options.beams is not None:
        hear = partial(assistant.transcribe, num_beams=options.beams)
    num_failed = 0
    for start in range(0, len(options.audio), FILES_AT_ONCE):
        paths = options.audio[start : start + FILES_AT_ONCE]
        try:
            texts: list[str | None] = [*hear(paths, progress=len(options.audio) > 1 and sys.stderr.isatty())]
        except InputError:
            # One bad file must not cost the others their text.
            texts = [_text_or_complaint(hear, path) for path in paths]
        for path, text in zip(paths, texts, strict=True):
            if text is None:
                num_failed += 1
            else:
                line = " ".join(text.split())
                result(line if len(options.audio) == 1 else f"{path_column(path)}\t{line}")
    return BAD_INPUT if num_failed else 0


def _text_or_complaint(hear: Callable[[list[Path]], list[str]], path: Path) -> str | None:
    try:
        return hear([path])[0]
    except InputError as error:
        note(f"amalia: {error}")
        return None


def _ask(options: argparse.Namespace) -> int:
    has_answer = False
    for part in _load(options.model).listen(options.audio, direct=options.direct):
        has_answer = True
        piece(part)
    result("")
    if not has_answer:
        note(f"{options.audio}: não se ouviu ninguém a falar, ou não se percebeu o que disse")
    return 0


def _chat(options: argparse.Namespace) -> int:
    from amalia_mm.chat_terminal import chat

    chat(_load(options.model))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    if options.spoken or options.vocabulary:
        return _evaluate_hearing(options)
    from amalia_mm.evaluate.table import read_report, table

    output = options.run_folder or (options.output if options.data else Path("runs/quickstart"))
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
    if not options.show:
        from amalia_mm.evaluate.harness import evaluate, evaluate_run

        began_s = options.began_s
        if options.data:
            command, data = options.command, options.data
            evaluate(options.model, data, output, num_processes=2, command=command, began_s=began_s)
        else:
            evaluate_run(output, num_processes=2, command=options.command, began_s=began_s)
        for reason in read_report(output).get("skipped", []):
            note(f"não se mede {reason}")
    if not options.quiet:
        result(table(read_report(output)) + str(output / "report.html"))
    return 0


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
