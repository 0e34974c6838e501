"""How many tokens each record has: a sidecar of a folder of shards, so that batches are cut from the index.

Keyed by the hash of shards, tokenizer and template: another tokenizer gets another file, and a stale one is
never read.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from amalia_mm.data.index import Integers, ShardIndex, read_record
from amalia_mm.data.pipeline import count_text_tokens, spoken_of
from amalia_mm.data.schema import VERSION
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import NORMALISER
from amalia_mm.text.chat import PROMPTS, TEMPLATE
from amalia_mm.text.ctc_vocabulary import CtcClasses, CtcVocabulary
from amalia_mm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of each record of a folder."""

    num_tokens: Integers
    """(r) of the rendered record, without audio placeholders; 0 where the record cannot be read."""
    num_spoken: Integers
    """(r) of what is said in its clip, in CTC classes; -1 where there is none or nobody knows what."""


def token_counts_path(
    index: ShardIndex, tokenizer: Tokenizer, vocabulary: CtcVocabulary | None = None
) -> Path:
    """Return where the sidecar of these shards, this tokenizer, CTC vocabulary and template lies."""
    parts = [index.fingerprint, tokenizer.fingerprint, TEMPLATE, dict(PROMPTS), NORMALISER, VERSION]
    if vocabulary is not None:
        parts.append(dict(vocabulary.tokens))
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return index.folder / f"tokens-{key[:20]}.npy"


def index_tokens(
    folder: Path | str, tokenizer: Tokenizer, vocabulary: CtcVocabulary | None = None
) -> TokenCounts:
    """Return the token counts of a folder, from its sidecar; count and write it where there is none yet.

    A record that cannot be read counts 0 tokens here and is reported as bad where it is read.

    Raises:
        InputError: The folder has no index, a tar is cut, or the sidecar cannot be written.
    """
    index = ShardIndex.load(folder)
    path = token_counts_path(index, tokenizer, vocabulary)
    if path.is_file():
        return load_tokens(index, tokenizer, vocabulary)
    classes = CtcClasses(tokenizer, vocabulary)
    counts = np.zeros((2, len(index)), dtype=np.int64)
    for number in tqdm(range(len(index)), desc=f"tokens of {index.folder.name}", unit="record", delay=2.0):
        counts[:, number] = _count(index, number, classes)
    save_sidecar(path, counts)
    return TokenCounts(counts[0], counts[1])


def save_sidecar(path: Path, table: Integers) -> None:
    """Write what is known of the records of a folder beside its shards, whole or not at all.

    Raises:
        InputError: The disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, table)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        remedy = "free some space, or copy the shards to a folder that can be written"
        raise InputError(path, found=error.strerror, wanted="room for the sidecar", remedy=remedy) from error


def load_tokens(
    index: ShardIndex, tokenizer: Tokenizer, vocabulary: CtcVocabulary | None = None
) -> TokenCounts:
    """Return the token counts of the sidecar; a missing or damaged one raises `InputError`."""
    path = token_counts_path(index, tokenizer, vocabulary)
    try:
        counts = np.load(path, allow_pickle=False)
        if counts.shape != (2, len(index)):
            raise ValueError(f"counts of shape {counts.shape} for {len(index)} records")
    except (OSError, ValueError) as error:
        again = (
            f"run `amalia shards index {index.folder} --tokenizer`" if vocabulary is None else "begin the run"
        )
        remedy = f"delete it if it is there, and {again} again"
        raise InputError(path, found=error, wanted="the token counts", remedy=remedy) from error
    return TokenCounts(counts[0], counts[1])


def _count(index: ShardIndex, number: int, classes: CtcClasses) -> tuple[int, int]:
    try:
        record, _ = read_record(index, number, with_audio=False)
    except InputError:
        return 0, -1
    spoken = spoken_of(record)
    num_tokens = count_text_tokens(record, classes.tokenizer)
    try:
        return num_tokens, -1 if spoken is None else len(classes.encode(spoken))
    except InputError:
        return num_tokens, -1  # a character that these classes cannot write: told where the record is read
