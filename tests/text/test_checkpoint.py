"""Hugging Face folders: what was saved comes back; whatever would load wrongly is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from amalia_mm.errors import InputError
from amalia_mm.text.checkpoint import decoder_config, load_hf, save_hf
from amalia_mm.text.decoder import Decoder


@pytest.fixture
def folder(decoder, tmp_path):
    save_hf(decoder, tmp_path)
    return tmp_path


def change_config(folder, **changes) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "absent"}))


def change_weights(folder, change) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


@pytest.mark.parametrize("size", ["5GB", "10KB"])
def test_a_folder_gives_back_the_same_decoder(decoder, tmp_path, size):
    save_hf(decoder, tmp_path, max_shard_size=size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (size == "10KB")
    loaded = load_hf(tmp_path)
    assert loaded.config == replace(decoder.config, head_dim=8)
    for name, value in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_what_was_loaded_can_be_trained(folder):
    loaded = load_hf(folder)
    loaded(torch.randint(61, (1, 5))).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_types_survive(decoder, tmp_path):
    half = Decoder(replace(decoder.config, dtype="bfloat16", tie_word_embeddings=True))
    save_hf(half, tmp_path)
    loaded = load_hf(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert loaded.lm_head is None


def test_older_and_newer_spellings_of_the_configuration_mean_the_same(folder):
    expected = decoder_config(folder)
    change_config(folder, rope_theta="absent", rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    assert decoder_config(folder) == replace(expected, rope_theta=1e6)
    change_config(folder, dtype="absent", torch_dtype="bfloat16")
    assert decoder_config(folder).dtype == "bfloat16"
    change_config(folder, num_key_value_heads="absent", rms_norm_eps="absent")
    old = decoder_config(folder)
    assert (old.num_key_value_heads, old.rms_norm_eps) == (4, 1e-6)


OTHERS = {
    "model_type": {"model_type": "mistral"},
    "hidden_act": {"hidden_act": "gelu"},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "rope_scaling": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "sliding_window": {"sliding_window": 4096},
    "rope_type": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}},
    "dtype": {"dtype": "float8_e4m3fn"},
    "num_key_value_heads": {"num_key_value_heads": 3},
}


@pytest.mark.parametrize(("field", "changes"), OTHERS.items(), ids=OTHERS.keys())
def test_another_architecture_is_refused_by_its_field(folder, field, changes):
    change_config(folder, **changes)
    with pytest.raises(InputError, match=rf"config\.json.*: {field}: found "):
        load_hf(folder)


@pytest.mark.parametrize("field", ["vocab_size", "num_attention_heads", "model_type"])
def test_a_missing_field_is_named(folder, field):
    change_config(folder, **{field: "absent"})
    with pytest.raises(InputError, match=field):
        load_hf(folder)


def test_a_missing_tensor_is_named(folder):
    change_weights(folder, lambda weights: weights.pop("model.norm.weight"))
    with pytest.raises(InputError, match=r"model\.norm\.weight: found 1 tensors missing"):
        load_hf(folder)


def test_an_unknown_tensor_is_named(folder):
    change_weights(
        folder, lambda weights: weights.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)})
    )
    with pytest.raises(InputError, match=r"q_proj\.bias: found a tensor without a place"):
        load_hf(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder):
    change_config(folder, vocab_size=62)
    with pytest.raises(InputError, match=r"found \(61, 32\); wanted \(62, 32\)"):
        load_hf(folder)


def test_tensors_that_follow_from_others_are_accepted(folder):
    change_weights(
        folder,
        lambda weights: weights.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
    )
    load_hf(folder)


def test_a_tied_head_must_be_the_embeddings(decoder, tmp_path):
    tied = Decoder(replace(decoder.config, tie_word_embeddings=True))
    save_hf(tied, tmp_path)
    embeddings = tied.model.embed_tokens.weight.detach()
    change_weights(tmp_path, lambda weights: weights.update({"lm_head.weight": embeddings.clone()}))
    load_hf(tmp_path)
    change_weights(tmp_path, lambda weights: weights.update({"lm_head.weight": embeddings + 1}))
    with pytest.raises(InputError, match=r"lm_head\.weight: found other values"):
        load_hf(tmp_path)


def test_files_that_are_missing_or_cut_are_named(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors: found .*whole safetensors"):
        load_hf(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: found no such file"):
        load_hf(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: found .*wanted JSON"):
        load_hf(folder)
    with pytest.raises(InputError, match="found no such file"):
        load_hf(folder / "nowhere")


def test_a_file_of_the_index_that_is_missing_is_named(decoder, tmp_path):
    save_hf(decoder, tmp_path, max_shard_size="10KB")
    missing = sorted(tmp_path.glob("model-*.safetensors"))[1]
    missing.unlink()
    with pytest.raises(InputError, match=missing.name):
        load_hf(tmp_path)
