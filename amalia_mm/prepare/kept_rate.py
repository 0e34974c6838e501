"""The rate that clips are kept at in shards: 16 kHz for ears, more for a voice, never more than was recorded.

Ears hear a recording of any rate: what a telephone cut off stays away at 16 kHz too. A voice would learn that people
have nothing up there, so a clip is not kept at a rate that it was not recorded at.
"""

from __future__ import annotations

from pathlib import Path

from amalia_mm.audio.io import own_rate_hz
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ

_HIGHEST_HZ = 48_000


def check_rate(rate_hz: int, field: str = "--rate-hz") -> None:
    """Raise `InputError` where clips cannot be kept at a rate."""
    if not SAMPLE_RATE_HZ <= rate_hz <= _HIGHEST_HZ:
        wanted = f"{SAMPLE_RATE_HZ} Hz, at which models hear, up to {_HIGHEST_HZ} Hz"
        raise InputError(
            field, found=f"{rate_hz} Hz", wanted=wanted, remedy="24000 is what a large voice reads"
        )


def recorded_enough(source: Path | str | bytes, rate_hz: int, where: str) -> None:
    """Raise `InputError` where keeping a clip at a rate above 16 kHz would mean to make samples up.

    Args:
        source: The clip as it was recorded.
        rate_hz: What it is to be kept at.
        where: What to call it.

    Raises:
        InputError: It has a lower rate than that (`rate_hz`), or its header cannot be read.
    """
    if rate_hz == SAMPLE_RATE_HZ:
        return
    found_hz = own_rate_hz(source, where=where)
    if found_hz < rate_hz:
        remedy = f"leave it out, or keep all at {max(found_hz, SAMPLE_RATE_HZ)} Hz"
        wanted = f"{rate_hz} Hz or more, for clips of {rate_hz} Hz"
        raise InputError(where, field="rate_hz", found=f"{found_hz} Hz", wanted=wanted, remedy=remedy)
