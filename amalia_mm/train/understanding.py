"""Speech to text through the decoder: cross-entropy on the answer, CTC beside it where the projector has a head.

The same module trains three stages. With simulated CTC paths for audio the decoder learns to read them, from text
alone (`13_paths`); with waveforms it learns to read what an encoder really writes (`14_joint`), and encoder or
projector learn with it, or alone, as `freeze` says; rows without audio keep the written skills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import SpeechTextBatch
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import CtcPosterior, Projector, check_ctc_tokens, projector_between
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.lora import LoraConfig, gate_lora
from amalia_mm.run import warm_start
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.geometry import ctc_tokens_of, geometry_of
from amalia_mm.train.losses import Loss, ctc, token_nll
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
        init_from: Model folder -> parts to start from (`decoder`, `encoder`, `projector`), or what is inside one
            (`projector.head`). A Hugging Face folder or a Hub id can give the decoder.
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
    ) -> None:
        super().__init__(optim)
        self.gated_lora = lora
        self.spare_rows = spare_rows
        self.decoder_config = decoder
        self.build_encoder = encoder
        self.build_projector = projector
        self.tokenizer = tokenizer
        self.ctc_weight = ctc_weight
        self.init_from = init_from or {}
        self.changed = changed or []
        self.freeze_patterns = freeze or []
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

    def configure_model(self) -> None:
        """Build, warm-start and freeze the model, once."""
        if self.model is not None:
            return
        tokenizer = Tokenizer.load(self.tokenizer)
        check_vocabulary(tokenizer, self.decoder_config, self.tokenizer, self.spare_rows)
        encoder = self.build_encoder()
        projector = projector_between(encoder, self.build_projector, self.decoder_config)
        check_ctc_tokens(projector, tokenizer, self.tokenizer)
        if self.ctc_weight and not isinstance(projector, CtcPosterior):
            raise InputError(
                "model",
                field="ctc_weight",
                found=f"{self.ctc_weight} with {type(projector).__name__}",
                wanted="0, or a projector with a CTC head",
                remedy="set ctc_weight to 0 or use CtcPosterior",
            )
        model = SpeechTextModel(encoder=encoder, projector=projector, decoder=Decoder(self.decoder_config))
        warm_start(model, self.init_from, self.changed)
        if self.gated_lora is not None:
            add_to_decoder(model.decoder, self.gated_lora, self.init_from)
        freeze_parameters(model, self.freeze_patterns)
        self.model = model

    def loss_terms(self, batch: SpeechTextBatch) -> dict[str, Loss]:
        """Return the cross-entropy, with the weighted CTC loss added to its sum, and both for the log."""
        assert self.model is not None
        if self.gated_lora is not None:
            gate_lora(self.model.decoder, audio_gate(batch))
        output = self.model(batch)
        labels = batch.text.labels
        nll = self.model.decoder.at_output(output.hidden, lambda h, weight: token_nll(h, weight, labels))
        terms: dict[str, Loss] = {"nll": nll}
        total = nll.sum
        if output.ctc_logits is not None and output.num_frames is not None and self.ctc_weight:
            ctc_loss = ctc(output.ctc_logits, output.num_frames, batch.ctc_ids, batch.num_ctc_ids)
            terms["ctc"] = ctc_loss
            total = total + self.ctc_weight * ctc_loss.sum
        elif self.ctc_weight:
            terms["ctc"] = Loss(torch.zeros_like(nll.sum), torch.zeros_like(nll.count))
        if batch.waveforms is None and batch.paths is None and self._audio_parts_train():
            total = total + 0.0 * self._silent_pass(batch)
        terms["loss"] = replace(nll, sum=total)
        return terms

    def _audio_parts_train(self) -> bool:
        assert self.model is not None
        parts = (self.model.encoder, self.model.projector)
        return any(p.requires_grad for part in parts if part is not None for p in part.parameters())

    def _silent_pass(self, batch: SpeechTextBatch) -> torch.Tensor:
        """Return a sum over the audio path for one second of silence.

        A rank whose rows carry no audio must still touch every trained parameter, or DDP and FSDP2 wait for ever.
        """
        assert self.model is not None and self.model.projector is not None
        device = batch.text.ids.device
        silence = torch.zeros(1, SAMPLE_RATE_HZ, device=device)
        heard = self.model.hear(silence, torch.tensor([SAMPLE_RATE_HZ], device=device))
        audio = self.model.projector(heard.features, heard.num_frames, self.model.decoder.embed_expected)
        return audio.float().sum()
