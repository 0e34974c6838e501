"""The largest batches of a run, forward and back, before its first step: memory that is short is short at once.

Nothing of it stays: no step is taken, gradients are dropped, random numbers and buffers are put back, so that a run
gives the same figures with and without it.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from amalia_mm.data.order import Row
from amalia_mm.data.shard_data import ShardData
from amalia_mm.data.speaker_data import SpeakerData
from amalia_mm.errors import InputError
from amalia_mm.train.strategy import Sharded
from amalia_mm.train.summed import SummedStep

_LOG = logging.getLogger(__name__)
_FILLED = 0.9
"""How much of the memory a suggested budget takes; the rest is lost between blocks."""
_STATE_BYTES = 8
"""Of an optimiser with two numbers for each weight, in float32."""
_GB = 1e9
Data = ShardData[Any] | SpeakerData


@dataclass(frozen=True)
class Peak:
    """What a batch took of a device, in bytes."""

    name: str
    before: int
    highest: int


class DryRun(Callback):
    """Tries the largest batches that the order of the data can give, once, before the first step.

    Args:
        enabled: None does so where there is a GPU, whose memory is seldom enough and cannot be swapped.
    """

    def __init__(self, enabled: bool | None = None) -> None:
        self.enabled = enabled

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try them.

        Raises:
            InputError: One does not fit; it names the options of the budget and values that would do.
        """
        enabled = pl_module.device.type == "cuda" if self.enabled is None else self.enabled
        data: Any = getattr(trainer, "datamodule", None)
        is_known = isinstance(data, (ShardData, SpeakerData))
        if not enabled or not is_known or not isinstance(pl_module, SummedStep):
            return
        peaks = []
        with _untouched(pl_module):
            for name, rows in data.largest().items():
                peak = _peak(trainer, pl_module, data, name, rows)
                if peak is None:
                    fitting = _most_that_fit(trainer, pl_module, data, rows)
                    raise _too_large(data.budget, name, len(rows), fitting)
                peaks.append(peak)
        if pl_module.device.type == "cuda":
            _check_memory(trainer, pl_module, data.budget, max(peaks, key=lambda peak: peak.highest))
        elif trainer.is_global_zero:
            _LOG.warning("dry run: %s fit", ", ".join(peak.name for peak in peaks))


def _peak(
    trainer: Trainer, module: SummedStep[Any], data: Data, name: str, rows: Sequence[Row]
) -> Peak | None:
    """Return what a batch took; None where it did not fit, on this or another process."""
    device = module.device
    before = highest = 0
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    try:
        _forward_and_back(trainer, module, data, rows)
        fits = True
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not _is_memory(error):
            raise
        fits = False
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        highest = torch.cuda.max_memory_allocated(device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if trainer.world_size > 1:
        fits = trainer.strategy.reduce_boolean_decision(fits, all=True)
    return Peak(name, before, highest) if fits else None


def _forward_and_back(trainer: Trainer, module: SummedStep[Any], data: Data, rows: Sequence[Row]) -> None:
    assert data.steps is not None
    batch = data.steps.batch_of(rows).to(module.device)
    with closing(module.tried_losses(batch)) as losses:
        while True:
            with trainer.precision_plugin.train_step_context():
                loss = next(losses, None)
            if loss is None:
                return
            if loss.requires_grad:
                _back(trainer, module, loss)


def _back(trainer: Trainer, module: SummedStep[Any], loss: Tensor) -> None:
    if isinstance(trainer.strategy, Sharded):
        loss.backward()  # slices of gradients are put together where they are kept
        module.zero_grad(set_to_none=True)
        return
    # Not backward(): DDP would wait for gradients of a step that it has not seen begin.
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    torch.autograd.grad(loss, trained, allow_unused=True)


def _most_that_fit(trainer: Trainer, module: SummedStep[Any], data: Data, rows: Sequence[Row]) -> int:
    """Return how many of the rows fit, found by halving; 0 where not even one does."""
    fit, too_many = 0, len(rows)
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        if _peak(trainer, module, data, "", rows[:middle]) is None:
            too_many = middle
        else:
            fit = middle
    return fit


def _check_memory(trainer: Trainer, module: SummedStep[Any], budget: Mapping[str, int], worst: Peak) -> None:
    """Tell what the worst batch takes and what budget would fill the device; raise where the optimiser has no room."""
    total = torch.cuda.get_device_properties(module.device).total_memory
    has_state = any(optimizer.state for optimizer in trainer.optimizers)
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    state = 0 if has_state else _STATE_BYTES * trained
    needed = worst.highest + state
    suggested = scaled(
        budget, (_FILLED * total - worst.before - state) / max(1, worst.highest - worst.before)
    )
    told = ", ".join(f"{name}: {value}" for name, value in suggested.items())
    found = f"{needed / _GB:.1f} of {total / _GB:.1f} GB for {worst.name}, the optimiser's {state / _GB:.1f} with it"
    if needed > total:
        wanted, remedy = "room for the largest batch", f"lower the budget, for example to {told}"
        raise InputError("data", field=", ".join(budget), found=found, wanted=wanted, remedy=remedy)
    if trainer.is_global_zero:
        _LOG.warning("dry run: %s; a budget that fills %.0f %%: %s", found, 100 * _FILLED, told)


def scaled(budget: Mapping[str, int], factor: float) -> dict[str, int]:
    """Return the values of a budget times a factor, each at least 1."""
    return {name: max(1, int(value * factor)) for name, value in budget.items()}


def _too_large(budget: Mapping[str, int], name: str, num_rows: int, fitting: int) -> InputError:
    limits = ", ".join(f"{option} {value}" for option, value in budget.items())
    found = f"a batch of {num_rows} rows with {name} that does not fit the memory ({limits})"
    remedy = "leave the longest records out, or train a smaller model: not even one row fits"
    if fitting:
        suggested = scaled(budget, fitting / num_rows)
        told = ", ".join(f"{option}: {value}" for option, value in suggested.items())
        remedy = f"set {told}, and accumulate more micro-batches instead (trainer.accumulate_grad_batches)"
    return InputError("data", field=", ".join(budget), found=found, wanted="one that fits", remedy=remedy)


def _is_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        "out of memory" in words or "can't allocate memory" in words
    )


@contextmanager
def _untouched(module: LightningModule) -> Iterator[None]:
    """Put random numbers and buffers back as they were, and leave no gradient."""
    buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    numpy_state = np.random.get_state()
    devices = [module.device] if module.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(numpy_state)
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
