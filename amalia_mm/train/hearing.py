"""CTC training of an audio encoder over the decoder's own tokens.

The encoder learns to write the spoken form (lower case, no punctuation) of what it hears in the vocabulary of the
decoder it will be coupled to; the decoder itself is not needed, only its sizes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import SpeechTextBatch
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.geometry import geometry_of
from amalia_mm.train.losses import Loss, ctc
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.summed import SummedStep
from amalia_mm.train.vocabulary import check_vocabulary
from amalia_mm.train.warmstart import warm_start


class _Ears(nn.Module):
    """The two parts that hear, under the names they have in every model folder."""

    def __init__(self, encoder: AudioEncoder, projector: CtcPosterior) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector


class Hearing(SummedStep[_Ears]):
    """Trains an encoder and the CTC head of a `CtcPosterior` projector.

    Args:
        decoder: The sizes of the decoder to be coupled to.
        encoder: Factory of the encoder.
        projector: Factory of the projector, given the encoder's width and the decoder's sizes.
        optim: Learning rate and schedule.
        tokenizer: The tokenizer's folder; linked from the data.
        init_from: Model folder -> parts to start from (`encoder`, `projector`).
        freeze: Regular expressions over parameter names; each must match one.
    """

    def __init__(
        self,
        decoder: DecoderConfig,
        encoder: Callable[[], AudioEncoder],
        projector: Callable[[int, DecoderConfig], CtcPosterior],
        optim: OptimConfig,
        tokenizer: str,
        init_from: dict[str, list[str]] | None = None,
        freeze: list[str] | None = None,
    ) -> None:
        super().__init__(optim)
        self.decoder_config = decoder
        self.build_encoder = encoder
        self.build_projector = projector
        self.tokenizer = tokenizer
        self.init_from = init_from or {}
        self.freeze_patterns = freeze or []
        self.model: _Ears | None = None

    @property
    def geometry(self) -> AudioGeometry:
        """How many decoder positions a clip takes; computed without allocating a weight."""
        return geometry_of(self.build_encoder, self.build_projector, self.decoder_config)

    def configure_model(self) -> None:
        """Build, warm-start and freeze the encoder and the head, once."""
        if self.model is not None:
            return
        check_vocabulary(Tokenizer.load(self.tokenizer), self.decoder_config, self.tokenizer)
        encoder = self.build_encoder()
        model = _Ears(encoder, self.build_projector(encoder.width, self.decoder_config))
        # The blank's embedding is learned where there is a decoder to read it.
        model.projector.blank.requires_grad_(False)
        warm_start(model, self.init_from)
        freeze_parameters(model, self.freeze_patterns)
        self.model = model

    def loss_terms(self, batch: SpeechTextBatch) -> dict[str, Loss]:
        """Return the CTC loss of the batch's clips, and how many were too short for their text."""
        assert self.model is not None
        if batch.waveforms is None or batch.num_samples is None:
            raise ValueError("the hearing stage needs waveforms: give it shards with audio")
        features, num_frames = self.model.encoder(batch.waveforms, batch.num_samples)
        logits = self.model.projector.ctc_logits(features)
        loss = ctc(logits, num_frames, batch.ctc_ids, batch.num_ctc_ids)
        clips = (batch.num_ctc_ids >= 0).sum().float()
        return {"loss": loss, "too_short": Loss(loss.num_too_short, clips)}
