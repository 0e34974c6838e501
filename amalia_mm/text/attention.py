"""Attention of the decoder: rotary positions, masks for packed and padded rows, and the key-value cache.

What all layers share about the positions being read (rotations, mask, cache) is made once, as a `Reading`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


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


@dataclass(frozen=True)
class Reading:
    """What every layer needs to know about the positions it reads."""

    cos: Tensor
    """(t w/2) or (b 1 t w/2) float32."""
    sin: Tensor
    mask: Tensor | None
    """(b 1 t s) bool, True where attention is allowed; None: plain causal, or everything."""
    is_causal: bool
    cache: KVCache | None

    @classmethod
    def of(
        cls,
        rotary: Rotary,
        num_new: int,
        documents: Tensor | None,
        positions: Tensor | None,
        cache: KVCache | None,
        device: torch.device,
    ) -> Reading:
        """Return the reading of the next `num_new` positions; the arguments are those of `Decoder.hidden`."""
        start = 0
        if cache is not None:
            start, documents = cache.length, cache.documents
        end = start + num_new
        if positions is None and documents is not None:
            positions = _positions_in_documents(documents)[:, start:]
        if positions is None:
            cos, sin = rotary.between(start, end, device)
        else:
            cos, sin = rotary.at(positions)
        mask = None
        if documents is not None or (start > 0 and num_new > 1):
            mask = _mask(documents, start, end, device)
        return cls(cos, sin, mask, is_causal=mask is None and num_new > 1, cache=cache)


class Rotary:
    """The rotations of every position up to a limit (Su et al. 2021, arXiv 2104.09864), in float32.

    No module and no buffer: it must survive meta devices and `to_empty`, and never become bfloat16.
    """

    def __init__(self, head_width: int, theta: float, max_positions: int) -> None:
        self.head_width = head_width
        self.theta = theta
        self.max_positions = max_positions
        self._table: tuple[Tensor, Tensor] | None = None

    def between(self, start: int, end: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cos and sin (t w/2) from position `start` to before `end`; `ValueError` past the limit."""
        self._check(end - 1)
        cos, sin = self._on(device)
        return cos[start:end], sin[start:end]

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin (b 1 t w/2) of positions (b t); `ValueError` past the limit."""
        if positions.device.type != "meta":
            self._check(int(positions.max()))
        cos, sin = self._on(positions.device)
        return cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)

    def _check(self, last: int) -> None:
        if last >= self.max_positions:
            raise ValueError(f"position {last}, but max_position_embeddings is {self.max_positions}")

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._table is None or self._table[0].device != device:
            # No inference tensor: training after generation would refuse to save it for its backward pass.
            with torch.inference_mode(False):
                exponents = torch.arange(0, self.head_width, 2, device=device).float() / self.head_width
                positions = torch.arange(self.max_positions, device=device).float()
                angles = torch.outer(positions, 1 / self.theta**exponents)
                self._table = angles.cos(), angles.sin()
        return self._table


class Attention(nn.Module):
    """Grouped-query attention with rotary positions (Ainslie et al. 2023, arXiv 2305.13245)."""

    def __init__(
        self, width: int, num_heads: int, num_groups: int, head_width: int, layer: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.layer = layer
        self.head_width = head_width
        self.is_grouped = num_groups != num_heads
        self.q_proj = nn.Linear(width, num_heads * head_width, bias=False, dtype=dtype)
        self.k_proj = nn.Linear(width, num_groups * head_width, bias=False, dtype=dtype)
        self.v_proj = nn.Linear(width, num_groups * head_width, bias=False, dtype=dtype)
        self.o_proj = nn.Linear(num_heads * head_width, width, bias=False, dtype=dtype)

    def forward(self, x: Tensor, reading: Reading) -> Tensor:
        """Return what (b t d) attends to, (b t d)."""
        query, key, value = (
            rearrange(project(x), "b t (h w) -> b h t w", w=self.head_width)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _rotate(query, reading), _rotate(key, reading)
        if reading.cache is not None:
            key, value = reading.cache.append(self.layer, key, value)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=reading.mask, is_causal=reading.is_causal, enable_gqa=self.is_grouped
        )
        return self.o_proj(rearrange(mixed, "b h t w -> b t (h w)"))


def _rotate(x: Tensor, reading: Reading) -> Tensor:
    """Return (b h t w) turned by its positions, computed in float32, in the type it came in."""
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = reading.cos, reading.sin
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def _positions_in_documents(documents: Tensor) -> Tensor:
    """Return positions (b t) that restart at 0 wherever the document number (b t) changes."""
    index = torch.arange(documents.shape[1], device=documents.device)
    is_start = torch.ones_like(documents, dtype=torch.bool)
    is_start[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return index - torch.where(is_start, index, 0).cummax(dim=1).values


def _mask(documents: Tensor | None, start: int, end: int, device: torch.device) -> Tensor:
    """Return (b 1 t s) bool: position start + i may see position j of the same document if j <= start + i.

    Padding is document 0 and sees earlier padding and itself, so that no row of the mask is empty (softmax
    over nothing is NaN), while nothing else sees padding.
    """
    index = torch.arange(end, device=device)
    is_past = rearrange(index, "s -> 1 1 1 s") <= rearrange(index[start:], "t -> 1 1 t 1")
    if documents is None:
        return is_past
    same = rearrange(documents[:, start:], "b t -> b 1 t 1") == rearrange(documents, "b s -> b 1 1 s")
    return is_past & same
