"""Attention of the decoder, and the masks of packed and padded rows.

What all layers share about the positions being read (rotations, mask, cache) is made once, as a `Reading`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from amalia_mm.text.cache import KVCache
from amalia_mm.text.rope import Rotary

_MIN_POSITIONS_TO_SPLIT = 512
"""Rows of fewer positions are attended to under a mask: the square of a short row costs less than many calls."""


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
    lengths: tuple[int, ...] | None = None
    """Positions of each document, row after row, where documents are attended to one by one in place of a mask."""

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
        if documents is not None and cache is None and num_new >= _MIN_POSITIONS_TO_SPLIT:
            return cls(cos, sin, None, is_causal=True, cache=None, lengths=_document_lengths(documents))
        mask = None
        if documents is not None or (start > 0 and num_new > 1):
            mask = _mask(documents, start, end, device)
        return cls(cos, sin, mask, is_causal=mask is None and num_new > 1, cache=cache)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions (Ainslie et al. 2023, arXiv 2305.13245)."""

    def __init__(
        self, width: int, num_heads: int, num_groups: int, head_width: int, layer: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.layer = layer
        self.head_width = head_width
        self.is_grouped = num_groups != num_heads
        self.attend = attend
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
        mixed = self.attend(query, key, value, reading, self.is_grouped)
        return self.o_proj(rearrange(mixed, "b h t w -> b t (h w)"))


def attend(query: Tensor, key: Tensor, value: Tensor, reading: Reading, is_grouped: bool) -> Tensor:
    """Return what queries (b h t w) attend to in keys and values (b h s w)."""
    if reading.lengths is not None:
        return _attend_by_document(query, key, value, reading.lengths, is_grouped)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=reading.mask, is_causal=reading.is_causal, enable_gqa=is_grouped
    )


def _attend_by_document(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], is_grouped: bool
) -> Tensor:
    """Return what queries (b h t w) attend to in their own documents, whose lengths add up to b t.

    The work grows with the sum of the squares of the documents, not with the square of the row.
    """
    num_rows, num_positions = query.shape[0], query.shape[2]
    if lengths == (num_positions,) * num_rows:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=is_grouped)
    documents = zip(
        *(rearrange(x, "b h t w -> 1 h (b t) w").split(lengths, dim=2) for x in (query, key, value)),
        strict=True,
    )
    mixed = [F.scaled_dot_product_attention(*qkv, is_causal=True, enable_gqa=is_grouped) for qkv in documents]
    return rearrange(torch.cat(mixed, dim=2), "1 h (b t) w -> b h t w", b=num_rows)


def _rotate(x: Tensor, reading: Reading) -> Tensor:
    """Return (b h t w) turned by its positions, computed in float32, in the type it came in."""
    if not torch.compiler.is_compiling():
        turned: Tensor = _Turned.apply(x, reading.cos, reading.sin)
        return turned
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = reading.cos, reading.sin
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return the same, bit for bit, in half the memory."""
    wide = x.float()
    first, second = wide.chunk(2, dim=-1)
    turned = torch.empty_like(wide)
    one, two = turned.chunk(2, dim=-1)
    torch.mul(first, cos, out=one).sub_(second * sin)
    torch.mul(second, cos, out=two).add_(first * sin)
    return turned.to(x.dtype)


class _Turned(torch.autograd.Function):
    """Rotation, whose gradient is the rotation back: torch's own goes through memory three times as often."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return x (b h t w) turned."""
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @once_differentiable  # a gradient of the gradient would be missing in silence
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (what the decorator makes of it)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        """Return the gradient of x for that of the output, (b h t w)."""
        cos, sin = ctx.saved_tensors
        return _turned(gradients[0], cos, -sin), None, None


def _is_start(documents: Tensor) -> Tensor:
    """Return where a document begins, (b t) bool: at the start of a row and wherever the number (b t) changes."""
    is_start = torch.ones_like(documents, dtype=torch.bool)
    is_start[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return is_start


def _positions_in_documents(documents: Tensor) -> Tensor:
    """Return positions (b t) that restart at 0 wherever a document begins."""
    index = torch.arange(documents.shape[1], device=documents.device)
    return index - torch.where(_is_start(documents), index, 0).cummax(dim=1).values


def _document_lengths(documents: Tensor) -> tuple[int, ...]:
    """Return how long each document of (b t) is, row after row; padding counts as one."""
    starts = _is_start(documents).flatten().nonzero().flatten()
    return tuple(starts.diff(append=starts.new_tensor([documents.numel()])).tolist())


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
