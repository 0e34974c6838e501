"""The decoder as generation runs it: fewer and larger products, no gradients, rows of any lengths without padding.

It computes what `Decoder.hidden` and `Decoder.logits` compute, up to rounding, with the decoder's own weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amalia_mm.lora import LoraLinear
from amalia_mm.text.decoder import Block, Decoder
from amalia_mm.text.int8 import Int8Weight, quantised
from amalia_mm.text.slots import Slots

MAX_ROWS_ONE_BY_ONE = 4
"""Where torch has no fast product of this type, so many rows go through the weights one by one; see `_is_slow`."""

Weight = Tensor | Int8Weight
"""(d o) where it is a tensor."""


@dataclass(frozen=True)
class FusedBlock:
    """The weights of a layer, those that read the same input in one matrix."""

    first_norm: Tensor
    query_key_value: Weight
    """d by (h+2g)w: queries, keys, values."""
    output: Weight
    second_norm: Tensor
    gate_up: Weight
    """d by 2i: gates, then what they gate."""
    down: Weight


@dataclass(frozen=True)
class Piece:
    """Positions of one row that are read together."""

    slot: int
    inputs: Tensor
    """(t) int64 ids or (t d) embeddings."""


@dataclass(frozen=True)
class _Turns:
    """The rotations of the positions being read, (n 1 w), for both halves of a head at once."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, cos: Tensor, sin: Tensor) -> _Turns:
        """Take both as (n w/2)."""
        return cls(torch.cat([cos, cos], dim=-1)[:, None], torch.cat([-sin, sin], dim=-1)[:, None])

    def turn(self, x: Tensor) -> None:
        """Turn (n h w) where it lies, computed in float32."""
        wide = x.float()
        swapped = wide.roll(wide.shape[-1] // 2, -1)
        wide.mul_(self.cos).addcmul_(swapped, self.sin)
        if wide is not x:
            x.copy_(wide)


class FusedDecoder:
    """Reads positions into slots and returns the logits of what follows.

    The decoder's weights are rearranged where they lie, a layer at a time: its parameters become views of the joined
    matrices, so that nothing is held twice, and what changes them in place is seen here. Where they are moved
    afterwards, as the next training step does, a new one must be made: `read` refuses. Low-rank changes are merged
    into matrices of their own where they are on, and not looked at where they are off.

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
        self._blocks = [_fused(block) for block in decoder.model.layers if isinstance(block, Block)]
        if int8:
            self._blocks = [_in_int8(block) for block in self._blocks]
        self._norm = decoder.model.norm.weight.detach()
        self._eps = torch.tensor(decoder.config.rms_norm_eps, device=self._norm.device)
        # A table that is also looked up in stays as it is.
        self._head = self._embeddings.t() if decoder.lm_head is None else _joined(decoder.lm_head)
        # Weak: with 8 bits, the decoder's own weights may go.
        self._places = [(weakref.ref(weight), weight.data_ptr()) for weight in decoder.parameters()]
        self._rotary = decoder.rotary
        self.dtype, self.device = self._embeddings.dtype, self._embeddings.device
        self._is_slow = _is_slow(self._embeddings)
        self._num_heads = decoder.config.num_attention_heads
        self._num_groups = decoder.config.num_key_value_heads
        self._width = decoder.config.head_width

    @torch.inference_mode()
    def read(self, pieces: Sequence[Piece], slots: Slots) -> Tensor:
        """Return the logits (n v) float32 after the last position of each of n pieces, which go into their slots.

        Raises:
            ValueError: A position beyond the decoder's, or the decoder's weights are elsewhere by now.
        """
        alive = ((weight(), place) for weight, place in self._places)
        if any(weight is not None and weight.data_ptr() != place for weight, place in alive):
            raise ValueError("the decoder was trained or moved after this was made of it: make a new one")
        x = torch.cat([self._embed(piece.inputs) for piece in pieces])
        lengths = [len(piece.inputs) for piece in pieces]
        starts = [slots.lengths[piece.slot] for piece in pieces]
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        turns = [self._rotary.between(*span, self.device) for span in zip(starts, ends, strict=True)]
        rotations = _Turns.of(torch.cat([cos for cos, _ in turns]), torch.cat([sin for _, sin in turns]))
        last = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        final = len(self._blocks) - 1
        for layer, (block, stored) in enumerate(zip(self._blocks, slots.layers, strict=True)):
            query, new = self._project(x, block, rotations)
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
            x = self._leave(x, torch.cat(mixed), block)
        for piece, end in zip(pieces, ends, strict=True):
            slots.lengths[piece.slot] = end
        return self._logits(x)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], slots: Slots) -> Tensor:
        """Return the logits (n v) float32 after one more token in each of the first n slots, all that run."""
        num_rows, lengths = len(tokens), slots.lengths
        x = self._embed(torch.tensor(tokens, device=self.device))
        end = max(lengths) + 1
        is_even = min(lengths) + 1 == end
        positions = torch.tensor(lengths, device=self.device)
        if is_even:
            cos, sin = self._rotary.between(end - 1, end, self.device)
        else:
            cos, sin = (each[:, 0, 0] for each in self._rotary.at(positions[:, None]))
        rotations = _Turns.of(cos, sin)
        mask: Tensor | None = None
        if not is_even:
            is_past = torch.arange(end, device=self.device) <= positions[:, None]
            mask = torch.zeros_like(is_past, dtype=self.dtype).masked_fill_(~is_past, -torch.inf)
            mask = mask[:, None, None]
        rows = torch.arange(num_rows, device=self.device)
        # Cut for all layers at once: on a small decoder every look at a tensor counts.
        keys, values = (part.unbind(0) for part in slots.stored[:, :num_rows, :, :end].chunk(2, dim=2))
        places = slots.stored[:, :num_rows, :, end - 1].unbind(0)
        for layer, block in enumerate(self._blocks):
            query, new = self._project(x, block, rotations)
            if is_even:
                places[layer].copy_(new)
            else:
                slots.layers[layer][rows, :, positions] = new
            # Heads of one group are queries of one key: no key or value is repeated.
            query = query.view(num_rows, self._num_groups, -1, self._width)
            mixed = F.scaled_dot_product_attention(query, keys[layer], values[layer], attn_mask=mask)
            x = self._leave(x, mixed.reshape(num_rows, -1), block)
        slots.lengths[:num_rows] = [length + 1 for length in lengths]
        return self._logits(x)

    def _embed(self, inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            return inputs.to(self.device, self.dtype)
        return F.embedding(inputs.to(self.device), self._embeddings)

    def _project(self, x: Tensor, block: FusedBlock, rotations: _Turns) -> tuple[Tensor, Tensor]:
        """Return queries (n h w) and what is stored (n 2g w), keys and queries turned."""
        joined = self._product(self._normed(x, block.first_norm), block.query_key_value)
        joined = joined.view(len(x), -1, self._width)
        num_turned = self._num_heads + self._num_groups
        rotations.turn(joined[:, :num_turned])
        return joined[:, : self._num_heads], joined[:, self._num_heads :]

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

    def _leave(self, x: Tensor, mixed: Tensor, block: FusedBlock) -> Tensor:
        """Return the layer's output (n d) from its input and what its attention mixed."""
        x = self._product(mixed, block.output, added=x)
        gates, values = self._product(self._normed(x, block.second_norm), block.gate_up).chunk(2, dim=-1)
        return self._product(F.silu(gates).mul_(values), block.down, added=x)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return (n d) divided by its root mean square, computed in float32.

        Not `F.rms_norm`: on a CPU that is eight small products, and a tenth of the time of a small decoder.
        """
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, length, length, value=1 / x.shape[-1]).rsqrt_()
        return (wide * scale).mul_(weight).to(x.dtype)

    def _logits(self, x: Tensor) -> Tensor:
        return self._product(self._normed(x, self._norm), self._head).float()

    def _product(self, x: Tensor, weight: Weight, added: Tensor | None = None) -> Tensor:
        """Return the product (n o) of x (n d) and a weight (d o), with what is to be added to it (n o)."""
        if isinstance(weight, Int8Weight):
            product = weight.product(x)
            return product if added is None else product.add_(added)
        if not self._is_slow:
            return torch.mm(x, weight) if added is None else torch.addmm(added, x, weight)
        if len(x) <= MAX_ROWS_ONE_BY_ONE:
            rows = [torch.mv(weight.t(), row) for row in x]
            product = torch.stack(rows) if len(rows) > 1 else rows[0][None]
            return product if added is None else product.add_(added)
        wide = torch.mm(x.float(), weight.float())
        return (wide if added is None else wide.add_(added)).to(x.dtype)


def _is_slow(weight: Tensor) -> bool:
    """Whether products of many rows in this type are slower than widening the weights first.

    Torch has fast ones in bfloat16 for processors with the instructions, and plain loops for the others.
    """
    if weight.device.type != "cpu" or weight.dtype == torch.float32:
        return False
    return not (torch.cpu._is_avx512_bf16_supported() and weight.dtype == torch.bfloat16)


def _fused(block: Block) -> FusedBlock:
    attention, feed_forward = block.self_attn, block.mlp
    return FusedBlock(
        block.input_layernorm.weight.detach(),
        _joined(attention.q_proj, attention.k_proj, attention.v_proj),
        _joined(attention.o_proj),
        block.post_attention_layernorm.weight.detach(),
        _joined(feed_forward.gate_proj, feed_forward.up_proj),
        _joined(feed_forward.down_proj),
    )


def _in_int8(block: FusedBlock) -> FusedBlock:
    names = ("query_key_value", "output", "gate_up", "down")
    return replace(block, **{name: quantised(getattr(block, name)) for name in names})


def _joined(*maps: nn.Module) -> Tensor:
    """Return the weights of linear maps side by side, (d o); theirs become views of it, but for changes that are on."""
    if any(isinstance(linear, LoraLinear) and linear.gate is not False for linear in maps):
        with torch.no_grad():
            return _side_by_side([_changed(linear) for linear in maps])
    weights = [_weight(linear) for linear in maps]
    lengths = [len(weight) for weight in weights]
    total, width = sum(lengths), weights[0].shape[1]
    first = weights[0].detach()
    stride = (width, 1) if _is_slow(first) else (1, total)
    starts = [first.storage_offset() + sum(lengths[:i]) * stride[0] for i in range(len(weights))]
    is_joined = all(
        weight.stride() == stride
        and weight.storage_offset() == start
        and weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        for weight, start in zip(weights, starts, strict=True)
    )
    if is_joined:
        return first.as_strided((width, total), stride[::-1])
    # Training may go on with these weights: they must not be inference tensors.
    with torch.inference_mode(False), torch.no_grad():
        joined = _side_by_side([weight.detach() for weight in weights])
        for weight, part in zip(weights, joined.split(lengths, dim=1), strict=True):
            weight.data = part.t()
    return joined


def _side_by_side(weights: list[Tensor]) -> Tensor:
    """Return weights (o d) as one (d o), in memory as a product of one row reads them fastest.

    That is inputs before outputs in float32, and the other way round where rows go through the weights one by one.
    """
    if _is_slow(weights[0]):
        return torch.cat(weights).t()
    return torch.cat([weight.t() for weight in weights], dim=1)


def _changed(linear: nn.Module) -> Tensor:
    if not isinstance(linear, LoraLinear) or linear.gate is False:
        return _weight(linear)
    if linear.gate is not True:
        raise ValueError(
            "a low-rank change that is on in some rows alone: what is heard and what is read are written apart"
        )
    return linear.merged(linear.weight, linear.lora_a, linear.lora_b)


def _weight(linear: nn.Module) -> Tensor:
    if type(linear) not in (nn.Linear, LoraLinear):
        raise ValueError(f"{type(linear).__name__} where generation needs a plain linear map: merge it first")
    assert isinstance(linear, nn.Linear)
    return linear.weight
