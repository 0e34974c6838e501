"""The main job: every stage is an `amalia` sub-command run as a child process, on the recipes as they are.

A finished stage leaves `stage.json` and is skipped the next time; a changed recipe, fragment, option or input
runs its stage again and those after it; an interrupted training stage goes on from its last checkpoint. It
knows nothing of models and data: only the names of the stages, their recipes and what they own in the run
folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amalia_mm import __version__
from amalia_mm.child_process import Ended, run_child
from amalia_mm.errors import InputError
from amalia_mm.quickstart_stages import RUN, STAGES, Stage
from amalia_mm.recipe_paths import read_recipe, recipe_options, recipes_folder
from amalia_mm.terminal import note

DEFAULT_RUN = Path("runs/quickstart")
"""The run folder that the recipes name; another `--output` is put in its place."""
MARKER = "quickstart.json"
LOCK = ".quickstart.lock"
LOCK_PATIENCE_S = 15.0
INTERRUPTED = 130


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


@dataclass(frozen=True)
class Record:
    """What `stage.json` holds. `seconds` add up over interrupted attempts."""

    name: str
    fingerprint: str
    seconds: float = 0.0
    peak_rss_gb: float = 0.0
    steps: int | None = None
    final_loss: float | None = None
    command: list[str] = field(default_factory=list)


def run(options: Options) -> int:
    """Run what is left to do, print the figures, and return 0, 130 after Ctrl-C, or a failed child's code.

    Raises:
        InputError: The run folder is somebody else's or in use, a recipe is broken, or an input does not
            exist.
    """
    jobs = plan(options)
    with _run_folder(options.output) as lock:
        if options.fresh:
            for job in jobs:
                _clear(options.output, job.stage)
        for number, job in enumerate(jobs, start=1):
            try:
                code = _run_stage(job, options, lock, f"[{number}/{len(jobs)}] {job.stage.name}")
            except KeyboardInterrupt:  # no child was at work
                code = INTERRUPTED
            if code == INTERRUPTED:
                note(f"Interrompido em {job.stage.name}; nada do que está feito se perde. Para continuar:")
                note(f"  {how_to_go_on(options)}")
            if code:
                return code
        return _child(["evaluate", "--show", str(options.output)], lock, to_stdout=True).exit_code


def plan(options: Options) -> list[Job]:
    """Return the stages with their command lines; each fingerprint holds those before it.

    Raises:
        InputError: A recipe cannot be read, or an input does not exist.
    """
    recipes = recipes_folder()
    jobs: list[Job] = []
    for stage in STAGES:
        command = [*stage.command]
        recipe: dict[str, Any] = {}
        if stage.has_recipe:
            path = recipes / stage.name / "recipe.yaml"
            recipe = read_recipe(path)
            spell = recipe_options(recipe, str(DEFAULT_RUN), RUN, as_json=stage.command[0] == "fit")
            command += ["-c", str(path), *spell]
        if stage.command[0] == "fit" and options.seed:
            command += ["--seed_everything", str(options.seed), "--data.init_args.seed", str(options.seed)]
        if stage.name == "30_evaluate":
            command += ["--command", how_to_go_on(options)]
        if stage.name == "00_corpus":
            command += ["--seed", str(options.seed), *_own_data(options)]
        command += stage.smoke if options.smoke else ()
        decisive = [
            jobs[-1].fingerprint if jobs else _inputs_digest(options),
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


def read_record(folder: Path, name: str = "stage.json") -> Record | None:
    """Return what a stage left, or None where it left nothing that can be read."""
    try:
        return Record(**json.loads((folder / name).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


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


def _run_stage(job: Job, options: Options, lock: int, header: str) -> int:
    folder = options.output / job.stage.name
    done = read_record(folder)
    if done is not None and done.fingerprint == job.fingerprint:
        note(f"{header} · já feito ({done.seconds:.0f} s)")
        return 0
    begun = read_record(folder, "begun.json")
    note(f"{header} · {job.stage.says}")
    command = list(job.command)
    if begun is None or begun.fingerprint != job.fingerprint:
        if done is not None or begun is not None:
            note("  a receita, uma opção ou os dados mudaram: faz-se de novo, e o que vem depois também")
        _clear(options.output, job.stage)
        begun = Record(job.stage.name, job.fingerprint, command=command)
    elif (folder / "last.ckpt").is_file():
        note(f"  continua de {folder / 'last.ckpt'}")
        command += ["--ckpt_path", str(folder / "last.ckpt")]
    _write(folder / "begun.json", begun)
    ended = _child(command, lock)
    record = _record(begun, ended, folder)
    if ended.exit_code == 0:
        _write(folder / "stage.json", record)
        (folder / "begun.json").unlink()
        return INTERRUPTED if ended.was_interrupted else 0
    _write(folder / "begun.json", record)
    if ended.was_interrupted:
        return INTERRUPTED
    if ended.exit_code < 0:
        note(f"{job.stage.name} was killed by signal {-ended.exit_code} (9 is often a lack of memory)")
        return 128 - ended.exit_code
    return ended.exit_code


def _child(command: list[str], lock: int, *, to_stdout: bool = False) -> Ended:
    return run_child([sys.executable, "-m", "amalia_mm.cli", *command], keep_open=[lock], to_stdout=to_stdout)


def _record(begun: Record, ended: Ended, folder: Path) -> Record:
    """Return the record of a stage after one more attempt, with its last step and loss."""
    last: dict[str, Any] = {}
    if (folder / "metrics.jsonl").is_file():
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            try:
                figures = json.loads(line)
            except json.JSONDecodeError:
                break  # the child died while it wrote its last line
            last = figures if "loss" in figures else last
    return Record(
        name=begun.name,
        fingerprint=begun.fingerprint,
        seconds=round(begun.seconds + ended.seconds, 1),
        peak_rss_gb=round(max(begun.peak_rss_gb, ended.peak_rss_gb), 3),
        steps=last.get("step"),
        final_loss=last.get("loss"),
        command=begun.command,
    )


@contextmanager
def _run_folder(output: Path) -> Iterator[int]:
    """Take the run folder for this process and its children, and yield the lock's file descriptor."""
    if output.exists() and not output.is_dir():
        raise InputError(
            "--output", found=f"{output} is a file", wanted="a folder", remedy="choose another place"
        )
    strangers = {path.name for path in output.iterdir()} - _known_names() if output.is_dir() else set()
    if strangers and not (output / MARKER).is_file():
        raise InputError(
            "--output",
            found=f"{output} holds {', '.join(sorted(strangers))}",
            wanted="a new folder or an earlier quickstart's",
            remedy="choose another folder: stages that are run again are first removed from it",
        )
    output.mkdir(parents=True, exist_ok=True)
    _write_text(output / MARKER, json.dumps({"version": __version__}) + "\n")
    with (output / LOCK).open("w") as file:
        patience = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A killed run's last child still saves its checkpoint.
                if time.monotonic() > patience:
                    raise InputError(
                        output,
                        found="another quickstart at work",
                        wanted="one at a time",
                        remedy="wait for it to end",
                    ) from None
                time.sleep(0.2)
        yield file.fileno()


def _known_names() -> set[str]:
    return {MARKER, LOCK, *(name for stage in STAGES for name in (stage.name, *stage.owns))}


def _clear(output: Path, stage: Stage) -> None:
    """Remove what a stage wrote in an earlier run."""
    for name in (stage.name, *stage.owns):
        path = output / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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


def _write(path: Path, record: Record) -> None:
    _write_text(path, json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".writing")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
