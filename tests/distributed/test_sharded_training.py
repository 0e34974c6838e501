"""Weights in slices over two processes: the losses of one process, its model folder, and resumes that are exact.

What differs is only where numbers lie. All else must be equal: the random start, the division of summed gradients,
clipping, weights that start from a folder, checkpoints of trained parameters alone.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import toy_recipe
import yaml
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.run import save_model
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.sharded_start import new_sharded
from amalia_mm.train.cli import main as fit
from amalia_mm.train.language import Language
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


def in_two_processes(*arguments: str) -> None:
    """Run the child as torchrun would, without its own process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    around = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "test",
    }
    children = []
    for rank in ("0", "1"):
        own = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "GROUP_RANK": "0",
            "LOCAL_WORLD_SIZE": "2",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(CHILD), *arguments]
        children.append(
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **around, **own})
        )
    try:
        for child in children:
            _, errors = child.communicate(timeout=50)
            assert child.returncode == 0, errors[-3000:]
    finally:
        for child in children:
            child.kill()


def figures(run: Path) -> dict[int, dict[str, float]]:
    return {int(line["step"]): line for line in toy_recipe.figures(run) if "loss" in line}


def furthest(one: dict[int, dict[str, float]], two: dict[int, dict[str, float]], name: str) -> float:
    return max(abs(two[step][name] - one[step][name]) / abs(one[step][name]) for step in one)


@pytest.fixture(scope="module")
def runs(toy_data, tmp_path_factory) -> Path:
    """A run in one process, the same in two with half of each weight, and that one again from its fourth step.

    Part of the decoder stays as it is, so that frozen weights must be in no checkpoint and in every model folder.
    """
    root = tmp_path_factory.mktemp("runs")
    torch.manual_seed(1)
    begun = torch.nn.Module()
    begun.decoder = Decoder(DecoderConfig(**DECODER))
    save_model(root / "begun", begun, config={"decoder": DECODER}, tokenizer=toy_data / "tokenizer", card="")
    settings = {"init_from": {str(root / "begun"): ["decoder"]}, "freeze": ["embed_tokens", r"layers\.0\."]}
    sharded = "--trainer", str(FRAGMENT)
    fit(words(toy_data, root / "one", settings))
    two = words(toy_data, root / "two", settings, *sharded)
    saved = str(root / "two" / "last.ckpt")
    again = words(toy_data, root / "again", settings, *sharded, "--ckpt_path", saved)
    (root / "words.json").write_text(json.dumps([two, again]))
    in_two_processes(str(root / "rank"), str(root / "words.json"))
    return root


def test_two_sharded_processes_are_one_process(runs, record_property):
    one, two = figures(runs / "one"), figures(runs / "two")
    assert sorted(one) == sorted(two) == [*range(1, STEPS + 1)]
    assert min(line["grad_norm"] for line in one.values()) > 0.5, "clipping must act"
    for name in ("loss", "grad_norm"):
        record_property(f"relative_difference_of_{name}", furthest(one, two, name))
        assert furthest(one, two, name) <= 1e-5


def test_the_model_folder_is_written_once_and_whole(runs):
    weights = [load_file(runs / run / "model" / "weights.safetensors") for run in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert (weights[1][name] - value).abs().max() <= 1e-4, name
    configs = [yaml.safe_load((runs / run / "model" / "config.yaml").read_text()) for run in ("one", "two")]
    assert configs[0]["decoder"] == configs[1]["decoder"]


def test_a_sharded_run_goes_on_exactly(runs):
    two, again = figures(runs / "two"), figures(runs / "again")
    assert sorted(again) == [*range(SAVED_STEP + 1, STEPS + 1)]
    assert {step: line["loss"] for step, line in again.items()} == {step: two[step]["loss"] for step in again}
    whole, parted = (runs / run / "model" / "weights.safetensors" for run in ("two", "again"))
    assert whole.read_bytes() == parted.read_bytes()


def test_a_checkpoint_holds_trained_parameters_alone_and_no_half_written_one_is_left(runs):
    folder = runs / "two" / "last.ckpt"
    names = set(FileSystemReader(folder).read_metadata().state_dict_metadata)
    assert "state_dict.model.decoder.lm_head.weight" in names
    assert not [name for name in names if "embed_tokens" in name or "layers.0." in name]
    assert {path.name for path in folder.parent.iterdir()} == {
        *("config.yaml", "metrics.jsonl", "last.ckpt", "model"),
    }


def test_a_new_decoder_is_drawn_in_slices_and_is_the_one_of_one_process(runs):
    found = [json.loads((runs / f"rank.{rank}").read_text()) for rank in (0, 1)]
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


def test_muon_and_low_rank_changes_are_refused_for_weights_in_slices(alone, toy_data):
    optim, config = OptimConfig(lr=1e-3, muon=["q_proj"]), DecoderConfig(**DECODER)
    with pytest.raises(InputError, match="muon: found Muon for weights in slices"):
        build_optimizer(new_sharded(config, alone, torch.device("cpu")), optim, 5)
    changes = LoraConfig(modules=["q_proj"], rank=2, alpha=4)
    module = Language(config, optim, str(toy_data / "tokenizer"), {"x": ["decoder"]}, lora=changes)
    module._device_mesh = alone
    with pytest.raises(InputError, match="lora: found low-rank changes with sharded weights"):
        module.configure_model()


def test_a_module_that_is_not_sharded_is_refused_by_name():
    strategy = Sharded(process_group_backend="gloo")
    strategy.model = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="whose weight every process holds whole"):
        strategy.setup(None)


def test_the_checkpoint_of_another_strategy_is_refused(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match="a folder that a sharded run wrote"):
        Sharded().load_checkpoint(tmp_path / "last.ckpt")
