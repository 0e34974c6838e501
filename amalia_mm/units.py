"""Sample rates and the exact conversions between seconds, samples and frames."""

from __future__ import annotations

SAMPLE_RATE_HZ = 16_000
"""The rate at which every model of this project hears; audio is resampled to it once, when it is decoded."""


def exact_div(numerator: int, denominator: int) -> int:
    """Return the quotient of two integers; raise `ValueError` where the division leaves a remainder."""
    quotient, remainder = divmod(numerator, denominator)
    if remainder:
        raise ValueError(f"{numerator} is not a multiple of {denominator} (remainder {remainder})")
    return quotient


def samples_to_seconds(num_samples: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Return the duration in seconds of `num_samples` samples."""
    return num_samples / sample_rate_hz


def seconds_to_samples(duration_s: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Return the number of samples nearest to a duration in seconds; negative durations raise `ValueError`."""
    if duration_s < 0:
        raise ValueError(f"a duration cannot be negative: {duration_s} s")
    return round(duration_s * sample_rate_hz)
