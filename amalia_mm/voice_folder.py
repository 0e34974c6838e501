"""One part of a voice out of its model folder: a speaker encoder, an acoustic model or a vocoder, ready to use.

The folder is written as every model folder is (`run.py`), without a tokenizer. Low-rank changes that it keeps apart are
merged as it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig, add_lora, merge_lora
from amalia_mm.model_config import CONFIG, build_part, fitting, read_config
from amalia_mm.run import check_same, read_weights
from amalia_mm.voice.vocoder import Vocoder
from amalia_mm.voice.vocos_checkpoint import is_vocos, load_vocos

PartT = TypeVar("PartT", bound=nn.Module)


def load_voice_part(
    folder: Path | str, part: str, kind: type[PartT], device: torch.device | str = "cpu"
) -> tuple[PartT, Mapping[str, Any]]:
    """Return a part of a voice, in evaluation mode on `device`, and the folder's configuration.

    Args:
        folder: The model folder.
        part: What the part is called there (`speaker`, `acoustic`, `vocoder`).
        kind: What it must be.
        device: Where it goes.

    Raises:
        InputError: A file is missing or cut, the folder has no such part, or a weight has another name or shape than
            the configuration says.
    """
    folder = Path(folder)
    where = str(folder / CONFIG)
    config = read_config(folder)
    if not config.get(part):
        remedy = "give the model folder of the recipe that trains it"
        found = ", ".join(name for name in config if name not in ("format", "made_by", "init_from"))
        raise InputError(where, field=part, found=found or "nothing", wanted=f"a {part}", remedy=remedy)
    with fitting(where, part):
        module = build_part(config[part], kind, where)()
        if config.get("lora"):
            add_lora(module, LoraConfig(**config["lora"]))
    weights = {name.removeprefix(f"{part}."): value for name, value in read_weights(folder).items()}
    check_same(module.state_dict(), weights, where=f"{folder}: {part}")
    module.load_state_dict(weights)
    merge_lora(module)
    return module.eval().to(device), config


def load_vocoder(folder: Path | str, device: torch.device | str = "cpu") -> Vocoder:
    """Return the vocoder of a stage, model or Vocos folder; errors as `load_voice_part` and `load_vocos`."""
    if is_vocos(folder):
        return load_vocos(folder).to(device)
    inside = Path(folder) / "model"
    vocoder, _ = load_voice_part(inside if inside.is_dir() else folder, "vocoder", Vocoder, device)
    return vocoder
