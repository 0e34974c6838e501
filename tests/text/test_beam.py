"""Beam search finds what a search through everything finds, and a row gets what it would get alone."""

from __future__ import annotations

import itertools

import pytest
import torch

from amalia_mm.text.beam import WAYS_A_BEAM, _Beams, beam_search
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.generate import pad_prompts

SIZES = {
    "vocab_size": 6,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "initializer_range": 0.5,
}
STOP = 5
PROMPTS = [[1, 2, 3], [4], [2, 2]]


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return Decoder(DecoderConfig(**SIZES)).eval().requires_grad_(False)


def log_likelihood(decoder, prompt, ids):
    log_probs = decoder.logits(decoder.hidden(torch.tensor([[*prompt, *ids]]))).log_softmax(dim=-1)[0]
    return sum(float(log_probs[len(prompt) - 1 + i, token]) for i, token in enumerate(ids))


def everything(decoder, prompt, limit):
    """Every ended text of fewer than `limit` tokens, the likeliest first."""
    texts = [ids for num in range(limit) for ids in itertools.product(range(STOP), repeat=num)]
    return sorted(((log_likelihood(decoder, prompt, [*ids, STOP]), ids) for ids in texts), reverse=True)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_enough_beams_find_the_likeliest_of_all_texts(decoder, prompt):
    found = beam_search(decoder, torch.tensor([prompt]), stop_ids=[STOP], num_beams=200, limits=[3])[0]
    wanted = everything(decoder, prompt, 3)
    ended = [one for one in found if not one.is_cut]
    assert [one.ids for one in ended] == [ids for _, ids in wanted]
    assert all(one.log_likelihood > ended[0].log_likelihood for one in found if one.is_cut)
    assert [one.log_likelihood for one in ended] == pytest.approx([score for score, _ in wanted], abs=1e-4)


def by_hand(decoder, prompt, num_beams, limit):
    """The same search without tensors: an end must be among the best ways on, and nothing stops early."""
    beams, ended = [(0.0, ())], []
    for _ in range(limit):
        ways = sorted(
            (
                (log_likelihood(decoder, prompt, [*ids, token]), (*ids, token))
                for _, ids in beams
                for token in range(STOP + 1)
            ),
            reverse=True,
        )
        ends = [(score, ids[:-1]) for score, ids in ways if ids[-1] == STOP]
        beams = [(score, ids) for score, ids in ways if ids[-1] != STOP][:num_beams]
        merged = sorted([*(score for score, _ in ends), *(score for score, _ in beams)], reverse=True)
        ended += [(score, ids) for score, ids in ends if score in merged[:num_beams]]
    return [ids for _, ids in sorted(ended, reverse=True)[:num_beams]]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("num_beams", [1, 2, 4])
def test_few_beams_find_what_a_search_by_hand_finds(decoder, prompt, num_beams):
    found = beam_search(decoder, torch.tensor([prompt]), stop_ids=[STOP], num_beams=num_beams, limits=[7])[0]
    ended = [one.ids for one in found if not one.is_cut]
    wanted = by_hand(decoder, prompt, num_beams, 7)
    assert ended == wanted[: num_beams - sum(one.is_cut for one in found)]
    scores = [one.log_likelihood for one in found]
    assert scores == sorted(scores, reverse=True)
    for one in found:
        wanted = log_likelihood(decoder, prompt, one.ids if one.is_cut else [*one.ids, STOP])
        assert one.log_likelihood == pytest.approx(wanted, abs=1e-4)


def test_the_end_is_as_likely_as_all_its_ids_together(decoder):
    prompt = PROMPTS[0]
    found = beam_search(decoder, torch.tensor([prompt]), stop_ids=[STOP, 4], num_beams=3, limits=[2])[0]
    empty = next(one for one in found if one.ids == ())
    both = [log_likelihood(decoder, prompt, [stop]) for stop in (STOP, 4)]
    assert empty.log_likelihood == pytest.approx(float(torch.tensor(both).logsumexp(0)), abs=1e-4)


def test_a_row_of_a_padded_batch_gets_what_it_gets_alone(decoder):
    ids, documents = pad_prompts(PROMPTS)
    limits = [5, 9, 7]
    together = beam_search(decoder, ids, documents=documents, stop_ids=[STOP], num_beams=3, limits=limits)
    for prompt, limit, found in zip(PROMPTS, limits, together, strict=True):
        alone = beam_search(decoder, torch.tensor([prompt]), stop_ids=[STOP], num_beams=3, limits=[limit])[0]
        assert [one.ids for one in found] == [one.ids for one in alone]
        assert [one.is_cut for one in found] == [one.is_cut for one in alone]
        assert max(len(one.ids) for one in found) <= limit


