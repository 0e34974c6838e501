"""config.json as transformers 4 and 5 write it: every key is used, checked or known to be harmless."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from transformers import LlamaConfig

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.hf_config import (
    SpecialIds,
    read_decoder_config,
    read_special_ids,
    write_decoder_config,
)
from amalia_mm.text.rope import RopeScaling

# By hand, as transformers 4.48 writes it: AMÁLIA-9B with its widths divided by 32.
OLDER = """{
  "_name_or_path": "amalia-llm/AMALIA-9B-0626-DPO",
  "architectures": ["LlamaForCausalLM"],
  "attention_bias": false,
  "attention_dropout": 0.0,
  "bos_token_id": 1,
  "eos_token_id": 4,
  "head_dim": 4,
  "hidden_act": "silu",
  "hidden_size": 128,
  "initializer_range": 0.02,
  "intermediate_size": 384,
  "max_position_embeddings": 32768,
  "mlp_bias": false,
  "model_type": "llama",
  "num_attention_heads": 32,
  "num_hidden_layers": 42,
  "num_key_value_heads": 8,
  "pad_token_id": 2,
  "pretraining_tp": 1,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "rope_theta": 1000000.0,
  "tie_word_embeddings": false,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.48.0",
  "use_cache": true,
  "vocab_size": 2000
}"""
AMALIA = DecoderConfig(
    *(2000, 128, 384, 42, 32, 8),
    head_dim=4,
    max_position_embeddings=32768,
    rope_theta=1e6,
    dtype="bfloat16",
)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(OLDER)
    return tmp_path


def change(folder, **changes) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "absent"}))


def test_what_transformers_4_wrote_is_read(folder):
    assert read_decoder_config(folder) == AMALIA
    assert read_special_ids(folder) == SpecialIds(bos=1, eos=(4,), pad=2)


def test_what_transformers_5_writes_of_it_means_the_same(folder):
    LlamaConfig.from_pretrained(folder).save_pretrained(folder)
    content = json.loads((folder / "config.json").read_text())
    assert "rope_parameters" in content and "rope_theta" not in content and "dtype" in content
    assert read_decoder_config(folder) == AMALIA
    assert read_special_ids(folder) == SpecialIds(bos=1, eos=(4,), pad=2)


def test_scalings_are_read_from_either_place_in_either_spelling(folder):
    wanted = replace(AMALIA, rope_scaling=RopeScaling("linear", 2.0))
    for changes in (
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2.0, "beta_fast": None}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0}, "rope_scaling": None},
        {
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6},
            "rope_theta": "absent",
        },
    ):
        change(folder, **changes)
        assert read_decoder_config(folder) == wanted
    change(folder, rope_parameters="absent", rope_scaling=YARN, rope_theta=1e6)
    LlamaConfig.from_pretrained(folder).save_pretrained(folder)
    assert read_decoder_config(folder).rope_scaling == RopeScaling.of(YARN)


@pytest.mark.parametrize("scaling", [None, RopeScaling("dynamic", 2.0), RopeScaling.of(YARN)])
def test_what_we_write_is_read_by_us_and_by_transformers(tmp_path, scaling):
    config = replace(AMALIA, rope_scaling=scaling)
    ids = SpecialIds(bos=1, eos=(4, 2), pad=2)
    write_decoder_config(config, tmp_path, ids)
    assert read_decoder_config(tmp_path) == config
    assert read_special_ids(tmp_path) == ids
    theirs = LlamaConfig.from_pretrained(tmp_path)
    parameters = {"rope_type": "default", "rope_theta": 1e6} | (scaling.given() if scaling else {})
    assert theirs.rope_parameters == parameters
    assert (str(theirs.dtype), theirs.eos_token_id) == ("torch.bfloat16", [4, 2])
    # transformers 4 looks here.
    content = json.loads((tmp_path / "config.json").read_text())
    assert (content["rope_theta"], content["torch_dtype"]) == (1e6, "bfloat16")
    assert content["rope_scaling"] == (scaling.given() if scaling else None)


def test_the_last_word_on_ends_is_the_generation_configs(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [4, 2], "top_p": 0.9}')
    assert read_special_ids(folder) == SpecialIds(bos=1, eos=(4, 2), pad=2)
    (folder / "generation_config.json").write_text('{"eos_token_id": "</s>"}')
    with pytest.raises(InputError, match=r"generation_config\.json: eos_token_id: found </s>"):
        read_special_ids(folder)


def test_what_was_left_out_is_what_transformers_takes(folder):
    change(
        folder, num_key_value_heads="absent", rms_norm_eps="absent", torch_dtype="absent", head_dim="absent"
    )
    change(folder, max_position_embeddings="absent")
    ours, theirs = read_decoder_config(folder), LlamaConfig.from_pretrained(folder)
    for name in ("num_key_value_heads", "rms_norm_eps", "max_position_embeddings"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.head_width == theirs.head_dim
    assert ours.dtype == "float32"


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
REFUSED = {
    "model_type: found mistral": {"model_type": "mistral"},
    "model_type: found nothing": {"model_type": "absent"},
    "architectures": {"architectures": ["LlamaForSequenceClassification"]},
    "hidden_act": {"hidden_act": "gelu"},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "attention_dropout": {"attention_dropout": 0.1},
    "sliding_window": {"sliding_window": 4096},
    "quantization_config": {"quantization_config": {"quant_method": "gptq"}},
    "auto_map": {"auto_map": {"AutoModelForCausalLM": "modeling.Other"}},
    "attention_multiplier: found 0.0078125; wanted keys of": {"attention_multiplier": 0.0078125},
    "rope_theta: found nothing": {"rope_theta": "absent"},
    "rope_theta: found rope_theta 1e\\+06, rope_parameters.rope_theta 10000; wanted one theta": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}
    },
    "rope_theta: found Infinity": {"rope_theta": float("inf")},
    "rope_theta: found true": {"rope_theta": True},
    "rope_scaling: found .*; wanted what rope_parameters says": {
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        "rope_parameters": {"rope_type": "linear", "factor": 4.0},
    },
    "rope_scaling.type: found linear; wanted 'dynamic', as rope_type": {
        "rope_scaling": {"type": "linear", "rope_type": "dynamic", "factor": 2.0}
    },
    "rope_scaling.original_max_position_embeddings: found nothing": {"rope_scaling": LLAMA3},
    "rope_scaling.rope_type: found longrope": {
        "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}
    },
    "rope_scaling.truncate: found no; wanted true or false": {"rope_scaling": YARN | {"truncate": "no"}},
    "rope_scaling.alpha": {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "alpha": 8}},
    "rope_parameters.factor": {"rope_parameters": {"rope_type": "default", "factor": 8}},
    "rope_parameters.partial_rotary_factor": {"rope_parameters": {"partial_rotary_factor": 0.5}},
    "rope_parameters: found": {"rope_parameters": [1]},
    "max_position_embeddings: found 32768; wanted 4096 or 16384": {
        "rope_scaling": YARN | {"original_max_position_embeddings": 4096}
    },
    "dtype: found float8_e4m3fn": {"torch_dtype": "float8_e4m3fn"},
    "torch_dtype: found bfloat16; wanted float32": {"dtype": "float32"},
    "num_key_value_heads: found 3": {"num_key_value_heads": 3},
    "vocab_size: found nothing": {"vocab_size": "absent"},
    'vocab_size: found "64"': {"vocab_size": "64"},
    "hidden_size: found 64.5": {"hidden_size": 64.5},
    "tie_word_embeddings: found 1": {"tie_word_embeddings": 1},
}


@pytest.mark.parametrize(("message", "changes"), REFUSED.items(), ids=REFUSED.keys())
def test_what_would_compute_something_else_is_refused_by_its_key(folder, message, changes):
    change(folder, **changes)
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        read_decoder_config(folder)
