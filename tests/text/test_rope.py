"""Scalings of rotary positions: which fields each has, how far it reaches, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.rope import RopeScaling, Rotary

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
REFUSED = {
    "rope_type": {"rope_type": "longrope", "factor": 2.0},
    "rope_type: found nothing": {"factor": 2.0},
    "factor: found nothing": {"rope_type": "linear"},
    "factor: found 0.5": {"rope_type": "linear", "factor": 0.5},
    "factor: found two": {"rope_type": "dynamic", "factor": "two"},
    "factor: found nan": {"rope_type": "dynamic", "factor": float("nan")},
    "beta_fast": {"rope_type": "linear", "factor": 2.0, "beta_fast": 32},
    "betafast": {"rope_type": "yarn", "factor": 2.0, "betafast": 32},
    "beta_fast: found 1": {"rope_type": "yarn", "factor": 2.0, "beta_fast": 1, "beta_slow": 4},
    "low_freq_factor: found None": {
        name: value for name, value in LLAMA3.items() if name != "low_freq_factor"
    },
    "high_freq_factor: found 1": {**LLAMA3, "high_freq_factor": 1},
    "original_max_position_embeddings": {**LLAMA3, "original_max_position_embeddings": 0},
}


@pytest.mark.parametrize(("message", "values"), REFUSED.items(), ids=REFUSED.keys())
def test_a_field_that_is_missing_unknown_or_unfit_is_named(message, values):
    with pytest.raises(InputError, match=f"rope_scaling: {message}"):
        RopeScaling.of(values)


def test_a_scaling_comes_back_from_its_plain_values():
    for values in (LLAMA3, {"rope_type": "yarn", "factor": 2.5, "truncate": False}):
        assert RopeScaling.of(values).given() == values


def test_a_context_is_as_long_as_transformers_means_it(decoder):
    def positions(**values) -> int:
        return replace(decoder.config, rope_scaling=RopeScaling(**values)).max_positions

    assert decoder.config.max_positions == 64
    assert positions(rope_type="linear", factor=4.0) == 256
    assert positions(rope_type="dynamic", factor=2.5) == 160
    assert positions(rope_type="yarn", factor=4.0) == 256
    assert positions(rope_type="yarn", factor=4.0, original_max_position_embeddings=16) == 64
    assert positions(**LLAMA3) == 64


def test_yarn_that_means_two_contexts_is_refused(decoder):
    """transformers 4 would stretch by 64 / 24, transformers 5 by 4."""
    scaling = RopeScaling("yarn", 4.0, original_max_position_embeddings=24)
    with pytest.raises(InputError, match="max_position_embeddings: found 64; wanted 24 or 96"):
        replace(decoder.config, rope_scaling=scaling)


def test_a_position_beyond_a_stretched_context_is_refused_with_every_number(decoder):
    scaled = Decoder(replace(decoder.config, rope_scaling=RopeScaling("linear", 2.0)))
    scaled(torch.zeros(1, 128, dtype=torch.int64))
    with pytest.raises(ValueError, match="position 128, but max_position_embeddings is 64, stretched to 128"):
        scaled(torch.zeros(1, 129, dtype=torch.int64))


def test_a_decoder_is_described_by_plain_values():
    values = {
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    }
    assert DecoderConfig.of(values).rope_scaling == RopeScaling("linear", 2.0)
    assert DecoderConfig.of(values | {"rope_scaling": None}).rope_scaling is None
    with pytest.raises(InputError, match="rope_scaling: factr"):
        DecoderConfig.of(values | {"rope_scaling": {"rope_type": "linear", "factr": 2.0}})


def test_without_scaling_rotations_are_what_they_always_were():
    exponents = torch.arange(0, 8, 2).float() / 8
    angles = torch.outer(torch.arange(10).float(), 1 / 10000.0**exponents)
    cos, sin = Rotary(8, 10000.0, 10).between(0, 10, torch.device("cpu"))
    assert torch.equal(cos, angles.cos())
    assert torch.equal(sin, angles.sin())
