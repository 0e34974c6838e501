"""Training of a vocoder: by distances of spectra alone, or with discriminators against it as well.

A vocoder reads the frames of a window of speech and writes the window again. Distances alone are learned in minutes and
leave a voice that buzzes a little; an adversary takes hours and takes the buzz away (Siuzdak 2023, arXiv 2306.00814).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from amalia_mm.batch import WaveformBatch
from amalia_mm.errors import InputError
from amalia_mm.model_config import CONFIG, read_config
from amalia_mm.run import warm_start
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.losses import Loss
from amalia_mm.train.optim import OptimConfig, build_optimizer
from amalia_mm.train.summed import SummedStep
from amalia_mm.train.vocoder_loss import mel_distance, seen_alike, spectral, taken_for_real, told_apart
from amalia_mm.voice.discriminators import Discriminators, Judged
from amalia_mm.voice.vocoder import Vocos
from amalia_mm.voice.vocos_checkpoint import is_vocos, load_vocos_into


class _Speaking(nn.Module):
    """The part that is trained, under the name it has in every model folder."""

    def __init__(self, vocoder: Vocos) -> None:
        super().__init__()
        self.vocoder = vocoder


class Vocoding(SummedStep[_Speaking]):
    """Trains a vocoder by distances of spectra and mel frames, counted in windows.

    Args:
        vocoder: Factory of the vocoder.
        optim: Learning rate and schedule.
        spectral_weight: Of the distance of spectra at several lengths (`spectral`).
        mel_weight: Of the distance of the mel frames that the vocoder reads.
        init_from: Model folder -> parts to start from (`vocoder`); a folder of Vocos' checkpoint gives one, too.
        freeze: Regular expressions over parameter names; each must match one.
    """

    parts = ("vocoder",)

    def __init__(
        self,
        vocoder: Callable[[], Vocos],
        optim: OptimConfig,
        spectral_weight: float = 1.0,
        mel_weight: float = 1.0,
        init_from: dict[str, list[str]] | None = None,
        freeze: list[str] | None = None,
    ) -> None:
        super().__init__(optim)
        self.build_vocoder = vocoder
        self.spectral_weight = spectral_weight
        self.mel_weight = mel_weight
        self.init_from = init_from or {}
        self.freeze_patterns = freeze or []
        self.model: _Speaking | None = None

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the windows to learn from; computed without allocating a weight."""
        with torch.device("meta"):
            return self.build_vocoder().sample_rate_hz

    def configure_model(self) -> None:
        """Build, warm-start and freeze the vocoder, once."""
        if self.model is not None:
            return
        model = _Speaking(self.build_vocoder())
        ours: dict[str, list[str]] = {}
        for folder, parts in self.init_from.items():
            if is_vocos(folder) and parts == ["vocoder"]:
                load_vocos_into(model.vocoder, folder)
            else:
                _check_same_kind(model.vocoder, Path(folder))
                ours[folder] = parts
        warm_start(model, ours)
        freeze_parameters(model, self.freeze_patterns)
        self.model = model

    def loss_terms(self, batch: WaveformBatch) -> dict[str, Loss]:
        """Return the distances of the batch's windows from what the vocoder makes of their frames."""
        return self._distances(batch, self._write(batch))

    def _write(self, batch: WaveformBatch) -> Tensor:
        """Return the windows (b n) as the vocoder says them again."""
        assert self.model is not None
        vocoder, num_samples = self.model.vocoder, batch.waveforms.shape[1]
        if num_samples % vocoder.mel.hop_samples:
            raise InputError(
                "data",
                field="window_samples",
                found=num_samples,
                wanted=f"a multiple of the {vocoder.mel.hop_samples} samples between the vocoder's frames",
                remedy="correct the value",
            )
        frames = vocoder.mel(batch.waveforms)
        track = vocoder.track(frames)
        # Else every window would hear the same noise, and what is uneven in it would be learned away.
        return vocoder.uncorrected(frames, track.moved() if track is not None and self.training else track)

    def _distances(self, batch: WaveformBatch, written: Tensor) -> dict[str, Loss]:
        assert self.model is not None
        mel, real = self.model.vocoder.mel, batch.waveforms
        spectra, frames = spectral(written, real), mel_distance(mel(written), mel(real))
        both = self.spectral_weight * spectra + self.mel_weight * frames
        return {
            "loss": _counted(batch, both),
            "spectral": _logged(batch, spectra),
            "mel": _logged(batch, frames),
        }


