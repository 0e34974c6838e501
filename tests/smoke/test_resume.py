"""A run that is killed goes on as if nothing had happened: the same batches, the same random numbers, the same losses.

Lightning restarts a custom sampler at zero without a word; a resumed run then sees its first batches twice and
its losses look plausible. Only a comparison bit by bit shows it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_recipe

STEPS = 40
KIND = {
    "language": toy_recipe.language,
    "hearing": toy_recipe.hearing,
    "understanding": toy_recipe.understanding,
}


def _fit(recipe: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "amalia_mm.cli", "fit", "-c", str(recipe), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_env())


def _env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=55)
    assert process.returncode == 0, errors.decode()[-2000:]


def _wait_for_step(run: Path, process: subprocess.Popen[bytes], step: int) -> None:
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline and process.poll() is None:
        path = run / "metrics.jsonl"
        if path.exists() and path.read_text().count("\n") >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"the run ended or hung before step {step}")


def _losses(run: Path) -> dict[int, float]:
    return {int(line["step"]): line["loss"] for line in toy_recipe.figures(run) if "loss" in line}


@pytest.fixture(params=KIND)
def whole(toy_data: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a run that nobody killed; its parent's name is its kind."""
    run = tmp_path / request.param / "whole"
    run.parent.mkdir()
    _finish(_fit(toy_recipe.write(KIND[request.param](toy_data, run, STEPS), tmp_path / "whole.yaml")))
    return run


def test_a_run_killed_at_a_random_step_makes_the_same_losses(
    toy_data: Path, tmp_path: Path, whole: Path
) -> None:
    kind, killed = whole.parent.name, tmp_path / "killed"
    recipe = toy_recipe.write(KIND[kind](toy_data, killed, STEPS), tmp_path / "killed.yaml")
    process = _fit(recipe)
    _wait_for_step(killed, process, random.SystemRandom().randint(6, 19))
    process.kill()
    process.communicate()
    assert len(_losses(killed)) < STEPS, "the run ended before it was killed"
    assert not (killed / "model").exists()
    _finish(_fit(recipe, "--ckpt_path", str(killed / "last.ckpt")))
    assert _losses(killed) == _losses(whole)
    steps = [line["step"] for line in toy_recipe.figures(killed) if "loss" in line]
    assert steps == list(range(1, STEPS + 1))
    validated = [[line for line in toy_recipe.figures(run) if "val_loss" in line] for run in (whole, killed)]
    assert validated[0] == validated[1]
    assert bool(validated[0]) == (kind == "hearing"), "the one that validates"
    assert (killed / "model/weights.safetensors").read_bytes() == (
        whole / "model/weights.safetensors"
    ).read_bytes()


def test_ctrl_c_saves_where_it_is_and_the_run_goes_on_from_there(toy_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = toy_recipe.language(toy_data, run, 400)
    recipe["checkpoint"] = {"every_n_train_steps": 10_000}
    path = toy_recipe.write(recipe, tmp_path / "recipe.yaml")
    process = _fit(path)
    _wait_for_step(run, process, 12)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    num_steps = len(_losses(run))
    assert 12 <= num_steps < 400
    _finish(_fit(path, "--ckpt_path", str(run / "last.ckpt"), "--trainer.max_steps", str(num_steps + 3)))
    assert list(_losses(run)) == list(range(1, num_steps + 4))
