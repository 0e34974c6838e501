"""Runs over pairs of preference: a reference that is the start, watched answers, and the same however a step is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import toy_recipe
from command_line import complaint
from forked import finish, ranks
from safetensors.torch import load_file, save_file

from amalia_mm.data.index import ShardIndex


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Lightning looks at the command line of the process."""
    monkeypatch.setattr("sys.argv", ["amalia"])


@pytest.fixture
def recipe(toy_data, tmp_path):
    """Without dropout: what the model thinks at the first step is what the reference thought."""
    recipe = toy_recipe.preference(toy_data, tmp_path / "run", 8)
    recipe["model"]["init_args"]["decoder"] = {**toy_recipe.DECODER, "dropout": 0.0}
    return recipe


@pytest.fixture(autouse=True)
def no_sidecar(toy_data):
    """Every test computes its own reference."""
    yield
    for path in (toy_data / "shards/pairs").glob("reference-*.npz"):
        path.unlink()


def begun(amalia, recipe, toy_data, tmp_path):
    """Let the recipe start from a model that has made a step; give back its folder."""
    start = toy_recipe.language(toy_data, tmp_path / "start", 1)
    start["model"]["init_args"]["decoder"] = recipe["model"]["init_args"]["decoder"]
    assert amalia("fit", "-c", toy_recipe.write(start, tmp_path / "start.yaml"))[0] == 0
    model = tmp_path / "start/model"
    recipe["model"]["init_args"]["init_from"] = {str(model): ["decoder"]}
    return model


def losses(run):
    return [line["loss"] for line in toy_recipe.figures(run) if "loss" in line]


def test_a_run_starts_as_its_own_reference_and_then_prefers_what_was_chosen(
    amalia, recipe, toy_data, tmp_path
):
    recipe["data"]["init_args"]["task_shards"] = [str(toy_data / "shards/chat")]
    recipe["trainer"]["max_steps"] = 16
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "a.yaml"))[0] == 0
    lines = toy_recipe.figures(tmp_path / "run")
    first, last = lines[0], [line for line in lines if "loss" in line][-1]
    # The reference read the pairs in other rows than the first step has: its numbers were found by their ids.
    assert first["dpo"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["margin"] == pytest.approx(0, abs=1e-4)
    assert first["loss"] == pytest.approx(first["dpo"] + 0.1 * first["nll"], rel=0.2)
    assert last["margin"] > first["margin"] + 0.1
    validated = [line for line in lines if "val_dpo" in line]
    assert len(validated) == 2 and validated[1]["val_dpo"] < validated[0]["val_dpo"] < math.log(2)
    assert all(0 <= line["val_exact"] <= 1 for line in validated)
    (sidecar,) = (toy_data / "shards/pairs").glob("reference-*.npz")
    assert len(np.load(sidecar)["ids"]) == 60


def test_one_step_of_four_rows_is_two_of_two_accumulated(amalia, recipe, tmp_path):
    arguments = recipe["data"]["init_args"]
    arguments["rows_per_batch"], recipe["trainer"]["max_steps"] = 4, 3
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "a.yaml"))[0] == 0
    arguments["rows_per_batch"], recipe["run_folder"] = 2, str(tmp_path / "two")
    recipe["trainer"] |= {"accumulate_grad_batches": 2}
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "b.yaml"))[0] == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "run"), rel=1e-5)


def test_two_processes_read_as_reference_together_and_give_the_losses_of_one(
    amalia, recipe, toy_data, tmp_path
):
    """A rank that had nothing to read must not overwrite what the other one found with zeros."""
    recipe["trainer"] |= {"max_steps": 2, "val_check_interval": 8}
    recipe["data"]["init_args"] |= {
        "num_workers": 0,
        "rows_per_batch": 3,
        "val_shards": [],
        "task_shards": None,
    }
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "one.yaml"))[0] == 0
    (sidecar,) = (toy_data / "shards/pairs").glob("reference-*.npz")
    alone = dict(zip(*np.load(sidecar).values(), strict=True))
    sidecar.unlink()
    recipe["run_folder"] = str(tmp_path / "two")
    recipe["trainer"] |= {"devices": 2, "strategy": "ddp"}
    finish(ranks(*[["fit", "-c", toy_recipe.write(recipe, tmp_path / "two.yaml")]] * 2))
    together = dict(zip(*np.load(sidecar).values(), strict=True))
    assert alone.keys() == together.keys() and len(alone) == 60
    for identity, values in alone.items():
        np.testing.assert_allclose(together[identity], values, rtol=1e-5)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "run"), rel=1e-5)


