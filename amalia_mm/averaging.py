"""Several ends of one run to one model: the mean of their weights.

Runs that part from one checkpoint lie in one valley, and the mean of their weights is often better than each of them,
at the cost of one (Wortsman et al. 2022, "Model soups", arXiv 2203.05482). It knows model folders; it does not know
what they hear or say.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from amalia_mm import __version__
from amalia_mm.errors import InputError
from amalia_mm.model_config import CONFIG, PARTS, build_part, read_config
from amalia_mm.run import TOKENIZER, WEIGHTS, check_same, read_weights, save_model, weights_hash

_SIZES = "decoder_sizes"
_ONLY_IN_TRAINING = {
    *("dropout", "num_time_masks", "max_time_mask_frames", "num_frequency_masks", "max_frequency_mask_bins"),
}
"""What changes nothing in a model that is used: ends of a run may differ in it."""


def average(models: Sequence[Path], output: Path) -> dict[str, str]:
    """Return the hash of the weights of each model folder, after writing the mean of all of them as one more.

    Args:
        models: Model folders, or stages that have one; ends of one run.
        output: A new folder.

    Raises:
        InputError: There are fewer than two; the output is there already; or two of them differ in a part, a name, a
            shape or the tokenizer.
    """
    if len(models) < 2:
        remedy = "name each end of the run"
        raise InputError("MODEL", found=f"{len(models)} model", wanted="two or more", remedy=remedy)
    if output.exists():
        remedy = "choose another, or remove it first"
        raise InputError("--output", found=f"{output} exists", wanted="a new folder", remedy=remedy)
    folders = [_model_in(path) for path in models]
    configs = [read_config(folder) for folder in folders]
    first, total = configs[0], dict[str, Tensor]()
    hashes: dict[str, str] = {}
    for folder, config in zip(folders, configs, strict=True):
        _check_alike(folders[0], first, folder, config)
        weights = read_weights(folder)
        hashes[str(folder)] = weights_hash(weights)
        check_same(total or weights, weights, where=str(folder / WEIGHTS))
        total = {name: total.get(name, 0.0) + value.double() for name, value in weights.items()}
        types = {name: value.dtype for name, value in weights.items()}
    mean = {name: (value / len(folders)).to(types[name]) for name, value in total.items()}
    made_by = {"version": __version__, "mean_of": hashes}
    save_model(
        output,
        nn.Module(),
        config={**{name: value for name, value in first.items() if name != "format"}, "made_by": made_by},
        tokenizer=folders[0] / TOKENIZER,
        card=_card(folders),
        weights=mean,
    )
    return hashes


def _model_in(path: Path) -> Path:
    return path / "model" if (path / "model" / CONFIG).is_file() else path


def _check_alike(first: Path, wanted: Mapping[str, Any], folder: Path, found: Mapping[str, Any]) -> None:
    """Raise `InputError` naming the first field in which two models that are to be one differ."""
    remedy = f"average ends of one run: {first} is of another"
    for part in (*PARTS, _SIZES):
        mine, theirs = _used(wanted.get(part), str(first)), _used(found.get(part), str(folder))
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                where = str(folder / CONFIG)
                field, own = f"{part}.{name}", str(mine.get(name))
                raise InputError(where, field=field, found=theirs.get(name), wanted=own, remedy=remedy)
    file = Path(TOKENIZER) / "tokenizer.json"
    if (first / file).read_bytes() != (folder / file).read_bytes():
        raise InputError(folder / file, found="another tokenizer", wanted=str(first / file), remedy=remedy)


def _used(part: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Return what a part of a configuration says of a model in use: its class beside all arguments that have a value.

    What an older folder does not state yet has its default.
    """
    said = dict(part or {})
    if "class_path" in said:
        build = build_part(said, nn.Module, where)
        made_of = inspect.signature(build).parameters.values()
        said |= said.pop("init_args", None) or {}
        said |= {each.name: each.default for each in made_of if each.default is not each.empty}
    return {name: value for name, value in said.items() if name not in _ONLY_IN_TRAINING}


def _card(folders: Sequence[Path]) -> str:
    listed = "\n".join(f"- `{folder}`" for folder in folders)
    return (
        f"# The mean of {len(folders)} models\n\nMade by amalia_mm {__version__} of\n\n{listed}\n\n"
        "The licence of the weights follows from theirs: see their cards.\n"
    )
