"""Adapting an acoustic model to one person: what it starts from, what is learned, and the vector it begins with.

Its table has one row then, the person's own; everything else comes from a model of many voices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig, add_lora
from amalia_mm.train.voice_hearing import Listener
from amalia_mm.voice.acoustic import AcousticModel

_PART, _TABLE = "acoustic", "speakers"


@runtime_checkable
class OnePersonsClips(Protocol):
    """The data of one person."""

    def waveforms(self) -> Iterator[Tensor]:
        """Yield each clip that is learned from (n) once, at the rate of the voice."""
        ...


def without_speakers(acoustic: AcousticModel, init_from: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return what to start from with all that is in an acoustic model in its place, but for its table of speakers."""
    inside = dict.fromkeys(name.split(".")[0] for name in acoustic.state_dict())
    names = [f"{_PART}.{name}" for name in inside if name != _TABLE]
    return {
        folder: [name for part in parts for name in (names if part == _PART else [part])]
        for folder, parts in init_from.items()
    }


def add_to_acoustic(
    acoustic: AcousticModel, config: LoraConfig, init_from: Mapping[str, Sequence[str]]
) -> None:
    """Freeze an acoustic model with its weights loaded, but for its table, and add low-rank changes to maps of it.

    Raises:
        InputError: Nothing gives the model its weights; or a pattern matches no linear map.
    """
    _check_begun(init_from, "lora")
    add_lora(acoustic, config)
    if acoustic.speakers is not None:
        acoustic.speakers.requires_grad_(True)


def check_own_voice(acoustic: AcousticModel, is_told: bool, init_from: Mapping[str, Sequence[str]]) -> None:
    """Raise `InputError` where one person's voice cannot be learned.

    Args:
        acoustic: The model, frozen as it will be.
        is_told: Whether there is a speaker encoder.
        init_from: What the model starts from.
    """
    _check_begun(init_from, "own_voice")
    if not is_told:
        wanted, remedy = "the encoder that told it who speaks", "set speaker_encoder to that of init_from"
        raise InputError("model", field="speaker_encoder", found="none", wanted=wanted, remedy=remedy)
    table = acoustic.speakers
    if table is None or table.num_embeddings != 1:
        found = 0 if table is None else table.num_embeddings
        remedy = "set it to 1, as configs/acoustic/tiny_person.yaml does"
        raise InputError("model.acoustic", field="num_speakers", found=found, wanted="1", remedy=remedy)
    if not table.weight.requires_grad:
        wanted, remedy = "the person's row among what is learned", "take speakers out of the pattern"
        raise InputError("model", field="freeze", found="acoustic.speakers", wanted=wanted, remedy=remedy)


@torch.no_grad()
def begin_row(acoustic: AcousticModel, listener: Listener, data: OnePersonsClips) -> None:
    """Set the person's row to the middle of what the encoder tells of the clips."""
    assert acoustic.speakers is not None
    middle = listener.middle(data.waveforms(), acoustic.mel.sample_rate_hz)
    acoustic.speakers.weight.copy_(middle[None])


def _check_begun(init_from: Mapping[str, Sequence[str]], field: str) -> None:
    if not any(_PART in parts for parts in init_from.values()):
        raise InputError(
            "model",
            field=field,
            found="no init_from that gives the acoustic model",
            wanted="a model that has learned from many voices",
            remedy="name its model folder in init_from",
        )
