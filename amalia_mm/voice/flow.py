"""Conditional flow matching: the loss, and the solver that turns noise into data. It knows nothing of sound.

On the optimal-transport path noise x0 moves to data x1 in a straight line, x_t = (1 - t) x0 + t x1, with the velocity
x1 - x0; a network learns its mean at every place and time (Lipman et al. 2023, arXiv 2210.02747, section 4.1 with a
smallest standard deviation of 0).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x: (b m f), time: (b) in 0..1) -> dx/dt: (b m f)."""

Solver = Literal["euler", "midpoint"]


def flow_matching_loss(
    velocity: Velocity, data: Tensor, valid: Tensor, time: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the summed squared error of the velocity at a point of each row's path, and how many numbers it is over.

    Args:
        velocity: What is learned.
        data: (b m f), where the paths end.
        valid: (b f) bool, False on padding, which does not count.
        time: (b) in 0..1, where on its path each row is looked at.
        noise: (b m f) standard normal, where the paths begin.
    """
    at = time[:, None, None]
    place = (1 - at) * noise + at * data
    error = (velocity(place, time) - (data - noise)).float().square()
    counted = valid[:, None].to(error.dtype)
    return (error * counted).sum(), counted.sum() * data.shape[1]


def solve(
    velocity: Velocity, noise: Tensor, num_steps: int, method: Solver = "euler", sway: float = 0.0
) -> Tensor:
    """Return where the flow carries `noise` (b m f) from time 0 to time 1.

    Args:
        velocity: The field; called once a step by "euler", twice by "midpoint".
        noise: Where it begins.
        num_steps: How many steps, at least 1.
        method: "midpoint" takes the velocity half-way of each step: more exact for twice the work.
        sway: Moves the steps: with -1 they are short at the start, where the path is decided (F5-TTS, Chen et al. 2024,
            arXiv 2410.06885, eq. 7); 0 makes them equal.

    Raises:
        ValueError: There would be no step, or the times would not rise from 0 to 1.
    """
    if num_steps < 1 or not -1 <= sway <= 2 / (torch.pi - 2):
        raise ValueError(
            f"num_steps {num_steps} must be at least 1, and sway {sway} from -1 to {2 / (torch.pi - 2):.3f}"
        )
    place = noise
    times = step_times(num_steps, sway)
    for start, end in pairwise(times):
        step = end - start
        slope = velocity(place, noise.new_full((len(noise),), start))
        if method == "midpoint":
            half = place + 0.5 * step * slope
            slope = velocity(half, noise.new_full((len(noise),), start + 0.5 * step))
        place = place + step * slope
    return place


def step_times(num_steps: int, sway: float = 0.0) -> list[float]:
    """Return the `num_steps` + 1 times of the solver, from 0 to 1."""
    even = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    return (even + sway * (torch.cos(torch.pi / 2 * even) - 1 + even)).tolist()


def gaussian_velocity(place: Tensor, time: Tensor, mean: Tensor, std: float) -> Tensor:
    """Return the exact velocity at `place` (b m f) where the data are Gaussian, independent, with this mean and std.

    It carries standard normal noise to exactly that Gaussian: the mean of x1 - x0, given x_t (jointly normal).
    """
    at = time[:, None, None]
    variance = (1 - at).square() + at.square() * std**2
    covariance = at * std**2 - (1 - at)
    return mean + covariance / variance * (place - at * mean)


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Return the velocity of classifier-free guidance: at scale 1 the conditional one, above it further from without.

    (Ho and Salimans 2022, arXiv 2207.12598, with their weight w = scale - 1.)
    """
    return unconditional + scale * (conditional - unconditional)
