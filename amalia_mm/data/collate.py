"""Rows of items to one batch: padding on the right, labels shifted here and nowhere else.

The label of a position is the token after it in the same document, where that token carries loss; the last
position of a document has none. It knows nothing of files or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amalia_mm.batch import BLANK, IGNORE, Example, PreferenceBatch, SpeechTextBatch, TextBatch
from amalia_mm.text.chat import Rendered
from amalia_mm.variety import Variety

PAD_ID = 0
"""Fills the tail of a row; its document number is 0, so it is never attended to."""


@dataclass(frozen=True)
class Item:
    """One document of a row, or a piece of a long one: tokens `start_token` and the `num_tokens` after it."""

    example: Example
    rendered: Rendered
    ctc_ids: tuple[int, ...] | None = None
    """What is said in the clip; None where that is unknown."""
    start_token: int = 0
    num_tokens: int = -1
    """-1 is all from `start_token` on."""
    rejected: Rendered | None = None
    """The other side of a pair of preference."""
    source: int = 0
    """The number of the folder it is from."""
    where: str = ""
    """Its shard and record, as errors name them."""
    clip_seed: int = 0
    """From which an encoder draws what it hides of the clip."""
    reading: Rendered | None = None
    """The same conversation with the words written in place of the clip, where the decoder is to read it too."""

    @property
    def num_own_tokens(self) -> int:
        """How many tokens the whole record has, on both sides of a pair, audio placeholders not counted."""
        both = [self.rendered] if self.rejected is None else [self.rendered, self.rejected]
        return sum(len(side) - sum(side.is_audio) for side in both)

    @property
    def stop_token(self) -> int:
        """The first token after the piece."""
        return len(self.rendered.ids) if self.num_tokens < 0 else self.start_token + self.num_tokens

    def labels(self) -> list[int]:
        """Return the target of each position of the piece; the last one may lie in the next piece."""
        ids, has_loss = self.rendered.ids, self.rendered.has_loss
        targets = [token if loss else IGNORE for token, loss in zip(ids, has_loss, strict=True)] + [IGNORE]
        return targets[self.start_token + 1 : self.stop_token + 1]


Rows = Sequence[Sequence[Item]]

_VARIETIES = list(Variety)


def collate_text(rows: Rows, *, has_loss: bool = True, source_names: Sequence[str] = ()) -> TextBatch:
    """Return the batch of rows of text, padded to the longest.

    Rows hold one or more documents each; without loss every label is `IGNORE`. No rows at all give one row of
    padding and no loss: the batch of a rank that has nothing. `source_names` are those of the run.
    """
    ids, labels, documents, positions, sources, varieties = [], [], [], [], [], []
    for row in rows:
        pieces = [slice(item.start_token, item.stop_token) for item in row]
        lengths = [piece.stop - piece.start for piece in pieces]
        ids.append([i for item, piece in zip(row, pieces, strict=True) for i in item.rendered.ids[piece]])
        labels.append([label for item in row for label in item.labels()])
        documents.append([number for number, length in enumerate(lengths, 1) for _ in range(length)])
        positions.append([position for length in lengths for position in range(length)])
        spread = list(zip(row, lengths, strict=True))
        sources.append([item.source for item, length in spread for _ in range(length)])
        varieties.append([_VARIETIES.index(i.example.variety) for i, length in spread for _ in range(length)])
    if not rows:
        ids, labels, documents, positions = [[PAD_ID]], [[IGNORE]], [[1]], [[0]]
        sources = varieties = [[-1]]
    padded_labels = _padded(labels, IGNORE)
    return TextBatch(
        ids=_padded(ids, PAD_ID),
        labels=padded_labels if has_loss else torch.full_like(padded_labels, IGNORE),
        documents=_padded(documents, 0),
        positions=_padded(positions, 0),
        record_ids=tuple(item.example.id for row in rows for item in row),
        places=tuple(item.where for row in rows for item in row),
        sources=_padded(sources, -1),
        varieties=_padded(varieties, -1),
        source_names=tuple(source_names),
    )


def collate_pairs(rows: Rows, *, has_loss: bool = True) -> PreferenceBatch:
    """Return the batch of rows of pairs, each as two documents side by side; `ValueError` where an item is no pair."""
    sides: list[list[Item]] = []
    for row in rows:
        sides.append([])
        for item in row:
            if item.rejected is None:
                raise ValueError(f"{item.example.id} has no rejected side: it is no pair")
            chosen = replace(item, start_token=0, num_tokens=-1, rejected=None)
            sides[-1] += [chosen, replace(chosen, rendered=item.rejected)]
    ids = tuple(item.example.id for row in rows for item in row)
    return PreferenceBatch(replace(collate_text(sides, has_loss=has_loss), record_ids=ids))


def collate_speech(rows: Rows, *, has_loss: bool = True) -> SpeechTextBatch:
    """Return the batch of rows of text and audio, padded to the longest in text, audio and CTC targets.

    Args:
        rows: Documents with at most one clip or path each; clips and paths do not mix in a batch.
        has_loss: False makes a filler: no label, and CTC targets of unknown length.

    Raises:
        ValueError: Clips and simulated paths stand in the same batch; or a document and its reading have other
            labels.
    """
    heard = [item for row in rows for item in row if _is_heard(item)]
    waveforms = [item.example.waveform for item in heard if item.example.waveform is not None]
    paths = [item.example.path for item in heard if item.example.path is not None]
    if waveforms and paths:
        raise ValueError(f"{len(waveforms)} clips and {len(paths)} simulated paths in one batch")
    text = collate_text(rows, has_loss=has_loss)
    is_audio = [[a for i in row for a in i.rendered.is_audio[i.start_token : i.stop_token]] for row in rows]
    ctc_ids = [item.ctc_ids or () for item in heard]
    readings = [(_as_read(item, item.reading),) for item in heard if item.reading is not None]
    num_ctc_ids = [-1 if item.ctc_ids is None or not has_loss else len(item.ctc_ids) for item in heard]
    return SpeechTextBatch(
        text=text,
        is_audio=_padded(is_audio or [[0]], 0).bool(),
        num_audio_tokens=torch.tensor([sum(item.rendered.is_audio) for item in heard], dtype=torch.int64),
        ctc_ids=_padded(ctc_ids, 0),
        num_ctc_ids=torch.tensor(num_ctc_ids, dtype=torch.int64),
        waveforms=_padded_waveforms(waveforms) if waveforms else None,
        num_samples=torch.tensor([len(clip) for clip in waveforms]) if waveforms else None,
        clip_seeds=tuple(item.clip_seed for item in heard) if waveforms else None,
        paths=torch.nn.utils.rnn.pad_sequence(paths, batch_first=True, padding_value=BLANK)
        if paths
        else None,
        reading=collate_text(readings, has_loss=has_loss) if readings else None,
        is_read=_is_read(rows, text.ids.shape[1]) if readings else None,
    )


def _is_read(rows: Rows, num_positions: int) -> Tensor:
    """Return (b t) bool: True on the documents that have a reading."""
    marks = [
        [i.reading is not None for i in row for _ in range(i.stop_token - i.start_token)] for row in rows
    ]
    return torch.tensor([[*row, *[False] * (num_positions - len(row))] for row in marks])


def _as_read(item: Item, reading: Rendered) -> Item:
    """Return an item with its reading in place of its clip; `ValueError` where the two are to say different things."""
    read = replace(item, rendered=reading, start_token=0, num_tokens=-1)
    of_clip, of_words = ([label for label in one.labels() if label != IGNORE] for one in (item, read))
    if of_clip != of_words:
        raise ValueError(
            f"{item.where or item.example.id}: {len(of_clip)} labelled positions with the clip and "
            f"{len(of_words)} with its words, or other tokens there: the answer to both must be the same"
        )
    return read


def _is_heard(item: Item) -> bool:
    return item.example.waveform is not None or item.example.path is not None


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max((len(row) for row in rows), default=0)
    padded = [[*row, *[value] * (longest - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), longest)


def _padded_waveforms(waveforms: Sequence[Tensor]) -> Tensor:
    """Return the clips, (n) each, as (k n) with zeros on the right."""
    padded = torch.zeros(len(waveforms), max(len(clip) for clip in waveforms))
    for row, clip in zip(padded, waveforms, strict=True):
        row[: len(clip)] = clip
    return padded
