"""Speech to text through the decoder: cross-entropy on the answer, the decoder's own reading of it, CTC beside.

The same module trains all stages. With simulated CTC paths for audio the decoder learns to read them, from text
alone (`13_paths`); with waveforms it learns to read what an encoder really writes (`14_joint`), and encoder or
projector learn with it, or alone, as `freeze` says: beside a large decoder the projector alone (`11_align`), then with
low-rank changes that act on what is heard (`12_instruct`). Rows without audio keep the written skills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

import torch

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import IGNORE, SpeechTextBatch
from amalia_mm.errors import InputError
from amalia_mm.fusion.ctc_head import CtcHead, CtcHeadConfig
from amalia_mm.fusion.projectors import (
    CtcPosterior,
    Projector,
    check_ctc_tokens,
    own_vocabulary,
    projector_between,
)
from amalia_mm.fusion.speech_text import SpeechTextModel, SpeechTextOutput
from amalia_mm.lora import LoraConfig, gate_lora
from amalia_mm.run import warm_start
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.ctc_head import HeadLoss
from amalia_mm.train.distillation import Distillation, check_teacher, divergence, is_distilled, read
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.geometry import ctc_tokens_of, geometry_of
from amalia_mm.train.losses import Loss, TokenLoss, ctc, token_nll
from amalia_mm.train.low_rank import add_to_decoder, audio_gate
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.summed import SummedStep
from amalia_mm.train.vocabulary import check_vocabulary
from amalia_mm.units import SAMPLE_RATE_HZ


class Understanding(SummedStep[SpeechTextModel]):
    """Trains encoder, projector and decoder, or what is left unfrozen of them.

    Args:
        decoder: The sizes of the decoder.
        encoder: Factory of the encoder.
        projector: Factory of the projector, given the size and rate of the encoder's frames and the decoder's sizes.
        optim: Learning rate and schedule.
        tokenizer: The tokenizer's folder; linked from the data.
        ctc_weight: Weight of the CTC loss, summed over its tokens, beside the cross-entropy, summed over its own.
        ctc_head: A head for it beside the projector, kept in the model folder for the times of words; None: that of a
            `CtcPosterior`.
        distillation: The decoder's own reading of what is said as a teacher, beside the right answer or in place of
            it; the decoder's weights must stay as they are. None teaches with the right answers alone.
        init_from: Model folder -> parts to start from (`decoder`, `encoder`, `projector`, `ctc_head`), or what is
            inside one (`projector.head`). A Hugging Face folder or a Hub id can give the decoder.
        changed: Fields of `decoder` that differ from what it starts from, on purpose (`rope_theta`,
            `max_position_embeddings`, `rope_scaling`, `dtype`); any other difference is an error.
        freeze: Regular expressions over parameter names; each must match one.
        lora: Low-rank changes to train in place of the decoder's own weights, in documents in which something is heard:
            of text alone the decoder makes what it made before, bit for bit. The model folder keeps them apart.
        spare_rows: How many rows the decoder has beyond the tokenizer's entries, in a checkpoint that was padded.
    """

    def __init__(
        self,
        decoder: DecoderConfig,
        encoder: Callable[[], AudioEncoder],
        projector: Callable[[int, DecoderConfig, Fraction], Projector],
        optim: OptimConfig,
        tokenizer: str,
        ctc_weight: float = 0.0,
        init_from: dict[str, list[str]] | None = None,
        changed: list[str] | None = None,
        freeze: list[str] | None = None,
        lora: LoraConfig | None = None,
        spare_rows: int = 0,
        ctc_head: CtcHeadConfig | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__(optim)
        self.lora_apart = lora
        self.spare_rows = spare_rows
        self.decoder_config = decoder
        self.build_encoder = encoder
        self.build_projector = projector
        self.tokenizer = tokenizer
        self.ctc_weight = ctc_weight
        self.init_from = init_from or {}
        self.changed = changed or []
        self.freeze_patterns = freeze or []
        self.ctc_head_config = ctc_head
        self.distillation = distillation
        self._head_loss: HeadLoss | None = None
        self.model: SpeechTextModel | None = None

    @property
    def geometry(self) -> AudioGeometry:
        """How many decoder positions a clip takes; computed without allocating a weight."""
        return geometry_of(self.build_encoder, self.build_projector, self.decoder_config)

    @property
    def ctc_tokens(self) -> dict[str, int] | None:
        """What the classes of a CTC vocabulary of its own write, with the decoder's tokens; None without one."""
        return ctc_tokens_of(self.build_encoder, self.build_projector, self.decoder_config)

    @property
    def max_positions(self) -> int:
        """The most positions of a row that the decoder can read."""
        return self.decoder_config.max_positions

    @property
    def unread_tasks(self) -> list[str] | None:
        """Tasks whose clips the decoder is not to read as text; None where it reads nothing."""
        return None if self.distillation is None else self.distillation.unread

    @cached_property
    def _end_id(self) -> int:
        return Tokenizer.load(self.tokenizer).im_end_id

    def configure_model(self) -> None:
        """Build, warm-start and freeze the model, once.

        Raises:
            InputError: A weight of CTC without a head for it; or a teacher that would change.
        """
        if self.model is not None:
            return
        tokenizer = Tokenizer.load(self.tokenizer)
        check_vocabulary(tokenizer, self.decoder_config, self.tokenizer, self.spare_rows)
        encoder = self.build_encoder()
        projector = projector_between(encoder, self.build_projector, self.decoder_config)
        check_ctc_tokens(projector, tokenizer, self.tokenizer)
        if self.ctc_weight and self.ctc_head_config is None and not isinstance(projector, CtcPosterior):
            raise InputError(
                "model",
                field="ctc_weight",
                found=f"{self.ctc_weight} with {type(projector).__name__}",
                wanted="0, or a CTC head",
                remedy="set ctc_weight to 0, give ctc_head, or use CtcPosterior",
            )
        if self.ctc_head_config is not None and not self.ctc_weight:
            remedy = "give a weight, or leave ctc_head out"
            raise InputError(
                "model", field="ctc_weight", found="0 with ctc_head", wanted="above 0", remedy=remedy
            )
        decoder, head = Decoder(self.decoder_config), None
        if self.ctc_head_config is not None:
            head = CtcHead(self.ctc_head_config, encoder, projector, self.decoder_config)
            self._head_loss = HeadLoss(self.tokenizer, own_vocabulary(projector))
        model = SpeechTextModel(encoder, projector, decoder, head)
        warm_start(model, self.init_from, self.changed)
        if self.lora_apart is not None:
            add_to_decoder(model.decoder, self.lora_apart, self.init_from)
        freeze_parameters(model, self.freeze_patterns)
        if self.distillation is not None:
            check_teacher(model.decoder)
        self.model = model

    def loss_terms(self, batch: SpeechTextBatch) -> dict[str, Loss]:
        """Return `loss`, the sum of all terms by their weights over the labelled tokens, and each term for the log.

        Raises:
            ValueError: Rows and readings have other numbers of labelled positions.
        """
        assert self.model is not None
        # Before the gate opens: it stays open until the backward pass is done.
        teacher = None if self.distillation is None else read(self.model.decoder, batch)
        if self.lora_apart is not None:
            gate_lora(self.model.decoder, audio_gate(batch))
        output = self.model(batch)
        nll = self._nll(batch, output)
        terms: dict[str, Loss] = {"nll": nll}
        total, count = nll.sum, nll.count
        if self.distillation is not None and teacher is not None:
            kl = divergence(
                self.model.decoder, output.hidden, teacher, batch, self.distillation, self._end_id
            )
            terms |= {"kl": kl.tokens, "kl_end": kl.ends}
            total, count = total + kl.sum, (batch.text.labels != IGNORE).sum().float()
        if self.ctc_weight:
            ctc_loss = self._ctc(batch, output)
            terms["ctc"] = ctc_loss or Loss(torch.zeros_like(nll.sum), torch.zeros_like(nll.count))
            total = total if ctc_loss is None else total + self.ctc_weight * ctc_loss.sum
        if batch.waveforms is None and batch.paths is None and self._audio_parts_train():
            total = total + 0.0 * self._silent_pass(batch)
        terms["loss"] = replace(nll, sum=total, count=count)
        return terms

    def _nll(self, batch: SpeechTextBatch, output: SpeechTextOutput) -> TokenLoss:
        """Return the cross-entropy of all labels, or of those alone that are not distilled."""
        assert self.model is not None
        labels = batch.text.labels
        if self.distillation is not None and not self.distillation.with_nll:
            labels = labels.masked_fill(is_distilled(batch), IGNORE)
        return self.model.decoder.at_output(output.hidden, lambda h, weight: token_nll(h, weight, labels))

    def _ctc(self, batch: SpeechTextBatch, output: SpeechTextOutput) -> Loss | None:
        """Return the CTC loss of the head beside the projector, or of the projector's own; None without a clip."""
        assert self.model is not None
        if self._head_loss is not None and self.model.ctc_head is not None:
            return self._head_loss(self.model.ctc_head, batch, output)
        if output.ctc_logits is None or output.num_frames is None:
            return None
        return ctc(output.ctc_logits, output.num_frames, batch.ctc_ids, batch.num_ctc_ids)

    def _audio_parts_train(self) -> bool:
        assert self.model is not None
        parts = (self.model.encoder, self.model.projector, self.model.ctc_head)
        return any(p.requires_grad for part in parts if part is not None for p in part.parameters())

    def _silent_pass(self, batch: SpeechTextBatch) -> torch.Tensor:
        """Return a sum over the audio path for one second of silence.

        A rank whose rows carry no audio must still touch every trained parameter, or DDP and FSDP2 wait for ever.
        """
        assert self.model is not None and self.model.projector is not None
        device = batch.text.ids.device
        silence = torch.zeros(1, SAMPLE_RATE_HZ, device=device)
        heard = self.model.hear(silence, torch.tensor([SAMPLE_RATE_HZ], device=device), clip_seeds=(0,))
        audio = self.model.projector(heard.features, heard.num_frames, self.model.decoder.embed_expected)
        total = audio.float().sum()
        head = self.model.ctc_head
        if head is not None:
            of_projector = head.config.reads == "projector"
            total = total + head(audio if of_projector else heard.features).float().sum()
        return total
