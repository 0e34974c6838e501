"""Long packed rows are attended to document by document: the same numbers as under a mask, at less cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from amalia_mm.text import attention
from amalia_mm.text.decoder import Decoder, DecoderConfig

LENGTHS = [[70, 1, 30, 27], [128], [64, 64], [5, 90]]
"""The last row ends in padding."""


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(1)
    return Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, initializer_range=0.3))


def _documents() -> Tensor:
    rows = [torch.repeat_interleave(torch.arange(1, len(row) + 1), torch.tensor(row)) for row in LENGTHS]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _states_and_gradients(decoder: Decoder, ids: Tensor, documents: Tensor) -> tuple[Tensor, list[Tensor]]:
    hidden = decoder.hidden(ids, documents=documents)[documents > 0]
    weights = torch.linspace(-1, 1, hidden.numel()).view_as(hidden)
    return hidden, list(
        torch.autograd.grad((hidden * weights).sum(), list(decoder.model.layers.parameters()))
    )


def test_document_by_document_equals_the_mask(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = _documents()
    ids = torch.randint(61, documents.shape)
    masked, masked_gradients = _states_and_gradients(decoder, ids, documents)
    monkeypatch.setattr(attention, "_MIN_POSITIONS_TO_SPLIT", 1)
    split, split_gradients = _states_and_gradients(decoder, ids, documents)
    assert not torch.equal(split, masked)  # another way was taken
    torch.testing.assert_close(split, masked, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(split_gradients, masked_gradients, rtol=1e-4, atol=1e-4)


def test_each_document_of_a_long_row_is_read_as_if_it_were_alone(decoder: Decoder) -> None:
    lengths = [300, 7, 200, 93]
    parts = [torch.randint(61, (length,)) for length in lengths]
    documents = torch.repeat_interleave(torch.arange(1, 5), torch.tensor(lengths))
    packed = decoder(torch.cat(parts)[None], documents=documents[None])[0]
    alone = torch.cat([decoder(part[None])[0] for part in parts])
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


def test_the_work_of_a_packed_row_grows_with_its_documents(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 documents of 256 in a row of 4,096 cost 16 squares of 256; a mask costs the square of 4,096."""
    work = []

    def counted(query: Tensor, key: Tensor, *rest, **options) -> Tensor:
        assert options.get("attn_mask") is None
        work.append(query.shape[0] * query.shape[2] * key.shape[2])
        return plain(query, key, *rest, **options)

    plain = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    documents = torch.arange(4096)[None] // 256 + 1
    with torch.no_grad():
        decoder.hidden(torch.zeros(1, 4096, dtype=torch.int64), documents=documents)
    assert sum(work) == decoder.config.num_hidden_layers * 16 * 256**2
