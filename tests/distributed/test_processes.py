"""Two processes are one process: the same global batches, the same losses, the same gradients.

The batches mix clips and written rows, so that now and then one of the two ranks has no audio at all: it must
still take part in every gradient, or the other waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_recipe
from forked import finish, ranks

CHILD = Path(__file__).with_name("speech_gradients.py")


def _run(tmp_path: Path, recipe: Path, num_devices: int) -> dict[str, Any]:
    output = tmp_path / f"{num_devices}.pt"
    finish(ranks(*[[CHILD, recipe, output, num_devices]] * num_devices))
    return torch.load(output, weights_only=True)


@pytest.fixture
def recipe(toy_data: Path, tmp_path: Path) -> Path:
    """Clips and written rows, and nothing random."""
    settings: Any = toy_recipe.understanding(toy_data, tmp_path / "run", 8)
    settings["model"]["init_args"]["decoder"] = {**toy_recipe.DECODER, "dropout": 0.0}
    settings["model"]["init_args"]["encoder"] = {
        **toy_recipe.ENCODER,
        "init_args": {**toy_recipe.ENCODER["init_args"], "dropout": 0.0, "num_time_masks": 0},
    }
    settings["data"]["init_args"].pop("augment")
    return toy_recipe.write(settings, tmp_path / "recipe.yaml")


@pytest.fixture
def one(tmp_path: Path, recipe: Path) -> dict[str, Any]:
    """What one process finds."""
    return _run(tmp_path, recipe, 1)


def test_two_processes_give_the_losses_and_gradients_of_one(
    recipe: Path, one: dict[str, Any], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    two = _run(tmp_path, recipe, 2)
    assert len(one["losses"]) == 7  # the last step clears no gradient
    losses = max(abs(b - a) / abs(a) for a, b in zip(one["losses"], two["losses"], strict=True))
    record_property("relative_difference_of_losses", losses)
    assert losses <= 1e-5
    for name, gradient in one["gradients"][0].items():
        difference = (two["gradients"][0][name] - gradient).abs().max() / gradient.abs().max().clamp(
            min=1e-12
        )
        record_property("relative_difference_of_gradients", float(difference))
        assert float(difference) <= 1e-5, name
