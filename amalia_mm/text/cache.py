"""The key-value cache: what a batch has read, so that the next token is not read from the beginning."""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """Keys and values of what a batch has read, in memory allocated once for `max_length` positions.

    It knows how many positions are filled and which of them are padding. Rows are of equal length: shorter
    prompts are padded on the left with document number 0.
    """

    def __init__(self, batch_size: int, max_length: int, num_layers: int) -> None:
        self.batch_size = batch_size
        self.max_length = max_length
        self.length = 0
        self.documents: Tensor | None = None
        """(b t) int64 document numbers of the filled positions; None while all are one document."""
        self._keys: list[Tensor | None] = [None] * num_layers
        self._values: list[Tensor | None] = [None] * num_layers

    def admit(self, num_rows: int, num_positions: int, documents: Tensor | None) -> None:
        """Make ready for the next positions; documents None: those of the last position of each row.

        Raises `ValueError` with both numbers where rows or positions do not fit.
        """
        if num_rows != self.batch_size:
            raise ValueError(f"{num_rows} rows for a cache of {self.batch_size}")
        if self.length + num_positions > self.max_length:
            raise ValueError(
                f"position {self.length + num_positions} in a cache of {self.max_length} positions"
            )
        if documents is None and self.documents is not None:
            documents = self.documents[:, -1:].expand(-1, num_positions)
        if documents is not None:
            before = self.documents
            if before is None:
                before = documents.new_ones(num_rows, self.length)
            self.documents = torch.cat([before, documents], dim=1)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values (b h t w) and return all it has.

        `advance` comes after the last layer.
        """
        if self._keys[layer] is None:
            shape = (*keys.shape[:2], self.max_length, keys.shape[3])
            self._keys[layer], self._values[layer] = keys.new_empty(shape), values.new_empty(shape)
        all_keys, all_values = self._keys[layer], self._values[layer]
        assert all_keys is not None and all_values is not None
        end = self.length + keys.shape[2]
        all_keys[:, :, self.length : end] = keys
        all_values[:, :, self.length : end] = values
        return all_keys[:, :, :end], all_values[:, :, :end]

    def select(self, rows: Tensor, start: int = 0) -> None:
        """Keep these rows (n) int64, in this order; a row may come several times, as beams need it.

        Positions before `start` are taken to be alike in each row and the one that takes its place, and are left
        where they are: beams of one prompt differ only after it.

        Raises:
            ValueError: Positions are to be left although the number of rows changes.
        """
        if start and len(rows) != self.batch_size:
            raise ValueError(f"{len(rows)} rows cannot take the places of {self.batch_size}")
        if self.documents is not None:
            self.documents = self.documents[rows]
        for stored in (self._keys, self._values):
            # Layer by layer, and only what is filled: never two whole caches in memory.
            for layer, before in enumerate(stored):
                if before is None:
                    continue
                after = before if start else before.new_empty(len(rows), *before.shape[1:])
                after[:, :, start : self.length] = before[rows, :, start : self.length]
                stored[layer] = after
        self.batch_size = len(rows)

    def advance(self, num_positions: int) -> None:
        """Count positions as filled."""
        self.length += num_positions
