"""Transcription: what decoder and CTC write for each clip, together and alone, and the errors by any selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.items import SpokenItem
from amalia_mm.evaluate.metrics import ErrorCount, character_errors, word_errors


@dataclass(frozen=True)
class Transcript:
    """A clip with what was written; without a CTC head the decoder is alone anyway."""

    item: SpokenItem
    text: str
    """As `amalia transcribe` writes it: the decoder, with CTC's say where there is a head for it."""
    alone: str
    """The decoder alone, token by token."""
    ctc: str | None
    """CTC alone."""


@dataclass(frozen=True)
class AsrResult:
    """The transcripts of a test set, and the sums over parts of it."""

    transcripts: tuple[Transcript, ...]

    def select(self, keep: Callable[[SpokenItem], bool]) -> AsrResult:
        """Return the part of the clips for which `keep` is true."""
        return AsrResult(tuple(row for row in self.transcripts if keep(row.item)))

    def by(self, key: Callable[[SpokenItem], str]) -> dict[str, AsrResult]:
        """Return the parts by voice, source or any other key, in the order of the keys."""
        keys = sorted({key(row.item) for row in self.transcripts})
        return {name: self.select(lambda item, name=name: key(item) == name) for name in keys}

    @property
    def words(self) -> ErrorCount:
        """Word errors of what `amalia transcribe` writes."""
        return word_errors(self._said(), [row.text for row in self.transcripts])

    @property
    def alone_words(self) -> ErrorCount:
        """Word errors of the decoder without CTC's say."""
        return word_errors(self._said(), [row.alone for row in self.transcripts])

    @property
    def characters(self) -> ErrorCount:
        """Character errors of the same."""
        return character_errors(self._said(), [row.text for row in self.transcripts])

    @property
    def ctc_words(self) -> ErrorCount | None:
        """Word errors of CTC alone, or None without a CTC head."""
        written = [row.ctc for row in self.transcripts if row.ctc is not None]
        return word_errors(self._said(), written) if len(written) == len(self.transcripts) else None

    def _said(self) -> list[str]:
        return [row.item.text for row in self.transcripts]


def measure(
    assistant: Assistant, items: Sequence[SpokenItem], *, batch_size: int = 16, is_alone: bool = False
) -> AsrResult:
    """Return the transcripts of all clips to be transcribed, exactly as `amalia transcribe` writes them.

    With `is_alone` the decoder writes without CTC instead (`--beams 1`), which is faster, and nothing else does.

    Raises:
        InputError: A clip cannot be read.
    """
    chosen = [item for item in items if item.task == "transcribe"]
    audios = [item.audio for item in chosen]
    if assistant.has_ctc and not is_alone:
        texts, alone, ctc = assistant.transcribe_three_ways(audios, batch_size=batch_size)
    else:
        texts = alone = assistant.transcribe(audios, batch_size=batch_size, num_beams=1)
        ctc = [None] * len(chosen)
    return AsrResult(tuple(Transcript(*row) for row in zip(chosen, texts, alone, ctc, strict=True)))
