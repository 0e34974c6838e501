"""A run that starts from a checkpoint that transformers wrote, with a longer context than it had."""

from __future__ import annotations

import pytest
import torch
import toy_recipe
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from amalia_mm.errors import InputError
from amalia_mm.run import load_model
from amalia_mm.text.rope import RopeScaling
from amalia_mm.train.cli import main

SIZES = {name: value for name, value in toy_recipe.DECODER.items() if name != "dropout"}
YARN = {"rope_type": "yarn", "factor": 2.0}


@pytest.fixture
def checkpoint(tmp_path):
    parameters = {"rope_type": "default", "rope_theta": 10000.0}
    config = LlamaConfig(**SIZES, rope_parameters=parameters, rms_norm_eps=1e-5)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_a_run_starts_from_it_and_its_model_reads_twice_as_far(checkpoint, toy_data, tmp_path):
    settings = toy_recipe.language(toy_data, tmp_path / "run", 1)
    settings["data"]["init_args"]["num_workers"] = 0
    settings["model"]["init_args"] |= {
        "decoder": {**toy_recipe.DECODER, "rope_scaling": YARN},
        "init_from": {str(checkpoint): ["decoder"]},
        "changed": ["rope_scaling"],
        "freeze": ["embed_tokens"],
    }
    path = toy_recipe.write(settings, tmp_path / "recipe.yaml")
    main(["fit", "-c", str(path)])
    config = yaml.safe_load((tmp_path / "run/model/config.yaml").read_text())
    assert config["decoder"]["rope_scaling"]["factor"] == 2.0
    decoder = load_model(tmp_path / "run/model").model.decoder
    assert decoder.config.rope_scaling == RopeScaling.of(YARN)
    assert decoder.config.max_positions == 2 * SIZES["max_position_embeddings"]
    theirs = LlamaForCausalLM.from_pretrained(checkpoint)
    assert torch.equal(decoder.model.embed_tokens.weight, theirs.model.embed_tokens.weight)
    assert not torch.equal(decoder.model.norm.weight, theirs.model.norm.weight)

    settings["model"]["init_args"]["changed"] = []
    path = toy_recipe.write(settings, tmp_path / "recipe.yaml")
    with pytest.raises(
        InputError, match=r"config\.json: rope_scaling: found None; wanted .*'yarn', 'factor': 2.0.*`changed`"
    ):
        main(["fit", "-c", str(path), "--run_folder", str(tmp_path / "other")])
