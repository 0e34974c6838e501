"""Next-token training of the text decoder: pre-training, context extension and supervised fine-tuning.

Which of them it is, the data decides: documents carry loss everywhere, conversations on the assistant's turns.
"""

from __future__ import annotations

from torch import nn

from amalia_mm.batch import TextBatch
from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.run import warm_start
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.sharded_start import new_sharded, without_lora
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.by_source import by_source, shares
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.losses import Loss, token_nll
from amalia_mm.train.low_rank import add_to_decoder, check_learned
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.summed import SummedStep
from amalia_mm.train.vocabulary import check_vocabulary


class _DecoderOnly(nn.Module):
    """Gives the decoder the name it has in every model folder."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder


class Language(SummedStep[_DecoderOnly]):
    """Trains a decoder on packed rows of text.

    Args:
        decoder: The sizes of the decoder.
        optim: Learning rate and schedule.
        tokenizer: The tokenizer's folder; linked from the data.
        init_from: Model folder, Hugging Face folder or Hub id -> parts to start from (`decoder`).
        changed: Fields of `decoder` that differ from what it starts from, on purpose (`rope_theta`,
            `max_position_embeddings`, `rope_scaling`, `dtype`); any other difference is an error.
        freeze: Regular expressions over parameter names; each must match one.
        lora: Low-rank changes to train in place of the decoder's own weights; the model folder holds the two merged.
        z_weight: Weight of the squared logarithm of the softmax's normaliser beside the likelihood (PaLM: 1e-4).
        activation_checkpointing: Compute the activations of each layer again on the way back: less memory, more time.
        compile: Compile what a layer computes (`torch.compile`): some seconds at the start, less time a step.
        spare_rows: How many rows the decoder has beyond the tokenizer's entries, in a checkpoint that was padded.
    """

    def __init__(
        self,
        decoder: DecoderConfig,
        optim: OptimConfig,
        tokenizer: str,
        init_from: dict[str, list[str]] | None = None,
        changed: list[str] | None = None,
        freeze: list[str] | None = None,
        lora: LoraConfig | None = None,
        z_weight: float = 0.0,
        activation_checkpointing: bool = False,
        compile: bool = False,  # noqa: A002 (what everyone calls it)
        spare_rows: int = 0,
    ) -> None:
        super().__init__(optim)
        if z_weight < 0:
            raise InputError(
                "model", field="z_weight", found=z_weight, wanted="at least 0", remedy="correct the value"
            )
        self.spare_rows = spare_rows
        self.z_weight = z_weight
        self.activation_checkpointing = activation_checkpointing
        self.compiles = compile
        self.decoder_config = decoder
        self.tokenizer = tokenizer
        self.init_from = init_from or {}
        self.changed = changed or []
        self.freeze_patterns = freeze or []
        self.lora = lora
        self.model: _DecoderOnly | None = None

    @property
    def max_positions(self) -> int:
        """The most positions of a row that the decoder can read."""
        return self.decoder_config.max_positions

    def configure_model(self) -> None:
        """Build and warm-start the decoder, add low-rank changes and freeze what is to stay, once."""
        if self.model is not None:
            return
        tokenizer = Tokenizer.load(self.tokenizer)
        check_vocabulary(tokenizer, self.decoder_config, self.tokenizer, self.spare_rows)
        model = self._started() if self.device_mesh is None else self._started_in_slices()
        freeze_parameters(model, self.freeze_patterns)
        if self.activation_checkpointing:
            model.decoder.recompute_layers()
        if self.compiles:
            model.decoder.compile_layers()
        self.model = model

    def _started(self) -> _DecoderOnly:
        model = _DecoderOnly(Decoder(self.decoder_config))
        warm_start(model, self.init_from, self.changed)
        if self.lora is not None:
            add_to_decoder(model.decoder, self.lora, self.init_from)
        return model

    def _started_in_slices(self) -> _DecoderOnly:
        """Return the decoder in slices; its low-rank changes must be there before it is cut."""
        if self.lora is not None:
            check_learned(self.init_from)
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        decoder = new_sharded(self.decoder_config, mesh, self.device, self.lora)
        known = decoder if self.lora is None else without_lora(decoder)
        warm_start(_DecoderOnly(known), self.init_from, self.changed)
        return _DecoderOnly(decoder)

    def loss_terms(self, batch: TextBatch) -> dict[str, Loss]:
        """Return the next-token loss of packed rows; for the log, that of each source and the shares of varieties."""
        assert self.model is not None
        decoder = self.model.decoder
        hidden = decoder.hidden(batch.ids, documents=batch.documents, positions=batch.positions)
        loss = decoder.at_output(hidden, lambda h, weight: token_nll(h, weight, batch.labels, self.z_weight))
        likelihood = {"nll": Loss(loss.each.sum(), loss.count)} if self.z_weight else {}
        return {"loss": loss, **likelihood, **by_source(batch, loss), **shares(batch)}
