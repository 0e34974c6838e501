"""`amalia`: the sub-commands, each importing its room only when it is called.

Results go to stdout, progress and messages to stderr. What a user can mend is one line and exit code 2;
`--debug` shows the traceback instead.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from amalia_mm import __version__
from amalia_mm.commands.cost import add_cost
from amalia_mm.commands.model import add_model_commands
from amalia_mm.commands.phonemes import add_phonemes
from amalia_mm.commands.preparation import WORDS_HELP, add_preparation
from amalia_mm.commands.say import add_say
from amalia_mm.commands.shards import add_shards
from amalia_mm.commands.spoken import add_spoken
from amalia_mm.commands.voice import add_voice
from amalia_mm.ctrl_c import ctrl_c
from amalia_mm.host_memory import begin_again
from amalia_mm.terminal import note, prepare_streams
from amalia_mm.termination import clears_up

LIGHTNING = {
    "fit": "train one stage (LightningCLI): amalia fit -c recipes/10_hearing/recipe.yaml",
    "validate": "compute the validation figures of a stage (LightningCLI)",
    "test": "say what measures a model instead: `amalia evaluate`",
    "predict": "say what uses a model instead: `amalia transcribe`, `ask`, `chat`",
}
COMPUTES = ("fit", "validate", "quickstart", "evaluate")
BAD_INPUT, BUG, INTERRUPTED, READER_GONE = 2, 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command and return the exit code; with `--debug` errors are raised.

    Without `argv` it is the process's own command line, and the process is to end with it.
    """
    ctrl_c.ends_process = argv is None
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if argv is None and keeps_memory(words):
        begin_again(os.environ)
    if not prepare_streams():
        return BAD_INPUT
    # Read when torch is loaded. By default its threads wait for each other by spinning, which on a busy machine
    # makes a step thirty times slower; sleeping at once makes it twice as slow on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # oneDNN keeps a program for every shape of a product in bf16 it has met, 1,024 of them by default. Batches of
    # texts have other shapes at every step, and the quickstart's fine-tuning grew to twice its memory.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    try:
        # A person's recordings are not left half-written in the clear by a log-out.
        told_to_end = clears_up() if argv is None and words[:1] == ["voice"] else nullcontext()
        with ctrl_c, told_to_end:
            ctrl_c.let_in()
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


def keeps_memory(words: list[str]) -> bool:
    """Return whether a command computes the same many times over, and ends; others give memory back meanwhile."""
    return words[:2] == ["voice", "enrol"] or words[:1] in [[each] for each in COMPUTES]


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
    if words[:1] == ["say"] and not any(word.startswith("--st") for word in words):
        return "amalia: interrupted; nothing was written, a file that was there is as it was"
    if words[:1] == ["say"]:
        return "amalia: interrupted; what was said until now is all there is"
    if words[:2] == ["voice", "enrol"]:
        return "amalia: interrupted; nothing was written: run the same command again, from the beginning"
    if not words or words[0] != "fit" or "AMALIA_QUICKSTART" in os.environ:
        return "amalia: interrupted; what was finished is kept, run the same command again to go on"
    from amalia_mm.recipe_paths import run_folder_of

    folder = run_folder_of(words)
    checkpoint = None if folder is None else folder / "last.ckpt"
    if checkpoint is None or not checkpoint.exists():  # of a run with sharded weights it is a folder
        return "amalia: interrupted before the first checkpoint; run the same command again"
    return f"amalia: interrupted; {checkpoint} is kept: add --ckpt_path {checkpoint} to the command to go on"


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and which says how a wrong option is written."""

    _words: Sequence[str] = ()

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Return what was said; a sub-command refuses itself what it does not know, for it knows its options."""
        self._words = list(args or ())
        found, unknown = super().parse_known_args(args, namespace)
        if self._subparsers is None and unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._written(unknown)}")
        return found, unknown

    def _written(self, unknown: Sequence[str]) -> str:
        """Return how the first wrong option may have been meant; nothing where none is like it."""
        wrong = next((word.partition("=")[0] for word in unknown if word.startswith("--")), "")
        known = [name for name in self._option_string_actions if name.startswith("--")]
        near = get_close_matches(wrong.replace("_", "-"), known, n=1, cutoff=0.8)
        return f" (it is written {near[0]})" if near else ""

    def _file_like_an_option(self) -> str:
        """Return how a file is named whose name begins as options do; nothing where there is none."""
        before = itertools.takewhile(lambda word: word != "--", self._words)
        file = next((word for word in before if word.startswith("-") and Path(word).exists()), None)
        return "" if file is None else f" (a file that begins with a dash goes behind --: -- {file})"

    def error(self, message: str) -> NoReturn:
        told = f"{message}{self._file_like_an_option()}"
        self.exit(BAD_INPUT, f"{self.prog}: {told}; `{self.prog} --help` lists what there is\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands; those of LightningCLI are only listed."""
    parser = _Parser(
        prog="amalia", description="Ears and a voice for AMÁLIA, measured as European Portuguese."
    )
    parser.add_argument("--version", action="version", version=f"amalia {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="sub-commands", metavar="COMMAND", required=True)
    _add_quickstart(commands)
    add_model_commands(commands)
    add_preparation(commands)
    add_shards(commands)
    add_phonemes(commands)
    add_cost(commands)
    add_say(commands)
    add_spoken(commands)
    add_voice(commands)
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
    quickstart.add_argument(
        "--fresh", action="store_true", help="start over: an earlier run is removed first"
    )
    quickstart.add_argument(
        "--dnsmos", type=Path, metavar="FOLDER", help="weights of DNSMOS, for opinions of the voice as well"
    )
    quickstart.set_defaults(run=_quickstart)


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
            dnsmos=options.dnsmos,
        )
    )


def _doctor(options: argparse.Namespace) -> int:
    from amalia_mm.doctor import examine, render

    sys.stdout.write(render(examine()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
