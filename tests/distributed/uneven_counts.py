"""A child process of test_summed.py: trains a toy on given micro-batches and writes its weights.

python uneven_counts.py OUTPUT DEVICES ACCUMULATE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from amalia_mm.train.losses import Loss
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.summed import SummedStep

COUNTS = (7, 1, 3, 13)
"""Labelled tokens of the four micro-batches: uneven, so that a mean of means would show."""


class Toy(SummedStep[nn.Linear]):
    """Fits a line to points; each micro-batch has another number of them."""

    def __init__(self) -> None:
        super().__init__(OptimConfig(lr=0.1, warmup_steps=0, schedule="linear"))
        self.model = nn.Linear(3, 1)
        nn.init.constant_(self.model.weight, 0.5)
        nn.init.constant_(self.model.bias, 0.0)
        self.gradients: list[list[float]] = []

    def loss_terms(self, batch: tuple[Tensor, ...]) -> dict[str, Loss]:
        """Return the summed squared error."""
        assert self.model is not None
        errors = [(self.model(points).sum(1) - points.prod(1)).square() for points in batch]
        return {"loss": Loss(torch.cat(errors).sum(), torch.tensor(float(sum(len(e) for e in errors))))}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the gradients the optimiser will see."""
        super().on_before_optimizer_step(optimizer)
        self.gradients.append(
            [float(x) for p in self.parameters() for x in (p.grad.flatten() if p.grad is not None else [])]
        )


def micro_batches() -> list[Tensor]:
    """Return the four micro-batches, (count 3) each."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 3, generator=generator) for count in COUNTS]


def main(output: Path, num_devices: int, accumulate: int) -> None:
    """Train one global step over the four micro-batches, split as asked."""
    batches = micro_batches()
    rank = 0
    if num_devices > 1:
        import os

        rank = int(os.environ.get("LOCAL_RANK", "0"))
    per_step = len(batches) // (num_devices * accumulate)
    mine = batches[rank::num_devices]
    grouped = [tuple(mine[i : i + per_step]) for i in range(0, len(mine), per_step)]
    toy = Toy()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=num_devices,
        strategy="ddp" if num_devices > 1 else "auto",
        max_steps=1,
        accumulate_grad_batches=accumulate,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(toy, DataLoader(grouped, batch_size=None, collate_fn=None))  # type: ignore[arg-type]
    if trainer.is_global_zero:
        weights = [float(x) for p in toy.parameters() for x in p.flatten()]
        result = {"weights": weights, "gradients": toy.gradients, "loss": float(toy.step_losses["loss"])}
        output.write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
