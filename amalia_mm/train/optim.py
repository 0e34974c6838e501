"""The optimisers and the learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from amalia_mm.errors import InputError
from amalia_mm.train.muon import MuonAdamW
from amalia_mm.train.patterns import compiled


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
    decay_embeddings: bool = False
    """Whether tables of embeddings are decayed, too; an output layer that is tied to one goes with it."""
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    lr_scales: dict[str, float] = field(default_factory=dict)
    """Regular expression over parameter names -> factor on the learning rate; the first that matches counts."""
    muon: list[str] = field(default_factory=list)
    """Regular expressions over parameter names: Muon moves the matrices that one of them matches, AdamW the rest."""
    muon_lr: float = 0.02
    """Muon's peak learning rate, on the same schedule."""
    muon_momentum: float = 0.95

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "muon_lr"):
            self._require(name, getattr(self, name) > 0, "above 0")
        for name in ("warmup_steps", "weight_decay"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("final_fraction", "decay_fraction"):
            self._require(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        for name in ("beta1", "beta2", "muon_momentum"):
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        self._require(
            "lr_scales", all(scale >= 0 for scale in self.lr_scales.values()), "factors of at least 0"
        )

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            found, remedy = getattr(self, name), "correct the value"
            raise InputError("model.optim", field=name, found=found, wanted=wanted, remedy=remedy)


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
        InputError: A pattern of `lr_scales` or `muon` matches no trainable parameter (no matrix), nothing is
            trainable, or what is has fewer bits than float32.
    """
    scales = [(compiled(p, "model.optim", "lr_scales"), scale) for p, scale in config.lr_scales.items()]
    by_muon = [compiled(p, "model.optim", "muon") for p in config.muon]
    if by_muon and any(isinstance(parameter, DTensor) for parameter in module.parameters()):
        found, wanted = "Muon for weights in slices", "AdamW: Muon needs every matrix whole"
        raise InputError(
            "model.optim", field="muon", found=found, wanted=wanted, remedy="leave it out, or use ddp"
        )
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    unused = {"lr_scales": set(config.lr_scales), "muon": set(config.muon)}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        _check_exact(name, parameter)
        pattern, scale = next(((p.pattern, scale) for p, scale in scales if p.search(name)), ("", 1.0))
        unused["lr_scales"].discard(pattern)
        moving = {p.pattern for p in by_muon if parameter.ndim == 2 and p.search(name)}
        unused["muon"] -= moving
        is_decayed = parameter.ndim > 1 and (config.decay_embeddings or id(parameter) not in embeddings)
        decay = config.weight_decay if is_decayed else 0.0
        groups.setdefault((scale, decay, bool(moving)), []).append(parameter)
    _check(unused, groups)
    made = [
        {
            "params": p,
            "lr": (config.muon_lr if muon else config.lr) * scale,
            "weight_decay": decay,
            "muon": muon,
        }
        for (scale, decay, muon), p in groups.items()
    ]
    betas = (config.beta1, config.beta2)
    if config.muon:
        optimizer = MuonAdamW(made, betas, config.eps, config.muon_momentum)
    else:
        optimizer = AdamW(made, betas=betas, eps=config.eps, fused=True)
    return optimizer, LambdaLR(optimizer, lr_factor(config, max_steps))


def _check_exact(name: str, parameter: nn.Parameter) -> None:
    """Refuse to train weights of half precision: a step of less than 1/256 of a weight would not move it at all.

    At a rate of 1e-5 that is most steps of most weights, and the loss still falls a little: nobody would notice.
    """
    if parameter.dtype not in (torch.float32, torch.float64):
        raise InputError(
            "model",
            field=name,
            found=f"weights to train of type {str(parameter.dtype).removeprefix('torch.')}",
            wanted="float32: small steps vanish in fewer bits",
            remedy="set model.decoder.dtype to float32 (trainer.precision bf16-mixed still computes in bfloat16), "
            "or train low-rank changes (model.lora)",
        )


def _check(
    unused: dict[str, set[str]], groups: Mapping[tuple[float, float, bool], list[nn.Parameter]]
) -> None:
    for name, patterns in unused.items():
        if patterns:
            raise InputError(
                "model.optim",
                field=name,
                found=sorted(patterns),
                wanted=f"patterns that match a trainable {'matrix' if name == 'muon' else 'parameter'}",
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
