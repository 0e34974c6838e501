"""Learning speakers: the margin loss against one that is written out, and a run that goes on as if never stopped."""

from __future__ import annotations

import math

import pytest
import torch

from amalia_mm.batch import IGNORE
from amalia_mm.errors import InputError
from amalia_mm.train.losses import additive_margin
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.speaker import Speaker, unseen_terms
from amalia_mm.voice.speaker import SpeakerEncoder


def slow_margin(scores, classes, margin, scale):
    """Wang et al. 2018, equation 5, clip by clip."""
    total = 0.0
    for row, right in zip(scores.tolist(), classes.tolist(), strict=True):
        if right == IGNORE:
            continue
        own = math.exp(scale * (row[right] - margin))
        others = sum(math.exp(scale * score) for place, score in enumerate(row) if place != right)
        total -= math.log(own / (own + others))
    return total


@pytest.mark.parametrize(("margin", "scale"), [(0.0, 1.0), (0.2, 10.0), (0.35, 30.0)])
def test_the_margin_loss_is_the_one_written_out(margin, scale):
    scores = 2 * torch.rand(6, 4) - 1
    classes = torch.tensor([0, 3, 1, IGNORE, 2, 2])
    found = additive_margin(scores, classes, margin, scale)
    assert float(found.sum) == pytest.approx(slow_margin(scores, classes, margin, scale), rel=1e-5)
    assert float(found.count) == 5


def test_a_margin_asks_for_more():
    scores, classes = torch.tensor([[0.9, 0.1]]), torch.tensor([0])
    losses = [float(additive_margin(scores, classes, margin, 10.0).sum) for margin in (0.0, 0.2, 0.4)]
    assert losses == sorted(losses)
    assert losses[0] < losses[2]


def slow_unseen(embeddings, speakers, scale):
    """Wan et al. 2018, equations 8 and 9, clip by clip; the middle of one's own without the clip."""
    total, count, mistaken = 0.0, 0, 0
    names = sorted(set(speakers) - {IGNORE})
    for number, speaker in enumerate(speakers):
        if speaker == IGNORE or speakers.count(speaker) < 2:
            continue
        scores = {}
        for name in names:
            own = [i for i, other in enumerate(speakers) if other == name and i != number]
            middle = torch.stack([embeddings[i] for i in own]).mean(0)
            scores[name] = float(torch.dot(embeddings[number], middle / middle.norm()))
        total -= scale * scores[speaker] - math.log(sum(math.exp(scale * s) for s in scores.values()))
        mistaken += max(scores, key=lambda name: scores[name]) != speaker
        count += 1
    return total, count, mistaken


def test_unseen_speakers_are_found_by_their_other_clips():
    embeddings = torch.nn.functional.normalize(torch.randn(9, 5), dim=1)
    speakers = [4, 4, 7, 7, 7, 2, IGNORE, 9, 9]
    found = unseen_terms(embeddings, torch.tensor(speakers), 5.0)
    total, count, mistaken = slow_unseen(embeddings, speakers, 5.0)
    assert float(found["loss"].sum) == pytest.approx(total, rel=1e-5)
    assert float(found["loss"].count) == float(found["mistaken"].count) == count == 7
    assert float(found["mistaken"].sum) == mistaken
    nobody = unseen_terms(embeddings, torch.full((9,), IGNORE), 5.0)
    assert [float(term.count) for term in nobody.values()] == [0.0, 0.0]


@pytest.mark.parametrize("field", ["margin", "scale", "margin_steps"])
def test_values_below_nothing_are_named(field):
    with pytest.raises(InputError, match=field):
        Speaker(lambda: SpeakerEncoder(), OptimConfig(lr=1e-3), **{field: -1})
