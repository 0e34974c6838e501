"""The files of a tokenizer folder, ours or Hugging Face's: which there are, what they say, and how they travel.

A folder of a checkpoint holds weights as well; of it only the files of the tokenizer are ever read or copied.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amalia_mm.errors import InputError
from amalia_mm.hub import read_json
from amalia_mm.text.chat_format import BOS, ChatFormat, read_chat_format
from amalia_mm.text.sentencepiece_model import FirstSpace, read_sentencepiece

FILE_NAME = "tokenizer.json"
SENTENCEPIECE_NAME = "tokenizer.model"
CONFIG_NAME = "tokenizer_config.json"
TEMPLATE_NAME = "chat_template.jinja"
GENERATION_NAME = "generation_config.json"
NAMES = (
    *(FILE_NAME, SENTENCEPIECE_NAME, CONFIG_NAME, TEMPLATE_NAME, GENERATION_NAME),
    *("special_tokens_map.json", "added_tokens.json"),
)
"""What is copied of a folder."""


@dataclass(frozen=True)
class TokenizerFiles:
    """What the files of one folder say."""

    path: Path
    """The file with the vocabulary."""
    serialised: str
    """The text of a `tokenizer.json`."""
    first_space: FirstSpace = "never"
    """Where a space is put before anything else happens; a `tokenizer.json` sees to that itself."""
    bos: str = BOS
    chat_format: ChatFormat = field(default_factory=ChatFormat)
    stop_ids: tuple[int, ...] = ()
    """Where generation ends, as `generation_config.json` says; empty without one."""


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Return what a folder with a `tokenizer.json` or a SentencePiece `tokenizer.model` says.

    Raises:
        InputError: Neither is there; a file cannot be read; or the chat template is not ChatML.
    """
    config = _read_json(folder / CONFIG_NAME)
    bos, eos = (_content(config.get(name)) for name in ("bos_token", "eos_token"))
    path = folder / FILE_NAME
    first_space: FirstSpace = "never"
    if path.is_file():
        try:
            serialised = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(path, found=error, wanted="UTF-8 text", remedy="copy the file again") from error
    elif (folder / SENTENCEPIECE_NAME).is_file():
        path = folder / SENTENCEPIECE_NAME
        serialised, first_space = read_sentencepiece(path, config)
    else:
        raise InputError(
            folder,
            field=FILE_NAME,
            found="no such file",
            wanted=f"a tokenizer folder (ours or Hugging Face's), with {FILE_NAME} or {SENTENCEPIECE_NAME}",
            remedy=f"give the folder that holds {FILE_NAME}, or train a tokenizer first",
        )
    where, template = _template(folder, config)
    chat_format = read_chat_format(template, where, bos or BOS, eos or "") if template else ChatFormat()
    return TokenizerFiles(path, serialised, first_space, bos or BOS, chat_format, read_stop_ids(folder))


def read_stop_ids(folder: Path) -> tuple[int, ...]:
    """Return where generation ends by the word of a folder's generation_config.json, nothing without one."""
    path = folder / GENERATION_NAME
    found = _read_json(path).get("eos_token_id")
    ids = [] if found is None else found if isinstance(found, list) else [found]
    if not all(isinstance(each, int) and each >= 0 for each in ids):
        remedy = "correct the file"
        raise InputError(path, field="eos_token_id", found=found, wanted="one id or a list", remedy=remedy)
    return tuple(ids)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the files of a tokenizer, and nothing else that the folder may hold."""
    target.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


def _template(folder: Path, config: Mapping[str, Any]) -> tuple[Path, str]:
    """Return the file and the text of the chat template, "" where there is none."""
    path = folder / TEMPLATE_NAME
    if path.is_file():
        return path, path.read_text(encoding="utf-8")
    found = config.get("chat_template") or ""
    if isinstance(found, list):
        found = next((each["template"] for each in found if each.get("name") == "default"), "")
    return folder / CONFIG_NAME, str(found)


def _content(token: object) -> str:
    """Return the text of a special token, which may be written with its properties."""
    return str(token.get("content") or "") if isinstance(token, dict) else str(token or "")


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is not there."""
    return read_json(path) if path.is_file() else {}
