"""Which model folder is meant: by a run, a stage, a folder, the environment, or nothing at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.model_config import CONFIG, read_config
from amalia_mm.run import WEIGHTS

DEFAULT_RUN = Path("runs/quickstart")
BEST_STAGE = "14_joint"


def resolve_model(path: Path | str | None = None) -> Path:
    """Return the model folder meant by a model, stage or run folder.

    Without a path it is `$AMALIA_MODEL`, else `runs/quickstart`. In a run it is the model of `14_joint`, else
    of the last numbered stage whose model has a decoder.

    Raises:
        InputError: There is no model there.
    """
    run = Path(path) if path is not None else Path(os.environ.get("AMALIA_MODEL") or DEFAULT_RUN)
    stages = sorted((folder for folder in run.glob("[0-9]*_*") if folder.is_dir()), reverse=True)
    candidates = [run, run / "model", run / BEST_STAGE / "model", *(stage / "model" for stage in stages)]
    for folder in candidates:
        if (folder / WEIGHTS).is_file() and read_config(folder).get("decoder"):
            return folder
    remedy = "run `make quickstart` or give --model"
    if (run / "config.json").is_file():
        remedy = f"make one of this checkpoint: amalia export {run} --to folder"
    elif (ears := _without_decoder(candidates)) is not None:
        remedy = f"give the folder of a later stage; `amalia evaluate --spoken` measures {ears} as it is"
    raise InputError(
        run, found=_why_none(run, candidates), wanted="a model folder, or a run that has one", remedy=remedy
    )


def _without_decoder(candidates: Sequence[Path]) -> Path | None:
    """Return the first folder with ears and nothing that writes, as CTC training leaves it."""
    whole = (folder for folder in candidates if (folder / WEIGHTS).is_file())
    return next((folder for folder in whole if read_config(folder).get("encoder")), None)


def _why_none(run: Path, candidates: Sequence[Path]) -> str:
    if not run.is_dir():
        return "a file" if run.is_file() else "no such folder"
    if (ears := _without_decoder(candidates)) is not None:
        return f"{ears}, an encoder without a decoder"
    without = next((folder for folder in candidates if (folder / CONFIG).is_file()), None)
    if without is not None and not (without / WEIGHTS).is_file():
        return f"{without / CONFIG}, and no {WEIGHTS} beside it"
    return "no model with a decoder"
