"""Batches by hand: labels shifted inside documents only, padding on the right, fillers without loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.batch import BLANK, IGNORE, Example
from amalia_mm.data.collate import Item, collate_speech, collate_text
from amalia_mm.data.packing import split_documents
from amalia_mm.text.chat import Rendered
from amalia_mm.variety import Variety


def item(
    ids: list[int],
    *,
    loss_from: int = 1,
    audio: int = 0,
    waveform: torch.Tensor | None = None,
    path: torch.Tensor | None = None,
    ctc_ids: tuple[int, ...] | None = None,
    piece: tuple[int, int] = (0, -1),
) -> Item:
    """A document whose tokens carry loss from `loss_from` on, with `audio` placeholders after the first."""
    example = Example(
        id=f"r{ids[0]}",
        task="t",
        variety=Variety.PT_PT,
        speaker="",
        source="s",
        waveform=waveform,
        path=path,
    )
    is_audio = [1 <= position <= audio for position in range(len(ids))]
    rendered = Rendered(ids, [position >= loss_from for position in range(len(ids))], is_audio)
    return Item(example, rendered, ctc_ids, *piece)


def test_packed_documents_by_hand() -> None:
    batch = collate_text([[item([1, 7, 2]), item([1, 8, 9, 2], loss_from=2)], [item([1, 2])]])
    assert batch.ids.tolist() == [[1, 7, 2, 1, 8, 9, 2], [1, 2, 0, 0, 0, 0, 0]]
    assert batch.labels.tolist() == [
        [7, 2, IGNORE, IGNORE, 9, 2, IGNORE],
        [2, *[IGNORE] * 6],
    ]
    assert batch.documents.tolist() == [[1, 1, 1, 2, 2, 2, 2], [1, 1, 0, 0, 0, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3], [0, 1, 0, 0, 0, 0, 0]]
    assert batch.record_ids == ("r1", "r1", "r1")


def test_the_last_label_of_a_piece_is_the_first_token_of_the_next() -> None:
    ids = [1, 5, 6, 7, 2]
    batch = collate_text([[item(ids, piece=(0, 2))], [item(ids, piece=(2, 2))], [item(ids, piece=(2, 3))]])
    assert batch.ids.tolist() == [[1, 5, 0], [6, 7, 0], [6, 7, 2]]
    assert batch.labels.tolist() == [[5, 6, IGNORE], [7, 2, IGNORE], [7, 2, IGNORE]]


@given(num_tokens=st.integers(2, 60), row_tokens=st.integers(2, 20))
def test_pieces_teach_every_token_but_the_first_once(num_tokens: int, row_tokens: int) -> None:
    ids = list(range(100, 100 + num_tokens))
    _, starts, sizes = split_documents(torch.tensor([num_tokens]).numpy(), row_tokens)
    pieces = [(int(start), int(size)) for start, size in zip(starts, sizes, strict=True)]
    batch = collate_text([[item(ids, piece=piece)] for piece in pieces])
    assert sorted(batch.labels[batch.labels != IGNORE].tolist()) == ids[1:]
    learned = batch.labels != IGNORE
    torch.testing.assert_close(batch.labels[learned], batch.ids[learned] + 1)


def test_clips_stand_in_the_order_of_their_runs() -> None:
    rows = [
        [item([1, 5, 5, 6, 2], audio=2, waveform=torch.ones(3), ctc_ids=(6,), loss_from=3)],
        [item([1, 2])],
        [item([1, 5, 5, 5, 2], audio=3, waveform=torch.full((4,), 2.0))],
    ]
    batch = collate_speech(rows)
    assert batch.is_audio.tolist() == [
        [False, True, True, False, False],
        [False] * 5,
        [False, True, True, True, False],
    ]
    assert batch.num_audio_tokens.tolist() == [2, 3]
    assert batch.waveforms is not None and batch.num_samples is not None and batch.paths is None
    assert batch.waveforms.tolist() == [[1, 1, 1, 0], [2, 2, 2, 2]]
    assert batch.waveforms.dtype == torch.float32
    assert batch.num_samples.tolist() == [3, 4]
    assert batch.ctc_ids.tolist() == [[6], [0]]
    assert batch.num_ctc_ids.tolist() == [1, -1]
    assert batch.text.labels[0].tolist() == [IGNORE, IGNORE, 6, 2, IGNORE]


def test_paths_are_padded_with_the_blank() -> None:
    rows = [
        [item([1, 5, 2], audio=1, path=torch.tensor([7]), ctc_ids=(7,))],
        [item([1, 5, 5, 2], audio=2, path=torch.tensor([8, BLANK]), ctc_ids=())],
    ]
    batch = collate_speech(rows)
    assert batch.paths is not None and batch.waveforms is None
    assert batch.paths.tolist() == [[7, BLANK], [8, BLANK]]
    assert batch.num_ctc_ids.tolist() == [1, 0]


def test_a_batch_of_text_alone_has_no_clips() -> None:
    batch = collate_speech([[item([1, 2])]])
    assert batch.waveforms is None and batch.paths is None and batch.num_samples is None
    assert batch.num_audio_tokens.shape == (0,)
    assert batch.ctc_ids.shape == (0, 0)


def test_a_filler_has_the_content_and_no_loss() -> None:
    rows = [[item([1, 5, 6, 2], audio=1, waveform=torch.ones(3), ctc_ids=(6,))]]
    batch = collate_speech(rows, has_loss=False)
    assert batch.text.ids.tolist() == [[1, 5, 6, 2]]
    assert (batch.text.labels == IGNORE).all()
    assert batch.num_ctc_ids.tolist() == [-1]


def test_no_rows_at_all_make_a_batch_that_can_still_be_run() -> None:
    batch = collate_speech([])
    assert batch.text.ids.shape == batch.text.documents.shape == batch.is_audio.shape == (1, 1)
    assert batch.text.documents.tolist() == [[1]]
    assert (batch.text.labels == IGNORE).all()
    assert batch.text.record_ids == ()


def test_clips_and_paths_do_not_mix() -> None:
    rows = [
        [item([1, 5, 2], audio=1, waveform=torch.ones(3))],
        [item([1, 5, 2], audio=1, path=torch.tensor([7]))],
    ]
    with pytest.raises(ValueError, match="1 clips and 1 simulated paths in one batch"):
        collate_speech(rows)
