"""Hugging Face folders in and out: config.json and safetensors, one file or several.

Every tensor of a folder has its place in the decoder and every parameter comes from the folder, or it raises.
A configuration that means another architecture is refused: its weights would load and give wrong logits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import Decoder, DecoderConfig

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
MAX_SHARD_SIZE = "5GB"

_HEAD = "lm_head.weight"
_EMBEDDINGS = "model.embed_tokens.weight"
_ONLY = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "rope_scaling": (None,),
    "sliding_window": (None,),
}
"""Fields whose other values change the computation; absent ones mean the value here."""


def decoder_config(folder: Path | str) -> DecoderConfig:
    """Return the sizes in a folder's config.json; `InputError` names the field that is missing or unfit."""
    path = Path(folder) / CONFIG_NAME
    content = _read_json(path)
    _refuse(path, content, "model_type", ("llama",), required=True)
    for name, allowed in _ONLY.items():
        _refuse(path, content, name, allowed)
    known = {field.name for field in fields(DecoderConfig)} - {"dropout"}
    values = {name: content[name] for name in known if name in content}
    values["dtype"] = content.get("dtype") or content.get("torch_dtype") or "float32"
    # Before grouped queries, Hugging Face's Llama had no such field and one key head for each query head.
    values.setdefault("num_key_value_heads", content.get("num_attention_heads"))
    values |= _rope(path, content)
    # Hugging Face's defaults are not ours, and a file may leave out what it did not change.
    values = {"max_position_embeddings": 2048, "rms_norm_eps": 1e-6} | values
    try:
        return DecoderConfig(**values)
    except InputError as error:
        raise InputError(
            path, field=error.field, found=error.found, wanted=error.wanted, remedy="check the folder"
        ) from error
    except TypeError as error:
        raise InputError(
            path, found=error, wanted="the fields of a Llama configuration", remedy="check the folder"
        ) from error


def load_hf(folder: Path | str) -> Decoder:
    """Return the decoder of a Hugging Face folder, on the CPU, in the type its config.json names.

    Raises:
        InputError: Another architecture; a file that is missing or cut short; a tensor that is missing,
            unknown or of another shape; a tied head that differs from the embeddings.
    """
    folder = Path(folder)
    config = decoder_config(folder)
    with torch.device("meta"):
        decoder = Decoder(config)
    wanted = {name: value.shape for name, value in decoder.state_dict().items()}
    found: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        for name, value in _read_tensors(path):
            if name in found:
                _fail(path, name, "twice in the folder", "each tensor once")
            if name not in wanted and not _is_redundant(name, config):
                _fail(path, name, "a tensor without a place in the decoder", "a Llama decoder's tensors only")
            if name in wanted and value.shape != wanted[name]:
                _fail(path, name, tuple(value.shape), f"{tuple(wanted[name])}, as {CONFIG_NAME} says")
            found[name] = value.to(config.torch_dtype)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        _fail(folder, missing[0], f"{len(missing)} tensors missing", "every tensor of the decoder")
    if config.tie_word_embeddings and not torch.equal(
        found.get(_HEAD, found[_EMBEDDINGS]), found[_EMBEDDINGS]
    ):
        _fail(
            folder, _HEAD, "other values than the embeddings", "the embeddings (tie_word_embeddings is true)"
        )
    decoder.load_state_dict({name: found[name] for name in wanted}, assign=True)
    # Tensors that were assigned must be trainable as if they had been made here.
    return decoder.requires_grad_(True)


def save_hf(decoder: Decoder, folder: Path | str, max_shard_size: str = MAX_SHARD_SIZE) -> None:
    """Write a folder that transformers loads as `LlamaForCausalLM`; large weights are split into files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    content |= {name: value for name, value in asdict(decoder.config).items() if name != "dropout"}
    content |= {"head_dim": decoder.config.head_width, "hidden_act": "silu"}
    content |= {"attention_bias": False, "mlp_bias": False, "rope_scaling": None}
    content |= {"bos_token_id": 1, "eos_token_id": 2}
    weights = {name: value.detach().cpu() for name, value in decoder.state_dict().items()}
    huggingface_hub.save_torch_state_dict(weights, folder, max_shard_size=max_shard_size)
    (folder / CONFIG_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _rope(path: Path, content: Mapping[str, Any]) -> dict[str, float]:
    """Return `rope_theta` from where either generation of config.json keeps it."""
    parameters = content.get("rope_parameters") or {}
    _refuse(f"{path}: rope_parameters", parameters, "rope_type", ("default",))
    _refuse(f"{path}: rope_parameters", parameters, "partial_rotary_factor", (1, None))
    theta = parameters.get("rope_theta", content.get("rope_theta"))
    return {} if theta is None else {"rope_theta": float(theta)}


def _refuse(
    where: Path | str, content: Mapping[str, Any], name: str, allowed: tuple[Any, ...], required: bool = False
) -> None:
    if (required or name in content) and content.get(name) not in allowed:
        wanted = " or ".join(map(repr, allowed))
        raise InputError(
            where,
            field=name,
            found=repr(content.get(name)),
            wanted=wanted,
            remedy="use a plain Llama checkpoint",
        )


def _fail(where: Path, name: str, found: object, wanted: str) -> None:
    raise InputError(
        where, field=name, found=found, wanted=wanted, remedy="check the folder or copy it again"
    )


def _is_redundant(name: str, config: DecoderConfig) -> bool:
    """True for tensors some writers add that follow from others: rotary frequencies, a tied head."""
    return name.endswith("rotary_emb.inv_freq") or (name == _HEAD and config.tie_word_embeddings)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX_NAME
    if not index.is_file():
        return [folder / WEIGHTS_NAME]
    content = _read_json(index)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict):
        raise InputError(
            index,
            field="weight_map",
            found=repr(weight_map),
            wanted="a mapping",
            remedy="copy the folder again",
        )
    return [folder / name for name in sorted(set(weight_map.values()))]


def _read_tensors(path: Path) -> Iterable[tuple[str, Tensor]]:
    if not path.is_file():
        raise InputError(
            path, found="no such file", wanted="safetensors", remedy="copy the folder again, whole"
        )
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (the file is not a mapping)
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise InputError(
            path, found=error, wanted="a whole safetensors file", remedy="copy the file again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            path, found="no such file", wanted="a Hugging Face model folder", remedy="give the folder's path"
        ) from error
    except ValueError as error:
        raise InputError(path, found=error, wanted="JSON in UTF-8", remedy="copy the file again") from error
    if not isinstance(content, dict):
        raise InputError(
            path, found=type(content).__name__, wanted="a JSON object", remedy="copy the file again"
        )
    return content
