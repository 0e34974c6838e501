"""The decoder as generation runs it: fewer and larger products, no gradients, rows of any lengths without padding.

It computes what `Decoder.hidden` and `Decoder.logits` compute, up to rounding, with the decoder's own weights.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from amalia_mm.text.decoder import Block, Decoder
from amalia_mm.text.joined import in_int8, is_merged, joined, joined_block
from amalia_mm.text.many_rows import ManyRows
from amalia_mm.text.rope import Turns
from amalia_mm.text.slots import Slots

if TYPE_CHECKING:
    from amalia_mm.text.few_rows import FewRows


_JOINING = threading.Lock()
"""Two that join the weights of one decoder at once would each give them another place."""
_OUTDATED = "the decoder's weights were changed or moved after this was made of it: make a new one"


@dataclass(frozen=True)
class Piece:
    """Positions of one row that are read together."""

    slot: int
    inputs: Tensor
    """(t) int64 ids or (t d) embeddings."""


class FusedDecoder:
    """Reads positions into slots and returns the logits of what follows.

    The decoder's weights are rearranged where they lie, a layer at a time: its parameters become views of the joined
    matrices, so that nothing is held twice, and what changes them in place, as training does, is seen here. Low-rank
    changes are merged into matrices of their own where they are on, and not looked at where they are off. Where weights
    are replaced or moved afterwards, or copies of them (merged, or of 8 bits) have become old, a new one must be made:
    `read` refuses.

    Args:
        decoder: Whose weights these are.
        int8: Use matrices of 8 bits in the layers, not in the head, beside the decoder's own, which stay in memory
            while the decoder does.

    Raises:
        InputError: With `int8`, torchao is not installed.
        ValueError: A map of the decoder is neither plain nor one with a low-rank change, or the change is on in some
            rows alone.
    """

    def __init__(self, decoder: Decoder, int8: bool = False) -> None:
        self.config = decoder.config
        self._embeddings = decoder.model.embed_tokens.weight.detach()
        with _JOINING:
            blocks = [joined_block(block) for block in decoder.model.layers if isinstance(block, Block)]
            head = self._embeddings if decoder.lm_head is None else joined(decoder.lm_head)
        if int8:
            blocks = [in_int8(block) for block in blocks]
        norm = decoder.model.norm.weight.detach()
        # Weak: with 8 bits, the decoder's own weights may go.
        self._decoder = weakref.ref(decoder)
        self._is_copied = int8 or any(is_merged(module) for module in decoder.modules())
        self._marks = _marks(decoder, self._is_copied)
        self._place = self._embeddings.data_ptr()
        self._rotary = decoder.rotary
        self.dtype, self.device = self._embeddings.dtype, self._embeddings.device
        self._num_heads = decoder.config.num_attention_heads
        self._num_groups = decoder.config.num_key_value_heads
        self._width = decoder.config.head_width
        eps = decoder.config.rms_norm_eps
        self._many = ManyRows(blocks, norm, head, eps, self._width, self._num_heads + self._num_groups)
        self._few: FewRows | None = None
        if self.device.type == "cpu":
            # Imported late: numba takes half a second.
            from amalia_mm.text.few_rows import DTYPES, FewRows

            if self.dtype in DTYPES:
                self._few = FewRows(blocks, norm, head, eps, self._num_heads)

    @torch.inference_mode()
    def read(self, pieces: Sequence[Piece], slots: Slots) -> Tensor:
        """Return the logits (n v) float32 after the last position of each of n pieces, which go into their slots.

        Raises:
            ValueError: A position beyond the decoder's, or the decoder's weights are elsewhere by now.
        """
        if self.dtype != torch.float32 and self._few is not None and len(pieces) > 1:
            # Rounded products depend on how many rows they have; what a row is given must not.
            return torch.cat([self.read([piece], slots) for piece in pieces])
        decoder = self._decoder()
        if decoder is not None and _marks(decoder, self._is_copied) != self._marks:
            raise ValueError(_OUTDATED)
        x = torch.cat([self._embed(piece.inputs) for piece in pieces])
        lengths = [len(piece.inputs) for piece in pieces]
        starts = [slots.lengths[piece.slot] for piece in pieces]
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        turns = [self._rotary.between(*span, self.device) for span in zip(starts, ends, strict=True)]
        rotations = Turns.of(torch.cat([cos for cos, _ in turns]), torch.cat([sin for _, sin in turns]))
        last = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        final = len(slots.layers) - 1
        for layer, stored in enumerate(slots.layers):
            query, new = self._split(self._many.before_attention(x, layer, rotations))
            mixed = []
            parts = zip(pieces, starts, ends, query.split(lengths), new.split(lengths), strict=True)
            for piece, start, end, asking, kept in parts:
                row = stored[piece.slot]
                row[:, start:end] = kept.transpose(0, 1)
                # Above the last layer only the last position goes on.
                asking = asking[-1:] if layer == final else asking
                mixed.append(self._attend(asking, row[:, :end], start))
            if layer == final:
                x = x[last]
            x = self._many.after_attention(x, torch.cat(mixed), layer)
        for piece, end in zip(pieces, ends, strict=True):
            slots.lengths[piece.slot] = end
        return self._many.logits(x)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], slots: Slots) -> Tensor:
        """Return the logits (n v) float32 after one more token in each of the first n slots, all that run.

        Raises:
            ValueError: Another number of tokens than rows, or a row whose slot is full; weights as in `read`.
        """
        if len(tokens) != slots.num_rows or max(slots.lengths) >= slots.max_length:
            found = f"{len(tokens)} tokens for {slots.num_rows} rows, at positions {slots.lengths}"
            raise ValueError(f"{found}: wanted one token a row, and positions below {slots.max_length}")
        if self._embeddings.data_ptr() != self._place:
            raise ValueError(_OUTDATED)
        x = self._embed(torch.tensor(tokens, device=self.device))
        last = max(slots.lengths)
        if min(slots.lengths) == last:
            cos, sin = self._rotary.between(last, last + 1, self.device)
        else:
            positions = torch.tensor(slots.lengths, device=self.device)
            cos, sin = (each[:, 0, 0] for each in self._rotary.at(positions[:, None]))
        if self._few is not None and len(tokens) <= self._few.max_rows:
            logits = self._few.step(x, cos, sin, slots)
        else:
            logits = self._step_of_many(x, cos, sin, slots)
        slots.lengths[:] = [length + 1 for length in slots.lengths]
        return logits

    def _step_of_many(self, x: Tensor, cos: Tensor, sin: Tensor, slots: Slots) -> Tensor:
        """Return what `FewRows.step` does, of any number of rows."""
        num_rows, lengths, rotations = len(x), slots.lengths, Turns.of(cos, sin)
        rows = torch.arange(num_rows, device=self.device)
        positions = torch.tensor(lengths, device=self.device)
        end = max(lengths) + 1
        is_even = min(lengths) + 1 == end
        mask: Tensor | None = None
        if not is_even:
            is_past = torch.arange(end, device=self.device) <= positions[:, None]
            mask = torch.zeros_like(is_past, dtype=self.dtype).masked_fill_(~is_past, -torch.inf)
            mask = mask[:, None, None]
        # Cut for all layers at once: on a small decoder every look at a tensor counts.
        keys, values = (part.unbind(0) for part in slots.stored[:, :num_rows, :, :end].chunk(2, dim=2))
        places = slots.stored[:, :num_rows, :, end - 1].unbind(0)
        for layer, place in enumerate(places):
            query, new = self._split(self._many.before_attention(x, layer, rotations))
            if is_even:
                place.copy_(new)
            else:
                slots.layers[layer][rows, :, positions] = new
            # Heads of one group are queries of one key: no key or value is repeated.
            query = query.view(num_rows, self._num_groups, -1, self._width)
            mixed = F.scaled_dot_product_attention(query, keys[layer], values[layer], attn_mask=mask)
            x = self._many.after_attention(x, mixed.reshape(num_rows, -1), layer)
        return self._many.logits(x)

    def _embed(self, inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            return inputs.to(self.device, self.dtype)
        return F.embedding(inputs.to(self.device), self._embeddings)

    def _split(self, made: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries (n h w) and what is stored (n 2g w), of (n h+2g w)."""
        return made[:, : self._num_heads], made[:, self._num_heads :]

    def _attend(self, query: Tensor, stored: Tensor, start: int) -> Tensor:
        """Return what the last t positions (t h w) of a row see in all of it (2g s w), (t d)."""
        num_new, num_all = len(query), stored.shape[1]
        keys, values = stored.chunk(2)
        mask: Tensor | None = None
        if 1 < num_new < num_all:
            mask = torch.ones(num_new, num_all, dtype=torch.bool, device=query.device).tril(start)
        mixed = F.scaled_dot_product_attention(
            query.transpose(0, 1)[None],
            keys[None],
            values[None],
            attn_mask=mask,
            is_causal=num_new == num_all > 1,
            enable_gqa=self._num_groups != self._num_heads,
        )
        return mixed[0].transpose(0, 1).reshape(num_new, -1)


def _marks(decoder: Decoder, is_copied: bool) -> list[tuple[int, int]]:
    """Return by what each weight is known again: what it is, and where it lies or how often it was changed in place."""
    return [
        (id(weight), weight._version if is_copied else weight.data_ptr()) for weight in decoder.parameters()
    ]