def test_another_reference_is_another_sidecar_and_no_checkpoint_goes_on_with_it(
    amalia, recipe, toy_data, tmp_path
):
    """The margin is against the start of the run: resumed on other weights it would be against nothing."""
    model = begun(amalia, recipe, toy_data, tmp_path)
    recipe["trainer"]["max_steps"], recipe["checkpoint"] = 2, {"every_n_train_steps": 1}
    path = toy_recipe.write(recipe, tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    on = ("fit", "-c", path, "--ckpt_path", tmp_path / "run/last.ckpt", "--trainer.max_steps", "3")
    assert amalia(*on)[0] == 0
    assert len(list((toy_data / "shards/pairs").glob("reference-*.npz"))) == 1
    weights = load_file(model / "weights.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, model / "weights.safetensors")
    code, _, err = amalia(*on)
    assert code == 2 and "put those weights back" in complaint(err)
    assert len(list((toy_data / "shards/pairs").glob("reference-*.npz"))) == 2


def test_a_damaged_sidecar_is_named(amalia, recipe, toy_data, tmp_path):
    recipe["trainer"]["max_steps"] = 1
    path = toy_recipe.write(recipe, tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    (sidecar,) = (toy_data / "shards/pairs").glob("reference-*.npz")
    sidecar.write_bytes(sidecar.read_bytes()[:200])
    code, _, err = amalia("fit", "-c", path)
    assert code == 2 and sidecar.name in complaint(err) and "delete it" in err


def test_pairs_need_pairs_and_a_reference_that_holds(amalia, recipe, toy_data, tmp_path):
    text = toy_recipe.language(toy_data, tmp_path / "run", 1)["data"]
    path = toy_recipe.write({**recipe, "data": text}, tmp_path / "a.yaml")
    code, _, err = amalia("fit", "-c", path)
    assert code == 2 and "data: class_path: found TextData; wanted amalia_mm.data.preference.PairData" in err
    recipe["model"]["init_args"]["beta"] = 0
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "b.yaml"))
    assert code == 2 and "beta: found 0" in complaint(err), err


def test_with_its_low_rank_changes_off_the_decoder_is_its_own_reference_without_a_sidecar(
    amalia, recipe, toy_data, tmp_path
):
    """Both ways are one: the numbers that were kept, and those of the same weights at every step."""
    begun(amalia, recipe, toy_data, tmp_path)
    arguments = recipe["model"]["init_args"]
    arguments["lora"] = {"modules": [r"(q|v)_proj$"], "rank": 4}
    arguments["optim"] = {**toy_recipe.OPTIM, "lr": 1e-2}
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "a.yaml"))[0] == 0
    next((toy_data / "shards/pairs").glob("reference-*.npz")).unlink()
    arguments["live_reference"], recipe["run_folder"] = True, str(tmp_path / "live")
    arguments["activation_checkpointing"] = True  # what is computed again is computed with the changes on
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "b.yaml"))[0] == 0
    assert not list((toy_data / "shards/pairs").glob("reference-*.npz"))
    assert losses(tmp_path / "live") == pytest.approx(losses(tmp_path / "run"), rel=1e-5)
    assert abs(toy_recipe.figures(tmp_path / "live")[-1]["margin"]) > 1e-3
    del arguments["lora"]
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "c.yaml"))
    assert code == 2 and "live_reference: found True; wanted low-rank changes" in complaint(err)


def test_ids_that_two_folders_share_are_told(amalia, recipe, toy_data, tmp_path):
    """Looked up by id, one pair would be measured against what the reference thinks of another."""
    from amalia_mm.data.index import read_record
    from amalia_mm.data.shards import ShardWriter

    index = ShardIndex.load(toy_data / "shards/pairs")
    with ShardWriter(tmp_path / "other") as writer:
        for number in range(6):
            fields = read_record(index, number)[0].to_json()
            writer.write({**fields, "rejected": "outra coisa"})
    recipe["data"]["init_args"]["shards"][str(tmp_path / "other")] = 1.0
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "a.yaml"))
    assert code == 2 and "as in another folder" in complaint(err)
