"""The four scalings of rotary positions against transformers' Llama, within the old context and far beyond it."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.rope import RopeScaling

TOLERANCE = 1e-4
CONTEXT = 64
YARN = {"rope_type": "yarn", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": YARN,
    "yarn, context given": YARN | {"original_max_position_embeddings": CONTEXT},
    "yarn, all fields": YARN
    | {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.3, "truncate": False},
    "yarn, mscale": YARN | {"mscale": 0.7, "mscale_all_dim": 0.4},
    "llama3": LLAMA3 | {"original_max_position_embeddings": 32},
}


def pair(scaling: dict, theta: float, **others) -> tuple[LlamaForCausalLM, Decoder]:
    sizes = {
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4 * CONTEXT if scaling["rope_type"] == "llama3" else CONTEXT,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.2,
    }
    parameters = {**scaling, "rope_theta": theta}
    llama = LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters=parameters, attn_implementation="eager"))
    decoder = Decoder(
        DecoderConfig(**sizes, rope_theta=theta, rope_scaling=RopeScaling.of(scaling), **others)
    )
    decoder.load_state_dict(llama.state_dict())
    return llama.eval(), decoder.eval()


@pytest.mark.parametrize("theta", [1e4, 1e6])
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS.keys())
@torch.no_grad()
def test_logits_equal_llamas_within_the_old_context_and_beyond(scaling, theta, record_property):
    llama, decoder = pair(scaling, theta)
    assert decoder.config.max_positions >= 4 * CONTEXT
    ids = torch.randint(97, (2, 4 * CONTEXT))
    # The longer one last: transformers goes on with the rotations of the longest text it has seen.
    for length in (CONTEXT // 2, CONTEXT + 1, 4 * CONTEXT):
        expected = llama(ids[:, :length]).logits
        assert expected.std() > 0.5, "logits too flat to tell a right decoder from a wrong one"
        found = float((decoder(ids[:, :length]) - expected).abs().max())
        record_property("largest_difference", found)
        assert found <= TOLERANCE
    plain = Decoder(DecoderConfig(97, 64, 96, 2, 4, 2, max_position_embeddings=4 * CONTEXT, rope_theta=theta))
    plain.load_state_dict(decoder.state_dict())
    assert (plain.eval()(ids) - decoder(ids)).abs().max() > 0.1, "the scaling changes nothing here"


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS.keys())
@torch.no_grad()
def test_logits_equal_llamas_through_caches_that_grow_beyond_the_old_context(scaling):
    llama, decoder = pair(scaling, 1e4)
    ids = torch.randint(97, (2, CONTEXT + 20))
    theirs, ours = DynamicCache(config=llama.config), decoder.new_cache(2, CONTEXT + 20)
    steps = [0, CONTEXT - 3, *range(CONTEXT - 2, CONTEXT + 4), CONTEXT + 20]
    for start, end in itertools.pairwise(steps):
        expected = llama(ids[:, start:end], past_key_values=theirs).logits
        assert (decoder(ids[:, start:end], cache=ours) - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS.keys())
@torch.no_grad()
def test_padded_rows_get_the_logits_they_get_alone(scaling, side):
    """transformers scales a short row by the longest one beside it; a row here depends on itself alone."""
    llama, decoder = pair(scaling, 1e4)
    length, short = 2 * CONTEXT, CONTEXT // 2
    ids, documents = torch.randint(97, (2, length)), torch.ones(2, length, dtype=torch.int64)
    real = slice(length - short, None) if side == "left" else slice(0, short)
    documents[1] = 0
    documents[1, real] = 1
    found = decoder(ids, documents=documents)
    assert (found[1, real] - llama(ids[1:, real]).logits[0]).abs().max() <= TOLERANCE
    assert (found[0] - llama(ids[:1]).logits[0]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS.keys())
@torch.no_grad()
def test_packed_documents_get_the_logits_they_get_alone(scaling):
    llama, decoder = pair(scaling, 1e4)
    lengths = (20, 2 * CONTEXT, 30)
    ids = torch.randint(97, (1, sum(lengths)))
    documents = torch.repeat_interleave(torch.tensor([1, 2, 3]), torch.tensor(lengths))[None]
    found = decoder(ids, documents=documents)
    for number in (1, 3, 2):  # transformers' longest text last, as above
        part = documents[0] == number
        assert (found[:, part] - llama(ids[:, part]).logits).abs().max() <= TOLERANCE


@torch.no_grad()
def test_a_decoder_that_was_scaled_stays_scaled_in_bfloat16():
    """Rotations are computed in float32: bfloat16 positions beyond 256 would fall together."""
    llama, decoder = pair(YARN, 1e4, dtype="bfloat16")
    ids = torch.randint(97, (2, 4 * CONTEXT))
    exact = llama(ids).logits
    theirs = llama.to(torch.bfloat16)(ids).logits.float()
    ours = decoder(ids).float()
    assert (ours - exact).square().mean().sqrt() <= 1.1 * (theirs - exact).square().mean().sqrt()
