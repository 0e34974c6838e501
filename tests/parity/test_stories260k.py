"""Real weights: the 260K-parameter story model of llama2.c tells its published story, letter by letter."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.generate import complete
from amalia_mm.text.sampling import Sampling

NUM_TOKENS = 200
NUM_CHARACTERS = 464
LAYERS, HEADS, GROUPS, HEAD_WIDTH = 5, 8, 4, 8
NAMES = {
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "w1": "mlp.gate_proj",
    "w2": "mlp.down_proj",
    "w3": "mlp.up_proj",
    "ra": "input_layernorm",
    "rf": "post_attention_layernorm",
}


def halves(weight: Tensor) -> Tensor:
    """Reorder a projection whose rotations pair neighbours into one whose rotations pair halves of a head."""
    return rearrange(weight, "(h w pair) d -> (h pair w) d", w=HEAD_WIDTH // 2, pair=2)


@pytest.fixture(scope="module")
def folder(shared_data) -> Path:
    folder = shared_data / "weights" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"no story model: {folder}")
    return folder


@pytest.fixture(scope="module")
def decoder(folder) -> Decoder:
    theirs = load_file(folder / "stories260K.restored.safetensors")
    ours = {"model.embed_tokens.weight": theirs["emb"], "model.norm.weight": theirs["rl"]}
    for their_name, our_name in NAMES.items():
        for layer in range(LAYERS):
            weight = theirs[their_name][layer]
            weight = halves(weight) if their_name in ("wq", "wk") else weight
            ours[f"model.layers.{layer}.{our_name}.weight"] = weight
    config = DecoderConfig(
        512, 64, 172, LAYERS, HEADS, GROUPS, max_position_embeddings=512, tie_word_embeddings=True
    )
    decoder = Decoder(config).eval()
    decoder.load_state_dict(ours)
    return decoder


@pytest.fixture(scope="module")
def story(folder) -> str:
    """The greedy output printed in the model's own description."""
    page = (folder / "stories260K.md").read_text(encoding="utf-8")
    block = page.split("-t 0.0\n", 1)[1].split("\n```", 1)[0]
    return "\n".join(line.rstrip() for line in block.splitlines())


@pytest.fixture(scope="module")
def pieces(folder) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tok512.model"))


def test_greedy_story_is_the_published_one(decoder, story, pieces):
    prompt = torch.tensor([[pieces.bos_id()]])
    [ids] = complete(decoder, prompt, stop_ids=(), sampling=Sampling(max_new_tokens=NUM_TOKENS))
    text = pieces.decode(ids)
    assert len(ids) == NUM_TOKENS
    assert len(text) == NUM_CHARACTERS
    assert text == story[:NUM_CHARACTERS]


def test_story_is_the_same_without_a_cache(decoder, story, pieces):
    ids = [pieces.bos_id()]
    with torch.no_grad():
        for _ in range(60):
            ids.append(int(decoder(torch.tensor([ids]))[0, -1].argmax()))
    assert story.startswith(pieces.decode(ids[1:]))
    assert len(pieces.decode(ids[1:])) > 100
