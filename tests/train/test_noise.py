"""What a run did not train, and did not start from anything, is not kept as if it were a model."""

from __future__ import annotations

import pytest

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.train.freeze import freeze
from amalia_mm.train.run_folder import noise_in

HEAD = {"projector.head.weight", "projector.head.bias"}


@pytest.fixture
def model():
    config = DecoderConfig(
        vocab_size=40,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    ears = ConvTransformer(width=8, num_layers=1, num_heads=2, feed_forward=8)
    return SpeechTextModel(ears, CtcPosterior(8, config), Decoder(config))


def inside(model, part):
    return {name for name, _ in model.named_parameters() if name.startswith(f"{part}.")}


def test_a_model_that_is_trained_has_none(model):
    assert noise_in(model, {}) == set()


def test_frozen_and_from_nowhere_is_noise(model):
    freeze(model, [r"^encoder\.", r"^projector\.head\."])
    assert noise_in(model, {"runs/x/04_sft/model": ["decoder"]}) == inside(model, "encoder") | HEAD


def test_frozen_and_from_somewhere_is_none(model):
    freeze(model, [r"^encoder\.", r"^projector\.head\."])
    given = {"runs/x/10_hearing/model": ["encoder", "projector.head"]}
    assert noise_in(model, given) == set()
    assert noise_in(model, {"runs/x/10_hearing/model": ["encoder"]}) == HEAD
