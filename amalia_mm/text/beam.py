"""The likeliest continuations of prompts, several of each, by beam search over a cached decoder.

Deterministic: a row gets the hypotheses it would get alone, up to rounding. Somebody else may judge them with the
decoder while they grow. It knows nothing of text or audio; `generate.py` is for one continuation, greedy or drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from amalia_mm.text.decoder import Decoder
from amalia_mm.text.generate import padding_of

WAYS_A_BEAM = 4
"""For each open beam of a row, a judge is asked about at most so many of the row's likeliest ways on."""
FAR_BEHIND = 10.0
"""A judge is not asked about ways on and ends so many nats behind the likeliest that it has judged."""


class Judge(Protocol):
    """A second opinion, whose log-likelihoods are added to the decoder's."""

    def judge(
        self, row: int, beginnings: Sequence[Sequence[int]], wholes: Sequence[Sequence[int]]
    ) -> tuple[list[float], list[float]]:
        """Return log p that row `row` begins with each of some ids, and that it is each of others, in nats.

        What a beginning has can only fall as it grows, or a search ends too early.
        """
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A continuation without its end token."""

    ids: tuple[int, ...]
    log_likelihood: float
    """Of the ids and the end after them, in nats, the judge's included; of the ids alone where it was cut."""
    is_cut: bool = False
    """Whether it met its limit before it ended."""


@torch.no_grad()
def beam_search(
    decoder: Decoder,
    inputs: Tensor,
    *,
    documents: Tensor | None = None,
    stop_ids: Collection[int],
    num_beams: int,
    limits: Sequence[int],
    num_wanted: int | None = None,
    judge: Judge | None = None,
    num_tokens: int | None = None,
) -> list[list[Hypothesis]]:
    """Return up to `num_wanted` hypotheses of each row, the likeliest first, their lengths not weighed.

    An end competes with the open beams: one that is not among the `num_beams` likeliest ways on is dropped. A row
    is done when as many as wanted have ended and no open beam can overtake them any more, since likelihoods only
    fall, or when none is open. At the limit the open beams that are likelier than all that ended are returned
    too, cut, before these.

    Args:
        decoder: In eval mode, or dropout acts.
        inputs: (b t) int64 ids or (b t d) embeddings, padded on the left.
        documents: (b t) int64, 0 on padding and 1 elsewhere; None: no padding.
        stop_ids: Ids that end a hypothesis; the probability of the end is that of all of them.
        num_beams: How many are kept open. The cache holds as many rows for each of b.
        limits: The most new tokens of each row; prompt and limit together fit the decoder.
        num_wanted: How many are returned, cut ones not counted; `num_beams` where None; with fewer it ends sooner.
        judge: Judges all rows beside the decoder; of each at most its `WAYS_A_BEAM * num_beams` likeliest ways on,
            and none that is `FAR_BEHIND`: what would have recovered from there is lost.
        num_tokens: As `Engine`.

    Raises:
        ValueError: No beams, limits that are not one or more for each row or do not fit, padding on the right.
    """
    num_rows, num_prompt = inputs.shape[:2]
    documents = padding_of(documents)
    _check(decoder, inputs, documents, num_beams, limits)
    if not num_rows:
        return []
    cache = decoder.new_cache(num_rows, num_prompt + max(limits))
    hidden = decoder.hidden(inputs, documents=documents, cache=cache)[:, -1]
    first_beams = torch.arange(num_rows, device=inputs.device).repeat_interleave(num_beams)
    cache.select(first_beams)
    log_probs = decoder.logits(hidden).float().log_softmax(dim=-1)[first_beams]
    beams = _Beams(num_rows, num_beams, limits, stop_ids, inputs.device, num_wanted or num_beams, judge)
    while True:
        parents, tokens = beams.extend(rearrange(log_probs[:, :num_tokens], "(b k) v -> b k v", k=num_beams))
        if not len(tokens):
            return beams.found
        # While no row is done, each beam follows one of its own prompt.
        cache.select(parents, start=num_prompt if len(parents) == cache.batch_size else 0)
        hidden = decoder.hidden(tokens[:, None], cache=cache)[:, -1]
        log_probs = decoder.logits(hidden).float().log_softmax(dim=-1)


