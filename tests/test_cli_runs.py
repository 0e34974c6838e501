"""What is asked of a training run besides to train: its checkpoints, what they froze, and its other sub-commands."""

from __future__ import annotations

import shutil

import pytest
import torch
import toy_recipe
import yaml
from command_line import complaint
from safetensors.torch import load_file, save_file

from amalia_mm.data.index import ShardIndex


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Lightning looks at the command line of the process."""
    monkeypatch.setattr("sys.argv", ["amalia"])


def test_frozen_parts_that_have_changed_since_are_told(amalia, toy_data, tmp_path):
    language = toy_recipe.write(toy_recipe.language(toy_data, tmp_path / "text", 1), tmp_path / "a.yaml")
    assert amalia("fit", "-c", language)[0] == 0
    model = tmp_path / "text/model"
    recipe = toy_recipe.understanding(toy_data, tmp_path / "joint", 2)
    recipe["model"]["init_args"] |= {"init_from": {str(model): ["decoder"]}, "freeze": [r"^decoder\."]}
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    path = toy_recipe.write(recipe, tmp_path / "b.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    on = ("fit", "-c", path, "--ckpt_path", tmp_path / "joint/last.ckpt", "--trainer.max_steps", "3")
    assert amalia(*on)[0] == 0
    weights = load_file(model / "weights.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, model / "weights.safetensors")
    code, _, err = amalia(*on)
    assert code == 2
    assert "init_from[" in complaint(err) and "put those weights back" in err


def test_what_is_frozen_or_moved_otherwise_is_told(amalia, toy_data, tmp_path):
    """Gone on with, other parameters would move than the state of the optimiser is of."""
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 1)
    recipe["data"]["init_args"]["num_workers"], recipe["checkpoint"] = 0, {"every_n_train_steps": 1}
    path = toy_recipe.write(recipe, tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    on = ("fit", "-c", path, "--ckpt_path", tmp_path / "run/last.ckpt", "--trainer.max_steps", "2")
    code, _, err = amalia(*on, "--model.init_args.freeze", '["embed_tokens"]')
    assert code == 2 and "wanted nothing frozen, which the run began with" in complaint(err)
    code, _, err = amalia(*on, "--model.init_args.optim.decay_embeddings", "true")
    assert code == 2 and "wanted a checkpoint of this model" in complaint(err)


def test_gradients_are_clipped_in_bf16(amalia, toy_data, tmp_path):
    """Lightning refuses it for a fused optimiser: every run in the precision of GPUs ended at its first step."""
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 2)
    recipe["data"]["init_args"]["num_workers"] = 0
    recipe["trainer"] |= {"precision": "bf16-mixed", "gradient_clip_val": 1e-3}
    recipe["throughput"] = {"peak_tflops": 1.0}
    recipe["model"]["init_args"]["optim"] = {"lr": 1.0, "warmup_steps": 0, "eps": 1.0, "weight_decay": 0.0}
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "a.yaml"))
    assert code == 0, err
    first, second = toy_recipe.figures(tmp_path / "run")
    # With such an eps a step is as long as its gradient: clipped, it leaves the loss where it was.
    assert first["grad_norm"] > 0.1 and abs(second["loss"] - first["loss"]) < 0.5


def test_a_run_that_was_moved_or_is_named_otherwise_goes_on(amalia, toy_data, tmp_path, monkeypatch):
    """What is frozen is known by its values, not by where it came from; what is trained is in the checkpoint."""
    monkeypatch.chdir(tmp_path)
    language = toy_recipe.write(toy_recipe.language(toy_data, tmp_path / "run/text", 1), tmp_path / "a.yaml")
    assert amalia("fit", "-c", language)[0] == 0
    recipe = toy_recipe.understanding(toy_data, tmp_path / "run/joint", 2)
    recipe["model"]["init_args"] |= {"init_from": {"run/text/model": ["decoder"]}, "freeze": [r"^encoder\."]}
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "b.yaml"))[0] == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    weights = load_file(tmp_path / "moved/text/model/weights.safetensors")
    changed = {name: value + 1 for name, value in weights.items()}
    save_file(changed, tmp_path / "moved/text/model/weights.safetensors")
    recipe["model"]["init_args"] |= {"init_from": {str(tmp_path / "moved/text/model"): ["decoder"]}}
    recipe |= {"run_folder": str(tmp_path / "moved/joint")}
    path = toy_recipe.write(recipe, tmp_path / "b.yaml")
    on = ("--ckpt_path", tmp_path / "moved/joint/last.ckpt", "--trainer.max_steps", "3")
    assert amalia("fit", "-c", path, *on)[0] == 0


def test_what_is_frozen_and_came_from_nowhere_may_be_drawn_again(amalia, toy_data, tmp_path):
    """A run begun on a processor goes on where a GPU draws other numbers: they mean nothing, and are not kept."""
    recipe = toy_recipe.understanding(toy_data, tmp_path / "run", 2)
    recipe["model"]["init_args"]["freeze"] = [r"^encoder\."]
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    path = toy_recipe.write(recipe, tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    on = ("--ckpt_path", tmp_path / "run/last.ckpt", "--trainer.max_steps", "3", "--seed_everything", "1")
    assert amalia("fit", "-c", path, *on)[0] == 0


def test_a_copied_checkpoint_may_be_gone_on_from_in_a_folder_of_its_own(amalia, toy_data, tmp_path):
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 2)
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    path = toy_recipe.write(recipe, tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "run/last.ckpt", tmp_path / "new")
    on = (
        "--ckpt_path",
        tmp_path / "new/last.ckpt",
        "--trainer.max_steps",
        "3",
        "--run_folder",
        tmp_path / "new",
    )
    assert amalia("fit", "-c", path, *on)[0] == 0


@pytest.mark.parametrize("what", ["half", "text", "tensor", "weights"])
def test_a_checkpoint_that_is_none_is_named(amalia, toy_data, tmp_path, what):
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 2)
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    path = toy_recipe.write(recipe, tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    whole, damaged = tmp_path / "run/last.ckpt", tmp_path / "damaged.ckpt"
    damaged.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    if what == "text":
        damaged.write_text("not a checkpoint")
    if what == "tensor":
        torch.save(torch.zeros(3), damaged)
    if what == "weights":
        torch.save({"state_dict": {}}, damaged)
    for command in ("fit", "validate"):
        code, _, err = amalia(command, "-c", path, "--ckpt_path", damaged)
        assert code == 2, err
        assert "--ckpt_path: found" in complaint(err) and "damaged.ckpt" in err


def test_a_run_is_validated_and_stays_as_it_is(amalia, toy_data, tmp_path):
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 2)
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    path = toy_recipe.write(recipe, tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    shards = f'["{toy_data}/shards/text"]'
    options = ("--data.init_args.val_shards", shards, "--ckpt_path", tmp_path / "run/last.ckpt")
    code, out, _ = amalia("validate", "-c", path, *options)
    assert code == 0
    assert "val_loss" in out
    assert before == {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}


def test_nothing_to_validate_on_is_told(amalia, toy_data, tmp_path):
    path = toy_recipe.write(toy_recipe.language(toy_data, tmp_path / "run", 2), tmp_path / "a.yaml")
    code, _, err = amalia("validate", "-c", path)
    assert code == 2
    assert "val_shards: found none" in complaint(err)


@pytest.mark.parametrize(
    ("command", "remedy"), [("test", "amalia evaluate"), ("predict", "amalia transcribe")]
)
def test_what_a_training_module_does_not_do_is_told(amalia, toy_data, tmp_path, command, remedy):
    recipe = toy_recipe.write(toy_recipe.language(toy_data, tmp_path / "run", 2), tmp_path / "recipe.yaml")
    code, _, err = amalia(command, "-c", recipe)
    assert code == 2
    assert remedy in complaint(err)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_things_is_not_taken_for_a_run(amalia, toy_data, tmp_path):
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/model/precious.bin").write_text("mine")
    path = toy_recipe.write(toy_recipe.language(toy_data, tmp_path / "run", 1), tmp_path / "a.yaml")
    code, _, err = amalia("fit", "-c", path)
    assert code == 2
    assert "run holds model and no config.yaml" in complaint(err)
    assert (tmp_path / "run/model/precious.bin").read_text() == "mine"


def test_a_tokenizer_does_not_replace_anything_else(amalia, toy_data, tmp_path):
    (tmp_path / "notas.txt").write_text("mine")
    options = ("--shards", toy_data / "shards/text", "--vocab-size", "320", "--output", tmp_path)
    code, _, err = amalia("tokenizer", *options)
    assert code == 2
    assert "holds notas.txt" in complaint(err)
    assert (tmp_path / "notas.txt").read_text() == "mine"


def test_a_model_that_hears_says_how_long_its_clips_were(amalia, toy_data, tmp_path):
    path = toy_recipe.write(toy_recipe.understanding(toy_data, tmp_path / "run", 1), tmp_path / "a.yaml")
    assert amalia("fit", "-c", path)[0] == 0
    config = yaml.safe_load((tmp_path / "run/model/config.yaml").read_text())
    lengths = ShardIndex.load(toy_data / "shards/speech").num_samples / 16_000
    assert 0 < config["clip_s"] <= lengths.max()
