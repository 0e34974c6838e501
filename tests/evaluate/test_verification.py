"""Error rates of trials, by hand and against every threshold tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.evaluate.verification import (
    Trials,
    clip_trials,
    equal_error,
    equal_error_rate,
    errors_at,
    recognised,
    threshold_for,
    voice_scores,
    voice_trials,
)

SCORES = st.lists(st.integers(-20, 20).map(lambda score: score / 20), min_size=1, max_size=25)


def trials(same, different):
    return Trials(np.array(same, dtype=float), np.array(different, dtype=float))


def slow(same, different, threshold):
    """Both errors, counted one by one."""
    accepts = sum(score >= threshold for score in different) / len(different)
    rejects = sum(score < threshold for score in same) / len(same)
    return accepts, rejects


def test_the_equal_error_rate_by_hand():
    # At 0.5: of four strangers 0.6 is accepted, of four own clips 0.25 is rejected.
    found = equal_error(trials([0.9, 0.8, 0.5, 0.25], [0.6, 0.3, 0.2, 0.1]))
    assert (found.threshold, found.false_accepts, found.false_rejects) == (0.5, 0.25, 0.25)
    assert equal_error_rate(trials([0.9, 0.8], [0.1, 0.2])) == 0.0
    assert equal_error_rate(trials([0.1, 0.2], [0.9, 0.8])) == 1.0
    assert equal_error_rate(trials([0.5, 0.5], [0.5])) == 1.0  # whatever is decided, one side is all wrong


@given(SCORES, SCORES)
def test_no_threshold_does_better(same, different):
    found = equal_error(trials(same, different))
    assert (found.false_accepts, found.false_rejects) == pytest.approx(slow(same, different, found.threshold))
    between = np.linspace(-1.1, 1.1, 89)
    best = min(max(slow(same, different, threshold)) for threshold in between)
    assert equal_error_rate(trials(same, different)) == pytest.approx(best)


@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 1.0]))
def test_a_threshold_lets_through_no_more_strangers_than_allowed_and_rejects_no_clip_for_nothing(
    same, different, share
):
    found = threshold_for(trials(same, different), share)
    assert (found.false_accepts, found.false_rejects) == pytest.approx(slow(same, different, found.threshold))
    assert found.false_accepts <= share
    lower = [threshold for threshold in np.linspace(-1.1, 1.1, 89) if threshold < found.threshold - 1e-9]
    for threshold in lower:
        accepts, rejects = slow(same, different, threshold)
        assert accepts > share or rejects == found.false_rejects or threshold <= min(different)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"1\.5"):
        threshold_for(trials([1], [0]), 1.5)


def test_errors_of_a_threshold_that_was_given():
    found = errors_at(trials([0.9, 0.3], [0.5, 0.6, 0.1]), 0.5)
    assert (found.false_accepts, found.false_rejects) == pytest.approx((2 / 3, 1 / 2))


VECTORS = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
NAMES = ["ana", "ana", "rui", "rui", "eva"]


def test_every_pair_of_clips_is_one_trial():
    found = clip_trials(VECTORS, NAMES)
    assert sorted(found.same) == pytest.approx([0.8, 0.8])
    expected = [0.0, 0.6, -1.0, 0.6, 0.96, -0.8, 0.0, -0.6]
    assert sorted(found.different) == pytest.approx(sorted(expected), abs=1e-6)


def test_a_clip_is_not_compared_with_a_voice_that_it_made():
    scores, names = voice_scores(VECTORS, NAMES)
    assert names == ("ana", "eva", "rui")
    # Alone the other clip of ana: 1*0.8 + 0*0.6. The voice of rui: both, (0.3, 0.9) over its length.
    rui = 0.3 / np.hypot(0.3, 0.9)
    assert scores[0] == pytest.approx([0.8, -1.0, rui], abs=1e-6)
    assert np.isnan(scores[4, 1])
    found = voice_trials(VECTORS, NAMES)
    assert len(found.same) == 4
    assert len(found.different) == 10


def test_trials_of_one_side_alone_are_no_trials():
    with pytest.raises(InputError, match="2 trials of the same speaker, 0 of two"):
        trials([0.5, 0.6], [])


def test_a_clip_as_close_to_two_voices_is_recognised_as_neither():
    voices = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    clips = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    assert recognised(clips, ["a", "b", "a", "b"], voices, ["a", "b"]) == 0.5
