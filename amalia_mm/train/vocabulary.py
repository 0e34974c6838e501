"""The check that a tokenizer and a decoder speak of the same token ids."""

from __future__ import annotations

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer


def check_vocabulary(tokenizer: Tokenizer, decoder: DecoderConfig, where: str, spare_rows: int = 0) -> None:
    """Raise `InputError` where the tokenizer has ids the decoder has no embedding for, or the other way round.

    Args:
        tokenizer: Its ids.
        decoder: Its embeddings.
        where: The tokenizer's folder, for the message.
        spare_rows: How many embeddings beyond the tokenizer's ids are meant to be there: checkpoints are padded to
            round numbers.
    """
    if tokenizer.vocab_size + spare_rows == decoder.vocab_size and spare_rows >= 0:
        return
    surplus = decoder.vocab_size - tokenizer.vocab_size
    remedy = "use the decoder's own tokenizer, or set decoder.vocab_size"
    if surplus > 0:
        remedy += f"; if the checkpoint was padded, set model.spare_rows to {surplus}"
    spare = f" and {spare_rows} spare rows" if spare_rows else ""
    raise InputError(
        where,
        field="vocab_size",
        found=f"a tokenizer of {tokenizer.vocab_size} entries{spare}",
        wanted=f"the decoder's {decoder.vocab_size}",
        remedy=remedy,
    )
