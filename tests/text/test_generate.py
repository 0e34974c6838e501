"""Generation: a batch writes what each row writes alone, with a cache what it writes without one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.text.generate import PAD, complete, generate, pad_prompts
from amalia_mm.text.sampling import Sampling

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [16, 17]]


def greedy_without_cache(decoder, prompt: list[int], num_tokens: int, stop_ids: set[int]) -> list[int]:
    """The definition: read everything again for each token."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(num_tokens):
            token = int(decoder(torch.tensor([ids]))[0, -1].argmax())
            if token in stop_ids:
                break
            ids.append(token)
    return ids[len(prompt) :]


def test_a_batch_writes_what_each_row_writes_alone_and_without_a_cache(decoder):
    @settings(max_examples=20)
    @given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=12), min_size=1, max_size=5))
    def same(prompts):
        ids, documents = pad_prompts(prompts)
        stops = {3, 4, 20}
        together = complete(decoder, ids, documents=documents, stop_ids=stops, sampling=Sampling(12))
        assert together == [greedy_without_cache(decoder, prompt, 12, stops) for prompt in prompts]

    same()


def test_embeddings_are_continued_like_their_ids(decoder):
    ids, documents = pad_prompts(PROMPTS)
    from_ids = complete(decoder, ids, documents=documents, stop_ids=(), sampling=Sampling(10))
    embeddings = decoder.embed(ids).detach()
    assert complete(decoder, embeddings, documents=documents, stop_ids=(), sampling=Sampling(10)) == from_ids


def test_a_stopped_row_yields_padding_and_the_stream_ends_with_the_last_row(decoder):
    ids, documents = pad_prompts(PROMPTS)
    free = complete(decoder, ids, documents=documents, stop_ids=(), sampling=Sampling(12))
    stops = {free[0][2], free[2][5]}
    steps = list(generate(decoder, ids, documents=documents, stop_ids=stops, sampling=Sampling(12)))
    for row, tokens in enumerate(free):
        length = next((i for i, token in enumerate(tokens) if token in stops), len(tokens))
        expected = tokens[:length] + [PAD] * (len(steps) - length)
        assert [int(step[row]) for step in steps] == expected[: len(steps)]
    assert all(bool((step != PAD).any()) for step in steps)


def test_a_row_that_stops_at_once_is_empty(decoder):
    prompt = torch.tensor([[5, 6, 7]])
    [[first, *_]] = complete(decoder, prompt, stop_ids=(), sampling=Sampling(1))
    assert complete(decoder, prompt, stop_ids=[first], sampling=Sampling(5)) == [[]]


def test_tokens_come_one_by_one(decoder):
    stream = generate(decoder, torch.tensor([[5, 6]]), stop_ids=(), sampling=Sampling(3))
    assert next(stream).shape == (1,)
    assert len(list(stream)) == 2


def test_the_same_seed_draws_the_same_and_another_draws_another(decoder):
    ids, documents = pad_prompts(PROMPTS)

    def drawn(seed: int) -> list[list[int]]:
        sampling = Sampling(12, temperature=1.5, top_k=40, top_p=0.95, seed=seed)
        return complete(decoder, ids, documents=documents, stop_ids=(), sampling=sampling)

    first = drawn(7)
    torch.rand(3)
    assert drawn(7) == first
    assert drawn(8) != first


@pytest.mark.parametrize(
    "narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}, {"temperature": 1e-50}]
)
def test_the_narrowest_draw_is_greedy(decoder, narrow):
    ids, documents = pad_prompts(PROMPTS)
    sampling = Sampling(**{"max_new_tokens": 8, "temperature": 1.0} | narrow)
    greedy = complete(decoder, ids, documents=documents, stop_ids=(), sampling=Sampling(8))
    assert complete(decoder, ids, documents=documents, stop_ids=(), sampling=sampling) == greedy


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1, temperature=1.0),
        Sampling(1, temperature=2.0, top_k=4),
        Sampling(1, temperature=0.7, top_p=0.8),
        Sampling(1, temperature=1.5, top_k=20, top_p=0.5),
    ],
)
def test_draws_follow_the_definition_of_the_distribution(decoder, sampling):
    num_draws = 5_000
    with torch.no_grad():
        expected = (decoder(torch.tensor([[5, 6, 7]]))[0, -1] / sampling.temperature).softmax(-1).tolist()
    kept = sorted(range(61), key=lambda token: -expected[token])[: sampling.top_k or 61]
    total = sum(expected[token] for token in kept)
    nucleus, mass = [], 0.0
    for token in kept:
        if mass < (sampling.top_p or 1.0):
            nucleus.append(token)
        mass += expected[token] / total
    drawn = complete(decoder, torch.tensor([[5, 6, 7]] * num_draws), stop_ids=(), sampling=sampling)
    counts = Counter(row[0] for row in drawn)
    assert set(counts) <= set(nucleus)
    total = sum(expected[token] for token in nucleus)
    for token in nucleus:
        assert abs(counts[token] / num_draws - expected[token] / total) < 0.03


def test_a_prompt_that_leaves_no_room_is_refused_before_the_first_token(decoder):
    with pytest.raises(InputError, match=r"40 tokens and 25 to generate; wanted at most 64 together"):
        generate(decoder, torch.zeros(1, 40, dtype=torch.int64), stop_ids=(), sampling=Sampling(25))
    generate(decoder, torch.zeros(1, 40, dtype=torch.int64), stop_ids=(), sampling=Sampling(24))


def test_padding_on_the_right_is_refused(decoder):
    ids, documents = torch.tensor([[5, 6, 0]]), torch.tensor([[1, 1, 0]])
    with pytest.raises(ValueError, match="left"):
        generate(decoder, ids, documents=documents, stop_ids=(), sampling=Sampling(2))


def test_generation_keeps_no_graph(decoder):
    [token] = generate(decoder, torch.tensor([[5, 6]]), stop_ids=(), sampling=Sampling(1))
    assert not token.requires_grad
    decoder.embed(token).sum().backward()


def test_prompts_are_padded_on_the_left():
    ids, documents = pad_prompts([[1, 2, 3], [4]])
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert documents.tolist() == [[1, 1, 1], [0, 0, 1]]
    with pytest.raises(ValueError, match="2 prompts, 1 of them not empty"):
        pad_prompts([[1], []])


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_new_tokens", 0), ("temperature", -1.0), ("top_k", 0), ("top_p", 0.0), ("top_p", 1.5)],
)
def test_choices_that_make_no_sense_are_refused_by_name(field, value):
    with pytest.raises(InputError, match=f"sampling: {field}: found {value}"):
        Sampling(**{field: value})
