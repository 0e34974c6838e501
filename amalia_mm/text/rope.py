"""Rotary positions, and the four ways in which Llama checkpoints stretch them over a longer context."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import torch
from torch import Tensor

from amalia_mm.errors import InputError

_FIELDS = {
    "linear": {"factor"},
    "dynamic": {"factor"},
    "yarn": {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"}
    | {"mscale", "mscale_all_dim", "truncate"},
    "llama3": {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"},
}


@dataclass(frozen=True)
class RopeScaling:
    """How rotations are stretched so that a decoder reads further than it was first trained to.

    Fields and formulas are those of transformers' `rope_scaling`: `linear` divides every position by `factor`
    (Chen et al. 2023, arXiv 2306.15595), `dynamic` raises theta with the length of what is read, `yarn` (Peng et
    al. 2023, arXiv 2309.00071) and `llama3` (arXiv 2407.21783) stretch slow rotations more than fast ones. A field
    that its `rope_type` does not have, or lacks, raises `InputError` in the decoder's sizes.

    Args:
        rope_type: linear, dynamic, yarn or llama3.
        factor: How many times longer the context becomes.
        original_max_position_embeddings: The context before (yarn, llama3); None: max_position_embeddings (yarn).
        attention_factor: What cos and sin are multiplied with (yarn); None: 0.1 ln(factor) + 1.
        beta_fast: Rotations within the old context from which on nothing is stretched (yarn); None: 32.
        beta_slow: Rotations up to which everything is (yarn); None: 1.
        mscale: With `mscale_all_dim`, another way to the attention factor (yarn).
        mscale_all_dim: See `mscale`.
        truncate: Whether the two borders are rounded to whole dimensions (yarn); None: they are.
        low_freq_factor: Old context over the wavelength from which on everything is stretched (llama3).
        high_freq_factor: Old context over the wavelength up to which nothing is (llama3).
    """

    rope_type: str
    factor: float
    original_max_position_embeddings: int | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None

    def check(self) -> None:
        """Raise `InputError` where the fields are not those of the type; a `DecoderConfig` asks for it.

        Not raised by the constructor: where this may be None, jsonargparse would hide which field it was.
        """
        known = _FIELDS.get(self.rope_type)
        if known is None:
            self._refuse("rope_type", "one of " + ", ".join(_FIELDS))
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name == "rope_type":
                continue
            if field.name == "truncate":
                fits, wanted = isinstance(value, bool), "true or false"
            else:
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                fits, wanted = is_number and 0 < value < math.inf, "a number above 0"
            if not fits:
                self._refuse(field.name, wanted)
        for name in self.given().keys() - known - {"rope_type"}:
            self._refuse(name, f"no such field with rope_type {self.rope_type}")
        if self.factor < 1:
            self._refuse("factor", "1 or more")
        if self.rope_type == "llama3":
            for name in sorted(known - self.given().keys()):
                self._refuse(name, "a number, for rope_type llama3 needs it")
            if float(self.high_freq_factor or 0) <= float(self.low_freq_factor or 0):
                self._refuse("high_freq_factor", f"more than low_freq_factor, {self.low_freq_factor}")
        if (self.beta_fast or 32) < (self.beta_slow or 1):
            self._refuse("beta_fast", f"at least beta_slow, {self.beta_slow or 1}")

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        found = getattr(self, name)
        remedy = "correct it, or leave rope_scaling out"
        raise InputError("rope_scaling", field=name, found=found, wanted=wanted, remedy=remedy)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RopeScaling:
        """Return the scaling that a mapping of YAML or JSON describes; an unknown field raises `InputError`."""
        kind, known = str(values.get("rope_type") or "nothing"), {field.name for field in fields(cls)}
        wrong = [("rope_type", kind, "one of " + ", ".join(_FIELDS))] if kind not in _FIELDS else []
        wrong += [
            (name, repr(values[name]), f"no such field with rope_type {kind}")
            for name in sorted(values.keys() - known)
        ]
        if values.get("factor") is None:
            wrong.append(("factor", "nothing", "a value"))
        for name, found, wanted in wrong:
            remedy = "correct it, or leave rope_scaling out"
            raise InputError("rope_scaling", field=name, found=found, wanted=wanted, remedy=remedy)
        scaling = cls(**values)
        scaling.check()
        return scaling

    def given(self) -> dict[str, Any]:
        """Return the fields that have a value, as plain types."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def max_positions(self, max_position_embeddings: int) -> int:
        """Return how many positions the scaling is for.

        `linear` and `dynamic` keep the old context in max_position_embeddings and multiply it; with `yarn` it may
        hold either, the old context or the new; with `llama3` it holds the new one.
        """
        if self.rope_type == "llama3":
            return max_position_embeddings
        first = max_position_embeddings
        if self.rope_type == "yarn":
            first = self.original_max_position_embeddings or first
        return max(max_position_embeddings, math.floor(self.factor * first))


