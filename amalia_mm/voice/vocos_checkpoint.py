"""Checkpoints of Vocos: a folder with `config.yaml` and `pytorch_model.bin` (or `model.safetensors`) of its package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.voice.mel import hann
from amalia_mm.voice.vocoder import Vocoder, Vocos

_CONFIG = "config.yaml"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_PARTS = ("feature_extractor", "backbone", "head")
_REMEDY = "give the folder of a Vocos that reads mel frames, such as vocos-mel-24khz, whole"


def is_vocos(folder: Path | str) -> bool:
    """Return whether a folder's configuration names the three parts of Vocos' own."""
    path = Path(folder) / _CONFIG
    if not path.is_file():
        return False
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(config, dict) and all(isinstance(config.get(part), dict) for part in _PARTS)


def load_vocos(folder: Path | str) -> Vocos:
    """Return the vocoder of a checkpoint, in evaluation mode.

    Raises:
        InputError: The folder is not whole, or holds a Vocos of another kind (one that reads EnCodec's codes).
    """
    vocoder = Vocos(**vocos_sizes(folder), has_source=False)
    load_vocos_into(vocoder, folder)
    return vocoder.eval()


def vocos_sizes(folder: Path | str) -> dict[str, int]:
    """Return the arguments of `Vocos` that a checkpoint's configuration means; errors as `load_vocos`."""
    path = Path(folder) / _CONFIG
    if not is_vocos(folder):
        raise InputError(path, found="no such configuration", wanted="that of Vocos", remedy=_REMEDY)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    features, backbone, head = (dict(config[part].get("init_args") or {}) for part in _PARTS)
    for part, name in zip(_PARTS, ("MelSpectrogramFeatures", "VocosBackbone", "ISTFTHead"), strict=True):
        found = str(config[part].get("class_path", ""))
        _require(path, f"{part}.class_path", found, found.endswith(f".{name}"), name)
    _require(path, "padding", head.get("padding"), head.get("padding") == "center", "center")
    given = features.get("padding", "center")
    _require(path, "feature_extractor.padding", given, given == "center", "center")
    adapted = backbone.get("adanorm_num_embeddings")
    _require(path, "adanorm_num_embeddings", adapted, not adapted, "none")
    try:
        sizes = {
            "sample_rate_hz": features.get("sample_rate", 24_000),
            "num_mels": features.get("n_mels", 100),
            "fft_samples": features.get("n_fft", 1024),
            "hop_samples": features.get("hop_length", 256),
            "width": backbone["dim"],
            "inner_width": backbone["intermediate_dim"],
            "num_layers": backbone["num_layers"],
        }
    except KeyError as error:
        raise InputError(
            path, field="backbone", found=f"no {error}", wanted="its sizes", remedy=_REMEDY
        ) from error
    same = head.get("n_fft") == sizes["fft_samples"] and head.get("hop_length") == sizes["hop_samples"]
    _require(path, "head", head, same and backbone.get("input_channels") == sizes["num_mels"], "equal sizes")
    return {name: int(value) for name, value in sizes.items()}


def load_vocos_into(vocoder: Vocoder, folder: Path | str) -> None:
    """Copy a checkpoint's weights into a vocoder; every one is accounted for.

    Raises:
        InputError: A weight is missing, unknown or of another shape, the checkpoint was made for other frames, or
            the vocoder shapes a source.
    """
    if isinstance(vocoder, Vocos) and vocoder.has_source:
        raise InputError(
            folder,
            found="weights that write the whole spectrum",
            wanted="those of a vocoder that shapes a source (has_source: true)",
            remedy="set has_source: false in the vocoder, or leave this folder out",
        )
    sizes, weights = vocos_sizes(folder), _read(Path(folder))
    mel, device = vocoder.mel, torch.device("cpu")
    # What follows from the sizes is kept in the file, too: it must be what we compute.
    computed = {
        "feature_extractor.mel_spec.spectrogram.window": hann(mel.fft_samples, device),
        "feature_extractor.mel_spec.mel_scale.fb": mel.filters().T,
        "head.istft.window": hann(mel.fft_samples, device),
    }
    for name, value in computed.items():
        found = weights.pop(name, value)
        same = found.shape == value.shape and torch.allclose(found.float(), value, atol=1e-5)
        wanted = f"that of {mel.num_mels} bins and {mel.fft_samples} samples at {mel.sample_rate_hz} Hz"
        _require(Path(folder), name, tuple(found.shape), same, wanted)
    own = {name: tuple(value.shape) for name, value in vocoder.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(own.keys() | theirs.keys()):
        found, wanted = theirs.get(name, "no such weight"), own.get(name, "no such parameter")
        _require(Path(folder), name, found, found == wanted, str(wanted))
    _require(
        Path(folder),
        "hop_length",
        sizes["hop_samples"],
        sizes["hop_samples"] == mel.hop_samples,
        str(mel.hop_samples),
    )
    vocoder.load_state_dict(weights)


def _read(folder: Path) -> dict[str, Tensor]:
    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(folder, found="no weights", wanted=" or ".join(_WEIGHTS), remedy=_REMEDY)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(path, found=error, wanted="whole safetensors", remedy=_REMEDY) from error
    except (
        Exception
    ) as error:  # torch, zipfile and pickle raise a dozen kinds for a file that is cut or strange
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, found=reason, wanted="a file of weights", remedy=_REMEDY) from error
    is_named = isinstance(found, Mapping) and all(isinstance(value, Tensor) for value in found.values())
    _require(path, "", type(found).__name__, is_named, "tensors by name")
    return dict(found)


def _require(where: Path, field: str, found: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise InputError(where, field=field, found=found, wanted=wanted, remedy=_REMEDY)