def _check(
    decoder: Decoder, inputs: Tensor, documents: Tensor | None, num_beams: int, limits: Sequence[int]
) -> None:
    num_rows, num_prompt = inputs.shape[:2]
    if num_beams < 1 or len(limits) != num_rows or min(limits, default=1) < 1:
        raise ValueError(
            f"{num_beams} beams and limits {[*limits]} for {num_rows} rows: at least 1 beam, and 1 token a row"
        )
    lengths = [num_prompt] * num_rows if documents is None else documents.sum(dim=1).tolist()
    most = decoder.config.max_positions
    longest = max((length + limit for length, limit in zip(lengths, limits, strict=True)), default=0)
    if longest > most:
        raise ValueError(
            f"a prompt and its limit are {longest} tokens together, the decoder has room for {most}"
        )


class _Beams:
    """The open beams (b k) of the rows that are not done, and what has been found for every row."""

    def __init__(
        self,
        num_rows: int,
        num_beams: int,
        limits: Sequence[int],
        stop_ids: Collection[int],
        device: torch.device,
        num_wanted: int,
        judge: Judge | None = None,
    ) -> None:
        self.num_beams = num_beams
        self.num_wanted = min(num_wanted, num_beams)
        self.limits = limits
        self.stops = torch.tensor(sorted(stop_ids), dtype=torch.int64, device=device)
        self.judge = judge
        self.found: list[list[Hypothesis]] = [[] for _ in range(num_rows)]
        self.rows = list(range(num_rows))
        """The rows that are not done, in the order of the open beams."""
        self.ids = torch.zeros(num_rows, num_beams, 0, dtype=torch.int64, device=device)
        # All beams of a row begin alike: only the first may go on, or each would be the same.
        self.scores = torch.full((num_rows, num_beams), float("-inf"), device=device)
        self.scores[:, 0] = 0.0
        self.written = self.scores.clone()
        """The decoder's part of the scores."""

    def extend(self, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Return, of the beams that stay open, where they come from and their new tokens, both flat (b k).

        Args:
            log_probs: (b k v), of what follows each open beam.
        """
        num_beams, vocabulary = log_probs.shape[1:]
        written = self.written[..., None] + log_probs
        ends = written[..., self.stops].logsumexp(dim=-1)
        written[..., self.stops] = float("-inf")
        ways, ends = self._judged(written, ends)
        scores, flat = rearrange(ways, "b k v -> b (k v)").topk(num_beams, dim=-1)
        self._end(ends, scores)
        parents, tokens = flat // vocabulary, flat % vocabulary
        ids = self.ids.gather(1, parents[..., None].expand(-1, -1, self.ids.shape[2]))
        self.ids, self.scores = torch.cat([ids, tokens[..., None]], dim=-1), scores
        # What the judge has ruled out does not come back.
        written = rearrange(written, "b k v -> b (k v)").gather(1, flat)
        self.written = written.masked_fill(scores.isinf(), float("-inf"))
        kept = self._close()
        places = torch.tensor(kept, dtype=torch.int64, device=flat.device)
        self.ids, self.scores, self.written = self.ids[places], self.scores[places], self.written[places]
        return (places[:, None] * num_beams + parents[places]).flatten(), tokens[places].flatten()

    def _judged(self, written: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of the ways on (b k v) and of the ends (b k) with the judge's part."""
        if self.judge is None:
            return written, ends
        num_beams, vocabulary = written.shape[1:]
        # What was judged so far can only fall: with it added, no way or end is likelier than this.
        so_far = (self.scores - self.written).masked_fill(self.scores.isinf(), 0.0)
        likely = rearrange(written + so_far[..., None], "b k v -> b (k v)")
        bounds, flat = likely.topk(min(WAYS_A_BEAM * num_beams, num_beams * vocabulary), dim=-1)
        written = rearrange(written, "b k v -> b (k v)")
        judged, judged_ends = torch.full_like(written, float("-inf")), torch.full_like(ends, float("-inf"))
        ids = self.ids.tolist()
        for place, row in enumerate(self.rows):
            ways, worst = self._judged_ways(row, ids[place], bounds[place], flat[place], written[place])
            judged[place][[*ways]] = judged.new_tensor([*ways.values()])
            ending = (ends[place] + so_far[place] > worst).nonzero().flatten().tolist()
            opinions = self.judge.judge(row, [], [ids[place][beam] for beam in ending])[1] if ending else []
            judged_ends[place][ending] = ends[place][ending] + ends.new_tensor(opinions)
        return rearrange(judged, "b (k v) -> b k v", k=num_beams), judged_ends

    def _judged_ways(
        self, row: int, ids: list[list[int]], bounds: Tensor, flat: Tensor, written: Tensor
    ) -> tuple[dict[int, float], float]:
        """Return the scores of a row's ways on, by their place among (k v), and what an end must be above.

        The likeliest are asked about first, and no more when all others are behind `num_beams` of them already, or far
        behind the best of them.

        Args:
            row: Which row.
            ids: What its beams have so far.
            bounds: (w) what a way's score can be at most, the highest first.
            flat: (w) the places of these ways among (k v).
            written: (k v) the decoder's part of all scores.
        """
        assert self.judge is not None
        vocabulary = len(written) // self.num_beams
        most, places, own = bounds.tolist(), flat.tolist(), written[flat].tolist()
        scores: dict[int, float] = {}
        worst = float("-inf")
        for start in range(0, len(places), self.num_beams):
            asked = [i for i in range(start, min(start + self.num_beams, len(places))) if most[i] > worst]
            if not asked:
                break
            beginnings = [[*ids[places[i] // vocabulary], places[i] % vocabulary] for i in asked]
            opinions = self.judge.judge(row, beginnings, [])[0]
            scores |= {places[i]: own[i] + opinion for i, opinion in zip(asked, opinions, strict=True)}
            best = sorted(scores.values(), reverse=True)[: self.num_beams]
            worst = max(best[-1] if len(best) == self.num_beams else float("-inf"), best[0] - FAR_BEHIND)
        return scores, worst

    def _end(self, ends: Tensor, scores: Tensor) -> None:
        """Keep the ends (b k) that are among the likeliest ways on, whose scores without ends are (b k)."""
        rank = (scores[:, None, :] > ends[..., None]).sum(dim=-1) + (ends[:, None, :] > ends[..., None]).sum(
            dim=-1
        )
        competes = (rank < self.num_beams) & ends.isfinite()
        for place, beam in competes.nonzero().tolist():
            one = Hypothesis(tuple(self.ids[place, beam].tolist()), float(ends[place, beam]))
            self.found[self.rows[place]].append(one)

    def _close(self) -> list[int]:
        """Return the places of the rows that go on; the others get their hypotheses in order."""
        kept: list[int] = []
        for place, (row, open_scores) in enumerate(zip(self.rows, self.scores.tolist(), strict=True)):
            found = sorted(self.found[row], key=lambda one: one.log_likelihood, reverse=True)[
                : self.num_wanted
            ]
            enough = found[-1].log_likelihood if len(found) == self.num_wanted else float("-inf")
            is_settled = enough >= max(open_scores)
            is_full = self.ids.shape[2] >= self.limits[row]
            if not is_settled and not is_full:
                kept.append(place)
            if is_full and not is_settled:
                cut = self._cut(place, open_scores, found)[: self.num_wanted]
                found = [*cut, *found][: self.num_beams]
            self.found[row] = found
        self.rows = [self.rows[place] for place in kept]
        return kept

    def _cut(self, place: int, open_scores: list[float], found: list[Hypothesis]) -> list[Hypothesis]:
        best = found[0].log_likelihood if found else float("-inf")
        return [
            Hypothesis(tuple(ids), score, is_cut=True)
            for ids, score in zip(self.ids[place].tolist(), open_scores, strict=True)
            if score > best
        ]
