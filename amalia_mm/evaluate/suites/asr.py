"""Transcription: what the decoder and CTC write for each clip, and their error counts by any selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.items import SpokenItem
from amalia_mm.evaluate.metrics import ErrorCount, character_errors, word_errors


@dataclass(frozen=True)
class Transcript:
    """A clip with what the decoder wrote and what CTC alone wrote (None without a CTC head)."""

    item: SpokenItem
    decoder: str
    ctc: str | None


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
        """Word errors of the decoder."""
        return word_errors(self._said(), [row.decoder for row in self.transcripts])

    @property
    def characters(self) -> ErrorCount:
        """Character errors of the decoder."""
        return character_errors(self._said(), [row.decoder for row in self.transcripts])

    @property
    def ctc_words(self) -> ErrorCount | None:
        """Word errors of CTC alone, or None without a CTC head."""
        written = [row.ctc for row in self.transcripts if row.ctc is not None]
        return word_errors(self._said(), written) if len(written) == len(self.transcripts) else None

    def _said(self) -> list[str]:
        return [row.item.text for row in self.transcripts]


def measure(
    assistant: Assistant, items: Sequence[SpokenItem], *, batch_size: int = 16, with_ctc: bool = True
) -> AsrResult:
    """Return the transcripts of all clips to be transcribed, exactly as `amalia transcribe` writes them.

    Raises:
        InputError: A clip cannot be read.
    """
    chosen = [item for item in items if item.task == "transcribe"]
    audios = [item.audio for item in chosen]
    if with_ctc and assistant.has_ctc:
        decoder, ctc = assistant.transcribe_both(audios, batch_size=batch_size)
    else:
        decoder, ctc = assistant.transcribe(audios, batch_size=batch_size), [None] * len(chosen)
    return AsrResult(tuple(Transcript(*row) for row in zip(chosen, decoder, ctc, strict=True)))
