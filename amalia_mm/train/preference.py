"""Direct preference optimisation of the text decoder: pairs of a chosen and a rejected text against a reference.

The reference is the model that the run starts from. Its log-probabilities are computed once, before the first step,
and kept beside the shards; or at every step, by the same weights with their low-rank changes off. Beside pairs,
validation counts the answers to questions that stay exact: preference training is known to cost some.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from amalia_mm.batch import PreferenceBatch, TextBatch
from amalia_mm.data.preference import PairData
from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig, lora_off
from amalia_mm.run import weights_hash
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.language import Language
from amalia_mm.train.losses import Loss
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.preference_loss import PreferenceObjective, TextScores, exact_answers, score_documents
from amalia_mm.train.reference import Reference, reference_path, scored_pairs, write_reference


class Preference(Language):
    """Trains a decoder on pairs of preference.

    Args:
        decoder: The sizes of the decoder.
        optim: Learning rate and schedule.
        tokenizer: The tokenizer's folder; linked from the data.
        init_from: Model folder, Hugging Face folder or Hub id -> parts to start from (`decoder`), and the reference.
        changed: Fields of `decoder` that differ from what it starts from, on purpose.
        freeze: Regular expressions over parameter names; each must match one.
        beta: How strongly the reference holds: small lets the model go far from it.
        sft_weight: Weight of the chosen side's negative log-likelihood a token; 0 leaves it out.
        by_length: Divide the log-ratios of each side by its tokens.
        lora: Low-rank changes to train in place of the decoder's own weights; the model folder holds the two merged.
        activation_checkpointing: Keep one activation a layer, and compute the rest again on the way back.
        compile: Compile what a layer computes (`torch.compile`).
        live_reference: Let the decoder without its low-rank changes read every batch as the reference: no sidecar,
            and a third more work a step. Needs `lora`.
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
        beta: float = 0.1,
        sft_weight: float = 0.0,
        by_length: bool = False,
        lora: LoraConfig | None = None,
        activation_checkpointing: bool = False,
        compile: bool = False,  # noqa: A002 (what everyone calls it)
        live_reference: bool = False,
        spare_rows: int = 0,
    ) -> None:
        super().__init__(
            decoder,
            optim,
            tokenizer,
            init_from,
            changed,
            freeze,
            lora,
            activation_checkpointing=activation_checkpointing,
            compile=compile,
            spare_rows=spare_rows,
        )
        self.objective = PreferenceObjective(beta, sft_weight, by_length)
        self.live_reference = live_reference
        self.reference: Reference | None = None
        self._reference_sha256 = ""

    def configure_model(self) -> None:
        """Build and warm-start the decoder, once, and let it read the pairs as the reference that it is."""
        if self.model is not None:
            return
        self._check_options()
        super().configure_model()
        # Before a checkpoint is restored: the reference is what the run began with.
        if self._trainer is not None and not self.live_reference:
            self._read_as_reference()

    def loss_terms(self, batch: PreferenceBatch | TextBatch) -> dict[str, Loss]:
        """Return the terms of rows of pairs; of conversations the share of exact answers, which is only watched."""
        if isinstance(batch, TextBatch):
            return {"exact": exact_answers(self._scores(batch))}
        reference = self._reference_log_probs(batch.text)
        return self.objective.terms(self._scores(batch.text), reference)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add the sums of a validation batch, of pairs or of conversations; the means are taken once at the end."""
        super().validation_step(batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep which reference the run began with, beside what every run keeps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["reference_sha256"] = self._reference_sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of a run with another reference."""
        wanted = checkpoint.get("reference_sha256")
        if wanted != self._reference_sha256:
            where = f"init_from[{', '.join(self.init_from)}]"
            found, wanted = f"a reference {self._reference_sha256}", f"{wanted}, which the run began with"
            remedy = "put those weights back, or start the run over"
            raise InputError(where, found=found, wanted=wanted, remedy=remedy)
        super().on_load_checkpoint(checkpoint)

    def _check_options(self) -> None:
        objective = self.objective
        for name, value, holds, wanted in (
            ("beta", objective.beta, objective.beta > 0, "above 0"),
            ("sft_weight", objective.sft_weight, objective.sft_weight >= 0, "at least 0"),
            (
                "live_reference",
                True,
                self.lora is not None or not self.live_reference,
                "low-rank changes to turn off",
            ),
        ):
            if not holds:
                remedy = (
                    "give model.init_args.lora, or leave it out" if name == "live_reference" else "correct it"
                )
                raise InputError("model", field=name, found=value, wanted=wanted, remedy=remedy)

        if self.device_mesh is not None:
            remedy = "train pairs with ddp, low-rank changes where the weights are large"
            raise InputError(
                "trainer", field="strategy", found="sharded weights", wanted="whole ones", remedy=remedy
            )

    def _reference_log_probs(self, text: TextBatch) -> Tensor:
        """Return (b s) log-probabilities of the documents of rows of pairs under the reference."""
        if self.reference is not None:
            return self.reference.of(text.record_ids, text.documents)
        if self.model is None or not self.live_reference:
            raise ValueError("pairs have no loss before the reference has read them")
        was_training = self.model.training
        self.model.eval()
        with lora_off(self.model):
            log_probs = self._scores(text).log_probs
        self.model.train(was_training)
        return log_probs

    def _scores(self, text: TextBatch) -> TextScores:
        assert self.model is not None
        decoder = self.model.decoder
        hidden = decoder.hidden(text.ids, documents=text.documents, positions=text.positions)
        return score_documents(hidden, text.labels, text.documents, decoder.logits)

    def _read_as_reference(self) -> None:
        """Load what the reference thinks of every pair of the run; compute and write it where nobody has yet."""
        assert self.model is not None
        data: Any = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, PairData):
            wanted, remedy = (
                "amalia_mm.data.preference.PairData",
                "give pairs of preference: see recipes/05_dpo",
            )
            raise InputError(
                "data", field="class_path", found=type(data).__name__, wanted=wanted, remedy=remedy
            )
        # Low-rank changes are nothing at the start, wherever their first values were drawn.
        weights = {name: value for name, value in self.model.state_dict().items() if ".lora_" not in name}
        self._reference_sha256 = weights_hash(weights)
        tokenizer, precision = Tokenizer.load(self.tokenizer), str(self.trainer.precision)
        self.reference = Reference()
        for name, index in data.pair_folders.items():
            path = reference_path(index, tokenizer, self._reference_sha256, precision)
            # Asked of the first process: the others may see its file appear while they look.
            if self.trainer.strategy.broadcast(not path.is_file()):
                scored = self._score_folder(data, name)
                if self.trainer.is_global_zero:
                    write_reference(path, scored)
                self.trainer.strategy.barrier()
            self.reference.add(path)

    def _score_folder(self, data: PairData, name: str) -> dict[str, tuple[float, float]]:
        """Return log p of both sides of every pair of a folder, read by all processes together."""
        device = self.trainer.strategy.root_device
        self.to(device)
        self.eval()
        scored: dict[str, tuple[float, float]] = {}
        loader = data.each_pair_once(name)
        bar = tqdm(loader, desc="reference", unit="batch", delay=2.0, disable=not self.trainer.is_global_zero)
        with torch.inference_mode(), self.trainer.precision_plugin.forward_context():
            for batch in bar:
                text = batch.text.to(device)
                found = scored_pairs(text.record_ids, text.documents, self._scores(text))
                for identity, chosen, rejected in found:
                    scored[identity] = (chosen, rejected)
        self.train()
        if self.trainer.world_size == 1:
            return scored
        gathered: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(gathered, scored)
        return {identity: values for part in gathered for identity, values in part.items()}
