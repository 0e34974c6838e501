"""`amalia`: the sub-commands, each importing its room only when it is called.

Results go to stdout, progress and messages to stderr. What a user can mend is one line and exit code 2;
`--debug` shows the traceback instead.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from amalia_mm import __version__
from amalia_mm.ctrl_c import ctrl_c
from amalia_mm.errors import InputError
from amalia_mm.shards_commands import add_shards
from amalia_mm.terminal import note, result

LIGHTNING = {
    "fit": "train one stage (LightningCLI): amalia fit -c recipes/10_hearing/recipe.yaml",
    "validate": "compute the validation figures of a stage (LightningCLI)",
    "test": "say what measures a model instead: `amalia evaluate`",
    "predict": "say what uses a model instead: `amalia transcribe`, `ask`, `chat`",
}
BAD_INPUT, BUG, INTERRUPTED, READER_GONE = 2, 1, 130, 141
FILES_AT_ONCE = 64
WORDS_HELP = "keep only the built-in sentences that need no other than the N commonest words"
MODEL_HELP = "model, stage or run folder (default: $AMALIA_MODEL, else runs/quickstart)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command and return the exit code; with `--debug` errors are raised."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    # Read when torch is loaded. By default its threads wait for each other by spinning, which on a busy machine
    # makes a step thirty times slower; sleeping at once makes it twice as slow on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        with ctrl_c:
            code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # `amalia ... | head`: nobody reads on, and the interpreter must not flush again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except KeyboardInterrupt:
        if debug:
            raise
        note(_interrupted(words))
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        if ctrl_c.was_pressed:
            # Libraries turn a Ctrl-C that strikes while they are imported into errors of their own.
            note(_interrupted(words))
            return INTERRUPTED
        return _failed(error, words)


def _dispatch(words: list[str]) -> int:
    if words and words[0] in LIGHTNING:
        from amalia_mm.train.cli import main as train

        ctrl_c.raise_again()
        train(words)
        return 0
    options = build_parser().parse_args(words, argparse.Namespace(began_s=time.time()))
    return options.run(options)


def _failed(error: Exception, words: list[str]) -> int:
    """Say what is wrong in one line; the traceback of what looks like a bug is kept in a file."""
    from amalia_mm.failures import explain

    line = explain(error, words)
    if line is not None:
        note(f"amalia: {line}")
        return BAD_INPUT
    with tempfile.NamedTemporaryFile("w", prefix="amalia-", suffix=".traceback", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    message = " ".join(str(error).split())[:300]
    note(f"amalia: {type(error).__name__}: {message} (the traceback is in {file.name})")
    return BUG


def _interrupted(words: list[str]) -> str:
    """Return what is kept after Ctrl-C, and how to go on."""
    if not words or words[0] != "fit" or "AMALIA_QUICKSTART" in os.environ:
        return "amalia: interrupted; what was finished is kept, run the same command again to go on"
    from amalia_mm.recipe_paths import run_folder_of

    folder = run_folder_of(words)
    checkpoint = None if folder is None else folder / "last.ckpt"
    if checkpoint is None or not checkpoint.is_file():
        return "amalia: interrupted before the first checkpoint; run the same command again"
    return f"amalia: interrupted; {checkpoint} is kept: add --ckpt_path {checkpoint} to the command to go on"


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; `{self.prog} --help` lists what there is\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands; those of LightningCLI are only listed."""
    parser = _Parser(
        prog="amalia", description="Ears and a voice for AMÁLIA, measured as European Portuguese."
    )
    parser.add_argument("--version", action="version", version=f"amalia {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="sub-commands", metavar="COMMAND", required=True)
    _add_quickstart(commands)
    _add_model_commands(commands)
    _add_preparation(commands)
    add_shards(commands)
    for name, says in LIGHTNING.items():
        commands.add_parser(name, help=says, add_help=False)
    doctor = commands.add_parser("doctor", help="versions, devices, what is missing and how to get it")
    doctor.set_defaults(run=_doctor)
    return parser


Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]


def _add_quickstart(commands: Commands) -> None:
    quickstart = commands.add_parser(
        "quickstart", help="build the model, end to end, measure it and write a report"
    )
    quickstart.add_argument("--output", type=Path, help="run folder; runs/quickstart, or runs/smoke")
    quickstart.add_argument(
        "--text", type=Path, action="append", default=[], help="your own text: .txt, folder or .jsonl"
    )
    quickstart.add_argument(
        "--speech", type=Path, action="append", default=[], help="your own recordings: a .jsonl manifest"
    )
    quickstart.add_argument("--seed", type=int, default=0)
    quickstart.add_argument("--words", type=int, help=WORDS_HELP)
    quickstart.add_argument(
        "--smoke", action="store_true", help="every stage at its smallest, to see that all works"
    )
    quickstart.add_argument("--fresh", action="store_true", help="start over instead of going on")
    quickstart.set_defaults(run=_quickstart)


