"""Hugging Face's config.json and generation_config.json, as transformers 4 and 5 write them.

Every key is accounted for: it is used, or must have the one value that this decoder computes, or says nothing about
the computation. Any other key raises: weights of another architecture would load and give wrong logits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from amalia_mm.errors import InputError
from amalia_mm.hub import read_json
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.rope import RopeScaling

CONFIG_NAME = "config.json"
GENERATION_NAME = "generation_config.json"

_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_USED = {field.name for field in fields(DecoderConfig)} - {"dropout"}
_ROPE = {"rope_theta", "rope_scaling", "rope_parameters"}
_IDS = {"bos_token_id", "eos_token_id", "pad_token_id"}
_ONLY: dict[str, tuple[Any, ...]] = {
    "architectures": (["LlamaForCausalLM"], None),
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "attention_dropout": (0, None),
    "sliding_window": (None,),
    "partial_rotary_factor": (1, None),
    "original_max_position_embeddings": (None,),
    "quantization_config": (None,),
    "auto_map": (None,),
    "pruned_heads": ({}, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "tie_encoder_decoder": (False, None),
    "cross_attention_hidden_size": (None,),
    "chunk_size_feed_forward": (0, None),
}
"""Keys whose other values change the computation; an absent one means the first value here."""
_HARMLESS = frozenset(
    """
    _name_or_path name_or_path transformers_version _attn_implementation_autoset unsloth_version
    _attn_implementation attn_implementation use_cache pretraining_tp is_decoder torchscript return_dict
    return_dict_in_generate output_attentions output_hidden_states output_scores id2label label2id problem_type
    finetuning_task task_specific_params tokenizer_class prefix max_length min_length do_sample early_stopping
    num_beams num_beam_groups temperature diversity_penalty top_k top_p typical_p repetition_penalty
    length_penalty bad_words_ids no_repeat_ngram_size encoder_no_repeat_ngram_size num_return_sequences
    remove_invalid_values forced_bos_token_id forced_eos_token_id decoder_start_token_id sep_token_id
    suppress_tokens begin_suppress_tokens exponential_decay_length_penalty tf_legacy_loss use_bfloat16
    """.split()  # noqa: SIM905 (one name a line would fill a page)
)
"""What says nothing about the logits: names, versions, switches of output, defaults of generation."""


@dataclass(frozen=True)
class SpecialIds:
    """Where a text begins and generation ends, by the folder's own word; EuroLLM's by default.

    Instruct models end a turn with id 4 (`<|im_end|>`), base models a document with 2 (`</s>`).
    """

    bos: int | None = 1
    eos: tuple[int, ...] = (2,)
    pad: int | None = None


def read_decoder_config(folder: Path | str) -> DecoderConfig:
    """Return the sizes in a folder's config.json, whichever generation of transformers wrote it.

    Raises:
        InputError: A key that is missing, unknown or unfit; no theta, or two that differ; another architecture.
    """
    path = Path(folder) / CONFIG_NAME
    content = read_json(path)
    for name in sorted(content.keys() - _USED - _ROPE - _IDS - _ONLY.keys() - _HARMLESS - {"torch_dtype"}):
        remedy = "remove the key if it changes no logits; otherwise the decoder lacks what it asks for"
        raise InputError(
            path, field=name, found=repr(content[name]), wanted="keys of a Llama decoder", remedy=remedy
        )
    for name, allowed in _ONLY.items():
        if (name in content or name == "model_type") and content.get(name) not in allowed:
            _refuse(path, name, content.get(name), " or ".join(map(repr, allowed)))
    values = {name: content[name] for name in _USED - {"dtype", *_ROPE} if name in content}
    for name in _SIZES:
        if values.get(name) is None:
            _refuse(path, name, values.get(name), "a number")
    for name, value in values.items():
        _check_type(path, name, value)
    # Before grouped queries, Hugging Face's Llama had no such field and one key head for each query head.
    if values.get("num_key_value_heads") is None:
        values["num_key_value_heads"] = values["num_attention_heads"]
    # Hugging Face's defaults are not ours, and a file may leave out what it did not change.
    values = {"max_position_embeddings": 2048, "rms_norm_eps": 1e-6} | values
    values |= {"dtype": _dtype(path, content), **_rope(path, content)}
    try:
        return DecoderConfig(**values)
    except InputError as error:
        _refuse(path, error.field, error.found, error.wanted)


def write_decoder_config(config: DecoderConfig, folder: Path, ids: SpecialIds) -> None:
    """Write config.json and generation_config.json, in the spelling of transformers 4 and of 5 beside each other."""
    content: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    content |= {name: value for name, value in asdict(config).items() if name != "dropout"}
    scaling = config.rope_scaling.given() if config.rope_scaling else None
    content |= {
        "head_dim": config.head_width,
        "rope_scaling": scaling,
        "rope_parameters": {"rope_type": "default", **(scaling or {}), "rope_theta": config.rope_theta},
        "torch_dtype": config.dtype,
    }
    content |= {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0}
    eos = ids.eos[0] if len(ids.eos) == 1 else list(ids.eos) or None
    special = {"bos_token_id": ids.bos, "eos_token_id": eos, "pad_token_id": ids.pad}
    _write_json(folder / CONFIG_NAME, content | special)
    given = {name: value for name, value in special.items() if value is not None}
    _write_json(folder / GENERATION_NAME, given)


def read_special_ids(folder: Path | str) -> SpecialIds:
    """Return the ids of a folder; generation_config.json, where there is one, has the last word."""
    path = Path(folder) / CONFIG_NAME
    found = {name: (path, value) for name, value in read_json(path).items() if name in _IDS}
    path = Path(folder) / GENERATION_NAME
    if path.is_file():
        found |= {name: (path, value) for name, value in read_json(path).items() if name in _IDS}
    ids: dict[str, list[int]] = {}
    for name, (where, value) in found.items():
        ids[name] = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in ids[name]):
            _refuse(where, name, value, "an id, or a list of them")
    one = {name: next(iter(ids.get(name, [])), None) for name in _IDS}
    return SpecialIds(one["bos_token_id"], tuple(ids.get("eos_token_id", [])), one["pad_token_id"])


def _rope(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return `rope_theta` and `rope_scaling`, which transformers 4 and 5 keep in different places."""
    thetas: dict[str, float] = {}
    scalings: dict[str, RopeScaling | None] = {}
    if content.get("rope_theta") is not None:
        thetas["rope_theta"] = content["rope_theta"]
    for name in ("rope_parameters", "rope_scaling"):
        values = content.get(name)
        if values is None:
            continue
        if not isinstance(values, dict):
            _refuse(path, name, values, "an object")
        if values.get("rope_theta") is not None:
            thetas[f"{name}.rope_theta"] = values["rope_theta"]
        scalings[name] = _scaling(path, name, values)
    for name, value in thetas.items():
        _check_type(path, name, value)
    if not thetas:
        wanted = (
            "the theta that the weights were trained with (another one gives wrong logits without any error)"
        )
        _refuse(path, "rope_theta", None, wanted)
    if len(set(thetas.values())) > 1:
        found = ", ".join(f"{name} {value:g}" for name, value in thetas.items())
        _refuse(path, "rope_theta", found, "one theta")
    if len(set(scalings.values())) > 1:
        _refuse(path, "rope_scaling", content["rope_scaling"], "what rope_parameters says, or nothing")
    return {
        "rope_theta": float(next(iter(thetas.values()))),
        "rope_scaling": next(iter(scalings.values()), None),
    }


