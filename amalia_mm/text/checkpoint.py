"""Hugging Face checkpoints in and out: config.json and safetensors, one file or several, a folder or a Hub id.

Every tensor of a folder has its place in the decoder and every parameter comes from the folder, or it raises.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

import huggingface_hub
import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.hub import checkpoint_folder
from amalia_mm.safetensors_files import INDEX_NAME, SafetensorsFiles, check_index, weight_files
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.hf_config import (
    CONFIG_NAME,
    SpecialIds,
    read_decoder_config,
    write_decoder_config,
)

MAX_SHARD_SIZE = "5GB"
MAY_CHANGE = ("rope_theta", "rope_scaling", "max_position_embeddings", "dtype")
"""What a configuration may say otherwise than the weights' folder, on purpose: a longer context, another type."""

_HEAD = "lm_head.weight"
_EMBEDDINGS = "model.embed_tokens.weight"
_OWN = ("dropout", "initializer_range")
"""What the folder has no say in: it acts in training alone."""


def load_hf(source: Path | str, dtype: str | None = None) -> Decoder:
    """Return the decoder of a Hugging Face folder or Hub id, on the CPU, without a second copy of its weights.

    Args:
        source: The folder or the Hub id; tokenizer files may be missing.
        dtype: float32, bfloat16 or float16; None: as config.json says.

    Raises:
        InputError: Another architecture; a file that is missing, cut short or a pickle; a tensor that is missing,
            unknown or of another shape; a tied head that differs from the embeddings.
    """
    folder = checkpoint_folder(source)
    config = read_decoder_config(folder)
    if dtype is not None:
        config = replace(config, dtype=dtype)
    with torch.device("meta"):
        decoder = Decoder(config)
    with SafetensorsFiles(weight_files(folder)) as files:
        _check_tensors(files, decoder, folder)
        # Memory that was asked for and never written takes no room yet.
        decoder.to_empty(device="cpu")
        _copy(files, decoder)
    return decoder


def load_hf_into(decoder: Decoder, source: Path | str, changed: Collection[str] = ()) -> None:
    """Copy the weights of a Hugging Face folder or Hub id into a decoder that is there already.

    The decoder keeps its types and devices. Of one sharded by `parallel.shard`, each rank reads its own part only.

    Args:
        decoder: Of the sizes that the folder's config.json names.
        source: The folder or the Hub id.
        changed: Fields that differ on purpose, as in `check_same_decoder`.

    Raises:
        InputError: As `load_hf`; or the decoder's configuration is not the folder's.
    """
    folder = checkpoint_folder(source)
    path = folder / CONFIG_NAME
    check_same_decoder(decoder.config, read_decoder_config(folder), str(path), changed)
    with SafetensorsFiles(weight_files(folder)) as files:
        _check_tensors(files, decoder, folder)
        _copy(files, decoder)


def save_hf(
    decoder: Decoder,
    folder: Path | str,
    ids: SpecialIds | None = None,
    max_shard_size: str = MAX_SHARD_SIZE,
) -> None:
    """Write a folder that transformers loads as `LlamaForCausalLM`; large weights are split into files.

    Other files of the folder, such as a tokenizer's, stay.

    Args:
        decoder: What is written, in its own type.
        folder: Where to; made where it is missing. Weights that are there are replaced, whole.
        ids: Where texts begin and generation ends; None: a base model's ids.
        max_shard_size: The most that one file holds ("5GB").

    Raises:
        InputError: The decoder has low-rank changes, which this format has no place for.
    """
    change = next((name for name in decoder.state_dict() if name.endswith("lora_a")), None)
    if change is not None:
        remedy = "call merge_lora first"
        raise InputError(
            "decoder", field=change, found="a low-rank change", wanted="plain weights", remedy=remedy
        )
    folder = Path(folder)
    fresh = folder / "weights.writing"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = {
        name: _by_itself(value.detach().cpu().contiguous()) for name, value in decoder.state_dict().items()
    }
    huggingface_hub.save_torch_state_dict(weights, fresh, max_shard_size=max_shard_size)
    for path in [*folder.glob("model*.safetensors"), folder / INDEX_NAME]:
        path.unlink(missing_ok=True)
    write_decoder_config(decoder.config, folder, ids or SpecialIds())
    mode = (folder / CONFIG_NAME).stat().st_mode
    for path in sorted(fresh.iterdir()):
        # safetensors writes for the owner alone; the folder is shared like any other file.
        path.chmod(mode)
        path.replace(folder / path.name)
    fresh.rmdir()


def _by_itself(weight: Tensor) -> Tensor:
    """Return a weight in a memory of its own: generation has joined some, and the writer takes those for shared."""
    return weight if weight.untyped_storage().nbytes() == weight.nbytes else weight.clone()


def check_same_decoder(
    wanted: DecoderConfig, found: DecoderConfig, where: str, changed: Collection[str] = ()
) -> None:
    """Raise `InputError` naming both values where weights were trained as another decoder than the one configured.

    A theta or a scaling that differs gives wrong logits without any error; a number of layers that differs, missing
    tensors.

    Args:
        wanted: The configuration of the run.
        found: The configuration beside the weights.
        where: The file that holds it.
        changed: Fields that differ on purpose; those of `MAY_CHANGE`, for weights fit no other sizes.
    """
    for name in changed:
        if name not in (*MAY_CHANGE, *_OWN):
            remedy = "correct the list"
            raise InputError("changed", found=name, wanted="some of " + ", ".join(MAY_CHANGE), remedy=remedy)
    for field in fields(DecoderConfig):
        if field.name in (*changed, *_OWN):
            continue
        mine, theirs = _meaning(wanted, field.name), _meaning(found, field.name)
        is_widened = field.name == "dtype" and mine == "float32"  # every number stays what it is
        if mine != theirs and not is_widened:
            remedy = f"take the folder's {field.name}"
            if field.name in MAY_CHANGE:
                remedy += f", or list {field.name} in `changed` if the run is to change it"
            raise InputError(
                where,
                field=field.name,
                found=theirs,
                wanted=f"{mine}, as the run's configuration says",
                remedy=remedy,
            )


def _meaning(config: DecoderConfig, name: str) -> object:
    """Return what a field comes to, with what is left out filled in."""
    if name == "head_dim":
        return config.head_width
    scaling = config.rope_scaling
    if name != "rope_scaling" or scaling is None:
        return getattr(config, name)
    first = {"original_max_position_embeddings": config.max_position_embeddings}
    return (first if scaling.rope_type == "yarn" else {}) | scaling.given()


def _check_tensors(files: SafetensorsFiles, decoder: Decoder, folder: Path) -> None:
    check_index(files, folder)
    wanted = {name: tuple(value.shape) for name, value in decoder.named_parameters()}
    is_tied = decoder.config.tie_word_embeddings
    # Some writers add what follows from other tensors: rotary frequencies, a tied head.
    redundant = {name for name in files.names if name.endswith("rotary_emb.inv_freq")}
    files.check(wanted, redundant | ({_HEAD} if is_tied else set()), folder)
    if is_tied and _HEAD in files.names and not files.is_equal(_HEAD, _EMBEDDINGS):
        raise InputError(
            folder,
            field=_HEAD,
            found="other values than the embeddings",
            wanted="the embeddings (tie_word_embeddings is true)",
            remedy="correct config.json, or ask for the folder again",
        )


def _copy(files: SafetensorsFiles, decoder: Decoder) -> None:
    parameter: Tensor
    for name, parameter in decoder.named_parameters():
        files.copy_into(name, parameter)
