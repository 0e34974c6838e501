"""A clip said faster or slower, its pitch with it, and exactly how long it then is.

The order of the data counts with the length before anything is read, so it is arithmetic of whole numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_speeds(speeds: tuple[float, ...]) -> None:
    """Raise `ValueError` where speeds are not from 0.5 to 2, in hundredths, each once; or there is none."""
    for speed in speeds:
        if not 0.5 <= speed <= 2.0 or abs(speed * 100 - round(speed * 100)) > 1e-6:
            raise ValueError(f"speeds {speed}: from 0.5 to 2, in hundredths")
    if not speeds or len(set(speeds)) < len(speeds):
        raise ValueError(f"speeds {list(speeds)}: at least one, and each of them once")


def num_samples_at(num_samples: int, speed: float) -> int:
    """Return the samples that a clip of `num_samples` has at a speed: their quotient, rounded up."""
    up, down = _ratio(speed)
    return -(-num_samples * up // down)


def at_speed(waveform: Tensor, speed: float) -> Tensor:
    """Return a clip (n) at a speed, `num_samples_at(n, speed)` samples; at 1 the clip itself."""
    up, down = _ratio(speed)
    if up == down:
        return waveform
    from scipy.signal import resample_poly  # heavy, and needed by few

    return torch.from_numpy(resample_poly(waveform.numpy(), up, down))


def _ratio(speed: float) -> tuple[int, int]:
    """Return how many samples there are for how many before."""
    percent = round(speed * 100)
    divisor = math.gcd(100, percent)
    return 100 // divisor, percent // divisor
