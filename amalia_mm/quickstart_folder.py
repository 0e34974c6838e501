"""The folder of a quickstart: whose it is, what it was made with, and one at work in it at a time.

What is made there replaces what was there: a folder that holds anything else is never taken.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amalia_mm import __version__
from amalia_mm.errors import InputError, writing
from amalia_mm.quickstart_plan import Options

MARKER = "quickstart.json"
"""Says that a folder is ours, and which options it was made with."""
LOCK = ".quickstart.lock"
LOCK_PATIENCE_S = 15.0


@contextmanager
def taken(output: Path) -> Iterator[int]:
    """Take a run folder for this process and its children, and yield the lock's file descriptor.

    Raises:
        InputError: It is a file, holds something that no quickstart made, cannot be written, or is in use.
    """
    if output.exists() and not output.is_dir():
        raise InputError(
            "--output", found=f"{output} is a file", wanted="a folder", remedy="choose another place"
        )
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        strangers = sorted({path.name for path in output.iterdir()} - {MARKER, LOCK})
        if strangers and not (output / MARKER).is_file():
            named = ", ".join(strangers[:5]) + ", ..." * (len(strangers) > 5)
            raise InputError(
                "--output",
                found=f"{output} holds {named} and no {MARKER}",
                wanted="a new folder or an earlier quickstart's",
                remedy="choose another folder: stages that are run again are first removed from it",
            )
        if not (output / MARKER).is_file():
            write_text(output / MARKER, json.dumps({"version": __version__}) + "\n")
        file = (output / LOCK).open("w")
    with file:
        _wait_for(file.fileno(), output)
        yield file.fileno()


def _wait_for(descriptor: int, output: Path) -> None:
    patience = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # A killed run's last child still saves its checkpoint.
            if time.monotonic() > patience:
                remedy = "wait for it to end"
                raise InputError(
                    output, found="another quickstart at work", wanted="one at a time", remedy=remedy
                ) from None
            time.sleep(0.2)


@contextmanager
def taken_for_corpus(options: Options, part: str | None) -> Iterator[None]:
    """Take a run folder to write the corpus there by hand; a stage of a quickstart has it already.

    Raises:
        InputError: As `taken`; also where a quickstart with other options began there: its later stages would be
            of another corpus.
    """
    if "AMALIA_QUICKSTART" in os.environ:
        yield
        return
    with taken(options.output):
        before, now = made_with(options.output), described(options)
        # The speech alone says what the text there holds, whatever that was made with.
        compared = ("seed", "speech") if part == "speech" else tuple(now)
        if before is not None and any(before.get(name) != now[name] for name in compared):
            remedy = "choose another --output, or run `amalia quickstart --fresh` with the new options"
            raise InputError(
                options.output, found=f"a run made with {before}", wanted=f"one of {now}", remedy=remedy
            )
        yield


def made_with(output: Path) -> Mapping[str, Any] | None:
    """Return the options of the run in a folder; None where it does not say.

    Raises:
        InputError: The marker is no JSON object.
    """
    path = output / MARKER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _broken(path, error) from error
    if not isinstance(content, dict):
        raise _broken(path, type(content).__name__)
    return content.get("options")


def _broken(path: Path, found: object) -> InputError:
    remedy = "choose another folder, or remove this one if it was a quickstart's"
    return InputError(path, found=found, wanted="the marker of a quickstart", remedy=remedy)


def mark(options: Options) -> None:
    """Write down which options the run in a folder is made with."""
    content = {"version": __version__, "options": described(options)}
    write_text(options.output / MARKER, json.dumps(content) + "\n")


def described(options: Options) -> dict[str, object]:
    """Return the options that decide what a run makes, as the marker keeps them."""
    paths = {"text": options.text, "speech": options.speech}
    own = {name: [str(path.resolve()) for path in given] for name, given in paths.items()}
    return {"smoke": options.smoke, "seed": options.seed, "words": options.words, **own}


def write_text(path: Path, text: str) -> None:
    """Write a file at once, its folder too: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".writing")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
