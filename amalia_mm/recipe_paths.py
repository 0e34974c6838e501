"""Where the recipes lie, what one says once its fragments are read, and the options that move its run folder.

In a checkout recipes/ stands beside the package, in an installed wheel inside it. This file knows nothing of
what the keys of a recipe mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from amalia_mm.errors import InputError


def recipes_folder() -> Path:
    """Return the folder of the recipes, relative to the current folder where it lies below it."""
    package = Path(__file__).resolve().parent
    folder = package / "recipes" if (package / "recipes").is_dir() else package.parent / "recipes"
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def read_recipe(path: Path) -> dict[str, Any]:
    """Return a recipe with its fragments read into it.

    A value that ends in `.yaml` is a file, by its path from the one that names it.

    Raises:
        InputError: The file or a fragment is missing, is not UTF-8, or is not a YAML mapping.
    """
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            path, found="no such file", wanted="a recipe or fragment", remedy="correct the path"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, found=error, wanted="YAML", remedy="correct the file") from error
    if not isinstance(recipe, dict):
        raise InputError(
            path, found=type(recipe).__name__, wanted="a YAML mapping", remedy="correct the file"
        )
    return _with_fragments(recipe, path.parent)


def recipe_options(recipe: dict[str, Any], run: str, new_run: str, *, as_json: bool) -> list[str]:
    """Return the command-line options that put `new_run` wherever a recipe names the run folder `run`.

    Args:
        recipe: As `read_recipe` returns it.
        run: The run folder that the recipe names.
        new_run: The one to put in its place.
        as_json: Whether a list is one JSON value (LightningCLI) or follows its option word by word
            (argparse).
    """
    options: list[str] = []
    for key, value in recipe.items():
        if isinstance(value, dict) and not any(_names(inner, run) for inner in value):
            inner_options = recipe_options(value, run, new_run, as_json=as_json)
            options += [f"--{key}.{part[2:]}" if part.startswith("--") else part for part in inner_options]
        elif (moved := _moved(value, run, new_run)) != value:
            if isinstance(moved, str):
                options += [f"--{key}", moved]
            else:
                options += [f"--{key}", *([json.dumps(moved)] if as_json else moved)]
    return options


def run_folder_of(words: Sequence[str]) -> Path | None:
    """Return the run folder of a `fit` command line: its `--run_folder`, else its recipe's, else None."""
    options = dict(pairwise(words)) | dict(word.split("=", 1) for word in words if "=" in word)
    if "--run_folder" in options:
        return Path(options["--run_folder"])
    recipe = options.get("-c") or options.get("--config")
    folder = read_recipe(Path(recipe)).get("run_folder") if recipe else None
    return Path(folder) if isinstance(folder, str) else None


def _with_fragments(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _with_fragments(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_fragments(inner, folder) for inner in value]
    if isinstance(value, str) and value.endswith(".yaml"):
        return read_recipe(folder / value)
    return value


def _names(text: Any, run: str) -> bool:
    return isinstance(text, str) and (text == run or text.startswith(f"{run}/"))


def _moved(value: Any, run: str, new_run: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, run, new_run): _moved(inner, run, new_run) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, run, new_run) for inner in value]
    return new_run + value[len(run) :] if _names(value, run) else value
