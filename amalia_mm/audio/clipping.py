"""A microphone that is spoken into too loudly: peaks are cut off, the rest stays as loud as it was."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from amalia_mm.audio.chance import between, check_probability, check_range, happens


@dataclass(frozen=True)
class Clipping:
    """Peaks cut off.

    Args:
        probability: How often.
        over_db: How far below its highest peak a clip is cut, least and most.

    Raises:
        ValueError: The probability is outside 0 to 1, or the range upside down.
    """

    probability: float = 0.1
    over_db: tuple[float, float] = (3.0, 15.0)

    def __post_init__(self) -> None:
        check_probability("clipping.probability", self.probability)
        check_range("clipping.over_db", self.over_db)

    def __call__(self, waveform: Tensor, generator: Generator) -> Tensor:
        """Return the clip (n) with its peaks cut off."""
        if not happens(self.probability, generator):
            return waveform
        highest = float(waveform.abs().max()) * 10.0 ** (-between(self.over_db, generator) / 20.0)
        return waveform.clamp(-highest, highest)
