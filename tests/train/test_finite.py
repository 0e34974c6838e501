"""A loss that is no number: in other trainers it is averaged away, and every weight is NaN one step later."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
import toy_recipe
from torch import Tensor

from amalia_mm.batch import PreferenceBatch, TextBatch
from amalia_mm.errors import InputError
from amalia_mm.train import cli, language
from amalia_mm.train.finite import Watched
from amalia_mm.train.losses import TokenLoss


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_the_run_stops_at_the_step_and_names_its_records(
    bad: str, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    calls = []

    def broken(hidden: Tensor, weight: Tensor, labels: Tensor, z_weight: float) -> TokenLoss:
        loss = plain(hidden, weight, labels, z_weight)
        calls.append(loss)
        if len(calls) < 8:
            return loss
        if bad == "loss":
            return TokenLoss(loss.sum * float("nan"), loss.count, loss.each)
        return TokenLoss(loss.sum + (hidden * 0).sum().sqrt(), loss.count, loss.each)  # sqrt(0)' is infinite

    plain = language.token_nll
    monkeypatch.setattr(language, "token_nll", broken)
    recipe = toy_recipe.write(
        {**toy_recipe.language(toy_data, run, 20), "data": _without_workers(toy_data, run)},
        tmp_path / "r.yaml",
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InputError, match=r"step 8, .*\.tar: record .*loss: found") as error:
        cli.main(["fit", "-c", str(recipe)])
    assert signal.getsignal(signal.SIGINT) is before, "a later Ctrl-C would go to a run that is over"
    assert "more" in str(error.value)
    assert len(toy_recipe.figures(run)) == 7
    kept = torch.load(run / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 5
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


def _batch(*places: str) -> TextBatch:
    empty = torch.zeros(1, 1, dtype=torch.int64)
    return TextBatch(empty, empty, empty, empty, places=places)


def test_the_two_sides_of_a_pair_are_one_record() -> None:
    watched = Watched()
    watched.add(PreferenceBatch(_batch("a", "a", "b", "b", "c", "c")), torch.tensor(float("nan")))
    with pytest.raises(InputError, match="^step 3, a, b, c: loss: found nan"):
        watched.check(3, float("nan"), 1.0)


def test_a_process_whose_records_are_good_does_not_accuse_them() -> None:
    watched = Watched()
    watched.add(_batch("a"), torch.tensor(1.0))
    with pytest.raises(InputError, match="^step 3, a batch of another process"):
        watched.check(3, float("nan"), float("nan"))
    with pytest.raises(InputError, match="^step 3, a: loss: found a gradient of norm inf"):
        watched.check(3, 1.0, float("inf"))


def _without_workers(toy_data: Path, run: Path) -> object:
    data = toy_recipe.language(toy_data, run, 20)["data"]
    assert isinstance(data, dict)
    return {**data, "init_args": {**data["init_args"], "num_workers": 0}}


def test_the_log_has_a_line_of_each_source(toy_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = toy_recipe.write(
        {**toy_recipe.language(toy_data, run, 2), "data": _without_workers(toy_data, run)},
        tmp_path / "r.yaml",
    )
    cli.main(["fit", "-c", str(recipe), "--model.z_weight", "0.01"])
    line = toy_recipe.figures(run)[0]
    assert line["nll_text"] == pytest.approx(line["nll"])
    assert line["loss"] > line["nll"]
    assert sum(line[f"share_{name}"] for name in ("pt-PT", "pt-BR", "other", "unknown")) == pytest.approx(1)
