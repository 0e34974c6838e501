"""Which phone each frame is: against all alignments there are, tried one by one."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch

from amalia_mm.voice.alignment import (
    diagonal_prior,
    frames_of_phones,
    mean_over_phones,
    monotonic_alignment,
    spread,
)


def every_alignment(num_phones, num_frames):
    """All durations of 1 or more that sum to the frames."""
    for cuts in combinations(range(1, num_frames), num_phones - 1):
        edges = (0, *cuts, num_frames)
        yield [end - start for start, end in pairwise(edges)]


def value(scores, durations):
    """The sum of the scores along an alignment, added up frame by frame."""
    total, frame = 0.0, 0
    for phone, duration in enumerate(durations):
        for _ in range(duration):
            total += float(scores[phone, frame])
            frame += 1
    return total


@pytest.mark.parametrize(
    ("num_phones", "num_frames"), [(1, 1), (1, 5), (2, 2), (3, 7), (4, 9), (6, 6), (5, 11)]
)
def test_the_alignment_found_is_the_best_of_all(num_phones, num_frames):
    for seed in range(8):
        scores = torch.randn(num_phones, num_frames, generator=torch.Generator().manual_seed(seed))
        lengths = torch.tensor([num_phones]), torch.tensor([num_frames])
        found = monotonic_alignment(scores[None], *lengths)[0].tolist()
        best = max(every_alignment(num_phones, num_frames), key=lambda durations: value(scores, durations))
        assert found == best


def test_what_stands_in_the_padding_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    sizes = [(3, 8), (5, 5), (2, 12), (1, 4)]
    alone = []
    scores = torch.full((4, 7, 14), torch.nan)
    for row, (phones, frames) in enumerate(sizes):
        own = torch.randn(phones, frames, generator=generator)
        scores[row] = 1e4  # what is better than everything must not be taken
        scores[row, :phones, :frames] = own
        alone.append(monotonic_alignment(own[None], torch.tensor([phones]), torch.tensor([frames]))[0])
    together = monotonic_alignment(
        scores, torch.tensor([p for p, _ in sizes]), torch.tensor([f for _, f in sizes])
    )
    for row, (phones, frames) in enumerate(sizes):
        assert together[row, :phones].tolist() == alone[row].tolist()
        assert not together[row, phones:].any()
        assert int(together[row].sum()) == frames


def test_phones_that_do_not_fit_into_their_frames_are_refused():
    with pytest.raises(ValueError, match=r"\[4\] phones with \[3\] frames"):
        monotonic_alignment(torch.zeros(1, 4, 3), torch.tensor([4]), torch.tensor([3]))


def test_scores_that_know_nothing_give_an_even_alignment():
    lengths = torch.tensor([4, 3]), torch.tensor([12, 9])
    durations = monotonic_alignment(diagonal_prior(*lengths, width=0.2), *lengths)
    assert durations.tolist() == [[3, 3, 3, 3], [3, 3, 3, 0]]


def test_frames_get_what_their_phone_has_and_phones_the_mean_of_their_frames():
    durations = torch.tensor([[2, 1, 3], [1, 2, 0]])
    phone = frames_of_phones(durations)
    assert phone[0].tolist() == [0, 0, 1, 2, 2, 2]
    assert phone[1, :3].tolist() == [0, 1, 1]
    assert int(phone.max()) <= 2, "beyond its end a row still names one of its phones"
    of_phones = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])
    assert spread(of_phones, phone)[0, :, 0].tolist() == [1, 1, 2, 3, 3, 3]
    of_frames = torch.tensor([[1.0, 3.0, 5.0, 1.0, 2.0, 9.0], [7.0, 1.0, 2.0, 0.0, 0.0, 0.0]])
    counted = torch.tensor([[True, True, False, True, True, False], [True, True, True, False, False, False]])
    means, counts = mean_over_phones(of_frames, counted, phone, 3)
    assert means.tolist() == [[2.0, 0.0, 1.5], [7.0, 1.5, 0.0]]
    assert counts.tolist() == [[2, 0, 2], [1, 2, 0]]
