"""`amalia transcribe`: files in, text out, as lines, JSON or subtitles; or a file as if it were spoken just now."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.errors import InputError, writing
from amalia_mm.subtitles import srt, vtt
from amalia_mm.terminal import note, path_column, piece, result
from amalia_mm.transcript import Transcript, as_json

if TYPE_CHECKING:
    from amalia_mm.assistant import Assistant

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
Hear = Callable[[list[Path]], list[list[Transcript]]]
BAD_INPUT = 2
FILES_AT_ONCE = 64
FORMATS = ("txt", "json", "srt", "vtt")


def add_transcribe(commands: Commands, model_help: str, load: Callable[[str | None], Assistant]) -> None:
    """Add the sub-command; `load` gives the model that `--model` means."""
    transcribe = commands.add_parser("transcribe", help="speech to text: lines, JSON or subtitles")
    transcribe.add_argument("audio", nargs="+", type=Path, help="wav, flac, mp3, ogg or opus, of any length")
    transcribe.add_argument("--model", help=model_help)
    alone = transcribe.add_mutually_exclusive_group()
    alone.add_argument("--ctc", action="store_true", help="with the encoder alone, without the decoder")
    alone.add_argument(
        "--beams",
        type=int,
        help="texts kept in mind while decoder and CTC write, 12 unless told; with 1 the decoder writes alone",
    )
    transcribe.add_argument(
        "--format",
        choices=FORMATS,
        default="txt",
        help="json has times of pieces and words, srt and vtt are subtitles (default: txt, a line a file)",
    )
    transcribe.add_argument("--output", type=Path, help="a folder: a file there for each recording")
    transcribe.add_argument(
        "--channels",
        choices=("mix", "left", "right", "split"),
        help="of two channels: their mean, one, or a transcript of each (default: mix, but two speakers are refused)",
    )
    transcribe.add_argument(
        "--live", action="store_true", help="as if the file were spoken into a microphone just now"
    )
    transcribe.add_argument("--speed", type=float, help="with --live: how many times as fast (default: 1)")
    transcribe.set_defaults(run=partial(_transcribe, load))


def _transcribe(load: Callable[[str | None], Assistant], options: argparse.Namespace) -> int:
    _check(options)
    assistant = load(options.model)
    if (options.beams or 1) > 1 and not assistant.has_ctc:
        raise InputError(
            "--beams",
            found=f"{options.beams} for a model without a CTC head",
            wanted="1: nothing weighs them",
            remedy="leave it out",
        )
    if options.live:
        from amalia_mm.commands.live import live

        return live(assistant, options)
    if options.format != "txt" and assistant.word_source is None:
        note("o modelo não tem cabeça de CTC: há tempos dos trechos, mas não das palavras")
    hear = partial(_hear, assistant, options)
    outputs = _outputs(options)
    num_failed = 0
    for start in range(0, len(options.audio), FILES_AT_ONCE):
        paths = options.audio[start : start + FILES_AT_ONCE]
        try:
            heard: list[list[Transcript] | None] = [*hear(paths)]
        except InputError:
            # One bad file must not cost the others their text.
            heard = [_heard_or_complaint(hear, path) for path in paths]
        for path, transcripts in zip(paths, heard, strict=True):
            if transcripts is None:
                num_failed += 1
            else:
                _write(options, path, transcripts, outputs.get(path))
    return BAD_INPUT if num_failed else 0


def _check(options: argparse.Namespace) -> None:
    if options.beams is not None and options.beams < 1:
        raise InputError("--beams", found=options.beams, wanted="1 or more", remedy="change it")
    if options.format in ("srt", "vtt") and len(options.audio) > 1 and options.output is None:
        raise InputError(
            "--format",
            found=f"{options.format} of {len(options.audio)} recordings on stdout",
            wanted="one recording, or a folder for the files",
            remedy="add --output runs/subtitles, for example",
        )
    if not options.live:
        if options.speed is not None:
            raise InputError(
                "--speed",
                found=f"{options.speed:g} without --live",
                wanted="both, or neither",
                remedy="add --live",
            )
        return
    if (
        len(options.audio) > 1
        or options.format in ("srt", "vtt")
        or options.channels == "split"
        or options.output
    ):
        raise InputError(
            "--live",
            found="several recordings or channels, subtitles, or --output",
            wanted="one recording, on stdout as txt or json",
            remedy="leave --live out",
        )
    if options.speed is not None and not 0 < options.speed < math.inf:
        raise InputError("--speed", found=options.speed, wanted="a number above 0", remedy="change it")


def _hear(assistant: Assistant, options: argparse.Namespace, paths: list[Path]) -> list[list[Transcript]]:
    """Return the transcripts of each file: one, or one of each channel."""
    progress = len(options.audio) > 1 and sys.stderr.isatty()
    if options.format == "txt" and options.channels != "split":
        hear = assistant.transcribe_ctc if options.ctc else assistant.transcribe
        if options.beams is not None:
            hear = partial(assistant.transcribe, num_beams=options.beams)
        if options.channels is not None:
            hear = partial(hear, channels=options.channels)
        return [[Transcript(text, 0.0)] for text in hear(paths, progress=progress)]
    timed = assistant.transcribe_timed
    if options.ctc or options.beams is not None:
        timed = partial(timed, num_beams=options.beams)
    if options.channels != "split":
        return [[each] for each in timed(paths, progress=progress, channels=options.channels)]
    sides = iter(timed(paths, progress=progress, channels="split"))
    return [[next(sides), next(sides)] for _ in paths]


def _heard_or_complaint(hear: Hear, path: Path) -> list[Transcript] | None:
    try:
        return hear([path])[0]
    except InputError as error:
        note(f"amalia: {error}")
        return None


def nobody(path: Path) -> str:
    """Return what is said of a recording in which nothing was heard."""
    return f"{path}: não se ouviu ninguém a falar, ou não se percebeu o que disse"


def _outputs(options: argparse.Namespace) -> dict[Path, Path]:
    """Return the file in the output folder for each recording; none without such a folder.

    Raises:
        InputError: Two recordings would be written to one file, or the folder cannot be made.
    """
    if options.output is None:
        return {}
    outputs: dict[Path, Path] = {}
    for path in options.audio:
        outputs[path] = options.output / f"{path.stem}.{options.format}"
    if len({*outputs.values()}) < len(outputs):
        names = [path.name for path in outputs.values()]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            "--output",
            found=f"two recordings for {options.output / twice}",
            wanted="names that differ",
            remedy="give them in two runs, with a folder each",
        )
    with writing(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
    return outputs


def _write(
    options: argparse.Namespace, path: Path, transcripts: Sequence[Transcript], output: Path | None
) -> None:
    """Write what was heard of one file, to its place in the output folder or to stdout; say so where it is nothing."""
    if not any(each.text.strip() for each in transcripts):
        note(nobody(path))
    is_alone = len(options.audio) == 1 or output is not None
    text = _formatted(options.format, str(path), transcripts, is_alone)
    if output is not None:
        with writing(options.output):
            output.write_text(text, encoding="utf-8")
        result(str(output))
    elif options.format == "txt" and not is_alone:
        for line in text.splitlines():
            result(f"{path_column(path)}\t{line}")
    else:
        piece(text)


def _formatted(kind: str, file: str, transcripts: Sequence[Transcript], is_alone: bool) -> str:
    if kind in ("srt", "vtt"):
        return (srt if kind == "srt" else vtt)(transcripts)
    if kind == "json":
        # Several on stdout are lines of JSON, one alone is for a person as well.
        indent = 2 if is_alone and len(transcripts) == 1 else None
        objects = [as_json(each, file) for each in transcripts]
        return "".join(json.dumps(each, ensure_ascii=False, indent=indent) + "\n" for each in objects)
    lines = [" ".join(each.text.split()) for each in transcripts]
    labels = [f"{each.channel}\t" if each.channel else "" for each in transcripts]
    return "".join(f"{label}{line}\n" for label, line in zip(labels, lines, strict=True))
