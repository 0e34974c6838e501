"""The check that a tokenizer and a decoder speak of the same token ids."""

from __future__ import annotations

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer


def check_vocabulary(tokenizer: Tokenizer, decoder: DecoderConfig, where: str) -> None:
    """Raise `InputError` where the tokenizer has ids the decoder has no embedding for, or the other way round."""
    if tokenizer.vocab_size != decoder.vocab_size:
        raise InputError(
            where,
            field="vocab_size",
            found=f"a tokenizer of {tokenizer.vocab_size} entries",
            wanted=f"the decoder's {decoder.vocab_size}",
            remedy="use the decoder's own tokenizer, or set decoder.vocab_size",
        )
