"""A layer of the encoder that is trained here: attention, convolution, feed-forward; (k f e) to (k f e)."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.block_causal import block_convolution


class EncoderLayer(nn.Module):
    """One pre-norm transformer layer: (k f e) to (k f e); what a frame attends to is the caller's."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        feed_forward: int,
        dropout: float,
        kernel: int | None,
        block_frames: int | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.convolution = None if kernel is None else ConvolutionModule(width, kernel, block_frames)
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
            attended: (k 1 1 f) or (k 1 f f) bool, True on the frames to attend to.
            valid: (k f) bool, True on the frames of a clip.
        """
        query, key, value = self.queries_keys_values(hidden)
        hidden = hidden + self.dropout(self.attend(query, key, value, attended))
        if self.convolution is not None:
            hidden = hidden + self.dropout(self.convolution(hidden, valid))
        return hidden + self.dropout(self.feed(hidden))

    def queries_keys_values(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three (k h f e) of hidden (k f e)."""
        qkv = self.qkv(self.attention_norm(hidden))
        query, key, value = rearrange(qkv, "k f (three h e) -> three k h f e", three=3, h=self.num_heads)
        return query, key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, attended: Tensor | None = None) -> Tensor:
        """Return what attention adds (k f e)."""
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        return self.attention_out(rearrange(mixed, "k h f e -> k f (h e)"))

    def feed(self, hidden: Tensor) -> Tensor:
        """Return what the feed-forward part adds (k f e)."""
        return self.contract(F.gelu(self.expand(self.feed_forward_norm(hidden))))


class ConvolutionModule(nn.Module):
    """The Conformer's convolution (Gulati et al. 2020, 2.2), with a LayerNorm for the BatchNorm.

    A LayerNorm sees one frame: neither padding nor the other clips of the batch can reach it. With `block_frames` a
    frame is not reached by later blocks either.
    """

    def __init__(self, width: int, kernel: int, block_frames: int | None = None) -> None:
        super().__init__()
        self.block_frames = block_frames
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.depthwise_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return (k f e) for hidden (k f e); `valid` (k f) bool is True on the frames of a clip."""
        gated = self.gated(hidden) * valid[:, None]
        if self.block_frames is None:
            return self.finish(self.depthwise(gated))
        return self.finish(block_convolution(self.depthwise, gated, self.block_frames))

    def gated(self, hidden: Tensor) -> Tensor:
        """Return what is convolved, (k e f), of hidden (k f e)."""
        return rearrange(F.glu(self.gate(self.norm(hidden)), dim=-1), "k f e -> k e f")

    def finish(self, mixed: Tensor) -> Tensor:
        """Return (k f e) for what the depthwise convolution made, (k e f)."""
        return self.out(F.silu(self.depthwise_norm(rearrange(mixed, "k e f -> k f e"))))
