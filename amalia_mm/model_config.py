"""The configuration of a model folder, `config.yaml`, and the untrained model that it describes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.errors import InputError
from amalia_mm.fusion.ctc_head import CtcHead, CtcHeadConfig
from amalia_mm.fusion.projectors import Projector, projector_between
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.lora import LoraConfig, add_lora, gate_lora
from amalia_mm.text.decoder import Decoder, DecoderConfig

CONFIG = "config.yaml"
FORMAT = 1
PARTS = ("decoder", "encoder", "projector", "ctc_head")
VOICE_PARTS = ("speaker", "acoustic", "vocoder")
"""Parts of a voice; each has a folder of its own, without a tokenizer."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return the checked `config.yaml` of a model folder; `InputError` where it is missing or of another format."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            path,
            found="no such file",
            wanted="a model folder",
            remedy="give a folder that training or export wrote",
        )
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        remedy = "copy the folder again"
        raise InputError(path, found=error, wanted="YAML in UTF-8", remedy=remedy) from error
    found = config.get("format") if isinstance(config, dict) else config
    if found != FORMAT:
        raise InputError(
            path,
            field="format",
            found=found,
            wanted=str(FORMAT),
            remedy="write the folder again with this version",
        )
    return config


def build_part(spec: Mapping[str, Any], wanted: type, where: str) -> Callable[..., Any]:
    """Return the constructor a `class_path` + `init_args` names, its arguments bound.

    Raises:
        InputError: The path does not lead to a subclass of `wanted`; a folder from elsewhere cannot run
            anything but encoders and projectors.
    """
    path = str(spec.get("class_path", ""))
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            where,
            field="class_path",
            found=repr(path),
            wanted=f"an importable {wanted.__name__}",
            remedy="install the package that brings it, or correct the path",
        ) from error
    if not (isinstance(found, type) and issubclass(found, wanted)):
        raise InputError(
            where,
            field="class_path",
            found=path,
            wanted=f"a subclass of {wanted.__name__}",
            remedy="correct the path",
        )
    arguments = dict(spec.get("init_args") or {})
    return lambda *given: found(*given, **arguments)


def build_model(config: Mapping[str, Any], where: str) -> SpeechTextModel:
    """Return the untrained model a configuration describes; `InputError` where it names no decoder."""
    if not config.get("decoder"):
        found = ", ".join(part for part in PARTS if config.get(part)) or "nothing"
        raise InputError(
            where,
            field="decoder",
            found=f"only {found}",
            wanted="a model with a decoder",
            remedy="give the folder of a later stage",
        )
    with fitting(where, "decoder"):
        decoder_config = DecoderConfig.of(config["decoder"])
        decoder = Decoder(decoder_config)
    if config.get("lora"):
        with fitting(where, "lora"):
            add_lora(decoder.model, LoraConfig(**config["lora"]))
            gate_lora(decoder, False)  # until something is heard
    if not config.get("encoder"):
        return SpeechTextModel(encoder=None, projector=None, decoder=decoder)
    if not config.get("projector"):
        raise InputError(
            where,
            field="projector",
            found="an encoder without one",
            wanted="encoder and projector, or neither",
            remedy="give the folder of a later stage",
        )
    with fitting(where, "encoder"):
        encoder = build_part(config["encoder"], AudioEncoder, where)()
    with fitting(where, "projector"):
        projector = projector_between(
            encoder, build_part(config["projector"], Projector, where), decoder_config
        )
    head = None
    if config.get("ctc_head"):
        with fitting(where, "ctc_head"):
            head = CtcHead(CtcHeadConfig(**config["ctc_head"]), encoder, projector, decoder_config)
    return SpeechTextModel(encoder, projector, decoder, head)


@contextmanager
def fitting(where: str, part: str) -> Iterator[None]:
    """Tell as an `InputError` what a part cannot be built of; sizes that fill the memory, too."""
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, RuntimeError, MemoryError) as error:
        remedy = "write the folder again, or copy it from where it is whole"
        found, wanted = f"{type(error).__name__}: {error}", f"what a {part} is built of"
        raise InputError(where, field=part, found=found, wanted=wanted, remedy=remedy) from error
