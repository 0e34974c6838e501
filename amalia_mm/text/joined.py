"""The decoder's weights as generation reads them: the maps that read the same input are one matrix.

They are rearranged where they lie, so that nothing is held twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from amalia_mm.lora import LoraLinear
from amalia_mm.text.decoder import Block
from amalia_mm.text.int8 import Int8Weight, quantised

Weight = Tensor | Int8Weight
"""(o d) where it is a tensor."""


@dataclass(frozen=True)
class JoinedBlock:
    """The weights of a layer."""

    first_norm: Tensor
    query_key_value: Weight
    """(h+2g)w by d: queries, keys, values."""
    output: Weight
    second_norm: Tensor
    gate_up: Weight
    """2i by d: gates, then what they gate."""
    down: Weight


def joined_block(block: Block) -> JoinedBlock:
    """Return the weights of a layer, whose parameters become views of the joined matrices.

    Low-rank changes are merged into matrices of their own where they are on, and not looked at where they are off.

    Raises:
        ValueError: A map is neither plain nor one with a low-rank change, or the change is on in some rows alone.
    """
    attention, feed_forward = block.self_attn, block.mlp
    return JoinedBlock(
        block.input_layernorm.weight.detach(),
        joined(attention.q_proj, attention.k_proj, attention.v_proj),
        joined(attention.o_proj),
        block.post_attention_layernorm.weight.detach(),
        joined(feed_forward.gate_proj, feed_forward.up_proj),
        joined(feed_forward.down_proj),
    )


def in_int8(block: JoinedBlock) -> JoinedBlock:
    """Return the layer with matrices of 8 bits, in a memory of their own."""
    names = ("query_key_value", "output", "gate_up", "down")
    return replace(block, **{name: quantised(getattr(block, name)) for name in names})


def joined(*maps: nn.Module) -> Tensor:
    """Return the weights of linear maps below one another, (o d); theirs become views of it, but for changes."""
    if any(map(is_merged, maps)):
        with torch.no_grad():
            return torch.cat([_changed(linear) for linear in maps])
    weights = [_weight(linear) for linear in maps]
    first = weights[0].detach()
    total, width = sum(len(weight) for weight in weights), first.shape[1]
    place = first.data_ptr()
    is_joined = True
    for weight in weights:
        is_joined &= weight.is_contiguous() and weight.data_ptr() == place
        place += weight.nbytes
    if (
        is_joined
        and first.untyped_storage().nbytes() >= (first.storage_offset() + total * width) * first.itemsize
    ):
        return first.as_strided((total, width), (width, 1))
    # Training may go on with these weights: they must not be inference tensors.
    with torch.inference_mode(False), torch.no_grad():
        whole = torch.cat([weight.detach() for weight in weights])
        for weight, part in zip(weights, whole.split([len(weight) for weight in weights]), strict=True):
            weight.data = part
    return whole


def is_merged(module: nn.Module) -> bool:
    """Return whether this is a linear map with a low-rank change that is on."""
    return isinstance(module, LoraLinear) and module.gate is not False


def _changed(linear: nn.Module) -> Tensor:
    if not isinstance(linear, LoraLinear) or not is_merged(linear):
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
