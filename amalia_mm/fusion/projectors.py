"""From encoder frames to decoder positions; every projector has one signature.

A projector sees the decoder only as a configuration and a function that mixes embeddings. Convolutions
and the windowed Q-Former have files of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry, LengthStage, is_frame, rate_hz
from amalia_mm.batch import BLANK
from amalia_mm.errors import InputError
from amalia_mm.text.ctc_vocabulary import CtcClasses, CtcVocabulary, ctc_vocabulary, read_ctc_vocabulary
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.units import SAMPLE_RATE_HZ

TOKENS_PER_S = 12.5
"""Audio tokens a second, unless told otherwise: as good as 50 for transcription and better for questions, while 6.25
costs a point of word errors outside English (Voxtral, Liu et al. 2025, section 5)."""

EmbedExpected = Callable[[Tensor, Tensor], Tensor]
"""`Decoder.embed_expected`: ids (... k) and weights (... k) to the weighted sum of embeddings (... d)."""


class Projector(nn.Module, ABC):
    """Encoder frames (k f e) to decoder embeddings (k a d).

    Built as `projector(encoder_width, decoder, frame_rate_hz)`: the size of a frame, the decoder to speak to, and how
    many frames there are in a second, which `projector_between` takes from the encoder.
    """

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


BuildProjector = Callable[[int, DecoderConfig, Fraction], Projector]


def projector_between(encoder: AudioEncoder, build: BuildProjector, decoder: DecoderConfig) -> Projector:
    """Return the projector that speaks to a decoder of what an encoder hears."""
    return build(encoder.width, decoder, rate_hz(SAMPLE_RATE_HZ, encoder.stages))


def geometry_between(encoder: AudioEncoder, projector: Projector) -> AudioGeometry:
    """Return how many decoder positions a waveform takes through both."""
    stages = (*encoder.stages, *projector.stages)
    return AudioGeometry(SAMPLE_RATE_HZ, encoder.pad_to_samples, stages, max_samples=encoder.max_samples)


def frames_per_token(frame_rate_hz: Fraction | None, tokens_per_s: float | None, given: int | None) -> int:
    """Return how many frames become one audio token.

    Args:
        frame_rate_hz: Frames a second; None where nobody knows.
        tokens_per_s: The wanted rate; None: `TOKENS_PER_S`, unless the number of frames is given.
        given: The number of frames, or None for what the rate asks for.

    Raises:
        InputError: The frames do not divide into that many tokens, or the two disagree.
    """
    if tokens_per_s is None and given is not None:
        return given
    if frame_rate_hz is None:
        found = "an encoder whose frames a second are not known"
        raise _rate_error(found, "its frame_rate_hz", "give that, or the number of frames in a token")
    wanted = TOKENS_PER_S if tokens_per_s is None else tokens_per_s
    ratio = frame_rate_hz / Fraction(str(wanted)) if wanted > 0 else Fraction(0)
    rate = f"{float(frame_rate_hz):g} frames a second"
    if ratio.denominator != 1 or ratio < 1:
        below = max(int(ratio), 1)
        near = " or ".join(f"{float(frame_rate_hz / n):g}" for n in (below, below + 1))
        raise _rate_error(f"{wanted:g} for {rate}", "a rate that divides it", f"set it to {near}")
    if given is not None and given != ratio:
        found = f"{wanted:g} for {rate}, and {given} frames in a token"
        raise _rate_error(found, f"{ratio} frames in a token", "leave one of the two out")
    return int(ratio)


def _rate_error(found: str, wanted: str, remedy: str) -> InputError:
    return InputError("projector", field="tokens_per_s", found=found, wanted=wanted, remedy=remedy)


def only_frames(features: Tensor, num_frames: Tensor) -> Tensor:
    """Return features (k f e) with zeros on the padding."""
    return features.masked_fill(~is_frame(num_frames, features.shape[1])[..., None], 0.0)


class StackMLP(Projector):
    """Stacks neighbouring frames and maps them through one hidden layer (SLAM-ASR, Ma et al. 2024; Voxtral).

    A last stack that is cut short is completed with zeros.

    Args:
        encoder_width: Size of a frame.
        decoder: The decoder to speak to.
        frame_rate_hz: Frames a second.
        tokens_per_s: Audio tokens a second, which must divide the frames; None: 12.5, or as `stack` gives.
        stack: Frames that become one audio token; None: as many as `tokens_per_s` asks for.
        hidden: Width of the hidden layer; the decoder's width where None.
        activation: Of the hidden layer: GELU as Voxtral's, or ReLU as SLAM-ASR's.
        norm: Whether a stack is normalised before it is mapped; SLAM-ASR and Voxtral do not.
    """

    def __init__(
        self,
        encoder_width: int,
        decoder: DecoderConfig,
        frame_rate_hz: Fraction | None = None,
        tokens_per_s: float | None = None,
        stack: int | None = None,
        hidden: int | None = None,
        activation: Literal["gelu", "relu"] = "gelu",
        norm: bool = True,
    ) -> None:
        super().__init__()
        hidden = decoder.hidden_size if hidden is None else hidden
        self.stack = frames_per_token(frame_rate_hz, tokens_per_s, stack)
        if self.stack < 1 or hidden < 1:
            raise ValueError(f"stack {self.stack} and hidden {hidden} must be at least 1")
        self.norm = nn.LayerNorm(self.stack * encoder_width) if norm else nn.Identity()
        self.expand = nn.Linear(self.stack * encoder_width, hidden)
        self.activation = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.contract = nn.Linear(hidden, decoder.hidden_size)

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """One token for each stack."""
        return (LengthStage(kernel=self.stack, stride=self.stack, partial="pad"),)

    def forward(self, features: Tensor, num_frames: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d); the embeddings of the decoder are not used."""
        features = only_frames(features, num_frames)
        features = F.pad(features, (0, 0, 0, -features.shape[1] % self.stack))
        stacked = rearrange(features, "k (a s) e -> k a (s e)", s=self.stack)
        return self.contract(self.activation(self.expand(self.norm(stacked))))


