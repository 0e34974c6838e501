"""The recipes at full size, read by the real parser and built without weights: what they train, and what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from amalia_mm.recipe_paths import read_recipe
from amalia_mm.train.cost import Machine, cost_of, model_of

FOLDER = Path(__file__).parents[2] / "recipes/11_align"


@pytest.mark.parametrize(
    ("name", "trained", "positions_per_s"),
    [
        # SLAM-ASR's linear projector: 5 frames of 1,280 to 2,048, and once more 2,048: "17.31M" of MEUSLI's card.
        ("slam", 5 * 1280 * 2048 + 2048 + 2048 * 2048 + 2048, 10.0),
        # Ours: 4 frames of 1,280, normalised, to 4,096, and once more 4,096.
        ("large", 2 * 5120 + 5120 * 4096 + 4096 + 4096 * 4096 + 4096, 12.5),
    ],
)
def test_a_recipe_trains_its_projector_alone(name, trained, positions_per_s):
    recipe = read_recipe(FOLDER / f"{name}.yaml")
    assert len((FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()) <= 40
    model = model_of(recipe, name)
    left = {part for part, parameter in model.named_parameters() if parameter.requires_grad}
    assert left and all(part.startswith("projector.") for part in left)
    cost = cost_of(model, Machine(), is_distilled="distillation" in recipe["model"]["init_args"])
    assert cost.num_trained == trained
    assert cost.audio_tokens_per_s == positions_per_s
    assert cost.audio_s_per_gpu > 24 * 30, "configs/data/large_speech.yaml has 24 clips of 30 s for each GPU"


def test_ours_takes_what_was_worked_out_for_it():
    """Worked out elsewhere, without a teacher: 640 GFLOP a second of audio; on 8 H100 425 hours in 5 to 10 minutes."""
    model = model_of(read_recipe(FOLDER / "large.yaml"), "large")
    plain = cost_of(model, Machine(num_gpus=8))
    assert plain.teraflop_per_audio_s == pytest.approx(0.64, rel=0.05)
    slow = cost_of(model, Machine(num_gpus=8, mfu=0.2))
    for cost, minutes in ((plain, 5), (slow, 10)):
        assert cost.seconds_per_hour * 425 / 60 == pytest.approx(minutes, rel=0.05)
    assert plain.seconds_per_hour * 5800 / 3600 == pytest.approx(1.2, rel=0.1)
    assert plain.weights_gb == pytest.approx(
        18.3 + 2.55 + 0.15, rel=0.01
    )  # the decoder in bf16, the rest in float32
