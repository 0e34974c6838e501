"""What a layer computes of any number of positions, on any device: fewer and larger products than the decoder's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from amalia_mm.text.int8 import Int8Weight
from amalia_mm.text.joined import JoinedBlock, Weight
from amalia_mm.text.rope import Turns

MAX_ROWS_ONE_BY_ONE = 4
"""Where torch has no fast product of this type, so many rows go through the weights one by one; see `_is_slow`."""


class ManyRows:
    """The layers of a decoder and its output, for positions (n d) in the type of the weights.

    Args:
        blocks: The weights of the layers.
        norm: (d), before the output.
        head: (v d), the output.
        eps: Of the norms.
        head_width: Of attention.
        num_turned: Heads that are rotated: queries and keys.
    """

    def __init__(
        self,
        blocks: Sequence[JoinedBlock],
        norm: Tensor,
        head: Tensor,
        eps: float,
        head_width: int,
        num_turned: int,
    ) -> None:
        self._blocks = blocks
        self._norm, self._head = norm, head
        self._eps = torch.tensor(eps, device=norm.device)
        self._head_width = head_width
        self._num_turned = num_turned
        self._is_slow = _is_slow(head)

    def before_attention(self, x: Tensor, layer: int, turns: Turns) -> Tensor:
        """Return queries, keys and values (n h+2g w) of (n d), keys and queries turned."""
        block = self._blocks[layer]
        made = self._product(self._normed(x, block.first_norm), block.query_key_value)
        made = made.view(len(x), -1, self._head_width)
        turns.turn(made[:, : self._num_turned])
        return made

    def after_attention(self, x: Tensor, mixed: Tensor, layer: int) -> Tensor:
        """Return the layer's output (n d) from its input (n d) and what its attention mixed (n hw)."""
        block = self._blocks[layer]
        x = self._product(mixed, block.output, added=x)
        gates, values = self._product(self._normed(x, block.second_norm), block.gate_up).chunk(2, dim=-1)
        return self._product(F.silu(gates).mul_(values), block.down, added=x)

    def logits(self, x: Tensor) -> Tensor:
        """Return (n v) float32 of what the last layer left (n d)."""
        return self._product(self._normed(x, self._norm), self._head).float()

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return (n d) divided by its root mean square, computed in float32.

        Not `F.rms_norm`: on a CPU that is eight small products, and a tenth of the time of a small decoder.
        """
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, length, length, value=1 / x.shape[-1]).rsqrt_()
        return (wide * scale).mul_(weight).to(x.dtype)

    def _product(self, x: Tensor, weight: Weight, added: Tensor | None = None) -> Tensor:
        """Return the product (n o) of x (n d) and a weight (o d), with what is to be added to it (n o)."""
        if isinstance(weight, Int8Weight):
            product = weight.product(x)
            return product if added is None else product.add_(added)
        if not self._is_slow:
            return torch.mm(x, weight.t()) if added is None else torch.addmm(added, x, weight.t())
        if len(x) <= MAX_ROWS_ONE_BY_ONE:
            rows = [torch.mv(weight, row) for row in x]
            product = torch.stack(rows) if len(rows) > 1 else rows[0][None]
            return product if added is None else product.add_(added)
        wide = torch.mm(x.float(), weight.t().float())
        return (wide if added is None else wide.add_(added)).to(x.dtype)


def _is_slow(weight: Tensor) -> bool:
    """Whether products of many rows in this type are slower than widening the weights first.

    Torch has fast ones in bfloat16 for processors with the instructions, and plain loops for the others.
    """
    if weight.device.type != "cpu" or weight.dtype == torch.float32:
        return False
    return not (torch.cpu._is_avx512_bf16_supported() and weight.dtype == torch.bfloat16)
