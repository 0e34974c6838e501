"""A CTC head beside the projector: in training it pulls the sounds into the frames, later it tells when words are said.

A projector that is a CTC head itself has no need of it; `WordTimes` (word_times.py) reads it where there is nothing
finer. Training has its loss in `train/ctc_head.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import LengthStage
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import Projector, own_vocabulary, without_spare
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.letters import NUM_LETTERS


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
        self._require("reads", self.reads in ("projector", "encoder"), "projector or encoder")
        self._require("units", self.units in ("tokens", "letters"), "tokens or letters")
        self._require("per_frame", self.per_frame >= 1, "at least 1")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            found, remedy = getattr(self, name), "correct the value"
            raise InputError("ctc_head", field=name, found=found, wanted=wanted, remedy=remedy)


class CtcHead(nn.Module):
    """Frames (k f e) to the logits of what is said in them.

    Args:
        config: Where it listens, and what it writes.
        encoder: Whose frames it reads, or the projector reads.
        projector: Whose embeddings it reads; a vocabulary of its own is that of the tokens written.
        decoder: The sizes of the decoder.
    """

    def __init__(
        self, config: CtcHeadConfig, encoder: AudioEncoder, projector: Projector, decoder: DecoderConfig
    ) -> None:
        super().__init__()
        self.config = config
        vocabulary = own_vocabulary(projector)
        num_classes = decoder.vocab_size if vocabulary is None else len(vocabulary.tokens)
        self.num_units = NUM_LETTERS if config.units == "letters" else num_classes
        width = encoder.width if config.reads == "encoder" else decoder.hidden_size
        self.norm = nn.LayerNorm(width)
        self.map = nn.Linear(width, config.per_frame * (self.num_units + 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Return (k f*s v+1) for frames (k f e), s being `per_frame`; the blank is the last class."""
        logits = self.map(self.norm(frames.to(self.norm.weight.dtype)))
        return rearrange(logits, "k f (s v) -> k (f s) v", s=self.config.per_frame)

    def log_probs(self, frames: Tensor, classes: CtcClasses) -> Tensor:
        """Return log p (k f*s v+1) of letters, or of what `classes` write, in the frames (k f e), the blank last.

        A decoder's spare rows, which stand for no token, have no share in it.
        """
        logits = self(frames).float()
        if self.config.units == "tokens":
            logits = without_spare(logits, classes)
        return logits.log_softmax(dim=-1)

    def stages(self, encoder: AudioEncoder, projector: Projector) -> tuple[LengthStage, ...]:
        """Return how samples become the frames that it reads; it writes `per_frame` classes in the time of each."""
        of_projector = self.config.reads == "projector"
        return (*encoder.stages, *projector.stages) if of_projector else encoder.stages

    def check_same(self, config: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` where the head of a model folder's configuration is another one than this."""
        found = config.get("ctc_head")
        if found != asdict(self.config):
            wanted, remedy = (
                f"{asdict(self.config)}",
                "give the recipe the folder's ctc_head, or train a new one",
            )
            raise InputError(where, field="ctc_head", found=found, wanted=wanted, remedy=remedy)
