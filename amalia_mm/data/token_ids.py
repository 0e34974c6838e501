"""Text as the token ids it is learned as: a sidecar of a folder of shards, so that it is tokenised once.

Keyed as the token counts are. One number of 32 bits a token, all records one after the other; the highest bit says
that the token carries loss. Clips, simulated paths and pairs of preference are not in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from amalia_mm.data.index import Integers, ShardIndex, read_record
from amalia_mm.data.pipeline import rendered_text
from amalia_mm.data.tokens import TokenCounts, save_sidecar, token_counts_path
from amalia_mm.errors import InputError, writing
from amalia_mm.text.chat import Rendered
from amalia_mm.text.tokenizer import Tokenizer

_HAS_LOSS = np.uint32(1 << 31)
_REMEDY = "delete it and run `amalia shards tokenize` again, or train without it"


@dataclass(frozen=True)
class TokenIds:
    """The token ids of a folder, read from the disk where they are asked for."""

    values: npt.NDArray[np.uint32]
    first: Integers
    """(r) where each record begins."""

    def rendered(self, record: int, start: int, stop: int) -> Rendered:
        """Return the tokens from `start` to before `stop` of a record, and which of them carry loss."""
        piece = self.values[self.first[record] + start : self.first[record] + stop]
        ids, has_loss = (piece & ~_HAS_LOSS).tolist(), (piece >= _HAS_LOSS).tolist()
        return Rendered(ids, has_loss, [False] * len(ids))


def token_ids_path(index: ShardIndex, tokenizer: Tokenizer) -> Path:
    """Return where the token ids of these shards, this tokenizer and this template lie, if they do."""
    return token_counts_path(index, tokenizer).with_suffix(".ids")


def load_token_ids(index: ShardIndex, tokenizer: Tokenizer, counts: TokenCounts) -> TokenIds | None:
    """Return the token ids of a folder, None where nobody has written them; a damaged file raises `InputError`."""
    path = token_ids_path(index, tokenizer)
    if not path.is_file():
        return None
    found, wanted = path.stat().st_size, 4 * int(counts.num_tokens.sum())
    if found != wanted:
        raise InputError(path, found=f"{found} bytes", wanted=f"{wanted} bytes", remedy=_REMEDY)
    first = np.cumsum(counts.num_tokens) - counts.num_tokens
    return TokenIds(np.memmap(path, dtype=np.uint32, mode="r"), first)


def write_token_ids(folder: Path | str, tokenizer: Tokenizer) -> TokenCounts:
    """Tokenise the documents and conversations of a folder, and return how many tokens each has.

    A record that cannot be read has none here, and is reported as bad where it is read.

    Raises:
        InputError: A record is heard or is a pair, the folder has no index, or the sidecar cannot be written.
    """
    index = ShardIndex.load(folder)
    counts = np.stack([np.zeros(len(index), dtype=np.int64), np.full(len(index), -1)])
    path = token_ids_path(index, tokenizer)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(index.folder), temporary.open("wb") as file:
            for number in tqdm(range(len(index)), desc=index.folder.name, unit="record", delay=2.0):
                rendered = _rendered(index, number, tokenizer)
                ids = np.array(rendered.ids, dtype=np.uint32)
                file.write((ids | np.where(rendered.has_loss, _HAS_LOSS, np.uint32(0))).tobytes())
                counts[0, number] = len(ids)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    save_sidecar(token_counts_path(index, tokenizer), counts)
    return TokenCounts(counts[0], counts[1])


def _rendered(index: ShardIndex, number: int, tokenizer: Tokenizer) -> Rendered:
    try:
        record, _ = read_record(index, number, with_audio=False)
    except InputError:
        return Rendered()
    if record.is_heard or record.rejected is not None:
        found = "a clip" if record.is_heard else "a pair of preference"
        remedy = "leave the folder as it is: clips and pairs are made into tokens when they are read"
        raise InputError(index.where(number), found=found, wanted="text alone", remedy=remedy)
    return rendered_text(record, tokenizer)
