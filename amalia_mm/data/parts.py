"""Conversations longer than a row, in parts: a sidecar of a folder of shards, so that batches are cut from the index.

A document has no parts: it is cut wherever a row ends. Keyed as the token counts are, and by the length of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amalia_mm.batch import Turn
from amalia_mm.data.conversation import split_conversation
from amalia_mm.data.index import Integers, ShardIndex, read_record
from amalia_mm.data.tokens import TokenCounts, save_sidecar, token_counts_path
from amalia_mm.errors import InputError
from amalia_mm.text.chat import render
from amalia_mm.text.tokenizer import Tokenizer

_REFUSED = -1


@dataclass(frozen=True)
class Parts:
    """The conversations of a folder that are longer than `most` tokens."""

    most: int
    record: Integers
    """(p) the record of each part."""
    part: Integers
    """(p) which part of its record it is, from 0."""
    num_tokens: Integers
    """(p) its tokens, bos included."""
    refused_record: Integers
    """(q) the record of each exchange that fits no row, with what the system says before it."""
    refused_tokens: Integers
    """(q) its tokens."""

    @property
    def conversations(self) -> Integers:
        """The records that are longer than a row, in order."""
        return np.unique(np.concatenate([self.record, self.refused_record]))


def split_turns(
    turns: Sequence[Turn], tokenizer: Tokenizer, most: int
) -> tuple[list[tuple[Turn, ...]], list[int]]:
    """Return the parts of a conversation of at most `most` tokens, and the tokens of exchanges that fit in none.

    What the tokenizer's format adds (a system turn of its own) is in each part, and counted.
    """
    whole = tokenizer.chat_format.complete(turns)
    num_bos = int(tokenizer.chat_format.has_bos)
    # Alone, a turn might be given a system turn; after the first one it is not.
    num_first = len(render(whole[:1], tokenizer))
    others = [len(render([whole[0], turn], tokenizer)) - num_first for turn in whole[1:]]
    parts, too_long = split_conversation(whole, [num_first - num_bos, *others], most - num_bos)
    return parts, [length + num_bos for length in too_long]


def conversation_parts(index: ShardIndex, counts: TokenCounts, tokenizer: Tokenizer, most: int) -> Parts:
    """Return how the conversations of a folder are split, from its sidecar; find out and write it where there is none.

    Raises:
        InputError: The sidecar is damaged, or cannot be written.
    """
    long = np.flatnonzero(counts.num_tokens > most)
    if not len(long):
        return _parts(np.zeros((0, 3), dtype=np.int64), most)
    counted = token_counts_path(index, tokenizer)
    path = counted.with_name(f"{counted.stem}-parts-{most}.npy")
    if path.is_file():
        return _parts(_load(path), most)
    rows = [row for record in long.tolist() for row in _rows_of(index, record, tokenizer, most)]
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    save_sidecar(path, table)
    return _parts(table, most)


def _rows_of(index: ShardIndex, record: int, tokenizer: Tokenizer, most: int) -> list[tuple[int, int, int]]:
    """Return (record, part, tokens) of each part of a conversation, and of each exchange that is refused."""
    try:
        found, _ = read_record(index, record, with_audio=False)
    except InputError:
        return []  # counted as bad where it is read
    if not found.turns or found.is_heard:
        return []
    parts, too_long = split_turns(found.turns, tokenizer, most)
    kept = [(record, part, len(render(turns, tokenizer))) for part, turns in enumerate(parts)]
    return kept + [(record, _REFUSED, num_tokens) for num_tokens in too_long]


def _load(path: Path) -> Integers:
    try:
        table = np.load(path, allow_pickle=False)
        if table.ndim != 2 or table.shape[1] != 3:
            raise ValueError(f"a table of shape {table.shape}")
    except (OSError, ValueError) as error:
        remedy = "delete it: it is made again"
        raise InputError(path, found=error, wanted="the parts of conversations", remedy=remedy) from error
    return table


def _parts(table: Integers, most: int) -> Parts:
    kept, refused = table[table[:, 1] != _REFUSED], table[table[:, 1] == _REFUSED]
    return Parts(most, kept[:, 0], kept[:, 1], kept[:, 2], refused[:, 0], refused[:, 2])
