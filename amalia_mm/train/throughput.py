"""How fast a decoder learns: tokens a second, and the part of the machine's multiplications that it uses (MFU).

The work counted is the model's own, as in Chowdhery et al. 2022 (PaLM, arXiv 2204.02311), appendix B: six operations a
token for each weight that multiplies (four where it is frozen), and attention inside of the documents; what is computed
again is not counted.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from amalia_mm.batch import TextBatch
from amalia_mm.text.decoder import Decoder
from amalia_mm.train.language import Language


class Throughput(Callback):
    """Adds `tokens_per_s` and `mfu` to the figures of each step of a decoder's training; padding is no token.

    The time of validation is not counted; waiting for batches is.

    Args:
        peak_tflops: What one device multiplies at most, in 10^12 operations a second. None: what the product of two
            large matrices reaches in the run's precision, measured once at the start.
    """

    def __init__(self, peak_tflops: float | None = None) -> None:
        self.peak_tflops = peak_tflops
        self._num_tokens = torch.zeros((), dtype=torch.float64)
        self._num_operations = torch.zeros((), dtype=torch.float64)
        self._step = 0
        self._begun = 0.0
        self._stopped = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the peak, and start the clock."""
        if not isinstance(pl_module, Language):
            return
        if self.peak_tflops is None:
            is_bf16 = str(trainer.precision) == "bf16-mixed"
            self.peak_tflops = measured_tflops(pl_module.device, torch.bfloat16 if is_bf16 else torch.float32)
        self._step = trainer.global_step
        self._begun = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._stopped = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on."""
        self._begun += time.perf_counter() - self._stopped

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the micro-batch, and give the figures when a step is complete."""
        if not isinstance(pl_module, Language) or not isinstance(batch, TextBatch):
            return
        assert pl_module.model is not None and self.peak_tflops is not None
        tokens, operations = work_of(batch, pl_module.model.decoder)
        self._num_tokens, self._num_operations = self._num_tokens + tokens, self._num_operations + operations
        if trainer.global_step == self._step:
            return
        # Figures are read at every step, so the device has finished by now.
        now = time.perf_counter()
        seconds = now - self._begun
        # Each process has its own share: the last rows of an epoch do not go evenly into all.
        done = torch.stack([self._num_tokens, self._num_operations]).to(pl_module.device)
        tokens, operations = trainer.strategy.reduce(done, reduce_op="sum").cpu()
        pl_module.step_losses["tokens_per_s"] = tokens / seconds
        pl_module.step_losses["mfu"] = operations / seconds / (trainer.world_size * self.peak_tflops * 1e12)
        self._num_tokens = torch.zeros((), dtype=torch.float64)
        self._num_operations = torch.zeros((), dtype=torch.float64)
        self._step, self._begun = trainer.global_step, now


def work_of(batch: TextBatch, decoder: Decoder) -> tuple[Tensor, Tensor]:
    """Return the tokens of a batch that are no padding, and the operations of a training step over them, both ().

    Attention takes 12 operations a layer for each unit of all heads' width and each pair of a token and what it sees:
    two products of two operations, once forward and twice on the way back.
    """
    is_read = batch.documents > 0
    num_tokens = is_read.sum().double().cpu()
    # The sum over tokens of how many they see is that of the positions, counted from 1.
    num_pairs = ((batch.positions + 1) * is_read).sum().double().cpu()
    config = decoder.config
    width = config.num_attention_heads * config.head_width
    operations = operations_a_token(decoder) * num_tokens
    return num_tokens, operations + 12 * config.num_hidden_layers * width * num_pairs


def operations_a_token(decoder: Decoder) -> int:
    """Return the operations of all matrices but the table of embeddings, and of the output layer, for one token.

    Each weight is multiplied forward, on the way back, and once more for its own gradient where it is trained.
    """
    inside = [p for p in decoder.model.layers.parameters() if p.ndim == 2]
    output = (decoder.lm_head or decoder.model.embed_tokens).weight
    return sum((6 if p.requires_grad else 4) * p.numel() for p in [*inside, output])


def measured_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """Return what the product of two matrices reaches, in 10^12 operations a second: the best of five."""
    size = 512 if device.type == "cpu" else 8192
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        float((left @ right)[0, 0])  # waits for a GPU
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best / 1e12
