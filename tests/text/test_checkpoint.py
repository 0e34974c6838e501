"""Hugging Face folders: what was saved comes back; whatever would load wrongly is refused by name."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from amalia_mm.errors import InputError
from amalia_mm.text.checkpoint import check_same_decoder, load_hf, load_hf_into, save_hf
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.rope import RopeScaling

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(decoder, tmp_path):
    save_hf(decoder, tmp_path)
    return tmp_path


def change_config(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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


def test_a_type_can_be_chosen(folder, decoder):
    loaded = load_hf(folder, dtype="bfloat16")
    assert loaded.config.dtype == "bfloat16"
    for name, value in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.to(torch.bfloat16)), name


def test_what_was_loaded_lives_on_when_its_folder_is_overwritten(folder, decoder):
    """Weights that stay mapped would change with the file, or end the process when it is cut."""
    loaded = load_hf(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\0" * weights.stat().st_size)
    for name, value in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_folder_can_be_written_over_itself(folder, decoder):
    save_hf(load_hf(folder), folder, max_shard_size="10KB")
    assert not (folder / "model.safetensors").exists()
    save_hf(load_hf(folder), folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    assert torch.equal(load_hf(folder).model.norm.weight, decoder.model.norm.weight)


def test_weights_go_into_a_decoder_that_is_there(folder, decoder):
    other = Decoder(replace(decoder.config, dropout=0.1))
    addresses = [parameter.data_ptr() for parameter in other.parameters()]
    load_hf_into(other, folder)
    assert [parameter.data_ptr() for parameter in other.parameters()] == addresses
    for name, value in decoder.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_theta_that_differs_is_refused_unless_it_is_to_be_changed(folder, decoder):
    """AMÁLIA's weights with EuroLLM's theta give wrong logits without any error."""
    other = Decoder(replace(decoder.config, rope_theta=1e6, max_position_embeddings=128))
    with pytest.raises(
        InputError, match="rope_theta: found 10000.0; wanted 1000000.0, .*`changed`"
    ) as caught:
        load_hf_into(other, folder, ["max_position_embeddings"])
    assert caught.value.where == str(folder / "config.json")
    load_hf_into(other, folder, ["max_position_embeddings", "rope_theta"])
    with pytest.raises(InputError, match="changed: found hidden_size; wanted some of rope_theta"):
        load_hf_into(other, folder, ["hidden_size"])


def test_yarn_with_its_first_context_given_or_left_out_is_the_same(decoder):
    short = replace(decoder.config, rope_scaling=RopeScaling("yarn", 4.0))
    long = replace(decoder.config, rope_scaling=RopeScaling("yarn", 4.0, original_max_position_embeddings=64))
    check_same_decoder(short, long, "config.json")
    with pytest.raises(InputError, match="rope_scaling"):
        check_same_decoder(short, decoder.config, "config.json")


def test_22b_with_54_layers_refuses_a_folder_with_56(tmp_path):
    """EuroLLM-22B's card says both: its layer row 56, its totals 54. The folder decides."""
    wanted = DecoderConfig.of(yaml.safe_load((ROOT / "configs/decoder/eurollm_22b.yaml").read_text()))
    with torch.device("meta"):
        decoder = Decoder(replace(wanted, num_hidden_layers=1))
    content = {"model_type": "llama", "num_hidden_layers": 56, "rope_theta": wanted.rope_theta}
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "rms_norm_eps"):
        content[name] = getattr(wanted, name)
    for name in ("num_key_value_heads", "head_dim", "max_position_embeddings", "dtype"):
        content[name] = getattr(wanted, name)
    (tmp_path / "config.json").write_text(json.dumps(content))
    decoder.config = wanted
    with pytest.raises(InputError, match="num_hidden_layers: found 56; wanted 54") as caught:
        load_hf_into(decoder, tmp_path)
    assert caught.value.where == str(tmp_path / "config.json")


