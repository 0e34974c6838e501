"""How many phones each clip of a folder says: a sidecar of its shards, so that batches are cut from the index.

Keyed by the hash of the shards and the symbols: other shards get another file, and a stale one is never read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from amalia_mm.data.index import Integers, ShardIndex, read_record
from amalia_mm.data.pipeline import written_of
from amalia_mm.data.schema import Record
from amalia_mm.data.tokens import TokenCounts, save_sidecar
from amalia_mm.errors import InputError
from amalia_mm.portuguese.phonology.phonemes import SYMBOLS
from amalia_mm.portuguese.read_aloud import read_aloud

NOTHING_SAID = -1
"""In place of a number of phones: a clip in which nobody speaks, a record without a clip."""
UNREADABLE = 0


def said_in(record: Record) -> str:
    """Return the words of a record's clip, as they are written; "" where there are none or nobody knows them."""
    return (written_of(record) or "").strip()


def phone_counts_path(index: ShardIndex) -> Path:
    """Return where the sidecar of these shards and symbols lies."""
    key = hashlib.sha256(json.dumps([index.fingerprint, SYMBOLS]).encode()).hexdigest()
    return index.folder / f"phones-{key[:20]}.npy"


def index_phones(folder: Path | str) -> TokenCounts:
    """Return the phone counts of a folder, from its sidecar; count and write it where there is none yet.

    A record that cannot be read, or says what cannot be said, counts `UNREADABLE` and is reported as bad.

    Raises:
        InputError: The folder has no index, a tar is cut, or the sidecar cannot be written.
    """
    index = ShardIndex.load(folder)
    path = phone_counts_path(index)
    if not path.is_file():
        counts = np.zeros(len(index), dtype=np.int64)
        for number in tqdm(
            range(len(index)), desc=f"phones of {index.folder.name}", unit="record", delay=2.0
        ):
            counts[number] = _count(index, number)
        save_sidecar(path, counts)
    return load_phones(index)


def load_phones(index: ShardIndex) -> TokenCounts:
    """Return the phone counts of the sidecar in place of tokens; a missing or damaged one raises `InputError`."""
    path = phone_counts_path(index)
    try:
        counts: Integers = np.load(path, allow_pickle=False)
        if counts.shape != (len(index),):
            raise ValueError(f"counts of shape {counts.shape} for {len(index)} records")
    except (OSError, ValueError) as error:
        remedy = "delete it if it is there, and begin the run again"
        raise InputError(path, found=error, wanted="the phone counts", remedy=remedy) from error
    return TokenCounts(counts, counts)


def _count(index: ShardIndex, number: int) -> int:
    if not index.num_samples[number]:
        return NOTHING_SAID
    try:
        record, _ = read_record(index, number, with_audio=False)
        text = said_in(record)
        return len(read_aloud(text)) if text else NOTHING_SAID
    except InputError:
        return UNREADABLE
