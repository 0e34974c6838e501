"""Forced alignment finds the path that was built in, and the best of all paths where none was."""

from __future__ import annotations

import pytest
import torch
from all_paths import all_paths
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.audio.alignment import align


def certain(path: list[int], num_classes: int, p: float) -> torch.Tensor:
    """(f c) log p with the class of each frame at p, the others sharing the rest."""
    probs = torch.full((len(path), num_classes), (1 - p) / (num_classes - 1))
    probs[torch.arange(len(path)), torch.tensor(path)] = p
    return probs.log()


def test_a_path_that_is_known_is_found_with_its_frames_and_confidences():
    blank = 3
    path = [blank, 0, 0, blank, 0, 1, 1, 1, blank, blank, 2]
    found = align(certain(path, 4, 0.7), [0, 0, 1, 2])
    assert [(span.start_frame, span.end_frame) for span in found.spans] == [(1, 3), (4, 5), (5, 8), (10, 11)]
    assert [span.confidence for span in found.spans] == pytest.approx([0.7] * 4)
    assert found.log_p == pytest.approx(len(path) * torch.tensor(0.7).log().item(), rel=1e-5)


def test_the_confidence_is_the_mean_posterior_of_what_was_asked_for_even_where_another_is_likelier():
    log_probs = certain([2, 1, 2], 3, 0.8)
    found = align(log_probs, [0])
    assert found.spans[0].confidence == pytest.approx(0.1)


def best_path(log_probs: torch.Tensor, targets: tuple[int, ...]) -> float:
    """The highest log p of all frame-wise paths that collapse to the targets, by trying every path."""
    return max((score for said, score in all_paths(log_probs) if said == targets), default=-float("inf"))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=3), st.integers(1, 6), st.integers(0, 999))
def test_of_all_paths_the_likeliest_is_taken(targets, num_frames, seed):
    log_probs = torch.randn(num_frames, 3, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    wanted = best_path(log_probs, tuple(targets))
    found = align(log_probs, targets)
    if wanted == -float("inf"):
        assert found is None
        return
    assert found.log_p == pytest.approx(wanted, abs=1e-4)
    assert len(found.spans) == len(targets)
    ends = [0, *(span.end_frame for span in found.spans)]
    assert all(end <= span.start_frame < span.end_frame for end, span in zip(ends, found.spans, strict=False))
    for target, span in zip(targets, found.spans, strict=True):
        own = log_probs[span.start_frame : span.end_frame, target].exp().mean().item()
        assert span.confidence == pytest.approx(own, abs=1e-5)


def test_nothing_said_has_no_alignment_and_a_target_that_is_no_class_is_named():
    log_probs = torch.zeros(4, 3).log_softmax(-1)
    assert align(log_probs, []) is None
    for wrong in ([2], [-1], [7]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            align(log_probs, wrong)
