"""A run that is killed goes on as if nothing had happened: the same batches, the same random numbers, the same losses.

Lightning restarts a custom sampler at zero without a word; a resumed run then sees its first batches twice and
its losses look plausible. Only a comparison bit by bit shows it.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
import toy_recipe
from forked import Forked, ranks

from amalia_mm.train.callbacks import GracefulStop

STEPS = 24
KIND = {
    "language": toy_recipe.language,
    "hearing": toy_recipe.hearing,
    "understanding": toy_recipe.understanding,
    "preference": toy_recipe.preference,
    "acoustic": toy_recipe.acoustic,
}


def _fit(recipe: Path, *options: str) -> Forked:
    return Forked("fit", "-c", recipe, *options)


def _wait_for_step(run: Path, process: Forked, step: int) -> None:
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
    _fit(toy_recipe.write(KIND[request.param](toy_data, run, STEPS), tmp_path / "whole.yaml")).finish()
    return run


def test_a_run_killed_at_a_random_step_makes_the_same_losses(
    toy_data: Path, tmp_path: Path, whole: Path
) -> None:
    kind, killed = whole.parent.name, tmp_path / "killed"
    recipe = toy_recipe.write(KIND[kind](toy_data, killed, STEPS), tmp_path / "killed.yaml")
    process = _fit(recipe)
    _wait_for_step(killed, process, random.SystemRandom().randint(6, 12))
    process.kill()
    assert len(_losses(killed)) < STEPS, "the run ended before it was killed"
    assert not (killed / "model").exists()
    _fit(recipe, "--ckpt_path", str(killed / "last.ckpt")).finish()
    assert _losses(killed) == _losses(whole)
    steps = [line["step"] for line in toy_recipe.figures(killed) if "loss" in line]
    assert steps == list(range(1, STEPS + 1))
    validated = [[line for line in toy_recipe.figures(run) if "val_loss" in line] for run in (whole, killed)]
    assert validated[0] == validated[1]
    assert bool(validated[0]) == (kind in ("hearing", "preference", "acoustic")), "those that validate"
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
    process.signal(signal.SIGINT)
    code, errors = process.wait()
    assert code == 130
    assert "Traceback" not in errors
    num_steps = len(_losses(run))
    assert 12 <= num_steps < 400
    _fit(path, "--ckpt_path", str(run / "last.ckpt"), "--trainer.max_steps", str(num_steps + 3)).finish()
    assert list(_losses(run)) == list(range(1, num_steps + 4))


def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(
    toy_data: Path, tmp_path: Path, root: Path
) -> None:
    """Lightning's own handler of SIGTERM makes the processes meet, wherever they are: they waited for ever."""
    run = tmp_path / "run"
    recipe = toy_recipe.language(toy_data, run, 4000)
    recipe["checkpoint"] = {"every_n_train_steps": 100_000}
    path = toy_recipe.write(recipe, tmp_path / "recipe.yaml")
    words = ["fit", "-c", path, "--trainer", root / "configs/trainer/fsdp_2.yaml"]
    both = ranks(words, words)
    try:
        _wait_for_step(run, both[0], 4)
        both[1].signal(signal.SIGTERM)
        for process in both:
            code, errors = process.wait(20)
            assert code == 130, errors
            assert f"add --ckpt_path {run / 'last.ckpt'}" in errors
    finally:
        for process in both:
            process.kill()
    assert torch.load(run / "last.ckpt/meta.pt", weights_only=True)["global_step"] == len(_losses(run))


def test_a_signal_that_comes_while_processes_decide_waits_for_the_next_step() -> None:
    """One process saw it at once and waited at the checkpoint for another that had gone on."""
    stop = GracefulStop()

    def decide(decision: bool, all: bool) -> bool:  # noqa: A002 (Lightning's name)
        stop._receive(signal.SIGINT, None)
        return decision

    trainer = MagicMock(global_step=1, world_size=2)
    trainer.strategy.reduce_boolean_decision = decide
    stop.on_train_batch_end(trainer, MagicMock(), None, None, 0)
    trainer.save_checkpoint.assert_not_called()
    assert stop.received == signal.SIGINT
