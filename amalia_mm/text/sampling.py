"""How the next token is chosen: greedily or drawn, each row by its own rules and its own dice.

A row's choice depends on its logits, its rules, its seed and how many tokens it has drawn; never on the rows beside it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amalia_mm.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: greedily at temperature 0, else drawn.

    `repetition_penalty` comes first (Keskar et al. 2019, arXiv 1909.05858), then the temperature; `top_k` keeps that
    many tokens, `top_p` the likeliest of them that hold this probability together (Holtzman et al. 2020, arXiv
    1904.09751), `min_p` those at least this fraction as likely as the likeliest (Nguyen et al. 2024, arXiv
    2407.01082). The same seed on the same row draws the same tokens.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    """The logits of tokens that the row has seen are divided by it (multiplied where negative); 1: left alone."""

    def __post_init__(self) -> None:
        self._require("max_new_tokens", self.max_new_tokens >= 1, "at least 1")
        self._require("temperature", self.temperature >= 0, "0 (greedy) or more")
        self._require("top_k", self.top_k is None or self.top_k >= 1, "at least 1")
        self._require("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1")
        self._require("min_p", self.min_p is None or 0 <= self.min_p <= 1, "from 0 to 1")
        self._require("repetition_penalty", self.repetition_penalty > 0, "above 0")

    def for_row(self, row: int) -> Sampling:
        """Return the same rules with a seed of their own for row `row` of a batch: rows draw independently."""
        return replace(self, seed=random.Random(f"{self.seed}/{row}").getrandbits(63))

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            found = getattr(self, name)
            raise InputError("sampling", field=name, found=found, wanted=wanted, remedy="change it")


class Chooser:
    """Chooses the tokens of one row.

    Args:
        sampling: Its rules.
        seen: Ids that count as repeated from the start, those of the prompt.
        vocab_size: How many tokens there are.
    """

    def __init__(self, sampling: Sampling, seen: Sequence[int], vocab_size: int) -> None:
        self.sampling = sampling
        # On the CPU whatever the model's device: the same draws everywhere.
        self._dice = torch.Generator().manual_seed(sampling.seed) if sampling.temperature > 0 else None
        self._seen: Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool)
            self._seen[list(seen)] = True

    @property
    def is_plain(self) -> bool:
        """Whether it takes the likeliest token and nothing else matters."""
        return self._dice is None and self._seen is None

    def scores(self, logits: Tensor) -> Tensor:
        """Return float32 logits (v) with the repetition penalty."""
        if self._seen is None:
            return logits
        penalty, self._seen = self.sampling.repetition_penalty, self._seen.to(logits.device)
        punished = torch.where(logits < 0, logits * penalty, logits / penalty)
        return torch.where(self._seen[: len(logits)], punished, logits)

    def throw(self) -> float:
        """Return the next throw of the dice, from 0 to below 1."""
        assert self._dice is not None
        return float(torch.rand((), generator=self._dice, dtype=torch.float64))

    def take(self, token: int) -> None:
        """Remember that the row has this token."""
        if self._seen is not None:
            self._seen[token] = True


def choose(logits: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """Return one token for each row of logits (b v), float32.

    Rows that take the likeliest are done together, and so are those that draw from all tokens and those that
    draw from some, so that a row's draw goes through the same sums whatever is beside it.
    """
    if all(chooser.is_plain for chooser in choosers):
        return logits.argmax(dim=-1).tolist()
    tokens = [0] * len(choosers)
    groups: dict[str, list[int]] = {"greedy": [], "all": [], "some": []}
    for row, chooser in enumerate(choosers):
        rules = chooser.sampling
        is_cut = rules.top_k is not None or rules.top_p is not None
        groups["greedy" if rules.temperature == 0 else "some" if is_cut else "all"].append(row)
    for name, rows in groups.items():
        if not rows:
            continue
        members = [choosers[row] for row in rows]
        scores = torch.stack([choosers[row].scores(logits[row]) for row in rows])
        chosen = scores.argmax(dim=-1) if name == "greedy" else _draw(scores, members, name == "some")
        for row, token in zip(rows, chosen.tolist(), strict=True):
            tokens[row] = token
    for chooser, token in zip(choosers, tokens, strict=True):
        chooser.take(token)
    return tokens


def _draw(scores: Tensor, choosers: Sequence[Chooser], is_cut: bool) -> Tensor:
    """Return one drawn token for each row (b), from scores (b v) before the temperature."""
    likely, order = _likelihoods(scores, [chooser.sampling for chooser in choosers], is_cut)
    sums = likely.double().cumsum(dim=-1)
    throws = torch.tensor([chooser.throw() for chooser in choosers], dtype=torch.float64, device=sums.device)
    # The first token whose sum is above the throw: one of probability 0 has the sum of the one before it.
    drawn = torch.searchsorted(sums, throws[:, None] * sums[:, -1:], right=True)
    return (drawn if order is None else order.gather(1, drawn))[:, 0]


def _likelihoods(scores: Tensor, rules: Sequence[Sampling], is_cut: bool) -> tuple[Tensor, Tensor | None]:
    """Return how likely each token is to be drawn (b v), not normalised, and which token that is where sorted."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=scores.device)[:, None]

    # Divided by less, scores would not be finite any more.
    scores = scores / column([max(rule.temperature, 1e-30) for rule in rules])
    order: Tensor | None = None
    if is_cut:
        # Stable: equal scores, common in bfloat16, must not change places with the batch.
        scores, order = scores.sort(dim=-1, descending=True, stable=True)
        num_tokens = scores.shape[-1]
        ranks = torch.arange(num_tokens, device=scores.device)
        scores = scores.masked_fill(ranks >= column([rule.top_k or num_tokens for rule in rules]), -torch.inf)
        likely = scores.softmax(dim=-1)
        # A token stays while the ones before it hold less than top_p, so at least one does.
        before = likely.cumsum(dim=-1) - likely
        is_out = before >= column([2.0 if rule.top_p is None else rule.top_p for rule in rules])
        scores = scores.masked_fill(is_out, -torch.inf)
    likely = scores.softmax(dim=-1)
    floor = likely.amax(dim=-1, keepdim=True) * column([rule.min_p or 0.0 for rule in rules])
    return likely.masked_fill(likely < floor, 0.0), order