def test_what_meets_its_limit_is_cut_and_says_so(decoder):
    found = beam_search(decoder, torch.tensor([PROMPTS[0]]), stop_ids=[], num_beams=2, limits=[4])[0]
    assert [len(one.ids) for one in found] == [4, 4]
    assert all(one.is_cut for one in found)


@pytest.mark.parametrize("num_wanted", [1, 2])
def test_neither_a_likely_text_that_is_cut_nor_an_unlikely_one_that_ended_is_lost(num_wanted):
    beams = _Beams(1, 2, [2], [STOP], torch.device("cpu"), num_wanted)
    likely = torch.full((1, 2, 6), -9.0)
    likely[..., 1], likely[..., STOP] = -0.01, -4.0
    while len(beams.extend(likely)[1]):
        pass
    found = beams.found[0]
    assert [(one.ids, one.is_cut) for one in found] == [((1, 1), True), ((), False)]


class Likes:
    """A judge with fixed opinions on single ids, one number a row and id; the end is `ends`."""

    def __init__(self, opinions, ends=0.0):
        self.opinions, self.ends, self.asked = opinions, ends, []

    def judge(self, row, beginnings, wholes):
        self.asked.append((row, [tuple(ids) for ids in beginnings]))
        opinion = self.opinions[row]
        return (
            [sum(opinion[token] for token in ids) for ids in beginnings],
            [self.ends + sum(opinion[token] for token in ids) for ids in wholes],
        )


OPINIONS = [[-0.1, -3.0, -0.5, -2.0, -0.2], [-4.0, -0.3, -1.0, -0.1, -2.0], [-1.0, -1.0, -0.2, -3.0, 0.0]]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_with_a_judge_the_likeliest_under_both_is_found(decoder, prompt, monkeypatch):
    monkeypatch.setattr("amalia_mm.text.beam.FAR_BEHIND", float("inf"))
    judge = Likes(OPINIONS[:1], ends=-0.5)
    found = beam_search(
        decoder, torch.tensor([prompt]), stop_ids=[STOP], num_beams=200, limits=[3], judge=judge
    )[0]
    joint = {ids: score + judge.judge(0, [], [ids])[1][0] for score, ids in everything(decoder, prompt, 3)}
    ended = [one for one in found if not one.is_cut]
    assert [one.ids for one in ended] == sorted(joint, key=joint.__getitem__, reverse=True)
    assert [one.log_likelihood for one in ended] == pytest.approx(
        sorted(joint.values(), reverse=True), abs=1e-4
    )


def test_a_judge_speaks_of_each_row_and_of_the_likeliest_ways_only(decoder):
    ids, documents = pad_prompts(PROMPTS)
    judge = Likes(OPINIONS)
    together = beam_search(
        decoder, ids, documents=documents, stop_ids=[STOP], num_beams=2, limits=[6] * 3, judge=judge
    )
    for row, (prompt, found) in enumerate(zip(PROMPTS, together, strict=True)):
        alone = beam_search(
            decoder,
            torch.tensor([prompt]),
            stop_ids=[STOP],
            num_beams=2,
            limits=[6],
            judge=Likes(OPINIONS[row : row + 1]),
        )[0]
        assert [one.ids for one in found] == [one.ids for one in alone]
    assert {row for row, _ in judge.asked} == {0, 1, 2}
    assert max(len(beginnings) for _, beginnings in judge.asked) <= 2 * WAYS_A_BEAM


def asked_by_step(judge):
    """How many ways on the judge was asked about, by the number of tokens they have."""
    lengths = [len(ids) for _, beginnings in judge.asked for ids in beginnings]
    return {length: lengths.count(length) for length in sorted(set(lengths))}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_judge_is_not_asked_about_what_cannot_be_among_the_likeliest(decoder, prompt):
    """One that agrees with everything leaves no way behind the first ones a chance, and changes nothing."""
    judge, ids = Likes([[0.0] * 5]), torch.tensor([prompt])
    found = beam_search(decoder, ids, stop_ids=[STOP], num_beams=3, limits=[6], judge=judge)[0]
    plain = beam_search(decoder, ids, stop_ids=[STOP], num_beams=3, limits=[6])[0]
    assert [one.ids for one in found] == [one.ids for one in plain]
    asked = asked_by_step(judge)
    assert len(asked) > 2 and set(asked.values()) == {3}


