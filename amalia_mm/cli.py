"""`amalia`: the sub-commands, each importing its room only when it is called.

Results go to stdout, progress and messages to stderr. What a user can mend is one line and exit code 2;
`--debug` shows the traceback instead.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from amalia_mm import __version__
from amalia_mm.errors import InputError

if TYPE_CHECKING:
    from amalia_mm.data.index import ShardIndex

LIGHTNING = {
    "fit": "train one stage (LightningCLI): amalia fit -c recipes/10_hearing/recipe.yaml",
    "validate": "compute the validation figures of a stage (LightningCLI)",
    "test": "run the test loop of a stage (LightningCLI)",
    "predict": "run the prediction loop of a stage (LightningCLI)",
}
BAD_INPUT, BUG, INTERRUPTED, READER_GONE = 2, 1, 130, 141
FILES_AT_ONCE = 64
MODEL_HELP = "model, stage or run folder (default: $AMALIA_MODEL, else runs/quickstart)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command and return the exit code; never raises what a user caused, unless `--debug` is given."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # `amalia ... | head`: nobody reads on. The interpreter must not try to flush again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except KeyboardInterrupt:
        if debug:
            raise
        _say(_interrupted(words))
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the one place where everything ends)
        if debug:
            raise
        return _failed(error)


def _dispatch(words: list[str]) -> int:
    if words and words[0] in LIGHTNING:
        from amalia_mm.train.cli import main as train

        train(words)
        return 0
    options = build_parser().parse_args(words)
    return options.run(options)


def _failed(error: Exception) -> int:
    """Say what is wrong in one line; the traceback of what looks like a bug is kept in a file."""
    from amalia_mm.failures import explain

    line = explain(error)
    if line is not None:
        _say(f"amalia: {line}")
        return BAD_INPUT
    with tempfile.NamedTemporaryFile("w", prefix="amalia-", suffix=".traceback", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    message = " ".join(str(error).split())[:300]
    _say(f"amalia: {type(error).__name__}: {message} (the traceback is in {file.name})")
    return BUG


def _interrupted(words: list[str]) -> str:
    """Return what is kept after Ctrl-C, and how to go on."""
    if not words or words[0] != "fit":
        return "amalia: interrupted; what was finished is kept, run the same command again to go on"
    from amalia_mm.recipe_paths import run_folder_of

    folder = run_folder_of(words)
    checkpoint = None if folder is None else folder / "last.ckpt"
    if checkpoint is None or not checkpoint.is_file():
        return "amalia: interrupted before the first checkpoint; run the same command again"
    return f"amalia: interrupted; {checkpoint} is kept: run the same command with --ckpt_path {checkpoint} to go on"


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
    _add_shards(commands)
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
    quickstart.add_argument("--output", type=Path, default=Path("runs/quickstart"), help="run folder")
    quickstart.add_argument(
        "--text", type=Path, action="append", default=[], help="your own text: .txt, folder or .jsonl"
    )
    quickstart.add_argument(
        "--speech", type=Path, action="append", default=[], help="your own recordings: a .jsonl manifest"
    )
    quickstart.add_argument("--seed", type=int, default=0)
    quickstart.add_argument(
        "--smoke", action="store_true", help="every stage at its smallest, to see that all works"
    )
    quickstart.add_argument("--fresh", action="store_true", help="start over instead of going on")
    quickstart.set_defaults(run=_quickstart)


def _add_model_commands(commands: Commands) -> None:
    transcribe = commands.add_parser("transcribe", help="speech to text, one line a file")
    transcribe.add_argument("audio", nargs="+", type=Path, help="wav, flac, mp3, ogg or opus, of any length")
    transcribe.add_argument("--model", help=MODEL_HELP)
    transcribe.add_argument("--ctc", action="store_true", help="with the encoder alone, without the decoder")
    transcribe.set_defaults(run=_transcribe)

    ask = commands.add_parser("ask", help="a spoken question, a written answer")
    ask.add_argument("audio", type=Path)
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
    corpus.add_argument("--smoke", action="store_true", help="a few hundred sentences")
    corpus.set_defaults(run=_corpus)

    tokenizer = commands.add_parser("tokenizer", help="train a tokenizer on the text of shards")
    tokenizer.add_argument("-c", "--config", type=Path, help="a recipe with shards, vocab_size and output")
    tokenizer.add_argument("--shards", nargs="+", type=Path, help="folders of shards")
    tokenizer.add_argument("--vocab_size", type=int)
    tokenizer.add_argument("--output", type=Path, help="folder of the tokenizer")
    tokenizer.set_defaults(run=_tokenizer)


def _add_shards(commands: Commands) -> None:
    shards = commands.add_parser("shards", help="write, check, count and look into shards")
    actions = shards.add_subparsers(title="actions", metavar="ACTION", required=True)

    write = actions.add_parser("write", help="recordings with text, as a folder of shards")
    write.add_argument("manifest", type=Path, help="JSONL with audio (relative to the file) and text")
    write.add_argument("--output", type=Path, required=True)
    write.set_defaults(run=_shards_write)

    verify = actions.add_parser("verify", help="read, check and decode every record")
    verify.add_argument("folders", nargs="+", type=Path)
    verify.set_defaults(run=_shards_verify)

    stats = actions.add_parser("stats", help="counts, hours, sources and varieties")
    stats.add_argument("folders", nargs="+", type=Path)
    stats.set_defaults(run=_shards_stats)

    show = actions.add_parser("show", help="records as JSON, one a line")
    show.add_argument("folder", type=Path)
    show.add_argument("records", nargs="*", help="numbers or ids (default: the first three)")
    show.add_argument("--audio", type=Path, help="also write the clips into this folder")
    show.set_defaults(run=_shards_show)

    index = actions.add_parser("index", help="index tars made elsewhere; with a tokenizer, count tokens too")
    index.add_argument("folders", nargs="+", type=Path)
    index.add_argument("--tokenizer", type=Path)
    index.set_defaults(run=_shards_index)


def _quickstart(options: argparse.Namespace) -> int:
    from amalia_mm.quickstart import Options, run

    return run(
        Options(
            output=options.output,
            smoke=options.smoke,
            fresh=options.fresh,
            seed=options.seed,
            text=tuple(options.text),
            speech=tuple(options.speech),
        )
    )


def _transcribe(options: argparse.Namespace) -> int:
    from amalia_mm.assistant import Assistant

    assistant = Assistant.load(options.model)
    hear = assistant.transcribe_ctc if options.ctc else assistant.transcribe
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
                _write(line if len(options.audio) == 1 else f"{path}\t{line}")
    return BAD_INPUT if num_failed else 0


def _text_or_complaint(hear: Callable[[list[Path]], list[str]], path: Path) -> str | None:
    try:
        return hear([path])[0]
    except InputError as error:
        _say(f"amalia: {error}")
        return None


def _ask(options: argparse.Namespace) -> int:
    from amalia_mm.assistant import Assistant

    has_answer = False
    for piece in Assistant.load(options.model).listen(options.audio):
        has_answer = True
        sys.stdout.write(piece)
        sys.stdout.flush()
    _write("")
    if not has_answer:
        _say(f"{options.audio}: não se ouviu ninguém a falar")
    return 0


def _chat(options: argparse.Namespace) -> int:
    from amalia_mm.assistant import Assistant
    from amalia_mm.chat_terminal import chat

    chat(Assistant.load(options.model))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from amalia_mm.evaluate.table import read_report, table

    output = options.run_folder or (options.output if options.data else Path("runs/quickstart"))
    if not options.show:
        from amalia_mm.evaluate.harness import evaluate, evaluate_run

        if options.data:
            evaluate(options.model, options.data, output, command=options.command)
        else:
            evaluate_run(output, command=options.command)
    _write(table(read_report(output)) + str(output / "report.html"))
    return 0


def _corpus(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.synthetic import write_corpus

    write_corpus(
        options.output, seed=options.seed, smoke=options.smoke, text=options.text, speech=options.speech
    )
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
    _say(f"{recipe.output}: {tokenizer.vocab_size} entries")
    return 0


def _shards_verify(options: argparse.Namespace) -> int:
    from amalia_mm.data.shards import verify

    num_bad = 0
    for folder in options.folders:
        found = verify(folder)
        for error in found.bad:
            _say(f"amalia: {error}")
        num_bad += len(found.bad)
        _write(f"{folder}\t{found.num_shards} shards\t{found.num_records} records\t{len(found.bad)} bad")
    return BAD_INPUT if num_bad else 0


def _shards_stats(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from amalia_mm.data.shards import stats

    for folder in options.folders:
        _write(json.dumps({"folder": str(folder), **asdict(stats(folder))}, ensure_ascii=False, indent=1))
    return 0


def _shards_show(options: argparse.Namespace) -> int:
    from amalia_mm.data.index import ShardIndex, read_record

    index = ShardIndex.load(options.folder)
    numbers = [_record_number(index, word) for word in options.records] or range(min(3, len(index)))
    for number in numbers:
        record, audio = read_record(index, number)
        _write(json.dumps({"record": number, **record.to_json()}, ensure_ascii=False))
        if options.audio is not None and audio is not None:
            options.audio.mkdir(parents=True, exist_ok=True)
            path = options.audio / f"{index.strings['key'][number]}.{index.coded['suffix'][number]}"
            path.write_bytes(audio)
            _say(str(path))
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


def _shards_index(options: argparse.Namespace) -> int:
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
        _write(f"{folder}\t{len(index)} records{tokens}")
    return 0


def _shards_write(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.recordings import write_shards

    _write(json.dumps(write_shards(options.manifest, options.output), ensure_ascii=False))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from amalia_mm.doctor import examine, render

    sys.stdout.write(render(examine()))
    return 0


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
