"""What happens around a step: fresh random numbers, a progress bar with time left, and a stop that loses nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from numpy.random import SeedSequence
from tqdm import tqdm

from amalia_mm.ctrl_c import ctrl_c
from amalia_mm.train.summed import SummedStep

_NOT_SHOWN = ("grad_norm", "nll_", "share_", "tokens_per_s", "mfu", "padding_", "audio_seconds")
"""Figures of the run folder that a progress bar has no room for."""


class SeedEveryStep(Callback):
    """Seeds torch from (seed, micro-batch number, rank) at every batch start.

    Dropout and masks of step 1,000 are then the same whether the run was killed at step 900 or not.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._micro_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up the count where the run left off."""
        self._micro_step = trainer.global_step * trainer.accumulate_grad_batches

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed for this micro-batch on this rank."""
        entropy = SeedSequence([self.seed, self._micro_step, trainer.global_rank])
        torch.manual_seed(int(entropy.generate_state(1, "uint64")[0] >> 1))
        self._micro_step += 1


class StepProgress(Callback):
    """A bar over optimiser steps on stderr, with the loss and the time left."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the step the run starts from."""
        if trainer.is_global_zero:
            self._bar = tqdm(
                total=trainer.max_steps,
                initial=trainer.global_step,
                unit="step",
                dynamic_ncols=True,
                mininterval=0.5,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar when an optimiser step is complete."""
        if self._bar is None or trainer.global_step == self._bar.n:
            return
        if trainer.global_step % max(1, trainer.log_every_n_steps) == 0 and isinstance(pl_module, SummedStep):  # pyright: ignore[reportAttributeAccessIssue]
            shown = {k: v for k, v in pl_module.step_losses.items() if not k.startswith(_NOT_SHOWN)}
            losses = {k: f"{float(v):.3f}" for k, v in shown.items()}
            self._bar.set_postfix(losses, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that what is said next has a line of its own; Lightning does not tear down then."""
        if self._bar is not None:
            self._bar.close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


class GracefulStop(Callback):
    """Ends a run at the next step boundary after Ctrl-C or SIGTERM, with a checkpoint; a second signal ends it now."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._saved_step = -1
        self._previous: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, and stop here if one was lost before."""
        ctrl_c.raise_again()
        self._take_over()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the step the run starts from, and take the signals back.

        Lightning has taken SIGTERM meanwhile, with a handler in which all processes must meet: where the signal reaches
        one of them alone, or two at different places, they wait for each other for ever.
        """
        self._saved_step = trainer.global_step
        self._take_over()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop when a signal came and an optimiser step has just been completed."""
        boundary = trainer.global_step != self._saved_step
        self._saved_step = trainer.global_step
        if not boundary:
            return
        stops = self.received is not None
        if trainer.world_size > 1:
            # A signal reaches one process a step before another, perhaps just now: what all decided counts.
            stops = trainer.strategy.reduce_boolean_decision(stops, all=False)
        if not stops:
            return
        self.received = self.received or signal.SIGTERM
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath is not None:
            trainer.save_checkpoint(Path(checkpoint.dirpath) / "last.ckpt")
        trainer.should_stop = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self.give_back()

    def give_back(self) -> None:
        """Give the signals back after a run that failed: Lightning has put these handlers back last of all."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _take_over(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.signal(number, self._receive)
            self._previous.setdefault(number, previous)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
