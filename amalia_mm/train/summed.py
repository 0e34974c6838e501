"""A training step over sums: the mean is taken once, over all ranks and all accumulated micro-batches.

Averages of averages weigh a token by how many neighbours it happened to share a micro-batch with. Here the step's
loss is the sum; DDP's and Lightning's own averages are undone, and the gradients are divided once by the count of
the whole global step. It knows nothing of what is learned: `loss_terms` is the child's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from functools import cached_property
from typing import Any, Generic, TypeVar

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.model_config import PARTS
from amalia_mm.run import weights_hash
from amalia_mm.train.finite import Watched
from amalia_mm.train.losses import Loss
from amalia_mm.train.optim import OptimConfig, build_optimizer
from amalia_mm.units import SAMPLE_RATE_HZ

ModelT = TypeVar("ModelT", bound=nn.Module)


class SummedStep(L.LightningModule, Generic[ModelT]):
    """The part of a LightningModule that turns sums and counts into one honest mean."""

    model: ModelT | None
    """The parts that are trained, named as in a model folder; built by `configure_model`."""
    parts: tuple[str, ...] = PARTS
    """The parts that it may have."""

    def __init__(self, optim: OptimConfig) -> None:
        super().__init__()
        self.optim_config = optim
        self.init_from: dict[str, list[str]] = {}
        """Model folder -> the parts that `configure_model` takes from there."""
        self.lora_apart: LoraConfig | None = None
        """Low-rank changes that a model folder keeps apart from the weights: they act on what is heard alone, or are
        one person's."""
        self.step_losses: dict[str, Tensor] = {}
        """The mean of every term over the last global step, for the log; `loss` is what was minimised, and
        `grad_norm` the norm of its gradient before clipping."""
        self._pending: dict[str, Tensor] = {}
        self._validation: dict[str, Tensor] = {}
        self._watched = Watched()

    @property
    def max_positions(self) -> int | None:
        """The most positions of a row that the model can read; None where no decoder reads any."""
        return None

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the waveforms in its batches."""
        return SAMPLE_RATE_HZ

    def notes(self) -> dict[str, Any]:
        """Return what the configuration of a model folder is to say beside its parts; after training."""
        return {}

    @abstractmethod
    def loss_terms(self, batch: Any) -> dict[str, Loss]:
        """Return the terms of the loss of one micro-batch; `loss` is the one to minimise, others are logged."""

    def tried_losses(self, batch: Any) -> Generator[Tensor]:
        """Yield what a step goes back from, one after the other, as the dry run of a batch needs it (`dry_run.py`)."""
        yield self.loss_terms(batch)["loss"].sum

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the summed loss of a micro-batch, scaled so that all later averages cancel."""
        terms = self.loss_terms(batch)
        self.add_micro_batch(batch, terms)
        return terms["loss"].sum * (self.trainer.world_size * self.trainer.accumulate_grad_batches)

    def add_micro_batch(self, batch: Any, terms: dict[str, Loss]) -> None:
        """Take the terms of a micro-batch into those of the step that is coming."""
        _add(self._pending, terms)
        self._watched.add(batch, terms["loss"].sum)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the count of the whole global step; runs before gradient clipping.

        Raises:
            InputError: The loss or the gradient is no number; no weight has moved.
        """
        totals = self._reduce(self._pending)
        self._pending = {}
        count = totals["loss/count"].clamp(min=1)
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        for gradient in gradients:
            gradient.div_(count.to(gradient.device))
        grad_norm = _whole(nn.utils.get_total_norm(gradients))
        self._watched.check(self.trainer.global_step + 1, float(totals["loss/sum"]), float(grad_norm))
        self._watched.clear()
        self.step_losses = {**_means(totals), "grad_norm": grad_norm}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients as the trainer says.

        Lightning's own way refuses fused optimisers in bf16, for the sake of a scaler that only fp16 has.
        """
        if gradient_clip_val is None or gradient_clip_val <= 0:
            return
        plugin = self.trainer.precision_plugin
        clip = plugin.clip_grad_by_value if gradient_clip_algorithm == "value" else plugin.clip_grad_by_norm
        clip(optimizer, gradient_clip_val)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add the sums of a validation batch; the means are taken once at the end."""
        _add(self._validation, self.loss_terms(batch))

    def on_validation_epoch_end(self) -> None:
        """Log `val_<term>` as means over the whole validation set of all ranks."""
        totals = self._reduce(self._validation)
        self._validation = {}
        means = {f"val_{name}": value for name, value in _means(totals).items()}
        self.log_dict(means, batch_size=1, rank_zero_only=True, sync_dist=False)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser and a schedule that moves every optimiser step."""
        optimizer, schedule = build_optimizer(self, self.optim_config, self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Take note of what the frozen parameters are, once: they do not change."""
        if self._frozen_names():
            _ = self._frozen_hash

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep trained parameters only: frozen ones come back from where they came, if nothing changed there."""
        frozen = self._frozen_names()
        if frozen:
            checkpoint["frozen_sha256"] = self._frozen_hash
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Complete a checkpoint with the frozen parameters `configure_model` has just loaded.

        Raises:
            InputError: They are not those that the run began with.
        """
        hash_wanted = checkpoint.get("frozen_sha256")
        hash_found = self._frozen_hash if self._frozen_names() else None
        if hash_wanted != hash_found:
            where = f"init_from[{', '.join(self.init_from)}]"
            found = "nothing frozen" if hash_found is None else f"frozen parameters {hash_found}"
            wanted = f"{hash_wanted or 'nothing frozen'}, which the run began with"
            remedy = "put those weights back, and that recipe, or start the run over"
            raise InputError(where, found=found, wanted=wanted, remedy=remedy)
        own = self.state_dict()
        # With sharded weights the strategy has loaded them already.
        for name in self._frozen_names() if "state_dict" in checkpoint else ():
            checkpoint["state_dict"].setdefault(name, own[name])

    @cached_property
    def _frozen_hash(self) -> str:
        # What came from nowhere is drawn again, perhaps otherwise, and means nothing (`noise_in` of run_folder.py).
        given = tuple(f"model.{part}." for parts in self.init_from.values() for part in parts)
        own = self.state_dict()
        names = [name for name in self._frozen_names() if f"{name}.".startswith(given)]
        return weights_hash({name: own[name] for name in names})

    def _frozen_names(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def _reduce(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        if not sums:
            raise ValueError("an optimiser step or a validation without a single batch")
        values = torch.stack(list(sums.values())).double()
        total = self.trainer.strategy.reduce(values, reduce_op="sum")
        assert isinstance(total, Tensor)
        return dict(zip(sums, total.unbind(), strict=True))


def _whole(value: Tensor) -> Tensor:
    """Return a tensor that was sharded, put together from all ranks; any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _add(sums: dict[str, Tensor], terms: dict[str, Loss]) -> None:
    for name, loss in terms.items():
        for kind, value in (("sum", loss.sum), ("count", loss.count)):
            key = f"{name}/{kind}"
            sums[key] = sums.get(key, torch.zeros_like(value, dtype=torch.float64)) + value.detach().double()


def _means(totals: dict[str, Tensor]) -> dict[str, Tensor]:
    names = [key.removesuffix("/sum") for key in totals if key.endswith("/sum")]
    return {name: totals[f"{name}/sum"] / totals[f"{name}/count"].clamp(min=1) for name in names}
