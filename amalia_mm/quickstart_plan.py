"""What the main job will do: the stages with their whole command lines, from the recipes as they are.

It knows the options of the quickstart and how they reach each stage; it runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amalia_mm import __version__
from amalia_mm.errors import InputError
from amalia_mm.quickstart_stages import RUN, STAGES, Stage
from amalia_mm.recipe_paths import read_recipe, recipe_options, recipes_folder

DEFAULT_RUN = Path("runs/quickstart")
"""The run folder that the recipes name; another `--output` is put in its place."""


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    output: Path = DEFAULT_RUN
    smoke: bool = False
    fresh: bool = False
    seed: int = 0
    text: tuple[Path, ...] = ()
    speech: tuple[Path, ...] = ()


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
    inputs = _inputs_digest(options)
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
        if stage.name == "30_evaluate":
            command += ["--command", how_to_go_on(options)]
        if stage.name == "00_corpus":
            command += ["--seed", str(options.seed), *_own_data(options)]
        command += stage.smoke if options.smoke else ()
        decisive = [
            [job.fingerprint for job in jobs if job.stage.name in stage.after] or inputs,
            __version__,
            recipe,
            # Where the package and the run lie decides nothing.
            [part.replace(str(recipes), "recipes") for part in command],
        ]
        fingerprint = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        jobs.append(
            Job(stage, tuple(part.replace(RUN, str(options.output)) for part in command), fingerprint)
        )
    return jobs


def how_to_go_on(options: Options) -> str:
    """Return the command line that takes this run up again."""
    command = ["amalia", "quickstart"]
    if options.output != DEFAULT_RUN:
        command += ["--output", str(options.output)]
    if options.smoke:
        command.append("--smoke")
    if options.seed:
        command += ["--seed", str(options.seed)]
    return shlex.join([*command, *_own_data(options)])


def _own_data(options: Options) -> list[str]:
    text = [part for path in options.text for part in ("--text", str(path))]
    return text + [part for path in options.speech for part in ("--speech", str(path))]


def _inputs_digest(options: Options) -> str:
    """Return a digest of the user's own text and manifests; the recordings they name are not read."""
    digest = hashlib.sha256()
    for path in (*options.text, *options.speech):
        if not path.exists():
            raise InputError(
                "--text" if path in options.text else "--speech",
                found=f"no such file: {path}",
                wanted="a file or folder that exists",
                remedy="correct the path",
            )
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()
