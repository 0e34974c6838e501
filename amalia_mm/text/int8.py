"""Weights in 8 bits, one scale an output: half the memory of bfloat16, quantised by torchao.

torchao makes the numbers; the products of few rows are torch's own kernel for them, which is what torchao compiles to.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amalia_mm.errors import InputError

MAX_ROWS_AT_ONCE = 4
"""More rows go through weights that are widened first: the kernel is made for few."""


@dataclass(frozen=True)
class Int8Weight:
    """A linear map of d inputs and o outputs."""

    numbers: Tensor
    """(o d) int8."""
    scales: Tensor
    """(o) bfloat16."""

    def product(self, x: Tensor) -> Tensor:
        """Return the product (n o) of x (n d), in the type of x; of few rows with x rounded to bfloat16."""
        if len(x) <= MAX_ROWS_AT_ONCE:
            return torch.ops.aten._weight_int8pack_mm(x.bfloat16(), self.numbers, self.scales).to(x.dtype)
        return (torch.mm(x.float(), self.numbers.t().float()) * self.scales.float()).to(x.dtype)


def quantised(weight: Tensor) -> Int8Weight:
    """Return a weight (d o) in 8 bits, in a memory of its own.

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
    linear = nn.Linear(weight.shape[0], weight.shape[1], bias=False, device="meta")
    linear.weight = nn.Parameter(weight.t().bfloat16().contiguous(), requires_grad=False)
    torchao.quantize_(linear, torchao.Int8WeightOnlyConfig(version=2))
    numbers, scales = getattr(linear.weight, "qdata"), getattr(linear.weight, "scale")  # noqa: B009
    return Int8Weight(numbers.contiguous(), scales.flatten().bfloat16())
