"""What a stage writes appears whole or not at all: made in a folder of its own, then put in its place.

It knows files and the disk; not what is in them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from amalia_mm.errors import writing


@contextmanager
def staged(output: Path, name: str, products: Sequence[str]) -> Iterator[Path]:
    """Yield the new folder `output/name` to write `products` in; at the end they replace those of `output`.

    What an earlier or interrupted run left stays until everything is there. The last of the products is the
    summary: it goes first and comes last, so what is half replaced has none.

    Args:
        output: Where the products belong.
        name: The folder they are made in.
        products: Files, and folders with a path of their own.

    Raises:
        InputError: The disk is full, or the folder cannot be written.
    """
    staging = output / name
    with writing(output):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield staging
        remove(output, products)
        for product in products:
            (output / product).parent.mkdir(parents=True, exist_ok=True)
            (staging / product).replace(output / product)
        shutil.rmtree(staging)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one row a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_summary(path: Path, summary: Mapping[str, object]) -> None:
    """Write what was made, to be read by people."""
    path.write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def remove(output: Path, products: Sequence[str]) -> None:
    """Remove what an earlier run left, the summary first."""
    for product in reversed(products):
        path = output / product
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
