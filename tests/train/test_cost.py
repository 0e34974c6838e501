"""What a run takes: against numbers by hand, and against what torch really keeps for the way back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.recipe_paths import read_recipe
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.letters import NUM_LETTERS
from amalia_mm.train.cost import CHUNK_LOGITS, Machine, cost_of, kept_bytes, model_of

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/11_align/recipe.yaml"


def kept_by_torch(num_layers: int, dtype: str, *, is_trained: bool, num_tokens: int = 48) -> float:
    """Bytes that autograd holds for each token after a forward pass, the parameters and masks left out."""
    decoder = Decoder(DecoderConfig(320, 64, 176, num_layers, 4, 2, head_dim=16, dtype=dtype))
    decoder.requires_grad_(is_trained)
    weights = {parameter.untyped_storage().data_ptr() for parameter in decoder.parameters()}
    held: dict[int, torch.Tensor] = {}

    def hold(value: torch.Tensor) -> torch.Tensor:
        place = value.untyped_storage().data_ptr()
        # A mask is for all of a batch on a processor; fused attention of GPUs has none.
        if place not in weights and value.shape[-2:] != (num_tokens, num_tokens):
            held[place] = value
        return value

    inputs = torch.randn(1, num_tokens, 64).to(decoder.model.norm.weight.dtype).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda value: value):
        out = decoder.hidden(inputs, documents=torch.ones(1, num_tokens, dtype=torch.long))
    found = sum(value.untyped_storage().nbytes() for value in held.values()) / num_tokens
    del out
    return found


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_keeps_what_is_counted(dtype, is_trained):
    found = kept_by_torch(4, dtype, is_trained=is_trained) - kept_by_torch(2, dtype, is_trained=is_trained)
    config = DecoderConfig(320, 64, 176, 1, 4, 2, head_dim=16, dtype=dtype)
    assert kept_bytes(config, is_trained=is_trained) == pytest.approx(found / 2, rel=0.02)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """The tiny encoder before EuroLLM-1.7B."""
    recipe = read_recipe(RECIPE)
    recipe["model"]["init_args"]["decoder"] = read_recipe(ROOT / "configs/decoder/eurollm_1b7.yaml")
    path = tmp_path_factory.mktemp("cost") / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_time_and_memory_are_those_worked_out_by_hand(large):
    model = model_of(read_recipe(large), "recipe")
    assert all(parameter.is_meta for parameter in model.parameters())
    encoder, projector = (
        sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.projector)
    )
    cost = cost_of(model, Machine(num_gpus=8), is_distilled=True)
    assert cost.num_trained == projector
    # EuroLLM-1.7B: 24 layers, 2,048 wide, 5,632 inside, 16 heads and 8 groups of 128; two tables of 128,000.
    layer = 2048 * (2048 + 2 * 1024 + 2048 + 3 * 5632) + 2 * 2048
    multiplied = 24 * layer + 2048 + 128_000 * 2048
    assert cost.num_frozen == multiplied + 128_000 * 2048 + encoder
    tokens = frames = 12.5
    assert cost.audio_tokens_per_s == tokens
    flop = (
        4 * multiplied * (tokens + 3.5) + 4 * multiplied * 3.5 + 2 * encoder * frames + 6 * projector * tokens
    )
    assert cost.teraflop_per_audio_s == pytest.approx(flop / 1e12, rel=1e-6)
    assert cost.seconds_per_hour == pytest.approx(3600 * flop / (989e12 * 0.4 * 8), rel=1e-6)
    weights = 2 * (multiplied + 128_000 * 2048) + 4 * (encoder + projector)
    assert cost.weights_gb == pytest.approx(weights / 1e9)
    each_s = 24 * kept_bytes(model.decoder.config, is_trained=False) * (tokens + 3.5)
    room = 72e9 - weights - 12 * projector - 16 * CHUNK_LOGITS
    assert cost.audio_s_per_gpu == pytest.approx(room / each_s, rel=1e-6)
    plain = cost_of(model, Machine(num_gpus=8))
    assert cost.teraflop_per_audio_s - plain.teraflop_per_audio_s == pytest.approx(
        4 * multiplied * 3.5 / 1e12
    )


def test_low_rank_changes_are_what_is_trained():
    model = model_of(read_recipe(ROOT / "recipes/12_instruct/recipe.yaml"), "recipe")
    projector = sum(p.numel() for p in model.projector.parameters())
    # 4 layers, rank 16: queries 192 -> 192, values 192 -> 96.
    assert cost_of(model, Machine()).num_trained == projector + 4 * 16 * (192 + 192 + 192 + 96)


@pytest.mark.parametrize("reads", ["projector", "encoder"])
def test_a_head_beside_the_projector_is_counted(reads):
    recipe = read_recipe(RECIPE)
    without = cost_of(model_of(recipe, "recipe"), Machine())
    recipe["model"]["init_args"]["ctc_head"] = {"reads": reads, "units": "letters", "per_frame": 3}
    cost = cost_of(model_of(recipe, "recipe"), Machine())
    # 192 wide, as the tiny encoder and decoder are; the letters and a blank in each of three places.
    head = 2 * 192 + 193 * 3 * (NUM_LETTERS + 1)
    assert cost.num_trained - without.num_trained == head
    assert cost.teraflop_per_audio_s - without.teraflop_per_audio_s == pytest.approx(6e-12 * head * 12.5)


def test_the_command_says_it_in_lines_and_refuses_what_does_not_hear(large, capsys):
    assert main(["cost", "-c", str(large), "--hours", "425", "--gpus", "8"]) == 0
    said = capsys.readouterr().out
    assert "425 hours of audio" in said and "trained: " in said
    assert main(["cost", "-c", str(ROOT / "recipes/04_sft/recipe.yaml")]) == 2
    assert "encoder: found none; wanted a recipe that hears" in capsys.readouterr().err
    assert main(["cost", "-c", str(large), "--mfu", "2"]) == 2
    with pytest.raises(InputError, match="gpus: found 0"):
        Machine(num_gpus=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("hours", "-5"), ("hours", "nan"), ("clip-s", "0"), ("gigabytes", "inf"), ("gpus", "0"), ("mfu", "-1")],
)
def test_no_time_is_below_nothing(large, option, value, capsys):
    assert main(["cost", "-c", str(large), f"--{option}", value]) == 2
    assert f"--{option}: found {value}" in capsys.readouterr().err.replace(".0;", ";")