class AdversarialVocoding(Vocoding):
    """Trains a vocoder against discriminators that learn beside it: two optimisers, a step of each for every batch.

    Lightning counts the steps of all optimisers in `global_step`, from which data, schedule and random numbers go on
    after a kill; so the discriminators' optimiser is stepped past that count, and a step is a batch.
    Clipping is this module's (`max_grad_norm`; leave `trainer.gradient_clip_val` empty), and gradients are not
    accumulated. Several processes need `ddp_find_unused_parameters_true`.

    Args:
        vocoder: Factory of the vocoder.
        optim: Learning rate and schedule of both.
        discriminators: Factory of the discriminators.
        spectral_weight: Of the distance of spectra at several lengths.
        mel_weight: Of the distance of mel frames; Vocos has 45.
        adversarial_weight: Of the discriminators' scores.
        feature_weight: Of the distance of what their layers see.
        resolution_weight: What a discriminator of spectra counts beside one of periods; Vocos has 0.1.
        adversary_from_step: The discriminators begin here; before that a vocoder is easily told apart.
        max_grad_norm: Longer gradients are shortened to it, the vocoder's and the discriminators'.
        init_from: Model folder -> parts to start from (`vocoder`); a folder of Vocos' checkpoint gives one, too.
        freeze: Regular expressions over parameter names; each must match one.
    """

    def __init__(
        self,
        vocoder: Callable[[], Vocos],
        optim: OptimConfig,
        discriminators: Callable[[], Discriminators] = Discriminators,
        spectral_weight: float = 0.0,
        mel_weight: float = 45.0,
        adversarial_weight: float = 1.0,
        feature_weight: float = 1.0,
        resolution_weight: float = 0.1,
        adversary_from_step: int = 0,
        max_grad_norm: float = 1.0,
        init_from: dict[str, list[str]] | None = None,
        freeze: list[str] | None = None,
    ) -> None:
        super().__init__(vocoder, optim, spectral_weight, mel_weight, init_from, freeze)
        self.automatic_optimization = False
        self.build_discriminators = discriminators
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight
        self.resolution_weight = resolution_weight
        self.adversary_from_step = adversary_from_step
        self.max_grad_norm = max_grad_norm
        self.discriminators: Discriminators | None = None

    def configure_model(self) -> None:
        """Build the discriminators beside the vocoder, once; no model folder has them."""
        super().configure_model()
        if self.discriminators is None:
            self.discriminators = self.build_discriminators()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the vocoder's optimiser and the discriminators', and a schedule for each."""
        assert self.model is not None and self.discriminators is not None
        max_steps = self.trainer.max_steps
        # Their warm-up comes when they begin, and they end together.
        lasts = {self.model: max_steps, self.discriminators: max(1, max_steps - self.adversary_from_step)}
        pairs = [build_optimizer(part, self.optim_config, steps) for part, steps in lasts.items()]
        return [optimizer for optimizer, _ in pairs], [schedule for _, schedule in pairs]

    def tried_losses(self, batch: WaveformBatch) -> Generator[Tensor]:
        """Yield the discriminators' loss and the vocoder's against them, as a step goes back from one and the other."""
        assert self.discriminators is not None
        written = self._write(batch)
        real, false = self.discriminators(batch.waveforms), self.discriminators(written.detach())
        yield _counted(batch, told_apart(real, false, self._weights())).sum
        del real, false
        self.discriminators.requires_grad_(False)
        try:
            yield self._contest(batch, written, self._distances(batch, written))["loss"].sum
        finally:
            self.discriminators.requires_grad_(True)

    def training_step(self, batch: WaveformBatch, batch_idx: int) -> Tensor:
        """Move the discriminators, then the vocoder; return its loss, which nobody moves by any more."""
        assert self.discriminators is not None
        ours, theirs = cast(list[LightningOptimizer], self.optimizers())
        written = self._write(batch)
        terms: dict[str, Loss] = {}
        is_contest = self.global_step >= self.adversary_from_step
        if is_contest:
            terms["told_apart"] = self._move_discriminators(theirs.optimizer, batch, written.detach())
        # Their own gradients from the vocoder's step would be thrown away.
        self.discriminators.requires_grad_(False)
        distances = self._distances(batch, written)
        terms |= self._contest(batch, written, distances) if is_contest else distances
        self.add_micro_batch(batch, terms)
        loss = terms["loss"].sum * self.trainer.world_size
        self.manual_backward(loss)
        self.discriminators.requires_grad_(True)
        ours.step()
        ours.zero_grad()
        our_schedule, their_schedule = cast(list[LRScheduler], self.lr_schedulers())
        our_schedule.step()
        if is_contest:
            their_schedule.step()
        return loss.detach()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the vocoder's gradients by the count of the step, and clip them: Lightning does not, by hand."""
        super().on_before_optimizer_step(optimizer)
        assert self.model is not None
        nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)

    def _move_discriminators(self, optimizer: Optimizer, batch: WaveformBatch, written: Tensor) -> Loss:
        assert self.discriminators is not None
        real, false = self.discriminators(batch.waveforms), self.discriminators(written)
        loss = _counted(batch, told_apart(real, false, self._weights()))
        self.manual_backward(loss.sum * self.trainer.world_size)
        count = self.trainer.strategy.reduce(loss.count, reduce_op="sum")
        assert isinstance(count, Tensor)
        for parameter in self.discriminators.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(count.clamp(min=1))
        nn.utils.clip_grad_norm_(self.discriminators.parameters(), self.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return Loss(loss.sum.detach(), loss.count)

    def _contest(self, batch: WaveformBatch, written: Tensor, distances: dict[str, Loss]) -> dict[str, Loss]:
        """Return the terms of the vocoder's step, with what the discriminators say."""
        assert self.discriminators is not None
        with torch.no_grad():
            real: list[Judged] = self.discriminators(batch.waveforms)
        said = self.discriminators(written)
        weights = self._weights()
        scores, features = taken_for_real(said, weights), seen_alike(real, said, weights)
        contest = _counted(batch, self.adversarial_weight * scores + self.feature_weight * features)
        loss = Loss(distances["loss"].sum + contest.sum, contest.count)
        told = {"taken_for_real": _logged(batch, scores), "features": _logged(batch, features)}
        return {**distances, "loss": loss, **told}

    def _weights(self) -> list[float]:
        assert self.discriminators is not None
        periods, resolutions = len(self.discriminators.periods), len(self.discriminators.resolutions)
        return [1.0] * periods + [self.resolution_weight] * resolutions


def _check_same_kind(vocoder: Vocos, folder: Path) -> None:
    """Raise `InputError` where a folder's vocoder shapes a source and ours does not, or the other way about."""
    arguments = (read_config(folder).get("vocoder") or {}).get("init_args") or {}
    found = bool(arguments.get("has_source", False))
    if found != vocoder.has_source:
        raise InputError(
            folder / CONFIG,
            field="vocoder.init_args.has_source",
            found=found,
            wanted=f"{vocoder.has_source}, as in the vocoder that is trained: else its weights mean something else",
            remedy="set has_source as in the folder, or leave the folder out",
        )


def _counted(batch: WaveformBatch, each: Tensor) -> Loss:
    """Return the sum over the windows of a batch; a batch without any gives a gradient of zeros."""
    num_windows = len(batch.places)
    return Loss(each.sum() * float(num_windows > 0), torch.tensor(float(num_windows), device=each.device))


def _logged(batch: WaveformBatch, each: Tensor) -> Loss:
    return _counted(batch, each.detach())