def _scaling(path: Path, where: str, parameters: Mapping[str, Any]) -> RopeScaling | None:
    """Return what `rope_scaling` or `rope_parameters` ask for beside theta, None for rotations as they are."""
    values = {name: value for name, value in parameters.items() if value is not None and name != "rope_theta"}
    if values.pop("partial_rotary_factor", 1) != 1:
        _refuse(path, f"{where}.partial_rotary_factor", parameters["partial_rotary_factor"], "1")
    older = values.pop("type", None)
    kind = values.setdefault("rope_type", older or "default")
    if older not in (None, kind):
        _refuse(path, f"{where}.type", older, f"{kind!r}, as rope_type")
    if kind == "default":
        for name in values.keys() - {"rope_type"}:
            _refuse(path, f"{where}.{name}", values[name], "no such field with rope_type default")
        return None
    try:
        return RopeScaling.of(values)
    except InputError as error:
        _refuse(path, f"{where}.{error.field}", error.found, error.wanted)


def _dtype(path: Path, content: Mapping[str, Any]) -> str:
    newer, older = (str(content.get(name) or "").removeprefix("torch.") for name in ("dtype", "torch_dtype"))
    if newer and older and newer != older:
        _refuse(path, "torch_dtype", older, f"{newer}, as dtype")
    return newer or older or "float32"


def _check_type(path: Path, name: str, value: object) -> None:
    """Raise `InputError` where a value is not of the kind that its name asks for; None may stand for a default."""
    if name == "tie_word_embeddings":
        fits, wanted = isinstance(value, bool), "true or false"
    elif name.endswith(("rope_theta", "rms_norm_eps", "initializer_range")):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
        wanted = "a number above 0"
    else:
        fits = isinstance(value, int) and not isinstance(value, bool)
        wanted = "a whole number"
        fits = fits or (value is None and name in ("head_dim", "num_key_value_heads"))
    if not fits:
        # Quoted: a text that looks like a number is none.
        _refuse(path, name, json.dumps(value) if isinstance(value, str) else value, wanted)


def _refuse(path: Path, name: str, found: object, wanted: str) -> NoReturn:
    shown = found if isinstance(found, str) else "nothing" if found is None else json.dumps(found)
    raise InputError(
        path, field=name, found=shown, wanted=wanted, remedy="use a plain Llama checkpoint, whole"
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
