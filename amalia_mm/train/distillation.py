"""The decoder as its own teacher: what it says of a clip is to be what it says where the words stand written.

The teacher is no second model. It is the same decoder without any change that hearing brought, reading the same
conversation with the words in place of the clip; so it needs no answers but its own, and keeps what it can do.

Source:
    Fathullah et al. 2023, "AudioChatLlama", arXiv 2311.06753, and Wang et al. 2023, "BLSP", arXiv 2309.00916, for
    behaviour alike on speech and text; the loss at temperature 2, with a term of its own for the end of the turn, is
    that of Ultravox (fixie-ai/ultravox, `LossFunction.KL_Divergence`). It is not multiplied by the temperature squared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from amalia_mm.batch import IGNORE, SpeechTextBatch
from amalia_mm.errors import InputError
from amalia_mm.lora import lora_off
from amalia_mm.text.decoder import Decoder
from amalia_mm.train.chunked_kl import ChunkedKl
from amalia_mm.train.losses import Loss


@dataclass(frozen=True)
class Distillation:
    """What the decoder's own reading counts, beside the cross-entropy of a token.

    Args:
        weight: Of the divergence of a token of the answer, from what the decoder says of the words in writing.
        temperature: Both distributions are softened by it.
        end_weight: What the token that ends a turn counts beyond that: whether to stop is one token of many.
        with_nll: Whether answers that are distilled have their cross-entropy beside it.
        unread: Tasks that are not distilled, such as `transcribe`.
    """

    weight: float = 1.0
    temperature: float = 2.0
    end_weight: float = 1.0
    with_nll: bool = True
    unread: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._require("weight", self.weight > 0, "above 0; leave distillation out to have none")
        self._require("temperature", self.temperature > 0, "above 0")
        self._require("end_weight", self.end_weight >= 0, "at least 0")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            found, remedy = getattr(self, name), "correct the value"
            raise InputError("distillation", field=name, found=found, wanted=wanted, remedy=remedy)


@dataclass(frozen=True)
class Divergence(Loss):
    """The divergence from the reading, weighted as it is minimised, and what of it is to be watched."""

    tokens: Loss
    """Unweighted, of all tokens of answers."""
    ends: Loss
    """The same of the tokens that end a turn."""


def check_teacher(decoder: Decoder) -> None:
    """Raise `InputError` where the decoder's own weights are trained: then nothing holds the teacher."""
    trained = [
        name
        for name, parameter in decoder.named_parameters()
        if parameter.requires_grad and ".lora_" not in name
    ]
    if trained:
        raise InputError(
            "model",
            field="distillation",
            found=f"a decoder whose own weights are trained ({trained[0]} and {len(trained) - 1} more)",
            wanted="a decoder that stays what it is: the teacher is the decoder itself",
            remedy=r"freeze it (freeze: ['^decoder\.']), train it through lora, or leave distillation out",
        )


@torch.no_grad()
def read(decoder: Decoder, batch: SpeechTextBatch) -> Tensor:
    """Return the decoder's states (n d) at the labelled positions of the batch's readings, row by row.

    Low-rank changes are off, and so is dropout. It runs before the gate of what is heard is opened.
    """
    reading = batch.reading
    if reading is None:
        return torch.zeros(0, decoder.config.hidden_size, device=batch.text.ids.device)
    was_training = decoder.training
    decoder.eval()
    with lora_off(decoder):
        hidden = decoder.hidden(reading.ids, documents=reading.documents, positions=reading.positions)
    decoder.train(was_training)
    return hidden[reading.labels != IGNORE]


def is_distilled(batch: SpeechTextBatch) -> Tensor:
    """Return (b t) bool: True on the labelled positions that the batch's readings have too."""
    has_label = batch.text.labels != IGNORE
    return torch.zeros_like(has_label) if batch.is_read is None else has_label & batch.is_read


def divergence(
    decoder: Decoder,
    hidden: Tensor,
    teacher: Tensor,
    batch: SpeechTextBatch,
    objective: Distillation,
    end_id: int,
    chunk_logits: int = 2**25,
) -> Divergence:
    """Return the summed KL(reading || hearing) over the tokens of answers, with gradient in `hidden`.

    Only labelled positions meet the output layer, some at a time, as in `losses.token_nll`.

    Args:
        decoder: Gives the output layer, the same for both.
        hidden: (b t d), after the decoder's final norm, of what was heard.
        teacher: (n d), what `read` returned.
        batch: Where the labels are.
        objective: Weights and temperature.
        end_id: The token that ends a turn.
        chunk_logits: Most logits that exist at the same time.

    Raises:
        ValueError: Rows and readings have other numbers of labelled positions; both are named.
    """
    wanted = is_distilled(batch)
    num_heard, num_read = int(wanted.sum()), len(teacher)
    if num_heard != num_read:
        raise ValueError(
            f"{num_heard} labelled positions of what is heard, but {num_read} of its readings: "
            f"{', '.join(batch.text.record_ids[:3])}"
        )
    is_end = (batch.text.labels[wanted] == end_id).float()
    importance = objective.weight + objective.end_weight * is_end

    def kl(states: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        chunk_tokens = max(1, chunk_logits // (2 * len(matrix)))
        is_training = torch.is_grad_enabled()
        return ChunkedKl.apply(
            states, matrix, teacher, importance, objective.temperature, chunk_tokens, is_training
        )

    total, each = decoder.at_output(hidden[wanted], kl)
    count = torch.tensor(float(num_heard), device=hidden.device)
    ends = Loss((each * is_end).sum(), is_end.sum())
    return Divergence(total, count, tokens=Loss(each.sum(), count), ends=ends)
