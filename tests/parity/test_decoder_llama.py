"""The decoder against transformers' LlamaForCausalLM: same weights, same logits; what one writes, the other reads."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from amalia_mm.text.checkpoint import load_hf, save_hf
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.hf_config import read_special_ids

TOLERANCE = 1e-4
SHAPES = {
    "grouped, untied": {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False},
    "grouped, tied": {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "one key head": {"num_attention_heads": 4, "num_key_value_heads": 1, "tie_word_embeddings": False},
    "all key heads": {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": True},
    "wide heads": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 48},
    "AMÁLIA's theta": {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 1e6},
}


def llama_of(shape: dict, folder) -> LlamaForCausalLM:
    """A random Llama, its weights large enough that a wrong rotation or mask shows."""
    theta = shape.get("rope_theta", 10000.0)
    others = {name: value for name, value in shape.items() if name != "rope_theta"}
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=112,
        num_hidden_layers=3,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        initializer_range=0.2,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        attn_implementation="eager",
        **others,
    )
    llama = LlamaForCausalLM(config).eval()
    llama.save_pretrained(folder)
    return llama


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def pair(request, tmp_path) -> tuple[LlamaForCausalLM, Decoder]:
    llama = llama_of(request.param, tmp_path)
    return llama, load_hf(tmp_path).eval()


@torch.no_grad()
def test_logits_equal_llamas(pair, record_property):
    llama, decoder = pair
    ids = torch.randint(97, (3, 200))
    expected = llama(ids).logits
    assert expected.std() > 0.5, "logits too flat to tell a right decoder from a wrong one"
    found = float((decoder(ids) - expected).abs().max())
    record_property("largest_difference", found)
    assert found <= TOLERANCE


@torch.no_grad()
def test_logits_equal_llamas_through_both_caches(pair, record_property):
    llama, decoder = pair
    ids = torch.randint(97, (2, 60))
    theirs, ours = DynamicCache(config=llama.config), decoder.new_cache(2, 60)
    for start, end in ((0, 41), (41, 42), (42, 43), (43, 60)):
        expected = llama(ids[:, start:end], past_key_values=theirs).logits
        found = float((decoder(ids[:, start:end], cache=ours) - expected).abs().max())
        record_property("largest_difference", found)
        assert found <= TOLERANCE


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_logits_of_padded_rows_equal_llamas(pair, side):
    llama, decoder = pair
    ids = torch.randint(97, (2, 30))
    is_real = torch.ones(2, 30, dtype=torch.int64)
    is_real[1, :11] = 0
    if side == "right":
        is_real = is_real.flip(1)
    positions = (is_real.cumsum(1) - 1).clamp(min=0)
    expected = llama(ids, attention_mask=is_real, position_ids=positions).logits
    difference = (decoder(ids, documents=is_real) - expected).abs().amax(dim=-1)
    assert difference[is_real.bool()].max() <= TOLERANCE


@torch.no_grad()
def test_in_bfloat16_logits_are_as_near_to_the_exact_ones_as_llamas(tmp_path, record_property):
    """Two roundings of bfloat16 differ from each other; neither may be farther from float32 than the other."""
    exact_llama = llama_of(SHAPES["AMÁLIA's theta"], tmp_path)
    exact_llama.to(torch.bfloat16).save_pretrained(tmp_path)
    decoder = load_hf(tmp_path).eval()
    assert decoder.config.dtype == "bfloat16"
    llama = LlamaForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert llama.dtype == torch.bfloat16
    ids = torch.randint(97, (2, 200))
    exact = exact_llama.float()(ids).logits
    theirs = (llama(ids).logits - exact).square().mean().sqrt()
    cache = decoder.new_cache(2, 200)
    cached = torch.cat([decoder(part, cache=cache) for part in ids.split([150, 1, 49], dim=1)], dim=1)
    for logits in (decoder(ids), cached):
        assert logits.dtype == torch.bfloat16
        ours = (logits - exact).square().mean().sqrt()
        record_property("error_over_theirs", float(ours / theirs))
        assert 0 < ours <= 1.1 * theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", ["grouped, untied", "grouped, tied", "AMÁLIA's theta"])
def test_there_and_back_no_bit_changes(tmp_path, shape, dtype):
    """Hugging Face -> ours -> Hugging Face: the same names, types and bits, and the same configuration."""
    first, second = tmp_path / "first", tmp_path / "second"
    llama_of(SHAPES[shape], tmp_path).to(dtype).save_pretrained(first, max_shard_size="50KB")
    assert len(list(first.glob("model-*.safetensors"))) > 1
    save_hf(load_hf(first), second, ids=read_special_ids(first))
    weights = [
        {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}
        for folder in (first, second)
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert value.dtype == weights[1][name].dtype == dtype
        assert torch.equal(value.view(torch.uint8), weights[1][name].view(torch.uint8)), name
    configs = [LlamaConfig.from_pretrained(folder).to_dict() for folder in (first, second)]
    for config in configs:
        config.pop("_name_or_path", None)
        config.pop("transformers_version", None)
    assert configs[0] == configs[1]


@pytest.mark.parametrize("is_tied", [False, True])
@torch.no_grad()
def test_transformers_loads_what_we_save(tmp_path, is_tied):
    config = DecoderConfig(
        97, 64, 112, 2, 4, 2, rope_theta=1e6, tie_word_embeddings=is_tied, initializer_range=0.2
    )
    decoder = Decoder(config).eval()
    save_hf(decoder, tmp_path)
    llama, report = LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
    assert llama.config.rope_parameters["rope_theta"] == 1e6
    ids = torch.randint(97, (2, 50))
    assert (llama.eval()(ids).logits - decoder(ids)).abs().max() <= TOLERANCE
