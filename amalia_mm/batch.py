"""The frozen records that travel from the shards to the loss, and the letters their shapes are written in.

Shape letters, used with einops and in every docstring: `b` batch rows, `n` samples, `f` mel or encoder frames,
`a` audio tokens, `t` sequence, `d` model width, `e` encoder width, `h` heads, `v` vocabulary, `m` mel bins,
`k` audio items of a batch, `c` CTC targets, `l` letters, `p` phonemes, `s` speakers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from amalia_mm.variety import Variety

IGNORE = -100
"""The label of a position that carries no loss."""

BLANK = -1
"""The blank of a simulated CTC path. Every CTC head has a number of its own for it, behind its classes."""

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation. `has_audio` puts one clip before the text of the turn."""

    role: Role
    text: str
    has_audio: bool = False


@dataclass(frozen=True)
class Example:
    """One record, decoded and ready to render.

    Exactly one of `text` (a plain document, for pre-training) and `turns` (a conversation) is filled; neither where
    the record was tokenised before. A turn with audio is fed by `waveform`, or by `path`, a simulated CTC path that
    stands in for it.
    """

    id: str
    task: str
    variety: Variety
    speaker: str
    source: str
    text: str | None = None
    turns: tuple[Turn, ...] = ()
    spoken: str | None = None
    """The words heard, in spoken form (lower case, no punctuation); "" is no speech; None is no audio."""
    waveform: Tensor | None = None
    """(n) float32 at the geometry's sample rate."""
    path: Tensor | None = None
    """(a) int64, CTC classes, `BLANK` between and around them."""
    rejected: str | None = None
    """What was less wanted in place of the last turn, or of the document; None where the example is no pair."""
    written: str | None = None
    """The words heard as they are written; None where nobody knows."""


@dataclass(frozen=True)
class _Movable:
    """A frozen batch that Lightning can move: it calls `to` and `pin_memory` on anything that has them."""

    def _map(self, change: Callable[[Any], Any]) -> Self:
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (Tensor, _Movable)):
                moved[field.name] = change(value)
        return replace(self, **moved)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the batch on another device; dtypes are never changed, waveforms must stay float32."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory."""
        return self._map(lambda value: value.pin_memory())


@dataclass(frozen=True)
class TextBatch(_Movable):
    """Rows of tokens, right-padded; a row may pack several documents.

    Labels are already shifted (by `data/collate.py`): `labels[i, j]` is the target of position j, `IGNORE` where
    there is no loss. A document number of 0 marks padding; numbers restart at 1 in each row, and positions
    restart at 0 in each document.
    """

    ids: Tensor
    """(b t) int64."""
    labels: Tensor
    """(b t) int64."""
    documents: Tensor
    """(b t) int64."""
    positions: Tensor
    """(b t) int64."""
    record_ids: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    """Shard and record of each document, as errors name them."""
    sources: Tensor | None = None
    """(b t) int64, which of `source_names` each token is from, -1 on padding."""
    varieties: Tensor | None = None
    """(b t) int64, the variety of each token as its place in `Variety`, -1 on padding."""
    source_names: tuple[str, ...] = ()
    """All sources of the run, whichever of them are in this batch."""


@dataclass(frozen=True)
class PreferenceBatch(_Movable):
    """Rows of pairs of preference: documents 1, 3, 5, ... of a row are chosen, the one after each is its rejected side.

    Labels stand on the last turn alone (of plain documents on all of it), so the two sides differ only in what is
    labelled. `text.record_ids` has one id for each pair, row by row.
    """

    text: TextBatch


@dataclass(frozen=True)
class WaveformBatch(_Movable):
    """Pieces of speech, all of one length, with nothing said about them."""

    waveforms: Tensor
    """(b n) float32."""
    places: tuple[str, ...] = ()
    """Shard and record of each, as errors name them; none where there is nothing to learn from."""


@dataclass(frozen=True)
class SpeechTextBatch(_Movable):
    """Rows of tokens with runs of audio placeholders, and what is heard there.

    The k audio items stand in the order of their runs, row by row. They come as waveforms, or as simulated CTC
    paths, never as both; a batch of text alone has neither.
    """

    text: TextBatch
    is_audio: Tensor
    """(b t) bool, True on audio placeholders."""
    num_audio_tokens: Tensor
    """(k) int64, the length of each run."""
    ctc_ids: Tensor
    """(k c) int64, what is said in each item as CTC classes, right-padded with 0."""
    num_ctc_ids: Tensor
    """(k) int64; -1 where what is said is unknown or must not be learned."""
    waveforms: Tensor | None = None
    """(k n) float32, right-padded with zeros."""
    num_samples: Tensor | None = None
    """(k) int64."""
    clip_seeds: tuple[int, ...] | None = None
    """A number for each clip, from which an encoder in training draws what it hides of it; None without waveforms."""
    paths: Tensor | None = None
    """(k a) int64, right-padded with `BLANK`."""
    reading: TextBatch | None = None
    """The documents with something heard, one a row, the words written in its place: their labelled positions are
    those of `text` under `is_read`, one to one. None where no document is read."""
    is_read: Tensor | None = None
    """(b t) bool, True on documents that `reading` has; None without it."""


@dataclass(frozen=True)
class VoiceBatch(_Movable):
    """What voices say, as phones and as sound: one clip a row, right-padded in both.

    A phone is its place in `portuguese.phonemes.SYMBOLS`, 0 is padding. What carries no loss is a clip of weight 0.
    """

    phones: Tensor
    """(b p) int64."""
    is_stressed: Tensor
    """(b p) bool, True on the phones of a stressed syllable's vowel."""
    is_word_start: Tensor
    """(b p) bool, True on the first phone of a word."""
    num_phones: Tensor
    """(b) int64."""
    waveforms: Tensor
    """(b n) float32 at the rate of the voice's mel, right-padded with zeros."""
    num_samples: Tensor
    """(b) int64."""
    speakers: Tensor
    """(b) int64, which of `speaker_names` each clip is by; -1 where nobody is named."""
    weights: Tensor
    """(b) float32, 1 where the clip carries loss, 0 where it only fills the batch of a process that has none."""
    record_ids: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    """Shard and record of each clip, as errors name them."""
    speaker_names: tuple[str, ...] = ()
    """All speakers of the run, in the order of their numbers."""


@dataclass(frozen=True)
class SpeakerBatch(_Movable):
    """Stretches of clips and who says each."""

    waveforms: Tensor
    """(b n) float32 at 16 kHz, right-padded with zeros."""
    num_samples: Tensor
    """(b) int64."""
    speakers: Tensor
    """(b) int64, classes of the run's speakers; `IGNORE` where there is no loss."""
    record_ids: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    """Shard and record of each clip, as errors name them."""
