"""Token by token out of a decoder, for a batch that starts together: what `engine.py` does for any.

Prompts are ids or embeddings, padded on the left. It knows nothing of text: `TextStream` turns ids into it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from amalia_mm.text.decoder import Decoder
from amalia_mm.text.engine import Engine, Request
from amalia_mm.text.sampling import Sampling

PAD = -1
"""What a row yields once it has stopped."""


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
    padded batch gets the tokens it would get alone as row 0, 1, ... of a batch: each row draws with a seed of its
    own (`Sampling.for_row`).

    Args:
        decoder: Dropout never acts.
        inputs: (b t) int64 ids or (b t d) embeddings, padded on the left.
        documents: (b t) int64, 0 on padding and 1 elsewhere; None: no padding.
        stop_ids: Ids that end a row.
        sampling: How tokens are chosen, and how many at most.

    Raises:
        InputError: A prompt and its new tokens together exceed the decoder's positions; raised at once.
        ValueError: Padding on the right.
    """
    documents = padding_of(documents)
    num_rows, num_prompt = inputs.shape[:2]
    lengths = [num_prompt] * num_rows if documents is None else (documents > 0).sum(dim=1).tolist()
    longest = max(lengths, default=0) + sampling.max_new_tokens
    engine = Engine(decoder, max(num_rows, 1), longest, max_read=sum(lengths))
    for row, length in enumerate(lengths):
        engine.add(Request(inputs[row, num_prompt - length :], sampling.for_row(row), stop_ids))
    return _stream(engine, num_rows, inputs.device)


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


def _stream(engine: Engine, num_rows: int, device: torch.device) -> Iterator[Tensor]:
    while events := engine.step():
        tokens = [PAD] * num_rows
        for event in events:
            if event.token is not None:
                tokens[event.handle] = event.token
        if any(token != PAD for token in tokens):
            yield torch.tensor(tokens, device=device)
