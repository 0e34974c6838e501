"""Start from the weights of earlier stages: which folder gives which parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from amalia_mm.errors import InputError
from amalia_mm.run import PARTS, WEIGHTS, load_weights, read_config, read_weights
from amalia_mm.text.checkpoint import load_hf


def warm_start(model: nn.Module, init_from: Mapping[str, Sequence[str]]) -> None:
    """Copy whole parts (`decoder`, `encoder`, `projector`) from model folders into a model.

    A folder with a `config.json` is a Hugging Face checkpoint and can give the decoder.

    Raises:
        InputError: A part is unknown, given twice, absent on either side, or differs in a name or a shape.
    """
    given: dict[str, str] = {}
    for folder, parts in init_from.items():
        for part in parts:
            where = f"model.init_from[{folder}]"
            if part not in PARTS or getattr(model, part, None) is None:
                own = [p for p in PARTS if getattr(model, p, None) is not None]
                raise InputError(
                    where, found=part, wanted=f"a part of this model: {own}", remedy="correct the list"
                )
            if part in given:
                raise InputError(
                    where,
                    found=f"{part}, also from {given[part]}",
                    wanted="each part once",
                    remedy="remove one",
                )
            given[part] = folder
            weights = _part_weights(Path(folder), part)
            load_weights(getattr(model, part), weights, where=f"{folder}: {part}")


def _part_weights(folder: Path, part: str) -> dict[str, Tensor]:
    if part == "decoder" and (folder / "config.json").is_file():
        with torch.no_grad():
            return dict(load_hf(folder).state_dict())
    read_config(folder)
    weights = {
        name.removeprefix(f"{part}."): value
        for name, value in read_weights(folder).items()
        if name.startswith(f"{part}.")
    }
    if not weights:
        raise InputError(
            folder / WEIGHTS,
            field=part,
            found="no such part",
            wanted=f"weights of the {part}",
            remedy="give another folder",
        )
    return weights
