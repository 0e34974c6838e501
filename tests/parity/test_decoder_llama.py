"""The decoder against transformers' LlamaForCausalLM: same weights, same logits, in float32."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from amalia_mm.text.checkpoint import load_hf, save_hf
from amalia_mm.text.decoder import Decoder, DecoderConfig

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


@torch.no_grad()
def test_logits_of_left_padded_rows_equal_llamas(pair):
    llama, decoder = pair
    ids = torch.randint(97, (2, 30))
    is_real = torch.ones(2, 30, dtype=torch.int64)
    is_real[1, :11] = 0
    positions = (is_real.cumsum(1) - 1).clamp(min=0)
    expected = llama(ids, attention_mask=is_real, position_ids=positions).logits
    difference = (decoder(ids, documents=is_real) - expected).abs().amax(dim=-1)
    assert difference[is_real.bool()].max() <= TOLERANCE


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
