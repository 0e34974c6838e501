"""The share of padding in the figures of a step: counted by hand, and of all micro-batches of the step."""

from __future__ import annotations

import pytest
import torch
import toy_recipe

from amalia_mm.batch import SpeechTextBatch, TextBatch, VoiceBatch, WaveformBatch
from amalia_mm.train import cli
from amalia_mm.train.acoustic import Acoustic
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


def test_of_a_voice_it_is_counted_in_samples_and_phones() -> None:
    """A clip that only fills the batch of a process without any is padding from end to end."""
    phones = torch.zeros(3, 7, dtype=torch.int64)
    voice = VoiceBatch(
        phones,
        phones.bool(),
        phones.bool(),
        num_phones=torch.tensor([7, 4, 2]),
        waveforms=torch.zeros(3, 100),
        num_samples=torch.tensor([100, 40, 100]),
        speakers=torch.tensor([0, 1, -1]),
        weights=torch.tensor([1.0, 1.0, 0.0]),
    )
    found = {name: pair.tolist() for name, pair in filled(voice).items()}
    assert found == {"audio": [140.0, 300.0], "text": [11.0, 21.0]}
    windows = WaveformBatch(torch.zeros(2, 50), ("a", "b"))
    assert filled(windows)["audio"].tolist() == [100.0, 100.0]
    assert filled(WaveformBatch(torch.zeros(1, 50)))["audio"].tolist() == [0.0, 50.0]


@pytest.mark.parametrize("rate_hz", [16_000, 8_000])
def test_the_run_folder_of_a_voice_has_them_at_its_own_rate(toy_data, tmp_path, rate_hz: int) -> None:
    """Clips that a voice learns from are counted at its rate: as if at 16 kHz, they were half as long."""
    recipe = toy_recipe.acoustic(toy_data, tmp_path / "run", 3, limit_val_batches=0)
    recipe["model"]["init_args"]["acoustic"]["init_args"]["sample_rate_hz"] = rate_hz
    seconds: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        terms = Acoustic.loss_terms

        def heard(self, batch):
            seconds.append(float(batch.num_samples.sum()) / rate_hz)
            return terms(self, batch)

        patch.setattr(Acoustic, "loss_terms", heard)
        cli.main(["fit", "-c", str(toy_recipe.write(recipe, tmp_path / "r.yaml"))])
    steps = [line for line in toy_recipe.figures(tmp_path / "run") if "loss" in line]
    assert [line["audio_seconds"] for line in steps] == pytest.approx(seconds)
    # The records say how long they are: what is counted is theirs, whatever the rate.
    assert 2.0 < sum(seconds) < 60.0
    for line in steps:
        assert 0 < line["padding_audio"] < 0.6 and 0 < line["padding_text"] < 0.9


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
