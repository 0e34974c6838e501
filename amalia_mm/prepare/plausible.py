"""Whether a transcript can be what is said in a clip: its letters, its length, and the length of the clip.

What fails is told with what was found and what would do. It opens no files.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import permutations

from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.kept_rate import check_rate
from amalia_mm.prepare.readers.row import Fault
from amalia_mm.units import SAMPLE_RATE_HZ

_RATES_HZ = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_SAME_RATIO = 0.005
_ALWAYS_ALLOWED_S = 0.25
"""Codecs pad, and corpora round."""
_SILENT_PEAK = 1e-4  # -80 dB: three steps of 16 bits


@dataclass(frozen=True)
class Limits:
    """What a clip and its transcript must keep to.

    Args:
        min_s: Shortest clip, in seconds.
        max_s: Longest clip, in seconds.
        min_chars_per_s: Fewest letters and digits a second; less is a clip of which something was not written down.
        max_chars_per_s: Most letters and digits a second; Portuguese is read at 10 to 20.
        max_foreign_share: Most letters of other scripts than Latin, of all letters.
        max_length_error: How far a clip may be from the length its corpus promises, as a share of that.
        rate_hz: What clips are kept at; above 16 kHz those recorded at less are refused (`kept_rate.py`).

    Raises:
        InputError: A range is upside down, a share outside 0 to 1, or clips cannot be kept at that rate.
    """

    min_s: float = 0.1
    max_s: float = 30.0
    min_chars_per_s: float = 0.5
    max_chars_per_s: float = 30.0
    max_foreign_share: float = 0.1
    max_length_error: float = 0.05
    rate_hz: int = SAMPLE_RATE_HZ

    def __post_init__(self) -> None:
        for low, high in (("min_s", "max_s"), ("min_chars_per_s", "max_chars_per_s")):
            if not 0 <= getattr(self, low) < getattr(self, high):
                found = f"{getattr(self, low):g} to {getattr(self, high):g}"
                wanted, remedy = "from 0 on, the first below the second", "correct the limits"
                raise InputError(f"{low}, {high}", found=found, wanted=wanted, remedy=remedy)
        check_rate(self.rate_hz)
        for name in ("max_foreign_share", "max_length_error"):
            if not 0 <= getattr(self, name) <= 1:
                remedy = "correct the limit"
                raise InputError(name, found=getattr(self, name), wanted="a share from 0 to 1", remedy=remedy)


def text_fault(text: str | None, limits: Limits) -> Fault | None:
    """Return what is wrong with a transcript by itself: none, empty, or in another script."""
    if text is None:
        return Fault("no_text", "none", "a transcript")
    if not spoken_form(text):
        return Fault("empty_text", repr(text)[:60], "words")
    letters = [char for char in text if char.isalpha()]
    foreign = [char for char in letters if not unicodedata.name(char, "").startswith("LATIN")]
    share = len(foreign) / max(1, len(letters))
    if share > limits.max_foreign_share:
        names = {unicodedata.name(char, "UNNAMED").split()[0].lower() for char in foreign}
        found = f"{share:.0%} of the letters are {', '.join(sorted(names))[:60]}"
        return Fault("another_script", found, f"at most {limits.max_foreign_share:.0%} that are not Latin")
    return None


def clip_fault(
    text: str, seconds: float, peak: float, promised_s: float | None, limits: Limits
) -> Fault | None:
    """Return what is wrong with a clip and its transcript together.

    Args:
        text: What is said.
        seconds: How long the clip is, decoded.
        peak: Its largest sample.
        promised_s: How long its corpus says it is.
        limits: What it must keep to.
    """
    if not limits.min_s <= seconds <= limits.max_s:
        return Fault("duration", f"{seconds:.3f} s", f"{limits.min_s:g} to {limits.max_s:g} s")
    if peak < _SILENT_PEAK:
        return Fault("silent", f"a peak of {peak:.1e}", f"at least {_SILENT_PEAK:g}")
    if promised_s is not None:
        error_s = abs(seconds - promised_s)
        if error_s > max(_ALWAYS_ALLOWED_S, limits.max_length_error * promised_s):
            return _length_fault(seconds, promised_s, limits)
    rate = num_chars(text) / seconds
    if not limits.min_chars_per_s <= rate <= limits.max_chars_per_s:
        wanted = f"{limits.min_chars_per_s:g} to {limits.max_chars_per_s:g} characters a second"
        return Fault("characters_per_second", f"{rate:.1f} characters a second", wanted)
    return None


def num_chars(text: str) -> int:
    """Return the letters and digits of what is said."""
    return sum(char.isalnum() for char in spoken_form(text))


def _length_fault(seconds: float, promised_s: float, limits: Limits) -> Fault:
    """Return the fault of a clip of another length than promised; a ratio of usual rates is a lie about the rate."""
    wanted = f"{promised_s:.3f} s, as its corpus promises, or {limits.max_length_error:.0%} beside"
    for recorded_hz, said_hz in permutations(_RATES_HZ, 2):
        if abs(seconds * said_hz / (promised_s * recorded_hz) - 1) < _SAME_RATIO:
            found = f"{seconds:.3f} s: as if recorded at {recorded_hz} Hz and called {said_hz} Hz"
            return Fault("sample_rate", found, wanted)
    return Fault("promised_duration", f"{seconds:.3f} s", wanted)
