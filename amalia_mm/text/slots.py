"""The cache of rows that come and go: a fixed number of slots, each with a length of its own."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from amalia_mm.text.decoder import DecoderConfig


@dataclass(frozen=True, eq=False)
class Prefix:
    """What has been read once, for rows that all begin so."""

    keys_and_values: tuple[Tensor, ...]
    """(2g t w) of each layer, in a memory of its own: keys of g groups, then their values."""
    length: int
    """Positions it takes."""
    ids: tuple[int, ...]
    """Its tokens, for repetition penalties; none where it was given as embeddings."""
    engine: weakref.ref[object]
    """Whose it is: another's keys and values would be those of other weights."""


class Slots:
    """Keys and values of `num_slots` rows of up to `max_length` positions, allocated once.

    The running rows are in slots 0, 1, ... without a gap, so that a batch of them is a slice and not a copy.
    """

    def __init__(
        self,
        num_slots: int,
        max_length: int,
        config: DecoderConfig,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_slots = num_slots
        self.max_length = max_length
        self.lengths: list[int] = []
        """How many positions of each running row are filled."""
        shape = (
            *(config.num_hidden_layers, num_slots, 2 * config.num_key_value_heads),
            *(max_length, config.head_width),
        )
        # Zeros: positions beyond a shorter row are masked, but what is not a number would survive the mask.
        self.stored = torch.zeros(shape, dtype=dtype, device=device)
        """(n s 2g l w) of n layers: the keys of each row's g groups, then their values."""
        self.layers = self.stored.unbind(0)
        """(s 2g l w) of each layer, the same memory."""

    @property
    def num_rows(self) -> int:
        """How many rows run."""
        return len(self.lengths)

    def open(self, prefix: Prefix | None) -> int:
        """Return the slot of a new row, the first one that is free, filled with the prefix."""
        slot, length = self.num_rows, 0 if prefix is None else prefix.length
        if slot == self.num_slots:
            raise ValueError(f"a row more in {self.num_slots} slots")
        if prefix is not None:
            for stored, read in zip(self.layers, prefix.keys_and_values, strict=True):
                stored[slot, :, :length] = read
        self.lengths.append(length)
        return slot

    def close(self, slot: int) -> None:
        """Free a slot; the row of the last one moves into it."""
        length = self.lengths.pop()
        last = self.num_rows
        if slot != last:
            for stored in self.layers:
                stored[slot, :, :length] = stored[last, :, :length]
            self.lengths[slot] = length
