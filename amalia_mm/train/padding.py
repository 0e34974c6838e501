"""How much of what a model computes is padding: in the figures of every step, so that a budget can be chosen by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from amalia_mm.batch import (
    PreferenceBatch,
    SpeakerBatch,
    SpeechTextBatch,
    TextBatch,
    VoiceBatch,
    WaveformBatch,
)
from amalia_mm.train.summed import SummedStep

_KINDS = ("audio", "text")


class Padding(Callback):
    """Adds `padding_audio`, `padding_text` and `audio_seconds` to the figures of each step, over all processes.

    The first two are shares, of the samples of clips and of the positions of rows (of a voice: of its phones); the
    third is audio without padding.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Tensor] = {}
        self._step = 0
        self._rate_hz = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count where the run does."""
        self._step = trainer.global_step
        self._counts = {}
        if isinstance(pl_module, SummedStep):
            self._rate_hz = pl_module.sample_rate_hz

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the micro-batch, and give the figures when a step is complete."""
        if not isinstance(pl_module, SummedStep):
            return
        for name, count in filled(batch).items():
            self._counts[name] = self._counts.get(name, torch.zeros(2, dtype=torch.float64)) + count
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        # Every process gives both kinds: one without a clip must not leave the others waiting.
        nothing = torch.zeros(2, dtype=torch.float64)
        counts = torch.stack([self._counts.get(kind, nothing) for kind in _KINDS]).to(pl_module.device)
        reduced = trainer.strategy.reduce(counts, reduce_op="sum")
        assert isinstance(reduced, Tensor)
        for kind, (used, computed) in zip(_KINDS, reduced.cpu(), strict=True):
            if computed > 0:
                pl_module.step_losses[f"padding_{kind}"] = 1 - used / computed
            if kind == "audio" and computed > 0:
                pl_module.step_losses["audio_seconds"] = used / self._rate_hz
        self._counts = {}


def filled(batch: Any) -> Mapping[str, Tensor]:
    """Return how much of a batch is used and how much is computed, (2) each: samples of clips, positions of rows."""
    if isinstance(batch, PreferenceBatch):
        return filled(batch.text)
    if isinstance(batch, SpeakerBatch):
        return {"audio": _pair(batch.num_samples.sum(), batch.waveforms.numel())}
    if isinstance(batch, WaveformBatch):
        # Windows are full, but for the silent one of a process that has none.
        return {
            "audio": _pair(
                torch.tensor(len(batch.places) * batch.waveforms.shape[1]), batch.waveforms.numel()
            )
        }
    if isinstance(batch, VoiceBatch):
        is_clip = batch.weights > 0
        return {
            "audio": _pair((batch.num_samples * is_clip).sum(), batch.waveforms.numel()),
            "text": _pair((batch.num_phones * is_clip).sum(), batch.phones.numel()),
        }
    if isinstance(batch, SpeechTextBatch):
        counts = dict(filled(batch.text))
        if batch.waveforms is not None and batch.num_samples is not None:
            counts["audio"] = _pair(batch.num_samples.sum(), batch.waveforms.numel())
        return counts
    if isinstance(batch, TextBatch):
        return {"text": _pair((batch.documents > 0).sum(), batch.documents.numel())}
    return {}


def _pair(used: Tensor, computed: int) -> Tensor:
    return torch.tensor([float(used), float(computed)], dtype=torch.float64)
