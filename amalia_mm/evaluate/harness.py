"""A model folder or a whole run in; `report.json` and `report.html` out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

from amalia_mm.assistant import Assistant
from amalia_mm.errors import InputError
from amalia_mm.evaluate.dnsmos import Dnsmos
from amalia_mm.evaluate.environment import Environment, own_peak_rss_gb, read_environment
from amalia_mm.evaluate.items import read_texts
from amalia_mm.evaluate.measured import PAIRS, QUESTIONS, SPOKEN, Job, Measured, measure
from amalia_mm.evaluate.own_data import own_data_lines
from amalia_mm.evaluate.own_voice_players import own_voice_table, read_own_voice
from amalia_mm.evaluate.report import draw, render_report
from amalia_mm.evaluate.scores import Scores, scores
from amalia_mm.evaluate.shares import measure_in_shares
from amalia_mm.evaluate.stages import Stage, peak_rss_gb, read_stages, wall_seconds
from amalia_mm.evaluate.voice import NUM_SENTENCES, MeasuredVoice, measure_voice, voice_scores
from amalia_mm.evaluate.voice_section import render_voice
from amalia_mm.evaluate.voice_shown import shown_sentences
from amalia_mm.model_config import read_config
from amalia_mm.portuguese.normalise import NORMALISER, words
from amalia_mm.resolve import resolve_model
from amalia_mm.speaking import has_voice

FORMAT = 1
EVALUATION = "30_evaluate"
JOINT_STAGE = "14_joint"
BEFORE_JOINT_STAGE = "04_sft"


def evaluate(
    model: Path | str | None,
    data: Path | str,
    output: Path | str,
    *,
    batch_size: int = 16,
    num_processes: Literal[1, 2] = 1,
    command: str | None = None,
    began_s: float | None = None,
) -> Scores:
    """Return the figures of a model on a data folder; write `report.json` and `report.html` into `output`.

    Args:
        model: A model, stage or run folder, as `Assistant.load` takes it.
        data: A folder with any of `test.jsonl`, `text_test.jsonl` and `pairs.jsonl`.
        output: Where to write.
        batch_size: Clips heard at once.
        num_processes: With 2, a second one helps where that is faster; a script that asks for it does so under
            `if __name__ == "__main__":`.
        command: What the user typed, where that is not this process's own command line.
        began_s: When the work began, in seconds of the wall clock; now, where nothing is said.

    Raises:
        InputError: There is no model, none of the files, a file is damaged, or a clip cannot be read.
    """
    began_s = began_s or time.time()
    assistant = Assistant.load(model)
    job = Job(assistant.folder, _with_data(Path(data)), batch_size=batch_size)
    measured = measure_in_shares(assistant, job) if num_processes == 2 else measure(assistant, job)
    return _write(assistant, measured, Path(data), Path(output), [], command, began_s)


def evaluate_run(
    run: Path | str,
    *,
    batch_size: int = 16,
    num_processes: Literal[1, 2] = 1,
    command: str | None = None,
    began_s: float | None = None,
    num_sentences: int = NUM_SENTENCES,
    dnsmos: Path | None = None,
) -> Scores:
    """Return the figures of a whole run, with its stages and earlier models; the reports go into the run.

    The data are the run's own test files. `wer_frozen` is from the model that `14_joint` began with, and the
    written questions are asked once more to that of `04_sft`. A run that speaks says `num_sentences` of each group of
    the test set, into `30_evaluate/voice`, and again with several voices, into `turns` in there; with the weights in
    `dnsmos` opinions are foretold of them. Clips of own voices that lie in the run are in the page. Other arguments as
    `evaluate`.

    Raises:
        InputError: As `evaluate`.
    """
    began_s = began_s or time.time()
    run = Path(run)
    own = [own_voice_table(clips) for clips in read_own_voice(run)]
    speaks = has_voice(run) and (run / SPOKEN).is_file()
    _check_dnsmos(run, dnsmos, speaks)
    assistant = Assistant.load(resolve_model(run))
    before_joint = run / BEFORE_JOINT_STAGE / "model"
    job = Job(
        assistant.folder,
        _with_data(run),
        frozen=_parts_before_joint(assistant.folder),
        before_joint=before_joint if before_joint.is_dir() else None,
        batch_size=batch_size,
    )
    measured = measure_in_shares(assistant, job) if num_processes == 2 else measure(assistant, job)
    voice = None
    if speaks and assistant.has_ears:
        said = run / EVALUATION / "voice"
        voice = measure_voice(
            run, assistant, said, num_sentences=num_sentences, dnsmos=dnsmos, num_processes=num_processes
        )
    stages = [stage for stage in read_stages(run) if stage.name != EVALUATION]

    def section() -> str:
        shown = [] if voice is None else shown_sentences(run, voice.model, assistant, voice.speakers)
        return render_voice(voice, shown, own)

    return _write(assistant, measured, run, run, stages, command, began_s, voice, section)


def _check_dnsmos(run: Path, dnsmos: Path | None, speaks: bool) -> None:
    """Raise `InputError` before any work where opinions are asked for that nobody can give."""
    if dnsmos is None:
        return
    if not speaks:
        wanted, remedy = (
            "a run with a voice and its sentences",
            "leave it out, or run recipes/21_acoustic first",
        )
        raise InputError("--dnsmos", found=f"{run}, which does not speak", wanted=wanted, remedy=remedy)
    Dnsmos(dnsmos)


def _parts_before_joint(model: Path) -> dict[str, list[str]] | None:
    """Return what a model of `14_joint` began with, if all of it is still there, as `load_model` takes it.

    Encoder and decoder had not met: the one had learned from speech, the other from text.
    """
    if model.parent.name != JOINT_STAGE:
        return None
    config = read_config(model)
    init_from: dict[str, list[str]] = config.get("init_from") or {}
    # The run may have been moved since: its own stages are looked for where it is now.
    then, now = Path((config.get("made_by") or {}).get("run", "")).parent, model.parents[1]
    parts = {
        str(now / Path(folder).relative_to(then) if Path(folder).is_relative_to(then) else folder): names
        for folder, names in init_from.items()
    }
    return parts if parts and all(Path(folder).is_dir() for folder in parts) else None


def _with_data(folder: Path) -> Path:
    names = (SPOKEN, QUESTIONS, PAIRS)
    if not any((folder / name).is_file() for name in names):
        raise InputError(
            folder,
            found="none of " + ", ".join(names),
            wanted="a folder with test data",
            remedy="run `make quickstart` or give --data",
        )
    return folder


def _write(
    assistant: Assistant,
    measured: Measured,
    data: Path,
    output: Path,
    stages: list[Stage],
    command: str | None,
    began_s: float,
    voice: MeasuredVoice | None = None,
    section: Callable[[], str] = str,
) -> Scores:
    environment = read_environment(command)
    output.mkdir(parents=True, exist_ok=True)

    def write_figures() -> tuple[list[Stage], Scores]:
        spoken_gb = 0.0 if voice is None else voice.peak_rss_gb
        done = [*stages, _this_stage(measured, spoken_gb, began_s, environment)]
        figures = {**_summary(assistant, done, environment, data), **_all_scores(measured, voice)}
        _replace(output / "report.json", json.dumps(figures, ensure_ascii=False, indent=1) + "\n")
        return done, figures

    write_figures()  # what was measured is kept whatever becomes of the pictures
    drawn, voice_section = draw(assistant, measured, stages), section()
    stages, report = write_figures()  # now with the time that they took
    configurations = {
        path.parent.name: path.read_text(encoding="utf-8") for path in sorted(output.glob("*/config.yaml"))
    }
    _replace(
        output / "report.html",
        render_report(drawn, report, stages, environment, configurations, voice_section),
    )
    return report


def _all_scores(measured: Measured, voice: MeasuredVoice | None) -> Scores:
    values = scores(measured)
    spoken, counts = voice_scores(voice)
    return {**values, **spoken, "counts": {**cast(Scores, values["counts"]), **counts}}


def _summary(assistant: Assistant, stages: list[Stage], environment: Environment, data: Path) -> Scores:
    waits = {stage.name: stage.wait_fraction for stage in stages}
    train = data / "train.jsonl"
    return {
        "format": FORMAT,
        "model": str(assistant.folder),
        "num_parameters": sum(parameter.numel() for parameter in assistant.model.parameters()),
        "vocabulary": len({word for text in read_texts(train) for word in words(text)})
        if train.is_file()
        else None,
        # Of a model by itself there is no way from nothing to here.
        "total_seconds": round(wall_seconds(stages), 1) if len(stages) > 1 else None,
        "peak_rss_gb": peak_rss_gb(stages),
        "data_wait_fraction": waits.get("10_hearing"),
        "stages": [stage.summary() for stage in stages],
        "commit": " ".join(sorted({commit for stage in stages for commit in stage.commits})),
        "hardware": environment.hardware,
        "software": environment.software,
        "command": environment.command,
        "normaliser": NORMALISER,
        "own_data": own_data_lines(data),
    }


def _this_stage(measured: Measured, spoken_gb: float, began_s: float, environment: Environment) -> Stage:
    now_s = time.time()
    return Stage(
        EVALUATION,
        round(now_s - began_s, 1),
        round(max(measured.peak_rss_gb, spoken_gb, own_peak_rss_gb()), 3),
        steps=None,
        final_loss=None,
        wait_fraction=None,
        losses=(),
        val_losses=(),
        spans=((began_s, now_s),),
        commits=(environment.commit,),
    )


def _replace(path: Path, text: str) -> None:
    """Write a file at once: a reader sees the old one or the new one."""
    fresh = path.with_name(path.name + ".writing")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
