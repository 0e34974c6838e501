"""Weights in slices over two processes: the losses of one process, its model folder, and resumes that are exact.

What differs is only where numbers lie. All else must be equal: the random start, the division of summed gradients,
clipping, weights that start from a folder, checkpoints of trained parameters alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import toy_recipe
import yaml
from command_line import complaint
from forked import finish, ranks
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from amalia_mm.errors import InputError
from amalia_mm.run import save_model
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.sharded_start import new_sharded
from amalia_mm.train.cli import main as fit
from amalia_mm.train.optim import OptimConfig, build_optimizer
from amalia_mm.train.strategy import Sharded

STEPS, SAVED_STEP = 6, 4
DECODER = {**toy_recipe.DECODER, "dropout": 0.0, "tie_word_embeddings": False}
FRAGMENT = Path(__file__).parents[2] / "configs" / "trainer" / "fsdp_2.yaml"
CHILD = Path(__file__).with_name("sharded_runs.py")


def words(toy_data: Path, run: Path, settings: dict[str, Any], *options: str) -> list[str]:
    """The command line of a run; clipping is below the norms of these steps, so that it acts."""
    made: Any = toy_recipe.language(toy_data, run, STEPS)
    made["model"]["init_args"] |= {"decoder": DECODER, "optim": {**toy_recipe.OPTIM, "lr": 1e-2}, **settings}
    made["trainer"] |= {"gradient_clip_val": 0.5, "accelerator": "cpu"}
    made["data"]["init_args"]["num_workers"] = 0  # each would load torch again, for nothing here
    made["checkpoint"] = {"every_n_train_steps": SAVED_STEP}
    return ["fit", "-c", str(toy_recipe.write(made, run.with_suffix(".yaml"))), *options]


def figures(run: Path) -> dict[int, dict[str, float]]:
    return {int(line["step"]): line for line in toy_recipe.figures(run) if "loss" in line}


def furthest(one: dict[int, dict[str, float]], two: dict[int, dict[str, float]], name: str) -> float:
    return max(abs(two[step][name] - one[step][name]) / abs(one[step][name]) for step in one)


KINDS = {
    "frozen": {"freeze": ["embed_tokens", r"layers\.0\."]},
    "lora": {"lora": {"modules": ["down_proj$", "(q|v)_proj$"], "rank": 3}},
}
"""Part of the decoder stays as it is, so that frozen weights must be in no checkpoint and in every model folder."""


@pytest.fixture(scope="module")
def root(toy_data, tmp_path_factory) -> Path:
    """Of each kind a run in two processes with half of each weight, and the same from its fourth step."""
    root = tmp_path_factory.mktemp("runs")
    torch.manual_seed(1)
    begun = torch.nn.Module()
    begun.decoder = Decoder(DecoderConfig(**DECODER))
    save_model(root / "begun", begun, config={"decoder": DECODER}, tokenizer=toy_data / "tokenizer", card="")
    sharded = []
    for kind, settings in KINDS.items():
        (root / kind).mkdir()
        settings = {"init_from": {str(root / "begun"): ["decoder"]}, **settings}
        options = "--trainer", str(FRAGMENT)
        sharded.append(words(toy_data, root / kind / "two", settings, *options))
        saved = "--ckpt_path", str(root / kind / "two" / "last.ckpt")
        sharded.append(words(toy_data, root / kind / "again", settings, *options, *saved))
    (root / "words.json").write_text(json.dumps(sharded))
    finish(ranks(*[[CHILD, root / "rank", root / "words.json"]] * 2))
    return root


@pytest.fixture(params=KINDS)
def runs(root, request) -> Path:
    return root / request.param


@pytest.fixture(scope="module")
def alone_too(root, toy_data) -> None:
    """The same runs in one process."""
    for kind, settings in KINDS.items():
        settings = {"init_from": {str(root / "begun"): ["decoder"]}, **settings}
        fit(words(toy_data, root / kind / "one", settings))


def test_a_sharded_run_goes_on_exactly(runs):
    two, again = figures(runs / "two"), figures(runs / "again")
    assert sorted(again) == [*range(SAVED_STEP + 1, STEPS + 1)]
    assert {step: line["loss"] for step, line in again.items()} == {step: two[step]["loss"] for step in again}
    whole, parted = (runs / run / "model" / "weights.safetensors" for run in ("two", "again"))
    assert whole.read_bytes() == parted.read_bytes()


def test_two_sharded_processes_are_one_process(runs, alone_too, record_property):
    one, two = figures(runs / "one"), figures(runs / "two")
    assert sorted(one) == sorted(two) == [*range(1, STEPS + 1)]
    assert min(line["grad_norm"] for line in one.values()) > 0.1, "clipping must act"
    for name in ("loss", "grad_norm"):
        record_property(f"relative_difference_of_{name}", furthest(one, two, name))
        assert furthest(one, two, name) <= 1e-5


def test_the_model_folder_is_written_once_and_whole(runs, alone_too):
    weights = [load_file(runs / run / "model" / "weights.safetensors") for run in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    assert not [name for name in weights[0] if "lora" in name]
    for name, value in weights[0].items():
        assert (weights[1][name] - value).abs().max() <= 1e-4, name
    configs = [yaml.safe_load((runs / run / "model" / "config.yaml").read_text()) for run in ("one", "two")]
    assert configs[0]["decoder"] == configs[1]["decoder"]


def test_a_checkpoint_holds_trained_parameters_alone_and_no_half_written_one_is_left(runs):
    folder = runs / "two" / "last.ckpt"
    found = set(FileSystemReader(folder).read_metadata().state_dict_metadata)
    names = {name for name in found if name.startswith("state_dict.")}
    if runs.name == "lora":
        assert len(names) == 2 * 3 * DECODER["num_hidden_layers"]
        assert all(name.endswith(("lora_a", "lora_b")) for name in names)
    else:
        assert "state_dict.model.decoder.lm_head.weight" in names
        assert not [name for name in names if "embed_tokens" in name or "layers.0." in name]
    assert {path.name for path in folder.parent.iterdir()} == {
        *("config.yaml", "metrics.jsonl", "last.ckpt", "model"),
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"lora": KINDS["lora"]["lora"]}, "last.ckpt: found Missing key in checkpoint state_dict: "),
        (
            {"freeze": ["embed_tokens", r"layers\.0\.", "lm_head"]},
            "which the run began with; put those weights",
        ),
    ],
)
def test_a_checkpoint_of_another_recipe_is_told_in_one_line(root, toy_data, tmp_path, changed, told):
    settings = {"init_from": {str(root / "begun"): ["decoder"]}, **changed}
    saved = "--ckpt_path", str(root / "frozen" / "two" / "last.ckpt")
    own = words(toy_data, tmp_path / "run", settings, "--trainer", str(FRAGMENT), *saved)
    for process in ranks(own, own):
        code, errors = process.wait()
        assert code == 2 and told in complaint(errors), errors


def test_one_process_does_not_go_on_from_the_checkpoint_of_two(root, toy_data, tmp_path, amalia, monkeypatch):
    monkeypatch.setattr("sys.argv", ["amalia"])
    saved = "--ckpt_path", str(root / "frozen" / "two" / "last.ckpt")
    code, _, err = amalia(*words(toy_data, tmp_path / "run", {}, *saved))
    assert code == 2 and "wanted that of a run with whole ones" in complaint(err)


def test_a_new_decoder_is_drawn_in_slices_and_is_the_one_of_one_process(root):
    found = [json.loads((root / f"rank.{rank}").read_text()) for rank in (0, 1)]
    assert all(each["is_same"] and each["is_same_afterwards"] for each in found)
    whole = found[0]["whole_bytes"]
    assert sum(each["local_bytes"] for each in found) == whole
    assert max(each["local_bytes"] for each in found) <= 0.51 * whole


@pytest.fixture
def alone() -> Iterator[DeviceMesh]:
    """A mesh of this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("data_parallel",))
    dist.destroy_process_group()


def test_muon_is_refused_for_weights_in_slices(alone):
    optim = OptimConfig(lr=1e-3, muon=["q_proj"])
    with pytest.raises(InputError, match="muon: found Muon for weights in slices"):
        build_optimizer(new_sharded(DecoderConfig(**DECODER), alone, torch.device("cpu")), optim, 5)


def test_a_module_that_is_not_sharded_is_refused_by_name():
    strategy = Sharded(process_group_backend="gloo")
    strategy.model = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="whose weight every process holds whole"):
        strategy.setup(None)


def test_the_checkpoint_of_another_strategy_is_refused(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match="a folder that a sharded run wrote"):
        Sharded().load_checkpoint(tmp_path / "last.ckpt")
