"""Draws from a generator that is passed in: whether something happens to a clip, and how much of it."""

from __future__ import annotations

import torch
from torch import Generator


def happens(probability: float, generator: Generator) -> bool:
    """Return True as often as `probability` says; one draw, whatever it says."""
    return float(torch.rand((), generator=generator)) < probability


def between(limits: tuple[float, float], generator: Generator) -> float:
    """Return a number between two limits, each equally likely."""
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))


def choice(count: int, generator: Generator) -> int:
    """Return one of the numbers from 0 on, `count` of them."""
    return int(torch.randint(count, (), generator=generator))


def check_probability(name: str, value: float) -> None:
    """Raise `ValueError` where a probability is outside 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} {value} is not between 0 and 1")


def check_range(name: str, limits: tuple[float, float]) -> None:
    """Raise `ValueError` where a range is upside down."""
    low, high = limits
    if low > high:
        raise ValueError(f"{name} goes from {low} down to {high}")
