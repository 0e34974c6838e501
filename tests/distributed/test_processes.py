"""Two processes are one process: the same global batches, the same losses, the same gradients.

The batches mix clips and written rows, so that now and then one of the two ranks has no audio at all: it must
still take part in every gradient, or the other waits for ever. What is mixed into a clip and hidden of it is random,
and the same on whichever rank it is heard.
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


_MASKS = {"num_time_masks": 2, "num_frequency_masks": 2, "max_frequency_mask_bins": 40}
_DISTILLED = {
    "freeze": [r"^decoder\."],
    "projector": {"class_path": "amalia_mm.fusion.projectors.StackMLP", "init_args": {"stack": 2}},
    "ctc_weight": 0.0,
    "distillation": {"end_weight": 0.5},
}
"""The projector and the encoder learn from the decoder's own reading of what is said."""


@pytest.mark.parametrize("changes", [{}, _DISTILLED], ids=["joint", "distilled"])
def test_two_processes_give_the_losses_and_gradients_of_one(
    changes: dict[str, Any],
    toy_data: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    settings: Any = toy_recipe.understanding(toy_data, tmp_path / "run", 8)
    settings["model"]["init_args"] |= changes
    settings["model"]["init_args"]["decoder"] = {**toy_recipe.DECODER, "dropout": 0.0}
    settings["model"]["init_args"]["encoder"] = {
        **toy_recipe.ENCODER,
        "init_args": {**toy_recipe.ENCODER["init_args"], **_MASKS, "dropout": 0.0},
    }
    recipe = toy_recipe.write(settings, tmp_path / "recipe.yaml")
    one, two = (_run(tmp_path, recipe, num_devices) for num_devices in (1, 2))
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
