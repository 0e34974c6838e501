"""Simulated paths are paths that CTC collapses to the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.batch import BLANK
from amalia_mm.data.ctc_paths import CtcPaths, collapse

NUM_CLASSES = 12
IDS = st.lists(st.integers(0, NUM_CLASSES - 1), max_size=30)
CLEAN = CtcPaths(substitute=0.0, drop=0.0)


def test_collapse_by_hand() -> None:
    assert collapse([9, 1, 1, 9, 1, 2, 2, 9, 9], blank=9) == [1, 1, 2]


@given(ids=IDS, seed=st.integers(0, 2**32))
def test_without_noise_a_path_collapses_to_its_ids(ids: list[int], seed: int) -> None:
    assert collapse(CLEAN.simulate(ids, num_classes=NUM_CLASSES, seed=seed)) == ids


@given(ids=IDS, seed=st.integers(0, 2**32), insert=st.sampled_from([0.0, 0.5]))
def test_no_path_is_empty_or_longer_than_told(ids: list[int], seed: int, insert: float) -> None:
    paths = CtcPaths(substitute=0.3, drop=0.5, insert=insert, max_silence=11)
    path = paths.simulate(ids, num_classes=NUM_CLASSES, seed=seed)
    assert 1 <= len(path) <= paths.max_length(len(ids))


@given(ids=IDS, seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_path(ids: list[int], seed: int) -> None:
    first = CtcPaths().simulate(ids, num_classes=NUM_CLASSES, seed=seed)
    assert first == CtcPaths().simulate(ids, num_classes=NUM_CLASSES, seed=np.random.default_rng(seed))


def test_noise_comes_as_often_as_told_and_never_as_a_special_token() -> None:
    ids = [7, 8] * 20_000
    path = CtcPaths(substitute=0.06, drop=0.03).simulate(ids, num_classes=1_000, first_id=500, seed=0)
    heard = collapse(path)
    wrong = [token for token in heard if token not in (7, 8)]
    assert len(heard) == pytest.approx(len(ids) * 0.97, rel=0.005)
    assert len(wrong) == pytest.approx(len(ids) * 0.06, rel=0.1)
    assert min(wrong) >= 500


def test_inserted_tokens_are_heard_too() -> None:
    path = CtcPaths(substitute=0, drop=0, insert=0.5).simulate([7] * 4_000, num_classes=1_000, seed=0)
    assert len(collapse(path)) == pytest.approx(6_000, rel=0.05)


def test_no_words_are_a_run_of_blanks() -> None:
    path = CtcPaths(min_silence=3, max_silence=4).simulate([], num_classes=NUM_CLASSES, seed=1)
    assert path in ([BLANK] * 3, [BLANK] * 4)


def test_wrong_ids_and_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"0\.\.11, found 3\.\.12"):
        CtcPaths().simulate([3, 12], num_classes=12, seed=0)
    with pytest.raises(ValueError, match="max_blanks 0"):
        CtcPaths(max_blanks=0)
    with pytest.raises(ValueError, match="min_repeats 3"):
        CtcPaths(min_repeats=3)
    with pytest.raises(ValueError, match=r"drop 0\.5"):
        CtcPaths(substitute=0.6, drop=0.5)
    with pytest.raises(ValueError, match="min_silence 0"):
        CtcPaths(min_silence=0)
