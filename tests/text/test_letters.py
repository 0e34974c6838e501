from __future__ import annotations

import torch

from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.letters import ALPHABET, NUM_LETTERS, OTHER, Spelling
from amalia_mm.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["bom dia, está frio", "chama-se ana"] * 3, 350)


def spelled(text):
    ids = torch.tensor([TOKENIZER.encode(text)])
    letters, num = Spelling(CtcClasses(TOKENIZER)).letters(ids, torch.tensor([ids.shape[1]]))
    assert letters.shape[1] == num.item()
    return ["?" if letter == OTHER else ALPHABET[letter] for letter in letters[0].tolist()]


def test_every_letter_of_the_text_comes_in_order():
    for text in ("bom dia está frio", "chama-se ana", "às 12 em ponto"):
        assert "".join(spelled(text)) == text


def test_capitals_are_letters_and_other_signs_are_one_class():
    assert "".join(spelled("Bom Dia!")) == "bom dia?"
    assert spelled("ж") == ["?"] * len("ж".encode())
    assert len(set(ALPHABET)) == len(ALPHABET) == NUM_LETTERS - 1


def test_a_batch_is_padded_and_what_has_no_text_has_no_letters():
    rows = [TOKENIZER.encode(text) for text in ("bom dia", "ana")]
    width = max(map(len, rows))
    ids = torch.tensor([row + [7] * (width - len(row)) for row in [*rows, [7], [7]]])
    letters, num = Spelling(CtcClasses(TOKENIZER)).letters(
        ids, torch.tensor([len(rows[0]), len(rows[1]), 0, -1])
    )
    assert num.tolist() == [7, 3, 0, -1]
    assert letters.shape == (4, 7)
    assert not letters[1, 3:].any()
