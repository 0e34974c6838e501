"""The windowed Q-Former is Granite-speech's, number for number."""

from __future__ import annotations

import pytest
import torch
from transformers.models.granite_speech import GraniteSpeechConfig
from transformers.models.granite_speech.modeling_granite_speech import GraniteSpeechEncoderProjector

from amalia_mm.fusion.q_former import WindowQFormer
from amalia_mm.text.decoder import DecoderConfig

WIDTH, HEADS, WINDOW, QUERIES = 16, 4, 15, 3
DECODER = DecoderConfig(30, 24, 32, 1, 2, 1)


@pytest.fixture
def granite():
    """Their projector with random weights, norms and biases among them."""
    sizes = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "encoder_hidden_size": WIDTH}
    sizes |= {"num_hidden_layers": 2, "intermediate_size": 40, "cross_attention_frequency": 1}
    config = GraniteSpeechConfig(
        projector_config={"model_type": "blip_2_qformer", **sizes, "layer_norm_eps": 1e-5},
        text_config={"model_type": "granite", "hidden_size": DECODER.hidden_size},
        window_size=WINDOW,
        downsample_rate=WINDOW // QUERIES,
    )
    projector = GraniteSpeechEncoderProjector(config).eval()
    with torch.no_grad():
        for parameter in projector.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return projector


def _attention(theirs, name):
    """One attention of theirs in the names of torch's."""
    inner = f"{name}.attention"
    return {
        "in_proj_weight": torch.cat([theirs[f"{inner}.{part}.weight"] for part in ("query", "key", "value")]),
        "in_proj_bias": torch.cat([theirs[f"{inner}.{part}.bias"] for part in ("query", "key", "value")]),
        "out_proj.weight": theirs[f"{name}.output.dense.weight"],
        "out_proj.bias": theirs[f"{name}.output.dense.bias"],
    }


def _layer(theirs, number):
    base = f"qformer.encoder.layer.{number}"
    found = {f"self_attn.{k}": v for k, v in _attention(theirs, f"{base}.attention").items()}
    found |= {f"multihead_attn.{k}": v for k, v in _attention(theirs, f"{base}.crossattention").items()}
    pairs = {
        "norm1": "attention.output.LayerNorm",
        "norm2": "crossattention.output.LayerNorm",
        "linear1": "intermediate_query.dense",
        "linear2": "output_query.dense",
        "norm3": "output_query.LayerNorm",
    }
    for ours, name in pairs.items():
        found |= {f"{ours}.{kind}": theirs[f"{base}.{name}.{kind}"] for kind in ("weight", "bias")}
    return {f"layers.{number}.{name}": value for name, value in found.items()}


@pytest.fixture
def ours(granite):
    theirs = granite.state_dict()
    projector = WindowQFormer(WIDTH, DECODER, num_heads=HEADS, feed_forward=40).eval()
    weights = {
        "enter.weight": torch.eye(WIDTH),  # they have none: their queries are as wide as the encoder's frames
        "enter.bias": torch.zeros(WIDTH),
        "queries": theirs["query"][0],
        "norm.weight": theirs["qformer.layernorm.weight"],
        "norm.bias": theirs["qformer.layernorm.bias"],
        "leave.weight": theirs["linear.weight"],
        "leave.bias": theirs["linear.bias"],
    }
    projector.load_state_dict(weights | _layer(theirs, 0) | _layer(theirs, 1))
    return projector


def test_it_is_granites_on_whole_windows(granite, ours):
    features = torch.randn(3, 4 * WINDOW, WIDTH)
    with torch.no_grad():
        found = ours(features, torch.full((3,), 4 * WINDOW), lambda ids, weights: ids)
        torch.testing.assert_close(found, granite(features), atol=2e-5, rtol=1e-4)


def test_it_has_granites_parameters_and_a_map_to_the_queries_width(granite, ours):
    theirs = sum(parameter.numel() for parameter in granite.parameters())
    assert sum(parameter.numel() for parameter in ours.parameters()) == theirs + WIDTH * WIDTH + WIDTH


def test_a_window_cut_short_is_a_window_of_its_frames(granite, ours):
    """Granite attends to the zeros that fill its last window; with fewer frames in all windows there are none."""
    frames = torch.randn(1, 7, WIDTH)
    with torch.no_grad():
        hidden = granite.qformer(query_embeds=granite.query, encoder_hidden_states=frames)
        wanted = granite.linear(hidden.last_hidden_state)
        found = ours(frames, torch.tensor([7]), lambda ids, weights: ids)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_what_is_in_one_window_is_not_heard_in_another(ours):
    features = torch.randn(1, 3 * WINDOW, WIDTH)
    other = features.clone()
    other[0, WINDOW : 2 * WINDOW] += 1.0
    num_frames = torch.tensor([3 * WINDOW])
    with torch.no_grad():
        change = ours(other, num_frames, lambda i, w: i) - ours(features, num_frames, lambda i, w: i)
    assert (change[0].abs().amax(dim=1) > 1e-4).tolist() == [False] * 3 + [True] * 3 + [False] * 3
