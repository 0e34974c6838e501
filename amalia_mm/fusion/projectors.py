"""From encoder frames to decoder positions; every projector has one signature.

A projector sees the decoder only as a configuration and a function that mixes embeddings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.geometry import LengthStage
from amalia_mm.text.decoder import DecoderConfig

EmbedExpected = Callable[[Tensor, Tensor], Tensor]
"""`Decoder.embed_expected`: ids (... k) and weights (... k) to the weighted sum of embeddings (... d)."""


class Projector(nn.Module, ABC):
    """Encoder frames (k f e) to decoder embeddings (k a d), built as `projector(encoder_width, decoder)`."""

    @property
    @abstractmethod
    def stages(self) -> tuple[LengthStage, ...]:
        """How the number of frames becomes the number of audio tokens."""

    @abstractmethod
    def forward(self, features: Tensor, num_frames: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d).

        Args:
            features: (k f e), right-padded.
            num_frames: (k) int64.
            embed_expected: The decoder's function that mixes its embeddings.
        """

    def num_audio_tokens(self, num_frames: Tensor) -> Tensor:
        """Return how many of the embeddings of each item count, (k) int64."""
        for stage in self.stages:
            num_frames = stage.lengths(num_frames)
        return num_frames


class StackMLP(Projector):
    """Stacks neighbouring frames and maps them through one hidden layer (SLAM-LLM, Ma et al. 2024).

    A last stack that is cut short is completed with zeros.

    Args:
        encoder_width: Size of a frame.
        decoder: The decoder to speak to.
        stack: Frames that become one audio token.
        hidden: Width of the hidden layer; the decoder's width where None.
    """

    def __init__(
        self, encoder_width: int, decoder: DecoderConfig, stack: int = 3, hidden: int | None = None
    ) -> None:
        super().__init__()
        hidden = decoder.hidden_size if hidden is None else hidden
        self.stack = stack
        self.norm = nn.LayerNorm(stack * encoder_width)
        self.expand = nn.Linear(stack * encoder_width, hidden)
        self.contract = nn.Linear(hidden, decoder.hidden_size)

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """One token for each stack."""
        return (LengthStage(kernel=self.stack, stride=self.stack, partial="pad"),)

    def forward(self, features: Tensor, num_frames: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d); the embeddings of the decoder are not used."""
        valid = torch.arange(features.shape[1], device=features.device) < num_frames[:, None]
        features = features.masked_fill(~valid[..., None], 0.0)
        features = F.pad(features, (0, 0, 0, -features.shape[1] % self.stack))
        stacked = rearrange(features, "k (a s) e -> k a (s e)", s=self.stack)
        return self.contract(F.gelu(self.expand(self.norm(stacked))))


class CtcPosterior(Projector):
    """Each frame becomes the mean of the decoder's own embeddings under the frame's CTC posterior.

    The decoder hears in its own vocabulary: it can learn to read such paths from text alone. The `top_k`
    likeliest tokens are mixed by `embed_expected`; the rest of the mass, the blank's and that of the other
    tokens, goes to one learned blank vector.

    Args:
        encoder_width: Size of a frame.
        decoder: The decoder to speak to; the CTC classes are its tokens and the blank, which is the last.
        top_k: Tokens that are mixed.
    """

    def __init__(self, encoder_width: int, decoder: DecoderConfig, top_k: int = 8) -> None:
        super().__init__()
        if not 1 <= top_k <= decoder.vocab_size:
            raise ValueError(
                f"top_k {top_k} is not between 1 and the {decoder.vocab_size} tokens of the decoder"
            )
        self.top_k = top_k
        self.blank_id = decoder.vocab_size
        self.blank_std = decoder.initializer_range
        self.head = nn.Linear(encoder_width, decoder.vocab_size + 1)
        self.blank = nn.Parameter(torch.empty(decoder.hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the blank vector as the decoder draws its embeddings; the head resets itself."""
        nn.init.normal_(self.blank, std=self.blank_std)

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """None: a frame is an audio token."""
        return ()

    def ctc_logits(self, features: Tensor) -> Tensor:
        """Return (k f v+1) for the features (k f e); the blank is the last class."""
        return self.head(features)

    def mix(self, logits: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d) for the CTC logits (k a v+1)."""
        posterior = logits.float().softmax(dim=-1)
        weights, ids = posterior[..., : self.blank_id].topk(self.top_k, dim=-1)
        rest = 1.0 - weights.sum(dim=-1, keepdim=True)
        return embed_expected(ids, weights) + rest * self.blank

    def forward(self, features: Tensor, num_frames: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d), one a frame."""
        return self.mix(self.ctc_logits(features), embed_expected)

    def embed_path(self, paths: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """Return embeddings (k a d) of CTC paths (k a) int64: what a posterior certain of them would give.

        Args:
            paths: Token ids, the blank being `vocab_size`.
            embed: `Decoder.embed`.
        """
        is_blank = paths == self.blank_id
        embeddings = embed(paths.masked_fill(is_blank, 0))
        return torch.where(is_blank[..., None], self.blank.to(embeddings.dtype), embeddings)
