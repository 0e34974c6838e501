"""A vocoder learns a clip, with and without an adversary, and a run with two optimisers goes on exactly."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from amalia_mm.batch import WaveformBatch
from amalia_mm.data.waveforms import WaveformData
from amalia_mm.errors import InputError
from amalia_mm.run import save_model
from amalia_mm.train.callbacks import SeedEveryStep
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.vocoder import AdversarialVocoding, Vocoding
from amalia_mm.train.vocoder_loss import spectral
from amalia_mm.voice.discriminators import Discriminators
from amalia_mm.voice.vocoder import Vocos

SIZES = {"sample_rate_hz": 16_000, "num_mels": 20, "fft_samples": 256, "hop_samples": 64}
SIZES |= {"width": 32, "inner_width": 64, "num_layers": 2}
OPTIM = OptimConfig(lr=2e-3, warmup_steps=2, schedule="cosine")
JUDGES = partial(Discriminators, (2, 3), (256, 128), (4, 6, 6), 4)


def vocoding(
    kind: type[Vocoding] = Vocoding,
    optim: OptimConfig = OPTIM,
    sizes: dict[str, int] = SIZES,
    **arguments: object,
) -> Vocoding:
    torch.manual_seed(0)
    if kind is AdversarialVocoding:
        arguments = {"discriminators": JUDGES, **arguments}
    module = kind(partial(Vocos, **sizes), optim, **arguments)
    module.configure_model()
    return module


def batch(rows: int = 2, num_samples: int = 4_096) -> WaveformBatch:
    """Sums of harmonics and a little noise, as a voice has them."""
    noise = 0.05 * torch.randn(rows, num_samples, generator=torch.Generator().manual_seed(1))
    time = torch.arange(num_samples) / 16_000
    waves = [
        sum(torch.sin(2 * torch.pi * pitch_hz * k * time + k) / k for k in range(1, 9))
        for pitch_hz in (110.0 + 37.0 * row for row in range(rows))
    ]
    return WaveformBatch(0.1 * (torch.stack(waves) + noise), tuple(f"clip {row}" for row in range(rows)))


def trainer(folder: Path, max_steps: int, **options: object) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=max_steps,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[
            SeedEveryStep(0),
            ModelCheckpoint(folder, filename="{step}", every_n_train_steps=4, save_top_k=-1),
        ],
        **options,
    )


def data(folder: Path) -> WaveformData:
    return WaveformData(
        {str(folder / "shards/speech"): 1.0},
        sample_rate_hz=16_000,
        window_samples=2_048,
        windows_per_batch=4,
        num_workers=0,
    )


def test_one_clip_is_learned_by_heart():
    module, clip = vocoding(), batch(rows=1)
    assert module.model is not None
    optimizer = torch.optim.AdamW(module.model.parameters(), lr=3e-3)
    before = float(module.loss_terms(clip)["loss"].sum.detach())
    for _ in range(120):
        optimizer.zero_grad()
        module.loss_terms(clip)["loss"].sum.backward()
        optimizer.step()
    after = module.loss_terms(clip)
    assert float(after["loss"].sum) < 0.5 * before
    with torch.no_grad():
        written = module.model.vocoder(module.model.vocoder.mel(clip.waveforms))
    assert float(spectral(written, clip.waveforms)) < 0.4 * float(spectral(written * 0, clip.waveforms))


def test_the_loss_is_a_sum_over_windows():
    module, clips = vocoding(), batch(rows=3)
    terms = module.loss_terms(clips)
    parts = [
        module.loss_terms(WaveformBatch(clips.waveforms[row : row + 1], ("clip",)))["loss"].sum
        for row in range(3)
    ]
    assert float(terms["loss"].sum) == pytest.approx(float(sum(parts)), rel=1e-4)
    assert float(terms["loss"].count) == 3
    assert float(terms["loss"].sum) == pytest.approx(
        float(terms["spectral"].sum + terms["mel"].sum), rel=1e-5
    )


def test_what_is_trained_and_validated_is_what_the_head_writes():
    """Corrections come after training: they would hide what it still has to learn."""
    plain, corrected, clips = vocoding(), vocoding(sizes=SIZES | {"num_corrections": 2}), batch()
    heard = corrected.model.vocoder.mel(clips.waveforms)
    with torch.no_grad():
        assert not torch.allclose(corrected.model.vocoder(heard), plain.model.vocoder(heard), atol=1e-3)
        assert torch.equal(corrected.loss_terms(clips)["loss"].sum, plain.loss_terms(clips)["loss"].sum)


SOURCE = {"sample_rate_hz": 16_000, "num_mels": 80, "width": 16, "inner_width": 16, "num_layers": 1}


@pytest.mark.parametrize("ours", [False, True])
def test_weights_for_a_source_and_those_without_are_not_mixed(ours, tmp_path):
    """They have the same shapes."""
    theirs = vocoding(sizes=SOURCE | {"has_source": not ours})
    assert theirs.model is not None
    init_args = SOURCE | ({} if ours else {"has_source": True})  # as folders of before the option are
    vocoder = {"class_path": "amalia_mm.voice.vocoder.Vocos", "init_args": init_args}
    folder = tmp_path / "model"
    save_model(folder, theirs.model, config={"vocoder": vocoder}, tokenizer=None, card="")
    with pytest.raises(InputError, match=f"has_source: found {not ours}"):
        vocoding(sizes=SOURCE | {"has_source": ours}, init_from={str(folder): ["vocoder"]})
    same = vocoding(sizes=SOURCE | {"has_source": not ours}, init_from={str(folder): ["vocoder"]})
    assert same.model is not None
    for name, value in same.model.state_dict().items():
        assert torch.equal(value, theirs.model.state_dict()[name])


def test_a_source_is_another_at_every_step_of_training_and_the_same_in_validation():
    module, clips = vocoding(sizes=SOURCE | {"has_source": True}), batch()

    def losses() -> list[float]:
        return [float(module.loss_terms(clips)["loss"].sum) for _ in range(2)]

    with torch.no_grad():
        first, second = losses()
        assert first != second
        module.eval()
        first, second = losses()
        assert first == second


@pytest.mark.parametrize("kind", [Vocoding, AdversarialVocoding])
def test_a_process_without_a_window_touches_every_weight_and_moves_none(kind):
    module = vocoding(kind)
    terms = module.loss_terms(WaveformBatch(torch.zeros(1, 2_048)))
    terms["loss"].sum.backward()
    assert float(terms["loss"].count) == 0
    assert module.model is not None
    assert all(not parameter.grad.any() for parameter in module.model.parameters())


def test_windows_that_are_no_whole_hops_are_told():
    with pytest.raises(InputError, match="multiple of the 64"):
        vocoding().loss_terms(batch(num_samples=4_100))


def _run(toy_data: Path, folder: Path, max_steps: int, ckpt: Path | None = None) -> AdversarialVocoding:
    module = vocoding(AdversarialVocoding, adversary_from_step=2)
    assert isinstance(module, AdversarialVocoding)
    trainer(folder, max_steps).fit(module, datamodule=data(toy_data), ckpt_path=ckpt, weights_only=True)
    return module


def test_a_run_with_two_optimisers_goes_on_exactly(toy_data: Path, tmp_path: Path):
    """Lightning counts the steps of both: a run went on at twice the batch, and ended early."""
    whole = _run(toy_data, tmp_path / "whole", 8)
    resumed = _run(toy_data, tmp_path / "resumed", 8, tmp_path / "whole/step=4.ckpt")
    at_end = [
        torch.load(tmp_path / f"{name}/step=8.ckpt", weights_only=True) for name in ("whole", "resumed")
    ]
    assert at_end[0]["global_step"] == 8
    for one, other in zip(at_end[0]["optimizer_states"], at_end[1]["optimizer_states"], strict=True):
        assert one["state"].keys() == other["state"].keys()
        for key, state in one["state"].items():
            assert all(torch.equal(value, other["state"][key][name]) for name, value in state.items())
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert at_end[0]["lr_schedulers"] == at_end[1]["lr_schedulers"]
    assert len(at_end[0]["lr_schedulers"]) == 2
    assert {key.partition(".")[0] for key in at_end[0]["state_dict"]} == {"model", "discriminators"}


def test_both_sides_move_and_the_figures_say_so(toy_data: Path, tmp_path: Path):
    module = _run(toy_data, tmp_path, 4)
    fresh = vocoding(AdversarialVocoding)
    for name, value in module.state_dict().items():
        if "original1" in name or name.endswith("weight"):
            assert not torch.equal(value, fresh.state_dict()[name]), f"{name} has not moved"
    wanted = {"loss", "spectral", "mel", "told_apart", "taken_for_real", "features", "grad_norm"}
    assert wanted <= set(module.step_losses)
    assert all(parameter.requires_grad for parameter in module.parameters())
    schedules = module.lr_schedulers()
    assert isinstance(schedules, list)
    assert [schedule.last_epoch for schedule in schedules] == [4, 2], "the discriminators began at step 2"


def test_the_adversary_waits_for_its_step(toy_data: Path, tmp_path: Path):
    module = vocoding(AdversarialVocoding, adversary_from_step=100)
    judges = {name: value.clone() for name, value in module.state_dict().items() if "discriminators" in name}
    trainer(tmp_path, 2).fit(module, datamodule=data(toy_data))
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in judges.items())
    assert "told_apart" not in module.step_losses


def test_gradients_of_both_sides_are_means_over_windows_and_clipped():
    """A batch twice as large, of the same windows twice, moves both sides just as far."""
    # With an eps this large a step is as long as its gradient; Adam hides lengths otherwise.
    plain, moved = OptimConfig(lr=1.0, warmup_steps=0, eps=0.1, weight_decay=0.0), []
    for copies in (1, 2):
        module = vocoding(AdversarialVocoding, plain, max_grad_norm=1e9)
        clips = batch(rows=2)
        clips = WaveformBatch(clips.waveforms.repeat(copies, 1), clips.places * copies)
        moved.append(_moved_once(module, clips))
    for name, value in moved[0].items():
        assert torch.allclose(value, moved[1][name], atol=1e-5), name
    fresh = vocoding(AdversarialVocoding).state_dict()
    steps = {name: float((value - fresh[name]).abs().max()) for name, value in moved[0].items()}
    for side in ("model.", "discriminators."):
        assert max(step for name, step in steps.items() if name.startswith(side)) > 1e-3


def _moved_once(module: Vocoding, clips: WaveformBatch) -> dict[str, torch.Tensor]:
    class Once(L.LightningDataModule):
        def train_dataloader(self) -> DataLoader[WaveformBatch]:
            return DataLoader([clips], batch_size=None)  # pyright: ignore[reportArgumentType]

    L.Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    ).fit(module, datamodule=Once())
    return dict(module.state_dict())
