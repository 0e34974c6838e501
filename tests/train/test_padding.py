"""The share of padding in the figures of a step: counted by hand, and of all micro-batches of the step."""

from __future__ import annotations

import pytest
import torch
import toy_recipe

from amalia_mm.batch import SpeechTextBatch, TextBatch
from amalia_mm.train import cli
from amalia_mm.train.padding import filled


def test_padding_is_counted_in_samples_and_positions() -> None:
    ids = torch.zeros(2, 5, dtype=torch.int64)
    documents = torch.tensor([[1, 1, 2, 2, 2], [1, 1, 1, 0, 0]])
    text = TextBatch(ids, ids, documents, ids)
    speech = SpeechTextBatch(
        text,
        ids.bool(),
        torch.tensor([1, 1]),
        torch.zeros(2, 0, dtype=torch.int64),
        torch.tensor([0, 0]),
        waveforms=torch.zeros(2, 100),
        num_samples=torch.tensor([100, 40]),
    )
    found = {name: pair.tolist() for name, pair in filled(speech).items()}
    assert found == {"text": [8.0, 10.0], "audio": [140.0, 200.0]}
    assert list(filled(text)) == ["text"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_run_folder_has_them(toy_data, tmp_path, accumulate: int) -> None:
    recipe = toy_recipe.hearing(toy_data, tmp_path / "run", 3)
    recipe["trainer"]["accumulate_grad_batches"] = accumulate
    cli.main(["fit", "-c", str(toy_recipe.write(recipe, tmp_path / "r.yaml"))])
    steps = [line for line in toy_recipe.figures(tmp_path / "run") if "loss" in line]
    assert len(steps) == 3
    for line in steps:
        assert 0 <= line["padding_audio"] < 0.5 and 0 <= line["padding_text"] < 0.9
        assert line["audio_seconds"] > 0.5 * accumulate
