"""Weights in 8 bits, one scale an output: half the memory of bfloat16, quantised by torchao.

torchao makes the numbers. On a processor what is multiplied with them is not rounded: a step of few rows reads them as
they are (`few_rows.py`), and more positions go through weights that are widened first.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amalia_mm.errors import InputError


@dataclass(frozen=True)
class Int8Weight:
    """A linear map of d inputs and o outputs."""

    numbers: Tensor
    """(o d) int8."""
    scales: Tensor
    """(o) bfloat16."""

    def product(self, x: Tensor) -> Tensor:
        """Return the product (n o) of x (n d), in the type of x."""
        # Every number of 8 bits is one of bfloat16, but not the sum of many. In float16 it would overflow.
        kind = torch.bfloat16 if x.dtype == torch.bfloat16 and x.device.type != "cpu" else torch.float32
        return (torch.mm(x.to(kind), self.numbers.t().to(kind)) * self.scales.to(kind)).to(x.dtype)


def quantised(weight: Tensor) -> Int8Weight:
    """Return a weight (o d) in 8 bits, in a memory of its own.

    Raises:
        InputError: torchao is not installed.
    """
    try:
        logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # it warns of torchao's own imports
        torchao = importlib.import_module("torchao.quantization")
    except ImportError as error:
        raise InputError(
            "engine",
            field="int8",
            found="no package torchao",
            wanted="torchao, which quantises weights",
            remedy="install it: pip install 'amalia-mm[int8]', or leave int8 out",
        ) from error
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight.bfloat16().contiguous(), requires_grad=False)
    torchao.quantize_(linear, torchao.Int8WeightOnlyConfig(version=2))
    numbers, scales = getattr(linear.weight, "qdata"), getattr(linear.weight, "scale")  # noqa: B009
    return Int8Weight(numbers.contiguous(), scales.flatten().bfloat16())
