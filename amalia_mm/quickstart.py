"""The main job: every stage is an `amalia` sub-command run as a child process, on the recipes as they are.

A stage begins when those it builds on are finished, so two that need nothing of each other run side by side: on
two cores that is half as fast again as one after the other. A finished stage leaves `stage.json` and is skipped
the next time; a changed recipe, fragment, option or input runs its stage again and those that build on it; an
interrupted training stage goes on from its last checkpoint. It knows nothing of models and data: only the names
of the stages, their recipes and what they own in the run folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from amalia_mm.child_process import Children, Ended, run_child
from amalia_mm.commit import own_commit
from amalia_mm.errors import InputError
from amalia_mm.quickstart_folder import described, made_with, mark, taken, write_text
from amalia_mm.quickstart_plan import Job, Options, how_to_go_on, plan
from amalia_mm.quickstart_stages import Stage, has_company, needed
from amalia_mm.terminal import note

INTERRUPTED = 130
_AMALIA = (sys.executable, "-m", "amalia_mm.cli")


@dataclass(frozen=True)
class Record:
    """What `stage.json` holds. `seconds` add up over interrupted attempts; `spans` are when these were."""

    name: str
    fingerprint: str
    seconds: float = 0.0
    spans: list[list[float]] = field(default_factory=list)
    """Begin and end of each attempt, in seconds of the wall clock: stages may overlap."""
    peak_rss_gb: float = 0.0
    steps: int | None = None
    final_loss: float | None = None
    command: list[str] = field(default_factory=list)
    commit: str = ""
    """Of the code that ran; several, with a space between, where an interrupted stage was taken up by another."""


def run(options: Options) -> int:
    """Run what is left to do, print the figures, and return 0, 130 after Ctrl-C, or a failed child's code.

    Raises:
        InputError: The run folder is somebody else's or in use, a recipe is broken, or an input does not
            exist.
    """
    jobs = plan(options)
    with taken(options.output) as lock:
        _clear_outdated(jobs, options)
        mark(options)
        code = _Schedule(jobs, options, lock).run()
        if code:
            return code
        show = [*_AMALIA, "evaluate", "--show", str(options.output)]
        return run_child(show, keep_open=[lock], to_stdout=True, lets_signals_in=True).exit_code


def read_record(folder: Path, name: str = "stage.json") -> Record | None:
    """Return what a stage left, or None where it left nothing that can be read."""
    try:
        record = Record(**json.loads((folder / name).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, TypeError):
        return None
    is_whole = isinstance(record.seconds, (int, float)) and isinstance(record.peak_rss_gb, (int, float))
    return record if is_whole and isinstance(record.commit, str) else None


class _Schedule:
    """Runs the jobs that are left, each after those it builds on, as many at once as there are cores for."""

    def __init__(self, jobs: list[Job], options: Options, lock: int) -> None:
        self.options = options
        self.lock = lock
        self.jobs = {job.stage.name: job for job in jobs}
        self.numbers = {job.stage.name: number for number, job in enumerate(jobs, start=1)}
        self.begun: dict[str, Record] = {}
        self.finished: set[str] = set()
        self.lines: dict[str, int] = {}
        """Where on the terminal the progress of a stage that has company is drawn."""
        self.failure = 0
        self.most_at_once = 1 if _num_cores() == 1 else 2
        self.threads_in_company = str(max(1, _num_cores() // 2))

    def run(self) -> int:
        """Return 0, 130 after Ctrl-C, or the code of the child that failed; the others are stopped then."""
        with Children() as children:
            while True:
                if not self.failure and not children.were_interrupted:
                    self._start_what_can_start(children)
                if not children.names:
                    break
                name, ended = children.wait()
                code = self._finish(name, ended)
                if code and not self.failure and not children.were_interrupted:
                    self.failure = code
                    for other in sorted(children.names):
                        note(f"{name} falhou; {other} é interrompido, e guarda o que pode ser retomado")
                    children.interrupt()
            if self.failure:
                note(f"Para continuar, corrigido o que falhou:  {how_to_go_on(self.options)}")
                return self.failure
            return self._say_how_to_go_on() if children.were_interrupted else 0

    def _say_how_to_go_on(self) -> int:
        names = ", ".join(name for name in self.jobs if name in self.begun and name not in self.finished)
        note(f"Interrompido{' em ' * bool(names)}{names}; nada do que está feito se perde. Para continuar:")
        note(f"  {how_to_go_on(self.options)}")
        return INTERRUPTED

    def _start_what_can_start(self, children: Children) -> None:
        for name, job in self.jobs.items():
            if name in self.finished | children.names or not self.finished.issuperset(job.stage.after):
                continue
            if len(children.names) < self.most_at_once:
                self._begin(job, children)

    def _begin(self, job: Job, children: Children) -> None:
        """Start a job, or find that it is done."""
        name = job.stage.name
        header = f"[{self.numbers[name]}/{len(self.jobs)}] {name}"
        folder = self.options.output / name
        done = read_record(folder)
        missing = [each for each in job.stage.leaves if not (self.options.output / each).exists()]
        if done is not None and not missing:
            note(f"{header} · já feito ({done.seconds:.0f} s)")
            self.finished.add(name)
            return
        if done is not None:
            note(f"{name}: falta {', '.join(missing)}; faz-se de novo")
            for other in self.jobs.values() if job.stage.trains else ():
                if name in needed(other.stage):  # built on what may now become something else
                    _clear(self.options.output, other.stage)
        begun = None if done is not None else read_record(folder, "begun.json")
        note(f"{header} · {job.stage.says}")
        command, commit = list(job.command), own_commit()
        if begun is None:
            _clear(self.options.output, job.stage)
            begun = Record(name, job.fingerprint, command=command, commit=commit)
        elif (folder / "last.ckpt").is_file():
            note(f"  continua de {folder / 'last.ckpt'}")
            command += ["--ckpt_path", str(folder / "last.ckpt")]
        if commit not in begun.commit.split():
            begun = replace(begun, commit=f"{begun.commit} {commit}".strip())
        _write(folder / "begun.json", begun)
        self.begun[name] = begun
        environment = self._environment(job, children)
        children.start(
            name,
            [*_AMALIA, *command],
            keep_open=[self.lock],
            environment=environment,
            lets_signals_in=True,
        )

    def _environment(self, job: Job, children: Children) -> dict[str, str]:
        """Return how a child shares the machine and the terminal with another."""
        environment = {"AMALIA_QUICKSTART": "1"} | ({"TQDM_DESC": job.stage.name} if job.stage.trains else {})
        if self.most_at_once > 1 and has_company(job.stage):
            taken = {self.lines[name] for name in children.names}
            line = min({0, 1} - taken)
            self.lines[job.stage.name] = line
            environment["TQDM_POSITION"] = str(line)
            environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", self.threads_in_company)
        return environment

    def _finish(self, name: str, ended: Ended) -> int:
        """Return the code that the whole run ends with if it must end here, else 0."""
        folder = self.options.output / name
        record = _record(self.begun[name], ended, folder)
        if ended.exit_code == 0:
            _write(folder / "stage.json", record)
            (folder / "begun.json").unlink()
            self.finished.add(name)
            return 0
        _write(folder / "begun.json", record)
        if ended.was_interrupted or self.failure:
            return INTERRUPTED
        if ended.exit_code < 0:
            note(f"{name} was killed by signal {-ended.exit_code} (9 is often a lack of memory)")
            return 128 - ended.exit_code
        return ended.exit_code


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
        spans=[*begun.spans, [round(time.time() - ended.seconds, 1), round(time.time(), 1)]],
        peak_rss_gb=round(max(begun.peak_rss_gb, ended.peak_rss_gb), 3),
        steps=last.get("step"),
        final_loss=last.get("loss"),
        command=begun.command,
        commit=begun.commit,
    )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _clear_outdated(jobs: Sequence[Job], options: Options) -> None:
    """Remove every stage that was made otherwise than it would be made now, all of them with `--fresh`.

    Raises:
        InputError: Finished stages would be lost because other options were given, without `--fresh`.
    """
    outdated = [job for job in jobs if options.fresh or _is_outdated(options.output / job.stage.name, job)]
    finished = [job.stage.name for job in outdated if read_record(options.output / job.stage.name)]
    before, wanted = made_with(options.output), described(options)
    if finished and before not in (None, wanted) and not options.fresh:
        raise InputError(
            options.output,
            found=f"{', '.join(finished)} made with {before}",
            wanted=f"a run made with {wanted}",
            remedy="choose another --output, or start over in this one with --fresh",
        )
    if finished and not options.fresh:
        note(f"Uma receita ou os dados mudaram; faz-se de novo: {', '.join(finished)}")
    for job in outdated:
        _clear(options.output, job.stage)


def _is_outdated(folder: Path, job: Job) -> bool:
    records = [read_record(folder), read_record(folder, "begun.json")]
    found = [record.fingerprint for record in records if record is not None]
    return bool(found) and job.fingerprint not in found


def _clear(output: Path, stage: Stage) -> None:
    """Remove what a stage wrote in an earlier run."""
    for name in (stage.name, *stage.owns):
        path = output / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write(path: Path, record: Record) -> None:
    write_text(path, json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n")
