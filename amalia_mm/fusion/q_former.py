"""Encoder frames to decoder positions by a few queries that look into one window of frames after the other.

The layers are torch's: a post-norm `TransformerDecoderLayer` is a layer of BLIP-2's Q-Former, number for number. The
Q-Former of transformers would bring its modelling code into every start, and a model folder would hang on its version;
it stands in the tests, as the truth that these are measured by.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from amalia_mm.audio.geometry import LengthStage, is_frame
from amalia_mm.fusion.projectors import EmbedExpected, Projector, only_frames
from amalia_mm.text.decoder import DecoderConfig


class WindowQFormer(Projector):
    """A window of frames becomes a few tokens: learned queries attend to each other and to its frames.

    Granite-speech's projector (Saon et al. 2025, section 2.2): 15 frames at 50 a second give 3 tokens, 10 a second. A
    last window that is cut short gives as many as the others, and nothing attends to its padding.

    Args:
        encoder_width: Size of a frame.
        decoder: The decoder to speak to.
        frame_rate_hz: Frames a second; `window` and `queries` say what becomes of them.
        window: Frames that are looked at together.
        queries: Tokens that become of them.
        width: Size of the queries; the encoder's where None.
        num_layers: Of the Q-Former.
        num_heads: Attention heads, which must divide `width`.
        feed_forward: Width inside the feed-forward layers; four times `width` where None.
        dropout: Of attention and layers, in training.
    """

    def __init__(
        self,
        encoder_width: int,
        decoder: DecoderConfig,
        frame_rate_hz: Fraction | None = None,
        window: int = 15,
        queries: int = 3,
        width: int | None = None,
        num_layers: int = 2,
        num_heads: int = 16,
        feed_forward: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = encoder_width if width is None else width
        if min(window, queries, num_layers, num_heads) < 1 or width % num_heads:
            raise ValueError(
                f"window {window}, queries {queries} and num_layers {num_layers} must be at least 1, and width {width} "
                f"a multiple of num_heads {num_heads}"
            )
        self.window, self.num_queries = window, queries
        self.enter = nn.Linear(encoder_width, width)
        self.queries = nn.Parameter(torch.empty(queries, width))
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width,
                num_heads,
                4 * width if feed_forward is None else feed_forward,
                dropout,
                activation=F.gelu,
                batch_first=True,
            )
            for _ in range(num_layers)
        )
        self.leave = nn.Linear(width, decoder.hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the queries from a normal distribution, as Granite's are; the layers reset themselves."""
        nn.init.normal_(self.queries)

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """As many tokens as queries for each window."""
        return (LengthStage(kernel=self.window, stride=self.window, emits=self.num_queries, partial="pad"),)

    def forward(self, features: Tensor, num_frames: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d); the embeddings of the decoder are not used."""
        missing = -features.shape[1] % self.window
        frames = F.pad(self.enter(only_frames(features, num_frames)), (0, 0, 0, missing))
        is_padding = ~is_frame(num_frames, frames.shape[1])
        frames = rearrange(frames, "k (w f) e -> (k w) f e", f=self.window)
        is_padding = rearrange(is_padding, "k (w f) -> (k w) f", f=self.window)
        # Windows without a frame attend to anything rather than to nothing, which would be NaN.
        is_padding = is_padding & ~is_padding.all(dim=1, keepdim=True)
        hidden = repeat(self.norm(self.queries), "q e -> n q e", n=len(frames))
        for layer in self.layers:
            hidden = layer(hidden, frames, memory_key_padding_mask=is_padding)
        return rearrange(self.leave(hidden), "(k w) q d -> k (w q) d", k=len(features))
