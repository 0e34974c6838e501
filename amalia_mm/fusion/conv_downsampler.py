"""Encoder frames to decoder positions by strided convolutions."""

from __future__ import annotations

import math
from fractions import Fraction

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.geometry import LengthStage
from amalia_mm.fusion.projectors import EmbedExpected, Projector, frames_per_token, only_frames
from amalia_mm.text.decoder import DecoderConfig


class ConvDownsampler(Projector):
    """Strided convolutions over time, then one map to the decoder (SLAM-LLM's Conv1d projector, in several steps).

    Every convolution has GELU behind it and finds zeros where a clip has ended. No frame is passed over, and as many
    tokens come out as strides go into the frames, a last one that is cut short among them.

    Args:
        encoder_width: Size of a frame.
        decoder: The decoder to speak to.
        frame_rate_hz: Frames a second.
        tokens_per_s: Audio tokens a second, which must divide the frames; None: 12.5, or as `strides` give.
        strides: Of each convolution; None: the prime factors of the frames in a token (4 gives two of 2).
        kernel: Odd width of the convolutions, in their own frames, at least 2 x stride - 1; None: that, and never 1.
        hidden: Channels of the convolutions; the decoder's width where None.
    """

    def __init__(
        self,
        encoder_width: int,
        decoder: DecoderConfig,
        frame_rate_hz: Fraction | None = None,
        tokens_per_s: float | None = None,
        strides: list[int] | None = None,
        kernel: int | None = None,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        given = None if strides is None else math.prod(strides)
        if strides is not None and (not strides or min(strides) < 1):
            raise ValueError(f"strides {strides} must be one or more numbers of at least 1")
        together = frames_per_token(frame_rate_hz, tokens_per_s, given)
        hidden = decoder.hidden_size if hidden is None else hidden
        self.norm = nn.LayerNorm(encoder_width)
        self.convolutions = nn.ModuleList()
        for number, stride in enumerate(strides or _prime_factors(together)):
            width = max(3, 2 * stride - 1) if kernel is None else kernel
            if width % 2 == 0 or width < 2 * stride - 1:
                raise ValueError(
                    f"kernel {width} must be odd and at least {2 * stride - 1}: with stride {stride} it would pass "
                    "over frames"
                )
            channels = hidden if number else encoder_width
            self.convolutions.append(nn.Conv1d(channels, hidden, width, stride=stride, padding=width // 2))
        self.contract = nn.Linear(hidden, decoder.hidden_size)

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """One for each convolution."""
        return tuple(_stage(conv) for conv in self._convs())

    def _convs(self) -> list[nn.Conv1d]:
        return [conv for conv in self.convolutions if isinstance(conv, nn.Conv1d)]

    def forward(self, features: Tensor, num_frames: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d); the embeddings of the decoder are not used."""
        hidden = self.norm(only_frames(features, num_frames))
        for conv in self._convs():
            # The norm gives its bias on padding, and a convolution would carry that into the last frames.
            hidden = rearrange(only_frames(hidden, num_frames), "k f e -> k e f")
            hidden = rearrange(F.gelu(conv(hidden)), "k e f -> k f e")
            num_frames = _stage(conv).lengths(num_frames)
        return self.contract(hidden)


def _stage(conv: nn.Conv1d) -> LengthStage:
    padding = conv.kernel_size[0] // 2
    return LengthStage(kernel=conv.kernel_size[0], stride=conv.stride[0], pad_left=padding, pad_right=padding)


def _prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number from the smallest on; of 1 that itself."""
    factors, factor = [], 2
    while number > 1:
        while number % factor == 0:
            factors.append(factor)
            number //= factor
        factor += 1
    return factors or [1]
