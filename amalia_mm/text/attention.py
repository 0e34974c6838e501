"""Attention of the decoder, and the masks of packed and padded rows.

What all layers share about the positions being read (rotations, mask, cache) is made once, as a `Reading`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from amalia_mm.text.cache import KVCache
from amalia_mm.text.rope import Rotary


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
