"""A model folder, in and out: what training writes and what transcription, chat and evaluation read.

    config.yaml           decoder sizes; encoder and projector as class_path + init_args, and a CTC head beside the
                          projector where there is one; what made them
    weights.safetensors   every parameter, named as in `SpeechTextModel`
    tokenizer/            the tokenizer
    README.md             the card

A folder may hold only some of the parts: pre-training writes a decoder, CTC training an encoder and a projector.
It knows nothing of Lightning.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.errors import InputError
from amalia_mm.fusion.ctc_head import CtcHead
from amalia_mm.fusion.projectors import check_ctc_tokens, check_same_classes
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.hub import is_checkpoint
from amalia_mm.lora import check_begun, is_change, merged_weights
from amalia_mm.model_config import CONFIG, FORMAT, PARTS, VOICE_PARTS, build_model, fitting, read_config
from amalia_mm.safetensors_files import SafetensorsFiles
from amalia_mm.text.checkpoint import check_same_decoder, load_hf_into
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.text.tokenizer_files import copy_tokenizer

WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer"
CARD = "README.md"

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to use: in evaluation mode, with its tokenizer and the configuration that built it."""

    model: SpeechTextModel
    tokenizer: Tokenizer
    config: dict[str, Any]
    folder: Path


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the parameters of a model folder by name; `InputError` where the file is missing or cut short."""
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        # safetensors says "no such file" of one that it may not read.
        found = "no permission to read it" if path.is_file() else "no such file"
        remedy = "change its permissions" if path.is_file() else "copy the folder again"
        raise InputError(path, found=found, wanted="the weights", remedy=remedy) from error
    except SafetensorError as error:
        raise InputError(
            path, found=error, wanted="whole safetensors", remedy="copy the folder again"
        ) from error


def save_model(
    folder: Path,
    model: nn.Module,
    *,
    config: Mapping[str, Any],
    tokenizer: Path | None,
    card: str,
    leave_out: Collection[str] = (),
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model folder; a reader sees the old folder or the new one, never half of it.

    Args:
        folder: Where to write; an older model folder there is replaced.
        model: A module with any of the children `decoder`, `encoder`, `projector`, `ctc_head`, or a part of a voice;
            low-rank changes are merged, but for those that the configuration has a `lora` for, which stay apart: the
            decoder's, that act on what is heard alone, or the acoustic model's, that are one person's.
        config: The specification of each of those parts, and anything worth keeping (`made_by`, `sources`).
        tokenizer: The folder of the tokenizer, copied in; None for parts of a voice.
        card: The text of `README.md`.
        leave_out: Names of parameters that are not written; a folder without them can only be started from.
        weights: The parameters, whole, where those of the model are sharded; None: the model's own.
    """
    fresh = folder.with_name(folder.name + ".writing")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    state = model.state_dict() if weights is None else weights
    apart = "acoustic" if config.get("acoustic") else "decoder"
    state = merged_weights(model, state, apart=apart if config.get("lora") else None)
    encoder = getattr(model, "encoder", None)
    if isinstance(encoder, AudioEncoder) and config.get("encoder"):
        config = {**config, "encoder": encoder.portable(config["encoder"])}
    kept = {name: value.detach().cpu().contiguous() for name, value in state.items() if name not in leave_out}
    text = yaml.safe_dump({"format": FORMAT, **config}, allow_unicode=True, sort_keys=False)
    (fresh / CONFIG).write_text(text, encoding="utf-8")
    save_file(kept, fresh / WEIGHTS)
    # safetensors writes for the owner alone; the folder is shared like any other file.
    (fresh / WEIGHTS).chmod((fresh / CONFIG).stat().st_mode)
    (fresh / CARD).write_text(card, encoding="utf-8")
    if tokenizer is not None:
        copy_tokenizer(tokenizer, fresh / TOKENIZER)
    if folder.exists():
        stale = folder.with_name(folder.name + ".old")
        shutil.rmtree(stale, ignore_errors=True)
        folder.replace(stale)
        fresh.replace(folder)
        shutil.rmtree(stale)
    else:
        fresh.replace(folder)


def load_model(
    folder: Path | str,
    device: torch.device | str = "cpu",
    init_from: Mapping[str, Sequence[str]] | None = None,
) -> LoadedModel:
    """Return the model of a folder, in evaluation mode on `device`.

    What is there of a projector without an encoder, such as `13_paths` writes, is left there, and so is its CTC head.

    Args:
        folder: The model folder.
        device: Where it goes.
        init_from: Parts to take from other folders in place of its own, as `warm_start` does.

    Raises:
        InputError: A file is missing or cut, or a weight has another name or shape than the configuration says; or
            the tokenizer has more entries than the decoder.
    """
    folder = Path(folder)
    config = read_config(folder)
    model = build_model(config, str(folder / CONFIG))
    weights = read_weights(folder)
    if model.projector is None:
        without = ("projector.", "ctc_head.")
        weights = {name: value for name, value in weights.items() if not name.startswith(without)}
    check_same(model.state_dict(), weights, where=str(folder / WEIGHTS))
    model.load_state_dict(weights)
    warm_start(model, init_from or {})
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    check_entries(tokenizer, model.decoder.config, folder / TOKENIZER)
    check_ctc_tokens(model.projector, tokenizer, str(folder / CONFIG))
    return LoadedModel(model.eval().to(device), tokenizer, config, folder)


def check_entries(tokenizer: Tokenizer, decoder: DecoderConfig, where: Path) -> None:
    """Raise `InputError` where a tokenizer has entries that the decoder has no embedding for."""
    if tokenizer.vocab_size > decoder.vocab_size:
        found, wanted = f"{tokenizer.vocab_size} entries", f"at most {decoder.vocab_size}, as the decoder has"
        remedy = "use the tokenizer that the decoder was trained with"
        raise InputError(where, field="vocab_size", found=found, wanted=wanted, remedy=remedy)


