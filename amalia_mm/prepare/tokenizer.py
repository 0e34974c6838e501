"""The tokenizer of a run, trained on the text of its shards.

What is heard is written in lower case and without punctuation, and is said in the decoder's own tokens: so
every text is trained on twice, as written and as spoken. It knows shards; `text/tokenizer.py` knows how.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.errors import InputError, writing
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.text.tokenizer import CONFIG_NAME, FILE_NAME, Tokenizer


@dataclass(frozen=True)
class TokenizerRecipe:
    """What a tokenizer is trained on, and where it goes.

    Args:
        shards: Folders of shards; audio is not read.
        vocab_size: Entries of the tokenizer, specials included.
        output: The folder that gets `tokenizer.json`.
        max_records: Records read of a folder, spread over it evenly: more of them do not change the pieces.
    """

    shards: tuple[Path, ...]
    vocab_size: int
    output: Path
    max_records: int = 10_000


def parse_recipe(values: Mapping[str, Any], where: str) -> TokenizerRecipe:
    """Return the recipe in a mapping read from YAML; `InputError` names `where` and the wrong field."""
    known = ("shards", "vocab_size", "output", "max_records")
    for name in values:
        if name not in known:
            _fail(where, str(name), "an unknown field", "one of " + ", ".join(known))
    shards = values.get("shards")
    if isinstance(shards, str | Path) or not isinstance(shards, Sequence) or not shards:
        _fail(where, "shards", shards, "a list of folders")
    if not all(isinstance(folder, str | Path) for folder in shards):
        _fail(where, "shards", shards, "a list of folders")
    numbers = {
        name: values.get(name, default) for name, default in (("vocab_size", None), ("max_records", 10_000))
    }
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            _fail(where, name, number, "a whole number of at least 1")
    output = values.get("output")
    if not isinstance(output, str | Path):
        _fail(where, "output", output, "a folder")
    return TokenizerRecipe(
        tuple(map(Path, shards)), numbers["vocab_size"], Path(output), numbers["max_records"]
    )


def train_tokenizer(recipe: TokenizerRecipe) -> Tokenizer:
    """Return the tokenizer of a recipe, after saving it; an earlier one is replaced at the end.

    Raises:
        InputError: A folder has no index or a record in it cannot be read, there is no text for that many
            entries, or the disk is full.
    """
    output = recipe.output
    _check_ours(output)
    tokenizer = Tokenizer.train(texts_of(recipe.shards, recipe.max_records, progress=True), recipe.vocab_size)
    part = output.with_name(f".{output.name}.part")
    with writing(output):
        shutil.rmtree(part, ignore_errors=True)
        tokenizer.save(part)
        shutil.rmtree(output, ignore_errors=True)
        part.replace(output)
    return tokenizer


def _check_ours(output: Path) -> None:
    """Raise `InputError` where the folder to be replaced holds anything but a tokenizer."""
    if not output.exists():
        return
    names = {path.name for path in output.iterdir()} if output.is_dir() else {output.name}
    strangers = sorted(names - {FILE_NAME, CONFIG_NAME})
    if strangers:
        found = f"{output} holds {', '.join(strangers[:5])}" if output.is_dir() else f"{output} is a file"
        wanted, remedy = "a new folder, or that of a tokenizer", "choose another: it would be replaced"
        raise InputError("output", found=found, wanted=wanted, remedy=remedy)


def texts_of(shards: Sequence[Path], max_records: int, progress: bool = False) -> Iterator[str]:
    """Yield the texts of up to `max_records` of each folder, as written and as spoken where that differs."""
    indexes = [ShardIndex.load(folder) for folder in shards]
    chosen = [
        (index, i * len(index) // num)
        for index in indexes
        for num in [min(len(index), max_records)]
        for i in range(num)
    ]
    with tqdm(chosen, unit="texto", desc="01_tokenizer", disable=not progress) as bar:
        for index, number in bar:
            record, _ = read_record(index, number, with_audio=False)
            texts = (record.text, record.spoken, *(turn.text for turn in record.turns))
            for text in filter(None, texts):
                yield text
                heard = spoken_form(text)
                if heard and heard != text:
                    yield heard


def _fail(where: str, field: str, found: object, wanted: str) -> NoReturn:
    raise InputError(where, field=field, found=repr(found), wanted=wanted, remedy="correct the recipe")
