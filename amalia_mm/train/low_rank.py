"""Low-rank changes to the decoder of a model that is trained: what of it may change, where, and what must be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from amalia_mm.batch import SpeechTextBatch
from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig, add_lora
from amalia_mm.text.decoder import Decoder


def add_to_decoder(decoder: Decoder, config: LoraConfig, init_from: Mapping[str, Sequence[str]]) -> None:
    """Freeze a decoder and add low-rank changes to maps of its layers.

    The output's matrix is none of these: the loss multiplies by it without calling it.

    Args:
        decoder: With its weights loaded.
        config: Its patterns are over names such as `layers.0.self_attn.q_proj`.
        init_from: Model folder -> parts, as the recipe says.

    Raises:
        InputError: As `check_learned`; or a pattern matches no linear map of a layer.
    """
    check_learned(init_from)
    decoder.requires_grad_(False)
    add_lora(decoder.model, config)


def check_learned(init_from: Mapping[str, Sequence[str]]) -> None:
    """Raise `InputError` where nothing gives the decoder its weights."""
    if not any("decoder" in parts for parts in init_from.values()):
        raise InputError(
            "model",
            field="lora",
            found="no init_from that gives the decoder",
            wanted="a decoder that has learned: its own weights stay as they are",
            remedy="name its model folder in init_from, or leave lora out",
        )


def audio_gate(batch: SpeechTextBatch) -> Tensor:
    """Return (b t) bool: True on the positions of documents in which something is heard."""
    documents = batch.text.documents
    num_heard = torch.zeros(
        len(documents), int(documents.max()) + 1, dtype=torch.long, device=documents.device
    )
    num_heard.scatter_add_(1, documents, batch.is_audio.long())
    return num_heard.gather(1, documents) > 0
