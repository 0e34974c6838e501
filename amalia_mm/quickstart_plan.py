"""What the main job will do: the stages with their whole command lines, from the recipes as they are.

It knows the options of the quickstart and how they reach each stage; it runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from amalia_mm import __version__
from amalia_mm.errors import InputError
from amalia_mm.quickstart_stages import RUN, STAGES, Stage
from amalia_mm.recipe_paths import read_recipe, recipe_options, recipes_folder

# Those of `prepare.corpora`, which is heavy to import; a test compares them.
TEXT_SUFFIXES = (".txt", ".tsv", ".jsonl")
_MAKERS = (*("prepare/**/*", "portuguese/**/*", "audio/*", "data/*"), *("batch.py", "units.py", "variety.py"))
_MAKER_SUFFIXES = (".py", ".yaml", ".tsv")
EVALUATION = "30_evaluate"
DEFAULT_RUN = Path("runs/quickstart")
"""The run folder that the recipes name; another `--output` is put in its place."""
SMOKE_RUN = Path("runs/smoke")
"""Where `--smoke` runs unless it is told: a whole run must not be lost to a trial."""


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    output: Path = DEFAULT_RUN
    smoke: bool = False
    fresh: bool = False
    seed: int = 0
    words: int | None = None
    """How many of the commonest words the built-in sentences keep; None keeps all."""
    text: tuple[Path, ...] = ()
    speech: tuple[Path, ...] = ()
    dnsmos: Path | None = None
    """Weights that foretell opinions of the voice; the evaluation alone reads them."""


@dataclass(frozen=True)
class Job:
    """A stage with its whole command line and the fingerprint of all that decides its result."""

    stage: Stage
    command: tuple[str, ...]
    fingerprint: str


def plan(options: Options) -> list[Job]:
    """Return the stages with their command lines; each fingerprint holds those it builds on.

    Raises:
        InputError: A recipe cannot be read, or an input does not exist.
    """
    recipes = recipes_folder()
    _check_inputs(options)
    jobs: list[Job] = []
    for stage in STAGES:
        command = [*stage.command]
        recipe: dict[str, Any] = {}
        if stage.has_recipe:
            path = recipes / stage.name / "recipe.yaml"
            recipe = read_recipe(path)
            spell = recipe_options(recipe, str(DEFAULT_RUN), RUN, as_json=stage.trains)
            command += ["-c", str(path), *spell]
        if stage.trains and options.seed:
            command += ["--seed_everything", str(options.seed), "--data.init_args.seed", str(options.seed)]
        if "seed" in stage.takes:
            command += ["--seed", str(options.seed)]
        if "words" in stage.takes:
            command += _words(options)
        if stage.name == "00_corpus":
            recipe = {"made by": _makers_digest()}
        if stage.name == EVALUATION and options.dnsmos is not None:
            recipe = {"opinions": "DNSMOS"}
        command += stage.smoke if options.smoke else ()
        text = options.text if "text" in stage.takes else ()
        speech = options.speech if "speech" in stage.takes else ()
        decisive = [
            [job.fingerprint for job in jobs if job.stage.name in stage.after],
            # The stage of the text reads what the manifests say; it hears no recording.
            _inputs_digest(text, speech, speech if "text" not in stage.takes else ()),
            __version__,
            recipe,
            # Where the package and the run lie decides nothing.
            [part.replace(str(recipes), "recipes") for part in command],
        ]
        # Nor does where the user's data lie: what is in them stands in the digest.
        if stage.name == EVALUATION:
            command += [*_opinions(options), "--command", how_to_go_on(options)]
        command += _own_data(text, speech)
        fingerprint = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        jobs.append(
            Job(stage, tuple(part.replace(RUN, str(options.output)) for part in command), fingerprint)
        )
    return jobs


def how_to_go_on(options: Options) -> str:
    """Return the command line that takes this run up again."""
    command = ["amalia", "quickstart"]
    if options.output != (SMOKE_RUN if options.smoke else DEFAULT_RUN):
        command += ["--output", str(options.output)]
    if options.smoke:
        command.append("--smoke")
    if options.seed:
        command += ["--seed", str(options.seed)]
    own = _own_data(options.text, options.speech)
    return shlex.join([*command, *_words(options), *own, *_opinions(options)])


def _opinions(options: Options) -> list[str]:
    return [] if options.dnsmos is None else ["--dnsmos", str(options.dnsmos)]


def _words(options: Options) -> list[str]:
    return [] if options.words is None else ["--words", str(options.words)]


def _own_data(text: Sequence[Path], speech: Sequence[Path]) -> list[str]:
    parts = [("--text", str(path)) for path in text] + [("--speech", str(path)) for path in speech]
    return [word for part in parts for word in part]


def _makers_digest() -> str:
    """Return a digest of what makes the built-in corpus and writes it: it has no recipe that would tell a change."""
    digest = hashlib.sha256()
    with suppress(PackageNotFoundError):  # whoever needs it says so
        digest.update(version("espeakng-loader").encode())
    package = Path(__file__).parent
    files = (path for pattern in _MAKERS for path in package.glob(pattern))
    for file in sorted(files):
        if file.suffix in _MAKER_SUFFIXES:
            digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _check_inputs(options: Options) -> None:
    dnsmos = () if options.dnsmos is None else (options.dnsmos,)
    for name, paths in (("--text", options.text), ("--speech", options.speech), ("--dnsmos", dnsmos)):
        for path in paths:
            if not path.exists():
                wanted, remedy = "a file or folder that exists", "correct the path"
                raise InputError(name, found=f"no such file: {path}", wanted=wanted, remedy=remedy)


def _inputs_digest(text: Sequence[Path], speech: Sequence[Path], heard: Sequence[Path]) -> str:
    """Return a digest of the user's own text and manifests, and of size and date of the recordings that are heard."""
    digest = hashlib.sha256()
    for path in (*text, *speech):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and (file == path or file.suffix.lower() in TEXT_SUFFIXES):
                with file.open("rb") as opened:
                    content = hashlib.file_digest(opened, "sha256").hexdigest()
                digest.update(f"{file.name}\0{content}\0".encode())
    for manifest in heard:
        for recording in _recordings(manifest):
            digest.update(f"{recording.stat().st_size} {recording.stat().st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _recordings(manifest: Path) -> Iterator[Path]:
    """Yield the files that a manifest names and that exist; what is wrong with it is told by who reads it."""
    if not manifest.is_file():
        return
    with manifest.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, OSError):
                recording = manifest.parent / json.loads(line)["audio"]
                if recording.is_file():
                    yield recording
