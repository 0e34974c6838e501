"""A child process of test_processes.py: a few joint steps over speech and text; the first rank writes what it saw.

python speech_gradients.py RECIPE OUTPUT DEVICES
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from torch import Tensor

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.data.module import SpeechTextData
from amalia_mm.fusion.projectors import Projector
from amalia_mm.model_config import build_part
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.train.distillation import Distillation
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.understanding import Understanding


class Watch(L.Callback):
    """Keeps the mean loss and the gradients of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.gradients: list[dict[str, Tensor]] = []

    def on_before_zero_grad(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        """Runs after the step, before the gradients go."""
        found = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        if found and isinstance(pl_module, Understanding) and pl_module.step_losses:
            self.gradients.append(found)
            self.losses.append(float(pl_module.step_losses["loss"]))


def main(recipe: Path, output: Path, num_devices: int) -> None:
    """Train as the recipe says on `num_devices` processes."""
    settings = yaml.safe_load(recipe.read_text())
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    torch.manual_seed(0)
    distillation = model.get("distillation")
    module = Understanding(
        decoder=DecoderConfig(**model["decoder"]),
        encoder=build_part(model["encoder"], AudioEncoder, "recipe"),
        projector=build_part(model["projector"], Projector, "recipe"),
        optim=OptimConfig(**model["optim"]),
        tokenizer=data["tokenizer"],
        ctc_weight=model["ctc_weight"],
        freeze=model.get("freeze"),
        distillation=None if distillation is None else Distillation(**distillation),
    )
    watch = Watch()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=num_devices,
        strategy="ddp" if num_devices > 1 else "auto",
        max_steps=settings["trainer"]["max_steps"],
        use_distributed_sampler=False,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    augment = Augment(**data.pop("augment"))
    linked = {"geometry": module.geometry, "unread_tasks": module.unread_tasks, "augment": augment}
    trainer.fit(module, SpeechTextData(**data, **linked))
    if trainer.is_global_zero:
        torch.save({"losses": watch.losses, "gradients": watch.gradients}, output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
