"""The order: every record as often as told, the same batches whatever was asked before, budgets respected."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.data.order import BudgetOrder, Order, PackedOrder, Ref, Row, share
from amalia_mm.data.visits import Source

ROW_TOKENS = 32


def source(weight: float, size: int, seed: int = 0, *, has_audio: bool = True) -> Source:
    rng = np.random.default_rng([seed, size])
    audio = rng.integers(0, 60, size) if has_audio else np.zeros(size, dtype=np.int64)
    return Source(weight, np.arange(size) * 3, rng.integers(2, 40, size), audio)


def packed(*sources: Source, seed: int = 0) -> PackedOrder:
    return PackedOrder(sources, row_tokens=ROW_TOKENS, rows_per_batch=7, seed=seed)


def budget(
    *sources: Source, seed: int = 0, jitter: float = 0.1, shortest_first_epochs: int = 0
) -> BudgetOrder:
    return BudgetOrder(
        sources,
        max_audio_tokens=200,
        max_text_tokens=150,
        max_rows=6,
        seed=seed,
        jitter=jitter,
        shortest_first_epochs=shortest_first_epochs,
    )


def epoch(order: Order, number: int) -> list[tuple[Row, ...]]:
    first = sum(order.num_batches(e) for e in range(number))
    return [order.batch(first + step) for step in range(order.num_batches(number))]


def refs(batches: list[tuple[Row, ...]]) -> list[Ref]:
    return [ref for batch in batches for row in batch for ref in row]


@pytest.mark.parametrize("make", [packed, budget])
def test_a_batch_is_a_function_of_seed_and_step_alone(make: Callable[..., Order]) -> None:
    """A run that goes through, one that resumes and one that jumps about read the same."""
    sources = source(1.0, 50), source(0.3, 40)
    through = make(*sources)
    batches = [through.batch(step) for step in range(60)]
    for step in (59, 0, 31, 30, 58, 1):
        assert make(*sources).batch(step) == batches[step] == through.batch(step)
    assert make(*sources, seed=1).batch(0) != batches[0]


@pytest.mark.parametrize("make", [packed, budget])
def test_epochs_differ_and_steps_are_shuffled(make: Callable[..., Order]) -> None:
    order = make(source(1.0, 200))
    first, second = epoch(order, 0), epoch(order, 1)
    assert refs(first) != refs(second)
    lengths = [np.mean([order.sources[0].num_tokens[ref.record // 3] for ref in refs([b])]) for b in first]
    assert lengths != sorted(lengths)


def test_the_first_epochs_can_go_from_short_to_long():
    order = budget(source(1.0, 200), jitter=0.0, shortest_first_epochs=1)
    sizes = order.sources[0].num_tokens + order.sources[0].num_audio_tokens

    def longest(number: int) -> list[int]:
        return [max(int(sizes[ref.record // 3]) for ref in refs([batch])) for batch in epoch(order, number)]

    with pytest.raises(ValueError, match="shortest_first_epochs -1 at least 0"):
        budget(source(1.0, 200), shortest_first_epochs=-1)
    first, second = longest(0), longest(1)
    assert first == sorted(first)
    assert second != sorted(second)


@given(
    sizes=st.lists(st.integers(3, 40), min_size=1, max_size=3),
    weights=st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.3, 3.0]), min_size=3, max_size=3),
    num_epochs=st.integers(1, 5),
)
def test_each_epoch_visits_as_often_as_the_weight_says(
    sizes: list[int], weights: list[float], num_epochs: int
) -> None:
    sources = [source(weight, size, n) for n, (weight, size) in enumerate(zip(weights, sizes, strict=False))]
    order = budget(*sources)
    seen: Counter[tuple[int, int]] = Counter()
    for number in range(num_epochs):
        visits = refs(epoch(order, number))
        for s, told in enumerate(sources):
            assert sum(ref.source == s for ref in visits) == round(told.weight * len(told.records))
        for ref in visits:
            assert ref.appearance == seen[ref.source, ref.record] or told_twice(visits, ref)
        seen.update((ref.source, ref.record) for ref in visits)
        # No record is ever more than one visit ahead of another of its folder: weights rotate exactly.
        for s, told in enumerate(sources):
            counts = [seen[s, int(record)] for record in told.records]
            assert max(counts) - min(counts) <= 1


def told_twice(visits: list[Ref], ref: Ref) -> bool:
    """Whether a record comes several times in this epoch, each time with another appearance."""
    same = [v.appearance for v in visits if (v.source, v.record) == (ref.source, ref.record)]
    return len(same) > 1 and sorted(same) == list(range(min(same), min(same) + len(same)))


def test_whole_weights_visit_every_record_exactly_that_often() -> None:
    visits = Counter(
        (ref.source, ref.record) for ref in refs(epoch(budget(source(1.0, 30), source(2.0, 20)), 3))
    )
    assert all(count == s + 1 for (s, _), count in visits.items())
    assert len(visits) == 50


def test_packed_rows_hold_whole_documents_and_all_pieces_of_long_ones() -> None:
    told = source(1.0, 200, has_audio=False)
    batches = epoch(packed(told), 0)
    tokens = {int(r): int(n) for r, n in zip(told.records, told.num_tokens, strict=True)}
    pieces: dict[int, list[tuple[int, int]]] = {}
    for batch in batches:
        assert len(batch) <= 7
        for row in batch:
            assert sum(ref.num_tokens for ref in row) <= ROW_TOKENS
            for ref in row:
                pieces.setdefault(ref.record, []).append((ref.start_token, ref.num_tokens))
    assert set(pieces) == set(tokens)
    for record, found in pieces.items():
        ends = [start + size for start, size in sorted(found)]
        assert [start for start, _ in sorted(found)] == [0, *ends[:-1]]
        # The last token may be a target only, never an input.
        assert ends[-1] in (tokens[record], tokens[record] - 1)
    # No batch is left with a row or two: they differ by at most one row.
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_rows_may_be_longer_than_what_the_decoder_reads_of_one_document() -> None:
    order = PackedOrder([source(1.0, 50)], row_tokens=32, rows_per_batch=7, seed=0, max_positions=16)
    pieces = [ref for row in epoch(order, 0) for some in row for ref in some]
    assert max(ref.num_tokens for ref in pieces) == 16
    rows = [sum(ref.num_tokens for ref in some) for batch in epoch(order, 0) for some in batch]
    assert 16 < max(rows) <= 32


def test_budgets_count_padding() -> None:
    told = source(1.0, 500), source(1.0, 100, 1, has_audio=False)
    order = budget(*told)
    for batch in epoch(order, 0):
        rows = [(told[ref.source], ref.record // 3) for (ref,) in batch]
        text = [int(s.num_tokens[i]) for s, i in rows]
        audio = [int(s.num_audio_tokens[i]) for s, i in rows]
        assert len(rows) <= 6
        assert len(rows) * max(text) <= 150
        assert sum(a > 0 for a in audio) * max(audio) <= 200


def test_batches_hold_records_of_like_length() -> None:
    told = source(1.0, 2_000)
    order = BudgetOrder([told], max_audio_tokens=10_000, max_text_tokens=10_000, max_rows=16, seed=0)
    total = told.num_tokens + told.num_audio_tokens
    padded = sum(len(b) * max(total[ref.record // 3] for (ref,) in b) for b in epoch(order, 0))
    assert total.sum() / padded > 0.85


@given(num_rows=st.integers(1, 20), world_size=st.integers(1, 8))
def test_the_processes_together_read_the_global_batch(num_rows: int, world_size: int) -> None:
    rows = [(Ref(0, number),) for number in range(num_rows)]
    shares = [share(rows, rank, world_size) for rank in range(world_size)]
    own = [row for part, is_filler in shares if not is_filler for row in part]
    assert sorted(own, key=lambda row: row[0].record) == rows
    assert all(part == (rows[0],) for part, is_filler in shares if is_filler)
    assert all(part for part, _ in shares)


def test_an_epoch_of_many_records_is_planned_at_once() -> None:
    size = 300_000
    rng = np.random.default_rng(0)
    told = Source(1.0, np.arange(size), rng.integers(5, 100, size), rng.integers(10, 400, size))
    started = time.process_time()
    packed(told).batch(0)
    BudgetOrder([told], max_audio_tokens=4_000, max_text_tokens=2_000, max_rows=64, seed=0).batch(0)
    assert time.process_time() - started < 6


def test_what_cannot_be_ordered_is_named() -> None:
    with pytest.raises(ValueError, match=r"at least one visit in an epoch, found \[0\]"):
        budget(source(0.01, 10))
    with pytest.raises(ValueError, match="a record of 9 audio or 300 text tokens does not fit"):
        budget(Source(1.0, np.arange(1), np.array([300]), np.array([9])))
    with pytest.raises(ValueError, match="negative: -1"):
        budget(source(1.0, 10)).batch(-1)
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        share([(Ref(0, 0),)], 2, 2)


def padded(batches: list[tuple[Row, ...]], lengths: np.ndarray) -> tuple[float, float]:
    """The share of padding of all batches, and of the worst of them, counted from the records themselves."""
    heard = [[int(lengths[row[0].record]) for row in batch if lengths[row[0].record]] for batch in batches]
    computed = [len(clips) * max(clips, default=0) for clips in heard]
    shares = [1 - sum(clips) / most for clips, most in zip(heard, computed, strict=True) if most]
    return 1 - sum(map(sum, heard)) / sum(computed), max(shares)


@given(st.integers(0, 5), st.sampled_from([0.05, 0.08, 0.2]), st.integers(1, 300))
def test_no_batch_has_more_padding_than_allowed(seed: int, max_padding: float, size: int) -> None:
    rng = np.random.default_rng([seed, size])
    audio = np.where(rng.random(size) < 0.2, 0, rng.lognormal(3, 1, size).astype(np.int64).clip(1, 400))
    visited = Source(1.0, np.arange(size), rng.integers(2, 40, size), audio)
    order = BudgetOrder(
        [visited],
        max_audio_tokens=1600,
        max_text_tokens=1600,
        max_rows=16,
        seed=seed,
        max_padding=max_padding,
    )
    for number in range(2):
        batches = epoch(order, number)
        assert sorted(ref.record for ref in refs(batches)) == list(range(size))
        if audio.any():
            assert padded(batches, audio)[1] <= max_padding + 1e-9


def test_limited_padding_still_gives_other_batches_in_every_epoch() -> None:
    order = BudgetOrder(
        [source(1.0, 200)], max_audio_tokens=200, max_text_tokens=150, max_rows=6, seed=0, max_padding=0.08
    )
    together = [{frozenset(row[0].record for row in batch) for batch in epoch(order, n)} for n in (0, 1)]
    assert len(together[0] & together[1]) < 0.5 * len(together[0])


def test_the_lengths_of_real_clips_are_padded_by_less_than_eight_hundredths(shared_data: Path) -> None:
    """Every clip of 1 to 30 s that is there, at 12.5 tokens a second, in budgets from small to large."""
    rows = [
        json.loads(line)
        for manifest in sorted((shared_data / "speech").rglob("*.jsonl"))
        for line in manifest.read_text("utf-8").splitlines()
    ]
    rows = [row for row in rows if row.get("kind") is None and 1 <= row.get("dur", 0) <= 30]
    audio = np.array([math.ceil(12.5 * row["dur"]) for row in rows])
    text = np.array([10 + len(row.get("text") or "") // 3 for row in rows])
    clips = Source(1.0, np.arange(len(rows)), text, audio)
    assert len(rows) > 800
    for budget_tokens, max_rows in ((1600, 16), (6000, 64), (25000, 256)):
        limits = {"max_audio_tokens": budget_tokens, "max_text_tokens": budget_tokens, "max_rows": max_rows}
        plain = BudgetOrder([clips], **limits, seed=0)
        limited = BudgetOrder([clips], **limits, seed=0, max_padding=0.08)
        assert padded(epoch(limited, 0), audio)[0] <= 0.08 < padded(epoch(plain, 0), audio)[0]
