"""A tokenizer and a decoder of different sizes: an id without an embedding is an error however the run is set up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.vocabulary import check_vocabulary

DECODER = DecoderConfig(320, 8, 16, 1, 2, 1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["A mãe quer pão.", "O irmão traz café."] * 3, 320)


def test_the_decoders_own_tokenizer_passes(tokenizer):
    check_vocabulary(tokenizer, DECODER, "here")


def test_a_padded_checkpoint_passes_when_the_configuration_says_how_much(tokenizer):
    padded = replace(DECODER, vocab_size=384)
    with pytest.raises(
        InputError, match=r"here: vocab_size: found a tokenizer of 320 .* 384; .*spare_rows to 64"
    ):
        check_vocabulary(tokenizer, padded, "here")
    check_vocabulary(tokenizer, padded, "here", spare_rows=64)
    with pytest.raises(InputError, match=r"320 entries and 32 spare rows; wanted the decoder's 384"):
        check_vocabulary(tokenizer, padded, "here", spare_rows=32)


@pytest.mark.parametrize("spare_rows", [0, 1, -20])
def test_ids_without_an_embedding_are_never_let_through(tokenizer, spare_rows):
    with pytest.raises(InputError, match="320 entries.* 300") as caught:
        check_vocabulary(tokenizer, replace(DECODER, vocab_size=300), "here", spare_rows)
    assert "padded" not in str(caught.value)
