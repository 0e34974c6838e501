"""CTC training of an audio encoder over the decoder's own tokens.

The encoder learns to write the spoken form (lower case, no punctuation) of what it hears in the vocabulary of the
decoder it will be coupled to, or in some of its tokens; the decoder itself is not needed, only its sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

import torch
from torch import nn

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import SpeechTextBatch
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import CtcPosterior, check_ctc_tokens, projector_between
from amalia_mm.run import warm_start
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.letters import NUM_LETTERS, Spelling
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.geometry import ctc_tokens_of, geometry_of
from amalia_mm.train.losses import Loss, ctc
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.summed import SummedStep
from amalia_mm.train.vocabulary import check_vocabulary
from amalia_mm.units import SAMPLE_RATE_HZ


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
        projector: Factory of the projector, given the size and rate of the encoder's frames and the decoder's sizes.
        optim: Learning rate and schedule.
        tokenizer: The tokenizer's folder; linked from the data.
        letters_weight: Of a second CTC loss over the letters of the same text, for an encoder that reads letters
            half-way: what a letter counts beside a token.
        init_from: Model folder -> parts to start from (`encoder`, `projector`).
        freeze: Regular expressions over parameter names; each must match one.
        spare_rows: How many rows the decoder has beyond the tokenizer's entries, in a checkpoint that was padded.
    """

    def __init__(
        self,
        decoder: DecoderConfig,
        encoder: Callable[[], AudioEncoder],
        projector: Callable[[int, DecoderConfig, Fraction], CtcPosterior],
        optim: OptimConfig,
        tokenizer: str,
        letters_weight: float = 0.0,
        init_from: dict[str, list[str]] | None = None,
        freeze: list[str] | None = None,
        spare_rows: int = 0,
    ) -> None:
        super().__init__(optim)
        self.spare_rows = spare_rows
        self.decoder_config = decoder
        self.build_encoder = encoder
        self.build_projector = projector
        self.tokenizer = tokenizer
        self.letters_weight = letters_weight
        self.init_from = init_from or {}
        self.freeze_patterns = freeze or []
        self.model: _Ears | None = None

    @property
    def geometry(self) -> AudioGeometry:
        """How many decoder positions a clip takes; computed without allocating a weight."""
        return geometry_of(self.build_encoder, self.build_projector, self.decoder_config)

    @property
    def ctc_tokens(self) -> dict[str, int] | None:
        """What the classes of a CTC vocabulary of its own write, with the decoder's tokens; None without one."""
        return ctc_tokens_of(self.build_encoder, self.build_projector, self.decoder_config)

    @cached_property
    def _spelling(self) -> Spelling:
        assert self.model is not None
        return Spelling(CtcClasses(Tokenizer.load(self.tokenizer), self.model.projector.vocabulary))

    def configure_model(self) -> None:
        """Build, warm-start and freeze the encoder and the head, once."""
        if self.model is not None:
            return
        tokenizer = Tokenizer.load(self.tokenizer)
        check_vocabulary(tokenizer, self.decoder_config, self.tokenizer, self.spare_rows)
        encoder = self.build_encoder()
        if self.letters_weight:
            _check_letters(encoder)
        projector = projector_between(encoder, self.build_projector, self.decoder_config)
        assert isinstance(projector, CtcPosterior)
        check_ctc_tokens(projector, tokenizer, self.tokenizer)
        model = _Ears(encoder, projector)
        # The blank's embedding is learned where there is a decoder to read it.
        model.projector.blank.requires_grad_(False)
        warm_start(model, self.init_from)
        freeze_parameters(model, self.freeze_patterns)
        self.model = model

    def loss_terms(self, batch: SpeechTextBatch) -> dict[str, Loss]:
        """Return the CTC losses of the batch's clips, and how many were too short for their tokens or letters."""
        assert self.model is not None
        if batch.waveforms is None and not batch.text.record_ids:
            batch = _with_silence(batch)
        num_clips = 0 if batch.num_samples is None else len(batch.num_samples)
        if batch.waveforms is None or batch.num_samples is None or len(batch.text.record_ids) > num_clips:
            found = f"records without a clip, among {', '.join(batch.text.record_ids[:3])}"
            remedy = "leave shards of text out of `data.shards`, and `data.paths` unset"
            raise InputError("data", field="shards", found=found, wanted="clips to hear", remedy=remedy)
        features, num_frames, letter_logits = self.model.encoder.hear_letters(
            batch.waveforms, batch.num_samples, batch.clip_seeds
        )
        logits = self.model.projector.ctc_logits(features)
        tokens = ctc(logits, num_frames, batch.ctc_ids, batch.num_ctc_ids)
        clips = (batch.num_ctc_ids >= 0).sum().float()
        terms = {"too_short": Loss(tokens.num_too_short, clips)}
        if not self.letters_weight or letter_logits is None:
            return {"loss": tokens, **terms}
        # The letters of a frame's length are as many frames of letters.
        num_letter_frames = num_frames * (letter_logits.shape[1] // features.shape[1])
        spelled = self._spelling.letters(batch.ctc_ids, batch.num_ctc_ids)
        letters = ctc(letter_logits, num_letter_frames, *spelled)
        return {
            "loss": Loss(tokens.sum + self.letters_weight * letters.sum, tokens.count),
            **terms,
            "tokens": _logged(tokens),
            "letters": _logged(letters),
            "letters_too_short": Loss(letters.num_too_short, clips),
        }


def _with_silence(batch: SpeechTextBatch) -> SpeechTextBatch:
    """Return a batch in which nothing could be read with one second of silence that teaches nothing.

    Its rank must still touch every trained parameter, or DDP and FSDP2 wait for ever.
    """
    ids = batch.ctc_ids
    return replace(
        batch,
        waveforms=torch.zeros(1, SAMPLE_RATE_HZ, device=ids.device),
        num_samples=ids.new_tensor([SAMPLE_RATE_HZ]),
        clip_seeds=(0,),
        ctc_ids=ids.new_zeros(1, 0),
        num_ctc_ids=ids.new_tensor([-1]),
    )


def _logged(loss: Loss) -> Loss:
    return Loss(loss.sum.detach(), loss.count)


def _check_letters(encoder: AudioEncoder) -> None:
    if encoder.num_letters != NUM_LETTERS:
        raise InputError(
            "model",
            field="letters_weight",
            found=f"an encoder with {encoder.num_letters} letters",
            wanted=f"one that reads the {NUM_LETTERS} of amalia_mm.text.letters",
            remedy=f"give the encoder letters_after and num_letters: {NUM_LETTERS}, or set letters_weight to 0",
        )
