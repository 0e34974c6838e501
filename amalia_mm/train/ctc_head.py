"""A CTC head beside a projector that has none: it pulls the sounds into the frames, and is not part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from amalia_mm.batch import SpeechTextBatch
from amalia_mm.errors import InputError
from amalia_mm.fusion.speech_text import SpeechTextOutput
from amalia_mm.text.ctc_vocabulary import CtcClasses, CtcVocabulary
from amalia_mm.text.letters import NUM_LETTERS, Spelling
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.losses import CtcLoss, ctc


@dataclass(frozen=True)
class CtcHeadConfig:
    """Where the head listens, and what it writes.

    Args:
        reads: The projector's embeddings, or the encoder's frames.
        units: The decoder's own tokens, or letters: of a vocabulary of 128,000 the logits of a batch are large.
        per_frame: How many of them may be said in the time of one frame: letters come faster than 12.5 a second.
    """

    reads: Literal["projector", "encoder"] = "projector"
    units: Literal["tokens", "letters"] = "letters"
    per_frame: int = 2

    def __post_init__(self) -> None:
        if self.per_frame < 1:
            remedy = "correct the value"
            raise InputError(
                "ctc_head", field="per_frame", found=self.per_frame, wanted="at least 1", remedy=remedy
            )


class CtcHead(nn.Module):
    """Frames (k f e) to the logits of what is said in them.

    Args:
        config: Where it listens, and what it writes.
        encoder_width: Size of an encoder's frame.
        hidden_size: Size of a projector's embedding.
        num_tokens: The decoder's entries.
        tokenizer: The tokenizer's folder; loaded when letters are first asked for.
        vocabulary: What the batch's CTC targets are classes of, where the projector has a vocabulary of its own.
    """

    def __init__(
        self,
        config: CtcHeadConfig,
        encoder_width: int,
        hidden_size: int,
        num_tokens: int,
        tokenizer: str,
        vocabulary: CtcVocabulary | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        num_classes = num_tokens if vocabulary is None else len(vocabulary.tokens)
        self.num_units = NUM_LETTERS if config.units == "letters" else num_classes
        width = encoder_width if config.reads == "encoder" else hidden_size
        self.norm = nn.LayerNorm(width)
        self.map = nn.Linear(width, config.per_frame * (self.num_units + 1))
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    def forward(self, frames: Tensor) -> Tensor:
        """Return (k f*s v+1) for frames (k f e), s being `per_frame`; the blank is the last class."""
        logits = self.map(self.norm(frames.to(self.norm.weight.dtype)))
        return rearrange(logits, "k f (s v) -> k (f s) v", s=self.config.per_frame)

    def loss(self, batch: SpeechTextBatch, output: SpeechTextOutput) -> CtcLoss | None:
        """Return the CTC loss of a batch's clips; None where it has no clip."""
        if output.features is None or output.audio is None or output.num_frames is None:
            return None
        of_projector = self.config.reads == "projector"
        frames = output.audio if of_projector else output.features
        num_frames = batch.num_audio_tokens if of_projector else output.num_frames
        targets = batch.ctc_ids, batch.num_ctc_ids
        if self.config.units == "letters":
            targets = self._spelling.letters(*targets)
        return ctc(self(frames), num_frames * self.config.per_frame, *targets)

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(CtcClasses(Tokenizer.load(self._tokenizer), self._vocabulary))
