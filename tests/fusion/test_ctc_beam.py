"""The text that CTC and a model of text find likeliest together, against all texts there are."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch.nn.functional import ctc_loss

from amalia_mm.fusion.ctc_beam import search

BLANK, FRAMES, END = 3, 5, -1


def nothing(before, token):
    return 0.0


def all_texts():
    return [text for length in range(FRAMES + 1) for text in product(range(BLANK), repeat=length)]


def ctc(log_probs, text):
    """torch's own: minus log p of a text."""
    target = torch.tensor([list(text)], dtype=torch.int64).reshape(1, len(text))
    lengths = torch.tensor([FRAMES]), torch.tensor([len(text)])
    return -float(ctc_loss(log_probs[:, None], target, *lengths, blank=BLANK, reduction="none"))


@pytest.mark.parametrize("seed", range(5))
def test_with_room_for_all_prefixes_the_best_of_all_texts_is_found(seed):
    log_probs = (
        2 * torch.randn(FRAMES, BLANK + 1, generator=torch.Generator().manual_seed(seed))
    ).log_softmax(-1)

    def likes_ones(before, token):
        return math.log(0.6 if token == 1 else 0.2)

    def score(text):
        liked = sum(likes_ones(text[:place], token) for place, token in enumerate([*text, END]))
        return ctc(log_probs, text) + 0.7 * liked + 0.3 * len(text)

    found = search(log_probs, likes_ones, END, weight=0.7, bonus=0.3, num_beams=1000)
    assert tuple(found) == max(all_texts(), key=score)


def test_the_sum_over_paths_counts_and_not_the_best_path():
    # The best path is two blanks, 0.36; the three paths of one token have 0.24, 0.24 and 0.16.
    log_probs = torch.tensor([[0.4, 1e-9, 1e-9, 0.6]] * 2).log()
    assert search(log_probs, nothing, END) == [0]


def test_text_decides_where_the_clip_does_not():
    log_probs = torch.tensor([[0.49, 0.48, 0.01, 0.02]]).log()
    assert search(log_probs, nothing, END) == [0]
    assert search(log_probs, lambda before, token: math.log(0.9 if token == 1 else 0.05), END) == [1]