def test_a_judge_is_not_asked_about_what_is_far_behind(decoder, monkeypatch):
    def search():
        judge = Likes([[-0.2, -30.0, -30.0, -30.0, -30.0]])
        prompt = torch.tensor([PROMPTS[0]])
        found = beam_search(decoder, prompt, stop_ids=[STOP], num_beams=3, limits=[5], judge=judge)
        return found[0][0].ids, sum(asked_by_step(judge).values())

    best, num_asked = search()
    monkeypatch.setattr("amalia_mm.text.beam.FAR_BEHIND", 1000.0)
    the_same, num_asked_of_all = search()
    assert the_same == best
    assert num_asked < num_asked_of_all


def test_what_the_judge_rules_out_is_not_said(decoder):
    never = float("-inf")
    judge = Likes([[never, 0.0, 0.0, 0.0, never]])
    prompt = torch.tensor([PROMPTS[0]])
    found = beam_search(decoder, prompt, stop_ids=[STOP], num_beams=3, limits=[4], judge=judge)[0]
    assert found
    assert not {0, 4} & {token for one in found for token in one.ids}
    nothing = Likes([[never] * 5], ends=never)
    assert beam_search(decoder, prompt, stop_ids=[STOP], num_beams=3, limits=[4], judge=nothing) == [[]]


def test_what_the_judge_has_ruled_out_does_not_come_back(decoder):
    class Strict:
        """Only one text is possible, and CTC has its doubts about it."""

        text = (1, 2, 3, 2, 1)

        def judge(self, row, beginnings, wholes):
            begun = [
                -9.0 * len(ids) if tuple(ids) == self.text[: len(ids)] else -torch.inf for ids in beginnings
            ]
            return begun, [-45.0 if tuple(ids) == self.text else -torch.inf for ids in wholes]

    found = beam_search(
        decoder, torch.tensor([[1]]), stop_ids=[STOP], num_beams=2, limits=[9], num_wanted=1, judge=Strict()
    )
    assert [one.ids for one in found[0]] == [Strict.text]


def test_one_that_is_wanted_is_the_first_of_many(decoder):
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        many = beam_search(decoder, ids, stop_ids=[STOP], num_beams=4, limits=[8])[0]
        one = beam_search(decoder, ids, stop_ids=[STOP], num_beams=4, limits=[8], num_wanted=1)[0]
        assert len(one) == 1
        assert one[0].ids == many[0].ids


def test_no_rows_have_no_hypotheses(decoder):
    ids = torch.zeros(0, 3, dtype=torch.int64)
    assert beam_search(decoder, ids, stop_ids=[STOP], num_beams=2, limits=[]) == []


def test_the_beams_of_a_prompt_change_places_after_it_only(decoder):
    rows, start = torch.tensor([1, 1, 0]), 2
    ids = torch.tensor([[3, 4, 1], [3, 4, 2], [3, 4, 0]])
    caches = [decoder.new_cache(3, 8) for _ in range(2)]
    for cache in caches:
        decoder.hidden(ids, cache=cache)
    caches[0].select(rows)
    caches[1].select(rows, start=start)
    after = [decoder.hidden(torch.tensor([[1], [2], [3]]), cache=cache) for cache in caches]
    torch.testing.assert_close(after[0], after[1])
    with pytest.raises(ValueError, match="2 rows cannot take the places of 3"):
        caches[1].select(torch.tensor([0, 1]), start=start)


@pytest.mark.parametrize(("num_beams", "limits"), [(0, [4]), (2, [4, 4]), (2, [0])])
def test_beams_and_limits_must_fit_the_rows(decoder, num_beams, limits):
    with pytest.raises(ValueError, match="at least 1 beam, and 1 token a row"):
        beam_search(decoder, torch.tensor([[1]]), stop_ids=[STOP], num_beams=num_beams, limits=limits)


def test_padding_on_the_right_and_texts_beyond_the_context_are_refused(decoder):
    ids, documents = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 1, 0]])
    with pytest.raises(ValueError, match="padded on the left"):
        beam_search(decoder, ids, documents=documents, stop_ids=[STOP], num_beams=2, limits=[4])
    with pytest.raises(ValueError, match="33 tokens together, the decoder has room for 32"):
        beam_search(decoder, ids, stop_ids=[STOP], num_beams=2, limits=[30])


def test_a_row_that_is_done_does_not_go_on_beside_one_that_is_not(decoder):
    """A short text beside a long one must not run out of positions after its own end."""
    long, short = [1] * 29, [2]
    ids, documents = pad_prompts([long, short])
    found = beam_search(decoder, ids, documents=documents, stop_ids=[], num_beams=2, limits=[3, 20])
    assert [len(one.ids) for of_row in found for one in of_row] == [3, 3, 20, 20]
