"""How tokens are spelled: the letters of their text, as classes of a small alphabet.

Letters are heard long before tokens are: a middle layer of an audio encoder learns them on the way. The alphabet is
that of Western European languages in lower case; it knows nothing of audio.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.tokenizer import SPACE

ALPHABET = " -0123456789abcdefghijklmnopqrstuvwxyzàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœ"
OTHER = len(ALPHABET)
"""The class of everything that is not in the alphabet."""
NUM_LETTERS = OTHER + 1


class Spelling:
    """CTC classes to letters.

    Args:
        classes: What is spelled; entries are in lower case where their text was.
    """

    def __init__(self, classes: CtcClasses) -> None:
        entries = classes.entries("teach no letters (letters_weight: 0)")
        self._letters = [_letters(entry) for entry in entries]

    def letters(self, ids: Tensor, num_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the letters (k l) int64 of texts, right-padded with zeros, and their numbers (k) int64.

        A text does not begin with a space.

        Args:
            ids: (k c) int64.
            num_ids: (k) int64; -1, for no text, stays -1.
        """
        rows: list[Tensor] = []
        for row, length in zip(ids.tolist(), num_ids.tolist(), strict=True):
            spelled = [letter for token in row[: max(length, 0)] for letter in self._letters[token]]
            rows.append(torch.tensor(spelled[1:] if spelled[:1] == [0] else spelled, dtype=torch.int64))
        counts = torch.tensor([len(row) for row in rows])
        padded = pad_sequence(rows, batch_first=True) if rows else ids.new_zeros(0, 0)
        return padded.to(ids.device), torch.where(num_ids < 0, -1, counts.to(num_ids.device))


def _letters(entry: str) -> list[int]:
    byte = re.fullmatch(r"<0x([0-9A-F]{2})>", entry)
    text = chr(int(byte[1], 16)) if byte else entry.replace(SPACE, " ")
    if byte and not text.isascii():
        return [OTHER]  # a part of a character
    places = [ALPHABET.find(character) for character in text.lower()]
    return [OTHER if place < 0 else place for place in places]
