"""Trains the tokenizer on the text of shards: what is written there, and what is heard in spoken form.

CTC targets are made of spoken forms, so that they must be cheap too. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.pipeline import spoken_of, turns_of
from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenizerRecipe:
    """What a tokenizer is made of, and where it goes."""

    shards: tuple[Path, ...]
    vocab_size: int
    output: Path


def parse_recipe(values: Mapping[str, Any], where: str) -> TokenizerRecipe:
    """Return the checked recipe of a mapping; `InputError` where a key is missing, unknown or of another type."""
    names = [field.name for field in fields(TokenizerRecipe)]
    for name in values:
        if name not in names:
            _fail(where, name, "an unknown key", "one of " + ", ".join(names))
    for name in names:
        if name not in values:
            _fail(where, name, "nothing", "a value")
    shards, vocab_size = values["shards"], values["vocab_size"]
    if not isinstance(shards, list) or not shards:
        _fail(where, "shards", repr(shards), "a list of folders")
    if not isinstance(vocab_size, int):
        _fail(where, "vocab_size", repr(vocab_size), "a whole number")
    return TokenizerRecipe(tuple(map(Path, shards)), vocab_size, Path(values["output"]))


def train_tokenizer(recipe: TokenizerRecipe) -> Tokenizer:
    """Return the tokenizer after writing it; the same shards give the same tokenizer.

    Raises:
        InputError: A folder of shards is missing or damaged, or its text is too little for so many entries.
    """
    tokenizer = Tokenizer.train(_texts(recipe.shards), recipe.vocab_size)
    tokenizer.save(recipe.output)
    return tokenizer


def _texts(folders: tuple[Path, ...]) -> Iterator[str]:
    indices = [ShardIndex.load(folder) for folder in folders]
    with tqdm(total=sum(map(len, indices)), desc="tokenizer", unit=" records", dynamic_ncols=True) as bar:
        for index in indices:
            for number in range(len(index)):
                record, _ = read_record(index, number, with_audio=False)
                texts = [turn.text for turn in turns_of(record)] or [record.text or ""]
                yield from (text for text in (*texts, spoken_of(record)) if text)
                bar.update()


def _fail(where: str, field: str, found: str, wanted: str) -> None:
    raise InputError(
        where, field=field, found=found, wanted=wanted, remedy="correct the recipe or the options"
    )
