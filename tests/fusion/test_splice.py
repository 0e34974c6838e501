"""Audio embeddings land on their placeholders, or both counts are told."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.fusion.splice import splice


@st.composite
def layouts(draw: st.DrawFn) -> list[list[int]]:
    """Rows, each the lengths of its runs."""
    return draw(st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=4))


def placed(layout: list[list[int]], gap: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return is_audio (b t), each run after `gap` text positions, and the lengths of the items."""
    width = max(sum(row) + gap * (len(row) + 1) for row in layout)
    is_audio = torch.zeros(len(layout), width, dtype=torch.bool)
    for i, row in enumerate(layout):
        at = gap
        for length in row:
            is_audio[i, at : at + length] = True
            at += length + gap
    return is_audio, torch.tensor([length for row in layout for length in row], dtype=torch.long)


def by_hand(embeddings, is_audio, audio, num_audio_tokens):
    """One position after the other, as slow as can be."""
    out = embeddings.clone()
    given = iter([audio[k, j] for k, count in enumerate(num_audio_tokens.tolist()) for j in range(count)])
    for i, j in is_audio.nonzero().tolist():
        out[i, j] = next(given)
    assert next(given, None) is None
    return out


@given(layouts(), st.integers(0, 2), st.integers(0, 3))
def test_it_places_what_a_loop_over_positions_places(layout, gap, extra):
    is_audio, counts = placed(layout, gap)
    longest = int(counts.max()) if len(counts) else 0
    audio = torch.randn(len(counts), longest + extra, 6)
    embeddings = torch.randn(*is_audio.shape, 6)
    before = embeddings.clone()
    out = splice(embeddings, is_audio, audio, counts)
    assert torch.equal(out, by_hand(embeddings, is_audio, audio, counts))
    assert torch.equal(embeddings, before)


def test_gradients_reach_text_and_audio_and_no_padding():
    is_audio, counts = placed([[2], [3]])
    embeddings = torch.randn(*is_audio.shape, 4, dtype=torch.float64, requires_grad=True)
    audio = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(*is_audio.shape, 4, dtype=torch.float64)
    (splice(embeddings, is_audio, audio, counts) * weights).sum().backward()
    assert torch.equal(embeddings.grad, weights.masked_fill(is_audio[..., None], 0.0))
    expected = torch.zeros_like(audio)
    expected[0, :2], expected[1, :3] = weights[0, 1:3], weights[1, 1:4]
    assert torch.equal(audio.grad, expected)


def test_audio_of_another_precision_takes_that_of_the_embeddings():
    is_audio, counts = placed([[2]])
    out = splice(torch.zeros(1, 4, 3), is_audio, torch.ones(1, 2, 3, dtype=torch.bfloat16), counts)
    assert out.dtype == torch.float32 and out.sum() == 6


@pytest.mark.parametrize(
    ("layout", "counts", "said"),
    [
        ([[3]], [2], "3 audio placeholders in runs of [3] do not match 2 audio tokens in items of [2]"),
        ([[3]], [], "3 audio placeholders in runs of [3] do not match 0 audio tokens in items of []"),
        ([[]], [2], "0 audio placeholders in runs of [] do not match 2 audio tokens in items of [2]"),
        # The sums agree: one item would quietly take a position of the other.
        ([[3, 2]], [2, 3], "runs of [3, 2] do not match 5 audio tokens in items of [2, 3]"),
        ([[3], [2]], [2, 3], "runs of [3, 2] do not match 5 audio tokens in items of [2, 3]"),
        ([[2], [9]], [2, 9], "items of [2, 9] audio tokens in 3 embeddings an item"),
    ],
)
def test_counts_that_disagree_are_both_told(layout, counts, said):
    is_audio, _ = placed(layout)
    audio = torch.zeros(len(counts), 3, 4)
    with pytest.raises(ValueError, match=re.escape(said)):
        splice(torch.zeros(*is_audio.shape, 4), is_audio, audio, torch.tensor(counts, dtype=torch.long))
