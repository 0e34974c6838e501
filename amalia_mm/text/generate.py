"""Token by token out of a decoder: prefill, cached decoding, greedy or sampled, a whole batch at once.

Prompts are ids or embeddings, padded on the left. It knows nothing of text: `TextStream` turns ids into it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.text.cache import KVCache
from amalia_mm.text.decoder import Decoder

PAD = -1
"""What a row yields once it has stopped."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: greedily at temperature 0, else drawn.

    `top_k` keeps that many tokens, then `top_p` the likeliest ones that hold this probability together
    (Holtzman et al. 2020, arXiv 1904.09751). The same seed on the same batch draws the same tokens.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._require("max_new_tokens", self.max_new_tokens >= 1, "at least 1")
        self._require("temperature", self.temperature >= 0, "0 (greedy) or more")
        self._require("top_k", self.top_k is None or self.top_k >= 1, "at least 1")
        self._require("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            found = getattr(self, name)
            raise InputError("sampling", field=name, found=found, wanted=wanted, remedy="change it")


def pad_prompts(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids (b t) and documents (b t) of prompts of several lengths, padded on the left."""
    if not prompts or not all(prompts):
        raise ValueError(f"{len(prompts)} prompts, {sum(map(bool, prompts))} of them not empty")
    length = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    documents = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, documents


def generate(
    decoder: Decoder,
    inputs: Tensor,
    *,
    documents: Tensor | None = None,
    stop_ids: Collection[int],
    sampling: Sampling,
) -> Iterator[Tensor]:
    """Return a stream of (b) int64, the next token of every row, until all have stopped.

    A row stops at one of `stop_ids`, which is not yielded itself; from there on it yields `PAD`. A row of a
    padded batch gets the tokens it would get alone.

    Args:
        decoder: In eval mode, or dropout acts.
        inputs: (b t) int64 ids or (b t d) embeddings, padded on the left.
        documents: (b t) int64, 0 on padding and 1 elsewhere; None: no padding.
        stop_ids: Ids that end a row.
        sampling: How tokens are chosen, and how many at most.

    Raises:
        InputError: Prompt and new tokens together exceed the decoder's positions; raised at once.
        ValueError: Padding on the right.
    """
    num_positions = inputs.shape[1] + sampling.max_new_tokens
    limit = decoder.config.max_positions
    if num_positions > limit:
        raise InputError(
            "prompt",
            found=f"{inputs.shape[1]} tokens and {sampling.max_new_tokens} to generate",
            wanted=f"at most {limit} together (max_position_embeddings)",
            remedy="shorten the prompt or lower max_new_tokens",
        )
    return _stream(decoder, inputs, padding_of(documents), stop_ids, sampling)


def padding_of(documents: Tensor | None) -> Tensor | None:
    """Return the document numbers (b t) of prompts, None where nothing is padded.

    Raises:
        ValueError: Padding on the right.
    """
    if documents is None or bool((documents == 1).all()):
        return None
    if not bool((documents[:, -1] > 0).all()):
        raise ValueError(
            "prompts must be padded on the left: the last document number of each row must not be 0"
        )
    return documents


def complete(
    decoder: Decoder,
    inputs: Tensor,
    *,
    documents: Tensor | None = None,
    stop_ids: Collection[int],
    sampling: Sampling,
) -> list[list[int]]:
    """Return what `generate` streams as one list of ids for each row, without padding; same arguments."""
    rows: list[list[int]] = [[] for _ in range(inputs.shape[0])]
    for tokens in generate(decoder, inputs, documents=documents, stop_ids=stop_ids, sampling=sampling):
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if token != PAD:
                row.append(token)
    return rows


@torch.no_grad()
def _stream(
    decoder: Decoder, inputs: Tensor, documents: Tensor | None, stop_ids: Collection[int], sampling: Sampling
) -> Iterator[Tensor]:
    generator = torch.Generator(inputs.device).manual_seed(sampling.seed)
    stops = torch.tensor(sorted(stop_ids), dtype=torch.int64, device=inputs.device)
    num_rows, num_prompt = inputs.shape[:2]
    cache: KVCache = decoder.new_cache(num_rows, num_prompt + sampling.max_new_tokens)
    is_done = torch.zeros(num_rows, dtype=torch.bool, device=inputs.device)
    for _ in range(sampling.max_new_tokens):
        hidden = decoder.hidden(inputs, documents=documents, cache=cache)
        tokens = _choose(decoder.logits(hidden[:, -1]).float(), sampling, generator)
        is_done |= torch.isin(tokens, stops)
        if bool(is_done.all()):
            return
        yield tokens.masked_fill(is_done, PAD)
        inputs, documents = tokens.unsqueeze(1), None


def _choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Return one token a row, (b), from logits (b v)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        smallest = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    if sampling.top_p is not None:
        ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        # A token stays while the ones before it hold less than top_p, so at least one does.
        is_out = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        logits = logits.masked_fill(is_out.scatter(1, order, is_out), float("-inf"))
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator).squeeze(1)