def warm_start(
    model: nn.Module, init_from: Mapping[str, Sequence[str]], changed: Collection[str] = ()
) -> None:
    """Copy parts from model folders and Hugging Face checkpoints into a model.

    Args:
        model: A module with any of the children `decoder`, `encoder`, `projector`, `ctc_head`.
        init_from: Model folder -> the names of parts, or of what is inside one (`projector.head`). A folder with a
            `config.json`, or a Hub id, is a Hugging Face checkpoint and can give the whole decoder or encoder.
        changed: Fields in which the decoder differs from the folder's on purpose, such as `rope_theta`.

    Raises:
        InputError: A part is unknown, given twice, absent on either side, or differs in a name or a shape; or a
            decoder or an encoder was trained as another one than the model's configuration says; or an encoder has
            low-rank changes, and nothing gives what they change.
    """
    own = model.state_dict()
    given: dict[str, str] = {}
    for folder, parts in init_from.items():
        for part in parts:
            wanted = _inside(own, part)
            if part.partition(".")[0] not in (*PARTS, *VOICE_PARTS) or not wanted:
                raise InputError(
                    f"init_from[{folder}]",
                    found=part,
                    wanted=f"a part of this model: {[p for p in (*PARTS, *VOICE_PARTS) if _inside(own, p)]}",
                    remedy="correct the list",
                )
            twice = next((given[name] for name in wanted if name in given), None)
            if twice is not None:
                raise InputError(
                    f"init_from[{folder}]",
                    found=f"{part}, also from {twice}",
                    wanted="each part once",
                    remedy="remove one",
                )
            given |= dict.fromkeys(wanted, folder)
            if part in ("projector", "projector.head"):
                check_same_classes(model.get_submodule("projector"), read_config(Path(folder)), folder)
            if part == "ctc_head" and isinstance(head := model.get_submodule(part), CtcHead):
                head.check_same(read_config(Path(folder)), f"{Path(folder) / CONFIG}")
            whole = model.get_submodule(part) if part in ("decoder", "encoder") else None
            if isinstance(whole, Decoder):
                if is_checkpoint(folder):
                    load_hf_into(whole, folder, changed)
                    continue
                _check_decoder(whole.config, Path(folder), changed)
            elif isinstance(whole, AudioEncoder):
                if is_checkpoint(folder):
                    whole.load_checkpoint(folder)
                    continue
                whole.check_same(read_config(Path(folder)).get("encoder") or {}, f"{Path(folder) / CONFIG}")
            _copy_part(Path(folder), part, wanted)
    check_begun(own, given, "encoder")


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return sha256 over names and values, in hexadecimal; the same on any device and in any order."""
    whole = hashlib.sha256()
    for name, value in sorted(weights.items()):
        whole.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        if isinstance(value, DTensor):
            value = value.full_tensor()
        whole.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _check_decoder(wanted: DecoderConfig, folder: Path, changed: Collection[str]) -> None:
    """Raise `InputError` where a model folder's decoder was trained as another one than this is to be."""
    config = read_config(folder).get("decoder")
    if config:
        with fitting(str(folder / CONFIG), "decoder"):
            found = DecoderConfig.of(config)
        check_same_decoder(wanted, found, str(folder / CONFIG), changed)


def _copy_part(folder: Path, part: str, own: Mapping[str, Tensor]) -> None:
    """Copy a part of a model folder into the parameters `own`, one by one; of sharded ones, this rank's part."""
    read_config(folder)
    with SafetensorsFiles([folder / WEIGHTS]) as files:
        theirs = _inside(files.shapes, part)
        if not theirs:
            raise InputError(
                folder / WEIGHTS,
                field=part,
                found="no such part",
                wanted=f"weights of the {part}",
                remedy="give another folder",
            )
        # Low-rank changes begin at nothing, where they are new.
        own = {name: value for name, value in own.items() if name in theirs or not is_change(name)}
        _check_same(_shapes(own), theirs, where=f"{folder}: {part}")
        for name, value in own.items():
            files.copy_into(name, value)


def check_same(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: str) -> None:
    """Raise `InputError` where weights have other names or shapes than a module's own, or are no finite numbers."""
    _check_same(_shapes(own), _shapes(weights), where)
    _check_numbers(weights, where)


def _check_numbers(weights: Mapping[str, Tensor], where: str) -> None:
    """Raise `InputError` naming the first weight that is no floating-point number, or not finite."""
    for name, value in weights.items():
        if not value.is_floating_point() or not torch.isfinite(value.float().sum()):
            found = f"{value.dtype}" if not value.is_floating_point() else "numbers that are not finite"
            remedy = "go back to an earlier checkpoint, or copy the folder again"
            raise InputError(where, field=name, found=found, wanted="finite weights", remedy=remedy)


def _inside(named: Mapping[str, _Value], part: str) -> dict[str, _Value]:
    """Return what is named inside a part, or is the one of that very name."""
    return {name: value for name, value in named.items() if f"{name}.".startswith(f"{part}.")}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


def _check_same(
    own: Mapping[str, tuple[int, ...]], weights: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Raise `InputError` naming the first key that is missing, unknown or of another shape."""
    for name in sorted(own.keys() | weights.keys()):
        mine = own.get(name, "no such parameter")
        theirs = weights.get(name, "no such weight")
        if mine != theirs:
            raise InputError(
                where,
                field=name,
                found=theirs,
                wanted=str(mine),
                remedy="use weights and configuration of the same model",
            )
