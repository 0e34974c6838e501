"""A step whose loss or gradient is no number moves nothing: the run stops and says which records it was."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from amalia_mm.batch import (
    PreferenceBatch,
    SpeakerBatch,
    SpeechTextBatch,
    TextBatch,
    VoiceBatch,
    WaveformBatch,
)
from amalia_mm.errors import InputError

_MOST_NAMED = 4
"""Records that the message names; a packed batch may hold hundreds."""


class Watched:
    """The micro-batches of one global step, and which of them gave a loss that is no number."""

    def __init__(self) -> None:
        self._seen: list[tuple[Tensor, tuple[str, ...]]] = []

    def add(self, batch: object, loss: Tensor) -> None:
        """Remember a micro-batch; nothing is read back from the device yet."""
        text = batch.text if isinstance(batch, (PreferenceBatch, SpeechTextBatch)) else batch
        placed = (TextBatch, SpeakerBatch, VoiceBatch, WaveformBatch)
        records = text.places if isinstance(text, placed) else ()
        self._seen.append((loss.detach(), records))

    def clear(self) -> None:
        """Forget them: the step was good."""
        self._seen = []

    def check(self, step: int, loss: float, grad_norm: float) -> None:
        """Raise `InputError` where the whole step's loss or gradient is no number.

        Args:
            step: The optimiser step, from 1.
            loss: Summed over all processes, so that all of them stop.
            grad_norm: Of the whole step's gradient.
        """
        if math.isfinite(loss) and math.isfinite(grad_norm):
            return
        what = f"{loss}" if not math.isfinite(loss) else f"a gradient of norm {grad_norm}"
        bad = [records for own, records in self._seen if not math.isfinite(float(own))]
        is_elsewhere = not bad and not math.isfinite(loss)
        where = _named([] if is_elsewhere else bad or [records for _, records in self._seen])
        raise InputError(
            f"step {step}, {where}",
            field="loss",
            found=what,
            wanted="a number",
            remedy="look at these records or lower the learning rate, and go on from the last checkpoint (--ckpt_path)",
        )


def _named(micro_batches: Sequence[Sequence[str]]) -> str:
    # A record may stand there twice, as the two sides of a pair do.
    records = list(dict.fromkeys(record for batch in micro_batches for record in batch))
    if not records:
        return "a batch of another process, which names it"
    more = len(records) - _MOST_NAMED
    return ", ".join(records[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
