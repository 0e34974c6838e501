"""AdamW and the learning-rate schedules."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from amalia_mm.errors import InputError


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move.

    `cosine` falls from the peak to `final_fraction` of it over all the steps after the warm-up; `linear` does so
    in a straight line; `wsd` (warm-up, stable, decay: Hu et al. 2024, MiniCPM) holds the peak and falls in a
    straight line over the last `decay_fraction` of the run.
    """

    lr: float
    """Peak learning rate."""
    warmup_steps: int = 100
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    final_fraction: float = 0.02
    """Learning rate at the end, as a part of the peak."""
    decay_fraction: float = 0.2
    """`wsd` only: the part of the run that decays."""
    weight_decay: float = 0.01
    """On matrices; gains, biases and single vectors are never decayed."""
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    lr_scales: dict[str, float] = field(default_factory=dict)
    """Regular expression over parameter names -> factor on the learning rate; the first that matches counts."""


def lr_factor(config: OptimConfig, max_steps: int) -> Callable[[int], float]:
    """Return the function from the optimiser step (0, 1, ...) to the part of the peak learning rate."""
    if max_steps < 1:
        raise InputError(
            "trainer",
            field="max_steps",
            found=max_steps,
            wanted="at least 1",
            remedy="train by steps: set max_steps",
        )
    warmup = min(config.warmup_steps, max_steps)
    decay = max_steps - warmup
    if config.schedule == "wsd":
        decay = min(decay, math.ceil(config.decay_fraction * max_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, max(0.0, (step - (max_steps - decay)) / max(1, decay)))
        shape = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
        return config.final_fraction + (1 - config.final_fraction) * shape

    return factor


def build_optimizer(module: nn.Module, config: OptimConfig, max_steps: int) -> tuple[AdamW, LambdaLR]:
    """Return the optimiser over the trainable parameters, and its schedule, to be stepped once a step.

    Raises:
        InputError: A pattern of `lr_scales` matches no trainable parameter, or nothing is trainable.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    unused = set(config.lr_scales)
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        pattern = next((p for p in config.lr_scales if re.search(p, name)), None)
        unused.discard(pattern or "")
        scale = 1.0 if pattern is None else config.lr_scales[pattern]
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    if unused:
        raise InputError(
            "model.optim",
            field="lr_scales",
            found=sorted(unused),
            wanted="patterns that match a trainable parameter",
            remedy="correct the pattern or remove it",
        )
    if not groups:
        raise InputError(
            "model",
            field="freeze",
            found="no trainable parameter",
            wanted="at least one",
            remedy="freeze less",
        )
    optimizer = AdamW(
        [
            {"params": p, "lr": config.lr * scale, "weight_decay": decay}
            for (scale, decay), p in groups.items()
        ],
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
    return optimizer, LambdaLR(optimizer, lr_factor(config, max_steps))
