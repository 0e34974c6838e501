"""What a checkpoint's config.json says of an encoder: the sizes, under transformers' names, and how it takes audio.

Only what decides the computation is kept. A key left out means what it means to transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from amalia_mm.errors import InputError
from amalia_mm.hub import CONFIGS, checkpoint_folder, read_json

Architecture = dict[str, Any]
"""`model_type`, then the fields of a `Kind` with their values; plain enough for a YAML file."""

_ALWAYS: Mapping[str, tuple[Any, ...]] = {"auto_map": (None,), "quantization_config": (None,)}
_NAMES = {"architectures", "torch_dtype", "dtype", "transformers_version", "_name_or_path"}
"""Keys of every config.json that say nothing about the computation."""


@dataclass(frozen=True)
class Kind:
    """A class of encoders in transformers: which of its configuration's fields decide what it computes."""

    model_type: str
    config: Callable[..., Any]
    """Its configuration class; its defaults are those of a config.json."""
    sizes: tuple[str, ...]
    """Fields that weights fit one value of only."""
    dropouts: tuple[str, ...]
    """Fields that act in training alone: a run may choose others than the checkpoint's."""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Fields of config.json of which some values alone are computed here."""
    hearing: tuple[str, ...] = ()
    """Fields of the checkpoint's preprocessor_config.json that decide what goes in."""
    hearing_only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Fields of preprocessor_config.json that must have one of some values, where they are there."""
    hearing_as: Mapping[str, str] = field(default_factory=dict)
    """Fields of preprocessor_config.json -> those of config.json that say the same."""


def read_architecture(source: Path | str | Mapping[str, Any], kind: Kind) -> Architecture:
    """Return the architecture of a folder, a Hub id, or the content of a config.json.

    Such content may hold the `hearing` fields, too, which folders keep in preprocessor_config.json.

    Args:
        source: Of a Hub id, nothing but the configuration is fetched.
        kind: What it must be of.

    Raises:
        InputError: Another class of model; a value that this class of encoder does not compute, or code of the
            checkpoint's own; a key that is unknown to transformers; no word on how it takes audio.
    """
    hearing: Mapping[str, Any] | None
    if isinstance(source, Mapping):
        where, content, hearing = "encoder.config", dict(source), dict(source)
        known = {"model_type", *kind.hearing, *_NAMES, *_ALWAYS, *vars(kind.config())}
        strange = next((name for name in content if name not in known), None)
        if strange is not None:
            wanted = "keys of that class's config.json"
            _refuse(
                where, strange, content[strange], wanted, f"correct it; the sizes are {', '.join(kind.sizes)}"
            )
    else:
        folder = checkpoint_folder(source, CONFIGS)
        where, content, hearing = str(folder / "config.json"), read_json(folder / "config.json"), None
    architecture = _checked(where, content, kind)
    if hearing is None:
        hearing = _read_hearing(Path(where).parent, architecture, kind)
    for name in kind.hearing:
        if name not in hearing:
            remedy = f"copy the folder again, whole, or give its content with {name} as `config`"
            _refuse(where, name, None, "it, or a preprocessor_config.json that has it", remedy)
        architecture[name] = hearing[name]
    return architecture


def check_same_architecture(mine: Architecture, source: Path, kind: Kind) -> None:
    """Raise `InputError` naming both values where a folder's weights are of another encoder than the configured one.

    A number of heads that differs changes no shape and gives wrong frames without any error.
    """
    path = source / "config.json"
    theirs = _checked(str(path), read_json(path), kind)
    theirs |= _read_hearing(source, theirs, kind)
    compare_architectures(mine, theirs, str(path), kind)


def compare_architectures(mine: Architecture, theirs: Mapping[str, Any], where: str, kind: Kind) -> None:
    """Raise `InputError` naming both values for the first field, dropouts apart, in which two encoders differ.

    Args:
        mine: The configured one.
        theirs: The one that weights are of; what it has no word on is not compared.
        where: What says so.
        kind: Of both.
    """
    for name in (*kind.sizes, *kind.hearing):
        if name in theirs and theirs[name] != mine[name]:
            wanted = f"{mine[name]}, as the run's configuration says"
            _refuse(where, name, theirs[name], wanted, f"take the folder's {name}, or another folder")


def transformers_config(architecture: Architecture, kind: Kind) -> Any:
    """Return the configuration to build the module with: no layer is ever skipped, no frame hidden at random.

    Layers that are skipped leave parameters without gradients, for which DDP waits; frames are hidden by
    augmentation here, with random numbers that a resumed run draws again.
    """
    values = {name: architecture[name] for name in (*kind.sizes, *kind.dropouts)}
    calm = {"layerdrop": 0.0, "encoder_layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    try:
        default = kind.config()
        config = kind.config(**values, **{name: 0.0 for name in calm if hasattr(default, name)})
    # transformers' own checks raise kinds of their own, which change with its version.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())
        _refuse("encoder.config", "", reason, f"sizes of a {kind.model_type}", "correct them")
    return config


def _checked(where: str, content: Mapping[str, Any], kind: Kind) -> Architecture:
    found = content.get("model_type")
    if found != kind.model_type:
        remedy = "choose the encoder of the checkpoint's class (configs/encoder/ has one of each), or another folder"
        _refuse(where, "model_type", found, f"{kind.model_type}, as this encoder is", remedy)
    default = kind.config()
    for name, allowed in (*_ALWAYS.items(), *kind.only.items()):
        value = content.get(name, getattr(default, name, allowed[0]))
        if value not in allowed:
            _refuse(where, name, value, " or ".join(map(repr, allowed)), "use a checkpoint without it")
    values = {name: content.get(name, getattr(default, name)) for name in (*kind.sizes, *kind.dropouts)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"model_type": kind.model_type, **plain}


def _read_hearing(folder: Path, architecture: Architecture, kind: Kind) -> dict[str, Any]:
    """Return the `hearing` fields that a folder has, after a look at those that must have one value."""
    path = folder / "preprocessor_config.json"
    if path.is_file():
        content = read_json(path)
    else:
        # Newer processors keep the features' part inside one file.
        path = folder / "processor_config.json"
        whole = read_json(path) if path.is_file() else {}
        content = whole.get("feature_extractor", whole)
    for name, allowed in kind.hearing_only.items():
        if name in content and content[name] not in allowed:
            _refuse(str(path), name, content[name], " or ".join(map(repr, allowed)), "use another checkpoint")
    for name, same in kind.hearing_as.items():
        if name in content and content[name] != architecture[same]:
            wanted = f"{architecture[same]}, as {same} in config.json"
            _refuse(str(path), name, content[name], wanted, "copy both files again, from one checkpoint")
    return {name: content[name] for name in kind.hearing if name in content}


def _refuse(where: str, name: str, found: object, wanted: str, remedy: str) -> NoReturn:
    shown = "nothing" if found is None else found
    raise InputError(where, field=name, found=shown, wanted=wanted, remedy=remedy)
