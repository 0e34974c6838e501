"""Low-rank changes to linear maps: added to a model, switched on and off, merged into its weights.

The model's own weights stay as they are, under the names they had; each changed map gains `lora_a` and `lora_b`. It
knows linear maps, not what they are for.

Source:
    Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amalia_mm.errors import InputError

Gate = bool | Tensor
"""Where the change acts: everywhere, nowhere, or where a bool tensor over the first dimensions of the input says."""


@dataclass(frozen=True)
class LoraConfig:
    """Which maps change, and by how much."""

    modules: list[str]
    """Regular expressions over the names of linear maps, such as `(q|v)_proj$`; each must match one."""
    rank: int = 16
    alpha: float = 32.0
    """The change is scaled by alpha / rank."""
    dropout: float = 0.0
    """Of what goes into the change."""

    def __post_init__(self) -> None:
        self._require("modules", len(self.modules) > 0, "at least one regular expression")
        self._require("rank", self.rank >= 1, "at least 1")
        self._require("alpha", self.alpha > 0, "more than 0")
        self._require("dropout", 0 <= self.dropout < 1, "from 0 to below 1")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            found, remedy = getattr(self, name), "correct the value"
            raise InputError("lora", field=name, found=found, wanted=wanted, remedy=remedy)


class LoraLinear(nn.Linear):
    """A linear map with a change of low rank: W x + (alpha / rank) B A x.

    A is drawn from a normal distribution that keeps the size of x, and B is 0: at the start nothing has changed. Both
    are float32, whatever the type of W: small steps vanish in bfloat16.

    Args:
        linear: The map; its own parameters become this one's, frozen.
        config: Rank, scale and dropout.
    """

    def __init__(self, linear: nn.Linear, config: LoraConfig) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        device = linear.weight.device
        self.lora_a = nn.Parameter(torch.empty(config.rank, self.in_features, device=device))
        self.lora_b = nn.Parameter(torch.empty(self.out_features, config.rank, device=device))
        self.scale = config.alpha / config.rank
        self.dropout = nn.Dropout(config.dropout)
        self.gate: Gate = True
        self.train(linear.training)
        self.reset_lora_parameters()

    def reset_lora_parameters(self) -> None:
        """Draw A anew, and set B to 0."""
        self.draw_a(self.lora_a)
        nn.init.zeros_(self.lora_b)

    def draw_a(self, a: Tensor) -> Tensor:
        """Fill a tensor with the first values of A, and return it."""
        return nn.init.normal_(a, std=self.in_features**-0.5)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name in nn.Linear)
        """Return (... out) of (... in); where the gate is closed, bit for bit what the map gave before.

        Raises:
            ValueError: The gate has another shape than the first dimensions of the input.
        """
        unchanged = F.linear(input, self.weight, self.bias)
        if self.gate is False:
            return unchanged
        narrow = F.linear(self.dropout(input), self.lora_a.to(input.dtype))
        changed = unchanged + self.scale * F.linear(narrow, self.lora_b.to(input.dtype))
        if self.gate is True:
            return changed
        if self.gate.shape != input.shape[: self.gate.ndim]:
            raise ValueError(
                f"a LoRA gate of shape {tuple(self.gate.shape)} for an input of shape {tuple(input.shape)}"
            )
        is_open = self.gate.view(*self.gate.shape, *[1] * (input.ndim - self.gate.ndim))
        return torch.where(is_open, changed, unchanged)

    def merged(self, weight: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        """Return the one matrix that does what these three do together, in the type of the first."""
        return (weight.float() + self.scale * (lora_b.float() @ lora_a.float())).to(weight.dtype)


def add_lora(model: nn.Module, config: LoraConfig) -> int:
    """Change the linear maps of a model that the patterns match; return how many numbers there are to train.

    All parameters that the model had are frozen. Called after its weights are loaded, and before a strategy wraps it.

    Raises:
        InputError: A pattern is no regular expression, or matches no linear map; or the model has changes already.
    """
    already = next(iter(_loras(model)), None)
    if already is not None:
        remedy = "merge them first"
        raise InputError(
            "lora", field=already, found="a low-rank change", wanted="a model without any", remedy=remedy
        )
    maps = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    wanted: set[str] = set()
    for pattern in config.modules:
        matching = [name for name in maps if _compiled(pattern).search(name)]
        if not matching:
            wanted_here = f"a pattern that matches a linear map, such as {next(iter(maps), 'none')}"
            remedy = "correct it or remove it"
            raise InputError("lora", field="modules", found=repr(pattern), wanted=wanted_here, remedy=remedy)
        wanted.update(matching)
    model.requires_grad_(False)
    num_trained = 0
    for name, linear in maps.items():  # in the model's order, whatever that of the patterns: A is drawn here
        if name not in wanted:
            continue
        lora = LoraLinear(linear, config)
        model.set_submodule(name, lora)
        num_trained += lora.lora_a.numel() + lora.lora_b.numel()
    return num_trained


def gate_lora(model: nn.Module, gate: Gate) -> None:
    """Say where the changes of a model act, until this is called again.

    It stays so after a forward pass: activation checkpointing computes again during the backward pass, and must do the
    same then. So a gate is not closed between a forward pass and its backward pass.

    Args:
        model: Anything with `LoraLinear` in it; without any this does nothing.
        gate: Everywhere (True), nowhere (False), by row (b) or by position (b t), on the model's device.
    """
    for lora in _loras(model).values():
        lora.gate = gate


@contextmanager
def lora_off(model: nn.Module) -> Iterator[None]:
    """Let the model be what it was before any change, bit for bit, without gradients; then as it was on entering."""
    before = {lora: lora.gate for lora in _loras(model).values()}
    gate_lora(model, False)
    try:
        with torch.no_grad():
            yield
    finally:
        for lora, gate in before.items():
            lora.gate = gate


def is_change(name: str) -> bool:
    """Return whether a parameter of that name is of a low-rank change."""
    return name.rpartition(".")[2] in ("lora_a", "lora_b")


def check_begun(names: Iterable[str], given: Collection[str], part: str) -> None:
    """Raise `InputError` where a part has low-rank changes, and nothing gave it what they change.

    Args:
        names: Of all parameters of a model.
        given: Of those that came from somewhere.
        part: The child of the model.
    """
    changes = (name for name in names if name.startswith(f"{part}.") and is_change(name))
    if any(name not in given for name in changes):
        wanted, remedy = f"an {part} that has learned", "name its folder in init_from, or leave lora out"
        raise InputError(part, field="lora", found="no init_from", wanted=wanted, remedy=remedy)


def merged_weights(
    model: nn.Module, weights: Mapping[str, Tensor], apart: str | None = None
) -> dict[str, Tensor]:
    """Return the weights with the changes merged into them, under the names that the model had before.

    Args:
        model: The model that the weights are of; it stays as it is.
        weights: Its whole state dict, gathered where it is sharded.
        apart: The child whose changes stay as they are; None: all are merged.
    """
    merged = dict(weights)
    for name, lora in _loras(model).items():
        if apart is not None and f"{name}.".startswith(f"{apart}."):
            continue
        prefix = f"{name}." if name else ""
        change = merged.pop(f"{prefix}lora_a"), merged.pop(f"{prefix}lora_b")
        merged[f"{prefix}weight"] = lora.merged(merged[f"{prefix}weight"], *change)
    return merged


def merge_lora(model: nn.Module) -> None:
    """Put the changes into the weights and plain linear maps in place of `LoraLinear`; what was off is then on."""
    for name, lora in _loras(model).items():
        linear = nn.Linear(lora.in_features, lora.out_features, bias=lora.bias is not None, device="meta")
        with torch.no_grad():
            linear.weight = nn.Parameter(
                lora.merged(lora.weight, lora.lora_a, lora.lora_b), requires_grad=False
            )
        linear.bias = lora.bias
        linear.train(lora.training)
        model.set_submodule(name, linear)


def _loras(model: nn.Module) -> dict[str, LoraLinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        wanted = f"a regular expression ({error})"
        raise InputError(
            "lora", field="modules", found=repr(pattern), wanted=wanted, remedy="correct it"
        ) from error