def test_types_survive(decoder, tmp_path):
    half = Decoder(replace(decoder.config, dtype="bfloat16", tie_word_embeddings=True))
    save_hf(half, tmp_path)
    loaded = load_hf(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert loaded.lm_head is None


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
    with pytest.raises(InputError, match="found no such file or folder"):
        load_hf(folder / "nowhere")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_a_pickle_in_place_of_safetensors_is_refused_and_not_read(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match=rf"{name}: found a pickle.*wanted safetensors"):
        load_hf(folder)


def test_a_pickle_under_the_name_of_safetensors_is_refused_and_not_read(folder):
    torch.save({"model.norm.weight": torch.ones(3)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: found a pickle"):
        load_hf(folder)
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"model\.safetensors: found a pickle"):
        load_hf(folder)


def test_numbers_that_are_no_floats_are_refused(folder):
    change_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(32).int()}))
    with pytest.raises(InputError, match=r"model\.norm\.weight: found numbers of type I32"):
        load_hf(folder)


def test_a_file_in_place_of_its_folder_is_refused(folder):
    with pytest.raises(InputError, match=r"model\.safetensors: found a file; wanted the folder"):
        load_hf(folder / "model.safetensors")


def test_a_part_without_the_list_of_parts_is_named(decoder, tmp_path):
    save_hf(decoder, tmp_path, max_shard_size="10KB")
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(InputError, match=r"index\.json: found no such file, but model-00001-of"):
        load_hf(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {"a": "../b.safetensors"}}'])
def test_a_list_of_parts_that_cannot_be_right_is_named(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=r"index\.json"):
        load_hf(folder)


def test_two_checkpoints_in_one_folder_are_refused(decoder, tmp_path):
    """transformers leaves an older model.safetensors where it writes parts, and then reads the older one."""
    save_hf(decoder, tmp_path, max_shard_size="10KB")
    save_file(decoder.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"found model\.safetensors and, in .*wanted the weights once"):
        load_hf(tmp_path)


def test_a_tensor_in_two_files_is_named(decoder, tmp_path):
    save_hf(decoder, tmp_path, max_shard_size="10KB")
    first, second = sorted(tmp_path.glob("model-*.safetensors"))[:2]
    save_file({**load_file(second), **load_file(first)}, second)
    with pytest.raises(InputError, match=f"also in {first.name}"):
        load_hf(tmp_path)


def test_a_hub_id_is_read_from_what_was_fetched_before(decoder, tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "models--someone--tiny"
    save_hf(decoder, cache / "snapshots" / "0123abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert torch.equal(load_hf("someone/tiny").model.norm.weight, decoder.model.norm.weight)
    with pytest.raises(InputError, match=r"someone/else: found no such folder here, and from the Hub "):
        load_hf("someone/else")
    shutil.rmtree(cache)
    with pytest.raises(InputError, match=r"someone/tiny: found no such folder here, and from the Hub "):
        load_hf("someone/tiny")


def test_a_file_of_the_index_that_is_missing_is_named(decoder, tmp_path):
    save_hf(decoder, tmp_path, max_shard_size="10KB")
    missing = sorted(tmp_path.glob("model-*.safetensors"))[1]
    missing.unlink()
    with pytest.raises(InputError, match=missing.name):
        load_hf(tmp_path)


@pytest.mark.parametrize(("name", "file"), [("model.layers.7.extra", None), ("model.norm.weight", "other")])
def test_a_tensor_that_the_index_promises_and_its_file_lacks_is_named(decoder, tmp_path, name, file):
    save_hf(decoder, tmp_path, max_shard_size="20KB")
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    files = sorted(set(index["weight_map"].values()))
    right = index["weight_map"].get(name)
    index["weight_map"][name] = next(each for each in files if each != right)
    path.write_text(json.dumps(index))
    found = "no file" if file is None else right
    with pytest.raises(InputError, match=f"{path.name}: {name}: found it in {found}; wanted it in "):
        load_hf(tmp_path)


def test_a_checkpoint_of_bfloat16_starts_a_run_in_float32(decoder, tmp_path):
    """Every number stays what it is, so nobody needs to say that the type is to change; the way down must be said."""
    decoder = Decoder(replace(decoder.config, dtype="bfloat16"))
    save_hf(decoder, tmp_path)
    wide = Decoder(replace(decoder.config, dtype="float32"))
    load_hf_into(wide, tmp_path)
    for found, wanted in zip(wide.parameters(), decoder.parameters(), strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, wanted.float())
    save_hf(wide, tmp_path)
    with pytest.raises(InputError, match="dtype: found float32; wanted bfloat16"):
        load_hf_into(decoder, tmp_path)
