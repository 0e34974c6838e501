"""The block that encoder and decoder of the voice are made of: convolution over time, then over channels.

ConvNeXt's (Liu et al. 2022, arXiv 2201.03545) in one dimension, as in Vocos; what a row's condition says shifts, scales
and gates it (Peebles and Xie 2023, arXiv 2212.09748, "adaLN-Zero"). A block sees `kernel` // 2 positions to either
side: a stack of them reaches no further than their sum, so speech can be made piece by piece.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Block(nn.Module):
    """(b f d) to (b f d), zero on padding.

    Args:
        width: Of the positions.
        kernel: Positions that a convolution sees, odd.
        expansion: How many times as wide a position is inside.
        condition: Width of what modulates a row; 0 is none.
        dropout: On what a block adds.
        dilation: How far apart the positions of the convolution are.
    """

    def __init__(
        self,
        width: int,
        kernel: int,
        expansion: int,
        condition: int = 0,
        dropout: float = 0.0,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} has no middle: it must be odd")
        self.reach = dilation * (kernel // 2)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=self.reach, groups=width, dilation=dilation)
        self.norm = nn.LayerNorm(width, elementwise_affine=condition == 0)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)
        self.modulate = nn.Linear(condition, 3 * width) if condition else None
        if self.modulate is not None:
            # Each block begins as nothing but a bias: rows differ only once that is learned.
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def forward(self, hidden: Tensor, valid: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the next positions.

        Args:
            hidden: (b f d), zero where `valid` is False.
            valid: (b f 1) in the type of the positions, 1 inside of a row and 0 on padding.
            condition: (b c), where the block was built for one.
        """
        changed = rearrange(self.depthwise(rearrange(hidden, "b f d -> b d f")), "b d f -> b f d")
        changed = self.norm(changed)
        gate: Tensor | float = 1.0
        if self.modulate is not None and condition is not None:
            shift, scale, gate = self.modulate(F.silu(condition))[:, None].chunk(3, dim=-1)
            changed, gate = changed * (1 + scale) + shift, 1 + gate
        changed = self.contract(F.gelu(self.expand(changed)))
        return (hidden + gate * self.dropout(changed)) * valid


class Stack(nn.Module):
    """Blocks one after the other; arguments as `Block`, dilated by 1, `growth`, 1, `growth`, ... in turn."""

    def __init__(
        self,
        num_blocks: int,
        width: int,
        kernel: int,
        expansion: int,
        condition: int = 0,
        dropout: float = 0.0,
        growth: int = 1,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, kernel, expansion, condition, dropout, growth if number % 2 else 1)
            for number in range(num_blocks)
        )

    @property
    def reach(self) -> int:
        """How many positions to either side an output depends on."""
        return sum(block.reach for block in self.blocks if isinstance(block, Block))

    def forward(self, hidden: Tensor, valid: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return (b f d) of (b f d); `valid` (b f) bool, `condition` (b c)."""
        inside = valid[:, :, None].to(hidden.dtype)
        hidden = hidden * inside
        for block in self.blocks:
            hidden = block(hidden, inside, condition)
        return hidden


def fourier_features(value: Tensor, num_waves: int) -> Tensor:
    """Return (... 2 num_waves): sines and cosines of a number, each wave half as long as the one before."""
    waves = torch.pi * 2.0 ** torch.arange(num_waves, device=value.device)
    angle = value.float()[..., None] * waves
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