class CtcPosterior(Projector):
    """Each frame becomes the mean of the decoder's own embeddings under the frame's CTC posterior.

    The decoder hears in its own vocabulary: it can learn to read such paths from text alone. The `top_k`
    likeliest tokens are mixed by `embed_expected`; the rest of the mass, the blank's and that of the other
    tokens, goes to one learned blank vector.

    Args:
        encoder_width: Size of a frame.
        decoder: The decoder to speak to.
        frame_rate_hz: Frames a second; a frame is an audio token, however many there are.
        top_k: Tokens that are mixed.
        vocabulary: The file of a CTC vocabulary of its own (`amalia ctc-vocabulary`), or its entries with their
            tokens, as a model folder keeps them: the classes are these. None: all of the decoder's tokens. The blank
            is one class more, the last.
    """

    def __init__(
        self,
        encoder_width: int,
        decoder: DecoderConfig,
        frame_rate_hz: Fraction | None = None,
        top_k: int = 8,
        vocabulary: str | dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = _vocabulary(vocabulary, decoder)
        self.blank_id = decoder.vocab_size if self.vocabulary is None else len(self.vocabulary.tokens)
        if not 1 <= top_k <= self.blank_id:
            whose = "decoder" if self.vocabulary is None else "CTC vocabulary"
            raise ValueError(f"top_k {top_k} is not between 1 and the {self.blank_id} tokens of the {whose}")
        self.top_k = top_k
        self.blank_std = decoder.initializer_range
        self.head = nn.Linear(encoder_width, self.blank_id + 1)
        self.blank = nn.Parameter(torch.empty(decoder.hidden_size))
        if self.vocabulary is not None:
            self.register_buffer("token_ids", torch.empty(self.blank_id, dtype=torch.int64), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the blank vector as the decoder draws its embeddings; the head resets itself."""
        nn.init.normal_(self.blank, std=self.blank_std)
        if self.vocabulary is not None:
            self.get_buffer("token_ids").copy_(torch.tensor(self.vocabulary.token_ids, device="cpu"))

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """None: a frame is an audio token."""
        return ()

    def ctc_logits(self, features: Tensor) -> Tensor:
        """Return (k f v+1) for the features (k f e), v being the classes; the blank is the last one more."""
        return self.head(features)

    def log_probs(self, features: Tensor, classes: CtcClasses) -> Tensor:
        """Return log p (k f v+1) of what the head's classes write in the features (k f e), the blank last.

        A decoder's spare rows, which stand for no token, have no share in it.
        """
        return without_spare(self.ctc_logits(features).float(), classes).log_softmax(dim=-1)

    def mix(self, logits: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d) for the CTC logits (k a v+1)."""
        posterior = logits.float().softmax(dim=-1)
        weights, classes = posterior[..., : self.blank_id].topk(self.top_k, dim=-1)
        rest = 1.0 - weights.sum(dim=-1, keepdim=True)
        return embed_expected(self._tokens(classes), weights) + rest * self.blank

    def forward(self, features: Tensor, num_frames: Tensor, embed_expected: EmbedExpected) -> Tensor:
        """Return embeddings (k a d), one a frame."""
        return self.mix(self.ctc_logits(features), embed_expected)

    def embed_path(self, paths: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """Return embeddings (k a d) of CTC paths (k a) int64: what a posterior certain of them would give.

        Args:
            paths: Classes, and `BLANK`.
            embed: `Decoder.embed`.
        """
        is_blank = paths == BLANK
        embeddings = embed(self._tokens(paths.masked_fill(is_blank, 0)))
        return torch.where(is_blank[..., None], self.blank.to(embeddings.dtype), embeddings)

    def _tokens(self, classes: Tensor) -> Tensor:
        """Return the decoder's tokens of classes."""
        return classes if self.vocabulary is None else self.get_buffer("token_ids")[classes]


def without_spare(logits: Tensor, classes: CtcClasses) -> Tensor:
    """Return logits (... v+1), the blank last, without the rows that stand for none of the classes."""
    blank = logits.shape[-1] - 1
    if classes.blank == blank:
        return logits
    return torch.cat([logits[..., : classes.blank], logits[..., blank:]], dim=-1)


def _vocabulary(given: str | dict[str, int] | None, decoder: DecoderConfig) -> CtcVocabulary | None:
    """Return the CTC vocabulary of a file or of a configuration; `InputError` where the decoder lacks its tokens."""
    if given is None:
        return None
    where = given if isinstance(given, str) else "projector"
    found = read_ctc_vocabulary(Path(given)) if isinstance(given, str) else ctc_vocabulary(given, where)
    last = max(found.token_ids)
    if last >= decoder.vocab_size:
        raise InputError(
            where,
            field="tokens",
            found=f"token {last}",
            wanted=f"tokens below {decoder.vocab_size}, as the decoder has",
            remedy="give the vocabulary that was made with this decoder's tokenizer",
        )
    return found


def own_vocabulary(projector: nn.Module | None) -> CtcVocabulary | None:
    """Return the CTC vocabulary of its own that a projector has; None where it writes the decoder's tokens, or none."""
    return projector.vocabulary if isinstance(projector, CtcPosterior) else None


def check_ctc_tokens(projector: nn.Module | None, tokenizer: Tokenizer, where: str) -> None:
    """Raise `InputError` where the classes of a projector's own CTC vocabulary are other tokens of the tokenizer."""
    if isinstance(projector, CtcPosterior) and projector.vocabulary is not None:
        projector.vocabulary.check(tokenizer, where)


def check_same_classes(projector: nn.Module, config: Mapping[str, Any], where: str) -> None:
    """Raise `InputError` where the CTC head of a model folder writes other classes than a projector's: as many fit."""
    if not isinstance(projector, CtcPosterior):
        return
    own = None if projector.vocabulary is None else dict(projector.vocabulary.tokens)
    theirs = ((config.get("projector") or {}).get("init_args") or {}).get("vocabulary")
    if own != theirs:
        found, wanted = (
            "the decoder's own tokens" if each is None else f"a CTC vocabulary of {len(each)} tokens"
            for each in (theirs, own)
        )
        remedy = (
            "give the vocabulary that its head was trained with: the numbers may agree, the tokens do not"
        )
        raise InputError(where, field="projector.vocabulary", found=found, wanted=wanted, remedy=remedy)
