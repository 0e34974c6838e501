"""A layer of the encoder that is trained here: attention, convolution, feed-forward; (k f e) to (k f e)."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class EncoderLayer(nn.Module):
    """One pre-norm transformer layer without causality: (k f e) to (k f e)."""

    def __init__(
        self, width: int, num_heads: int, feed_forward: int, dropout: float, kernel: int | None
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.convolution = None if kernel is None else ConvolutionModule(width, kernel)
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, feed_forward)
        self.contract = nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, attended: Tensor, valid: Tensor) -> Tensor:
        """Return the next hidden frames.

        Args:
            hidden: (k f e).
            attended: (k 1 1 f) bool, True on the frames to attend to.
            valid: (k f) bool, True on the frames of a clip.
        """
        qkv = self.qkv(self.attention_norm(hidden))
        query, key, value = rearrange(qkv, "k f (three h e) -> three k h f e", three=3, h=self.num_heads)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        hidden = hidden + self.dropout(self.attention_out(rearrange(mixed, "k h f e -> k f (h e)")))
        if self.convolution is not None:
            hidden = hidden + self.dropout(self.convolution(hidden, valid))
        expanded = F.gelu(self.expand(self.feed_forward_norm(hidden)))
        return hidden + self.dropout(self.contract(expanded))


class ConvolutionModule(nn.Module):
    """The Conformer's convolution (Gulati et al. 2020, 2.2), with a LayerNorm for the BatchNorm.

    A LayerNorm sees one frame: neither padding nor the other clips of the batch can reach it.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.depthwise_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return (k f e) for hidden (k f e); `valid` (k f) bool is True on the frames of a clip."""
        gated = F.glu(self.gate(self.norm(hidden)), dim=-1) * valid[..., None]
        mixed = rearrange(self.depthwise(rearrange(gated, "k f e -> k e f")), "k e f -> k f e")
        return self.out(F.silu(self.depthwise_norm(mixed)))