def _add_model_commands(commands: Commands) -> None:
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
        "--direct", action="store_true", help="without a transcript in between, if it is at most 12 s long"
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
    evaluate.add_argument(
        "--show", action="store_true", help="print the figures of an earlier evaluation again"
    )
    evaluate.add_argument("--quiet", action="store_true", help="write the report and print nothing")
    evaluate.add_argument("--command", help=argparse.SUPPRESS)
    evaluate.set_defaults(run=_evaluate)


def _add_preparation(commands: Commands) -> None:
    corpus = commands.add_parser("corpus", help="write the built-in corpus, spoken and as shards")
    corpus.add_argument("--output", type=Path, default=Path("runs/quickstart"), help="run folder")
    corpus.add_argument("--text", type=Path, action="append", default=[], help="your own text as well")
    corpus.add_argument(
        "--speech", type=Path, action="append", default=[], help="your own recordings as well"
    )
    corpus.add_argument("--seed", type=int, default=0)
    corpus.add_argument("--words", type=int, help=WORDS_HELP)
    corpus.add_argument("--smoke", action="store_true", help="a few hundred sentences")
    corpus.add_argument(
        "--part",
        choices=("text", "speech"),
        help="only the text, or only the speech of the text that is there",
    )
    corpus.set_defaults(run=_corpus)

    tokenizer = commands.add_parser("tokenizer", help="train a tokenizer on the text of shards")
    tokenizer.add_argument("-c", "--config", type=Path, help="a recipe with shards, vocab_size and output")
    tokenizer.add_argument("--shards", nargs="+", type=Path, help="folders of shards")
    tokenizer.add_argument("--vocab_size", type=int)
    tokenizer.add_argument("--output", type=Path, help="folder of the tokenizer")
    tokenizer.set_defaults(run=_tokenizer)


def _quickstart(options: argparse.Namespace) -> int:
    from amalia_mm.quickstart import run
    from amalia_mm.quickstart_plan import DEFAULT_RUN, SMOKE_RUN, Options

    return run(
        Options(
            output=options.output or (SMOKE_RUN if options.smoke else DEFAULT_RUN),
            smoke=options.smoke,
            fresh=options.fresh,
            seed=options.seed,
            words=options.words,
            text=tuple(options.text),
            speech=tuple(options.speech),
        )
    )


def _transcribe(options: argparse.Namespace) -> int:
    from amalia_mm.assistant import Assistant

    if options.beams is not None and options.beams < 1:
        raise InputError("--beams", found=options.beams, wanted="1 or more", remedy="change it")
    assistant = Assistant.load(options.model)
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
                result(line if len(options.audio) == 1 else f"{path}\t{line}")
    return BAD_INPUT if num_failed else 0


def _text_or_complaint(hear: Callable[[list[Path]], list[str]], path: Path) -> str | None:
    try:
        return hear([path])[0]
    except InputError as error:
        note(f"amalia: {error}")
        return None


def _ask(options: argparse.Namespace) -> int:
    from amalia_mm.assistant import Assistant

    has_answer = False
    for piece in Assistant.load(options.model).listen(options.audio, direct=options.direct):
        has_answer = True
        sys.stdout.write(piece)
        sys.stdout.flush()
    result("")
    if not has_answer:
        note(f"{options.audio}: não se ouviu ninguém a falar, ou não se percebeu o que disse")
    return 0


def _chat(options: argparse.Namespace) -> int:
    from amalia_mm.assistant import Assistant
    from amalia_mm.chat_terminal import chat

    chat(Assistant.load(options.model))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
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
    if not options.quiet:
        result(table(read_report(output)) + str(output / "report.html"))
    return 0


def _corpus(options: argparse.Namespace) -> int:
    for name in ("text", "words", "smoke") if options.part == "speech" else ():
        if getattr(options, name):
            wanted, remedy = f"no --{name} with --part speech", "leave one of them out"
            raise InputError(f"--{name}", found=getattr(options, name), wanted=wanted, remedy=remedy)
    if options.part != "speech":
        from amalia_mm.prepare.synthetic import write_text

        write_text(
            options.output,
            seed=options.seed,
            smoke=options.smoke,
            num_words=options.words,
            text=options.text,
            speech=options.speech,
        )
    if options.part != "text":
        from amalia_mm.prepare.spoken import write_speech

        write_speech(options.output, seed=options.seed, speech=options.speech)
    return 0


def _tokenizer(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.tokenizer import parse_recipe, train_tokenizer
    from amalia_mm.recipe_paths import read_recipe

    values = read_recipe(options.config) if options.config else {}
    values |= {
        name: getattr(options, name) for name in ("shards", "vocab_size", "output") if getattr(options, name)
    }
    recipe = parse_recipe(values, str(options.config or "amalia tokenizer"))
    tokenizer = train_tokenizer(recipe)
    note(f"{recipe.output}: {tokenizer.vocab_size} entries")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from amalia_mm.doctor import examine, render

    sys.stdout.write(render(examine()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
