"""A checkpoint's folder: the one on this machine, or the Hub's, fetched once into Hugging Face's own cache."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub

from amalia_mm.errors import InputError

CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
"""What tells of a model without its weights."""
FILES = (
    *(*CONFIGS, "generation_config.json"),
    # Not `model.fp32-*`, which lies beside the same weights in half precision.
    *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "*.jinja"),
    *("added_tokens.json", "README.md"),
)
"""What is fetched: no pickles, no code."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_checkpoint(source: Path | str) -> bool:
    """Return whether this names a Hugging Face checkpoint: a folder with a config.json, or no folder but a Hub id."""
    if Path(source).exists():
        return (Path(source) / "config.json").is_file()
    return _HUB_ID.fullmatch(str(source)) is not None


def checkpoint_folder(source: Path | str, files: Sequence[str] = FILES) -> Path:
    """Return the folder of a checkpoint; a Hub id (`utter-project/EuroLLM-1.7B`) is fetched if it is not there yet.

    A folder on this machine comes first. `HF_HUB_OFFLINE=1` keeps to what was fetched before.

    Args:
        source: The folder or the Hub id.
        files: Names and patterns of what is fetched of a Hub id.

    Raises:
        InputError: A file in place of a folder; neither a folder nor a Hub id; or the Hub does not give it.
    """
    folder = Path(source)
    if folder.is_file():
        remedy = "give the folder that holds config.json and the weights"
        raise InputError(folder, found="a file", wanted="the folder of a checkpoint", remedy=remedy)
    if folder.exists():
        return folder
    if _HUB_ID.fullmatch(str(source)) is None:
        remedy = "give a folder that exists, or a Hub id such as utter-project/EuroLLM-1.7B"
        raise InputError(
            folder, found="no such file or folder", wanted="a Hugging Face folder", remedy=remedy
        )
    try:
        return Path(huggingface_hub.snapshot_download(str(source), allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        # What the Hub and the network say are kinds of OSError, what is no id is a ValueError.
        first_line = next(iter(str(error).strip().splitlines()), "")
        found = f"no such folder here, and from the Hub {type(error).__name__}: {first_line}"
        remedy = "correct the name, or fetch the folder first and give its path"
        raise InputError(str(source), found=found, wanted="a checkpoint", remedy=remedy) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a checkpoint's file; `InputError` where it is missing or is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "give the folder's path"
        raise InputError(
            path, found="no such file", wanted="a Hugging Face model folder", remedy=remedy
        ) from error
    except ValueError as error:
        raise InputError(path, found=error, wanted="JSON in UTF-8", remedy="copy the file again") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise InputError(path, found=found, wanted="a JSON object", remedy="copy the file again")
    return content
