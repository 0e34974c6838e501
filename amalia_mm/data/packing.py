"""Documents into pieces and rows of at most so many tokens, from their lengths alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def split_documents(num_tokens: Integers, row_tokens: int) -> tuple[Integers, Integers, Integers]:
    """Return the pieces of documents: the document of each, its first token and its number of tokens.

    Pieces do not overlap. The label of a piece's last position is the first token of the next piece, so every
    token of a document but the first is a target exactly once. A last token that would be alone in a piece is
    not an input at all: it has no target.
    """
    num_pieces = np.maximum(-(-(num_tokens - 1) // row_tokens), 1)
    document = np.repeat(np.arange(len(num_tokens)), num_pieces)
    first_piece = np.cumsum(num_pieces) - num_pieces
    start_token = (np.arange(len(document)) - first_piece[document]) * row_tokens
    return document, start_token, np.minimum(num_tokens[document] - start_token, row_tokens)


def pack_rows(lengths: Integers, row_tokens: int) -> Integers:
    """Return the row of each piece, no row above `row_tokens`, with few tokens left empty.

    Pieces of one length are placed together, longest first, each into the fullest row with room (best fit
    decreasing). The work grows with the number of distinct lengths, not with the number of pieces. Pieces of
    one length take their places in the order given, so shuffled pieces meet other neighbours every time.

    Raises:
        ValueError: A piece is longer than a row, or empty.

    Source:
        Krell et al. 2021, "Efficient sequence packing without cross-contamination", section 3 (histograms).
    """
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= row_tokens:
        raise ValueError(f"pieces of {lengths.min()} to {lengths.max()} tokens for rows of {row_tokens}")
    row_of = np.empty(len(lengths), dtype=np.int64)
    by_length = np.argsort(-lengths, kind="stable")
    borders = np.flatnonzero(np.diff(lengths[by_length])) + 1
    open_rows: list[list[Integers]] = [[] for _ in range(row_tokens + 1)]
    num_rows = 0
    for pieces in np.split(by_length, borders) if len(lengths) else []:
        length = int(lengths[pieces[0]])
        room = length
        while len(pieces):
            while room <= row_tokens and not open_rows[room]:
                room += 1
            if room <= row_tokens:
                rows = open_rows[room].pop()
            else:
                per_row = row_tokens // length
                rows = np.arange(num_rows, num_rows + -(-len(pieces) // per_row))
                num_rows += len(rows)
            left = min(room, row_tokens) - length
            placed = min(len(rows), len(pieces))
            row_of[pieces[:placed]] = rows[:placed]
            if placed < len(rows):
                open_rows[left + length].append(rows[placed:])
            if left:
                open_rows[left].append(rows[:placed])
            room, pieces = length, pieces[placed:]
    return row_of