class Rotary:
    """The rotations of every position up to a limit (Su et al. 2021, arXiv 2104.09864), in float32.

    No module and no buffer: it must survive meta devices and `to_empty`, and never become bfloat16. `dynamic`
    scaling depends on how long the text is: on the last position of each document that is read at once, so that
    a row never depends on the rows beside it. What a cache holds keeps the rotations it was read with.
    """

    def __init__(
        self, head_width: int, theta: float, max_position_embeddings: int, scaling: RopeScaling | None = None
    ) -> None:
        self.head_width = head_width
        self.theta = theta
        self.scaling = scaling
        self.context = max_position_embeddings
        self.max_positions = scaling.max_positions(max_position_embeddings) if scaling else self.context
        self._table: tuple[Tensor, Tensor] | None = None

    def between(self, start: int, end: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cos and sin (t w/2) from position `start` to before `end`; `ValueError` past the limit."""
        self._check(end - 1)
        if self.is_dynamic and end > self.context:
            positions = torch.arange(start, end, device=device)
            return self._stretched(positions, torch.full_like(positions, end))
        cos, sin = self._on(device)
        return cos[start:end], sin[start:end]

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin (b 1 t w/2) of positions (b t); `ValueError` past the limit."""
        last = self.context - 1 if positions.device.type == "meta" else int(positions.max())
        self._check(last)
        if self.is_dynamic and last >= self.context:
            cos, sin = self._stretched(positions, _ends(positions) + 1)
            return cos.unsqueeze(1), sin.unsqueeze(1)
        cos, sin = self._on(positions.device)
        return cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)

    @property
    def is_dynamic(self) -> bool:
        """Whether a rotation depends on how long the text is."""
        return self.scaling is not None and self.scaling.rope_type == "dynamic"

    def _check(self, last: int) -> None:
        if last < self.max_positions:
            return
        limit = f"max_position_embeddings is {self.context}"
        if self.max_positions != self.context:
            limit += f", stretched to {self.max_positions} by rope_scaling"
        raise ValueError(f"position {last}, but {limit}")

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._table is None or self._table[0].device != device:
            # No inference tensor: training after generation would refuse to save it for its backward pass.
            with torch.inference_mode(False):
                frequencies, attention_factor = self._frequencies(device)
                positions = torch.arange(
                    self.context if self.is_dynamic else self.max_positions, device=device
                ).float()
                angles = torch.outer(positions, frequencies)
                self._table = angles.cos() * attention_factor, angles.sin() * attention_factor
        return self._table

    def _frequencies(self, device: torch.device) -> tuple[Tensor, float]:
        """Return the angle of one step (w/2) and what cos and sin are multiplied with."""
        exponents = torch.arange(0, self.head_width, 2, device=device).float() / self.head_width
        frequencies = 1 / self.theta**exponents
        if self.scaling is None or self.scaling.rope_type == "dynamic":
            return frequencies, 1.0
        if self.scaling.rope_type == "linear":
            return frequencies / self.scaling.factor, 1.0
        if self.scaling.rope_type == "llama3":
            return _llama3(frequencies, self.scaling), 1.0
        old_context = self.scaling.original_max_position_embeddings or self.context
        stretched = _yarn(frequencies, self.scaling, self.theta, self.head_width, old_context)
        return stretched, _yarn_attention_factor(self.scaling)

    def _stretched(self, positions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin (... w/2) of positions (...) in texts of lengths (...), by dynamic scaling."""
        assert self.scaling is not None
        factor, width = self.scaling.factor, self.head_width
        growth = factor * lengths.clamp(min=self.context).float() / self.context - (factor - 1)
        theta = self.theta * growth ** (width / (width - 2))
        exponents = torch.arange(0, width, 2, device=positions.device).float() / width
        angles = positions.float().unsqueeze(-1) * (1 / theta.unsqueeze(-1) ** exponents)
        return angles.cos(), angles.sin()


@dataclass(frozen=True)
class Turns:
    """The rotations of positions being read, (n 1 w), for both halves of a head at once."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, cos: Tensor, sin: Tensor) -> Turns:
        """Take both as (n w/2)."""
        return cls(torch.cat([cos, cos], dim=-1)[:, None], torch.cat([-sin, sin], dim=-1)[:, None])

    def turn(self, x: Tensor) -> None:
        """Turn (n h w) where it lies, computed in float32."""
        wide = x.float()
        swapped = wide.roll(wide.shape[-1] // 2, -1)
        wide.mul_(self.cos).addcmul_(swapped, self.sin)
        if wide is not x:
            x.copy_(wide)


def _ends(positions: Tensor) -> Tensor:
    """Return, for each of positions (b t), the last position (b t) of the run it is in."""
    index = torch.arange(positions.shape[1], device=positions.device)
    is_last = torch.ones_like(positions, dtype=torch.bool)
    is_last[:, :-1] = positions[:, 1:] <= positions[:, :-1]
    at = torch.where(is_last, index, positions.shape[1] - 1).flip(1).cummin(dim=1).values.flip(1)
    return positions.gather(1, at)


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Return the frequencies (w/2) of Llama 3.1: long waves stretched, short ones kept, a ramp between."""
    old, low, high = (
        scaling.original_max_position_embeddings,
        scaling.low_freq_factor,
        scaling.high_freq_factor,
    )
    assert old is not None and low is not None and high is not None
    waves = 2 * math.pi / frequencies
    kept = ((old / waves - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def _yarn(frequencies: Tensor, scaling: RopeScaling, theta: float, width: int, old_context: int) -> Tensor:
    """Return YaRN's frequencies (w/2): what turns rarely within the old context is stretched."""

    def dimension(num_rotations: float) -> float:
        return width * math.log(old_context / (num_rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(scaling.beta_fast or 32), dimension(scaling.beta_slow or 1)
    if scaling.truncate is not False:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    dimensions = torch.arange(width // 2, dtype=torch.float32, device=frequencies.device)
    # Borders that fall together would divide by zero.
    stretch = ((dimensions - low) / ((high if high != low else high + 0.001) - low)).clamp(0, 1)
    return frequencies / scaling.factor * stretch + frequencies * (1 - stretch)


def _yarn_attention_factor(scaling: RopeScaling) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor

    def grown(scale: float) -> float:
        return 1.0 if scaling.factor <= 1 else 0.1 * scale * math.log(scaling.factor) + 1

    if scaling.mscale and scaling.mscale_all_dim:
        return grown(scaling.mscale) / grown(scaling.mscale_all_dim)
    return grown(1)
