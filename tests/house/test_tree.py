"""What stands in the tree: folders, words that may not appear, packages of the wheel, collected tests."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"amalia_mm", "configs", "recipes", "tests", "demos"}
BUILT = {"runs", "build", "dist"}
TEXT = {
    ".py",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".txt",
    ".tsv",
    ".jinja",
    ".html",
    ".css",
    ".js",
    ".cfg",
    ".sbatch",
    "",
}
# Spelt in pieces, so that this file does not name them either.
HOSTS = [
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("anaconda", "org"))
]


def files() -> list[Path]:
    """Every text file of the tree that git would take, found without git."""
    top = [path for path in ROOT.iterdir() if path.is_file()]
    rooms = [ROOT / name for name in sorted(FOLDERS) if (ROOT / name).is_dir()]
    below = [path for room in (*rooms, ROOT / ".ci") for path in room.rglob("*") if path.is_file()]
    return [p for p in sorted(top + below) if p.suffix in TEXT and "__pycache__" not in p.parts]


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_no_other_top_level_folder():
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert found - BUILT - {n for n in found if n.endswith(".egg-info")} <= FOLDERS


@pytest.mark.parametrize("path", files(), ids=label)
def test_words_that_may_not_appear(path):
    source = path.read_text(encoding="utf-8")
    in_tests = ROOT / "tests" in path.parents
    for host in HOSTS:
        assert host not in source, f"names a package registry: {host}"
    if not in_tests:
        marks = re.findall(r"\b(?:TO" r"DO|FIX" r"ME|XXX|HA" r"CK)\b", source)
        assert not marks, f"unfinished: {marks}"
        assert "../shared" not in source, "the optional real data is named by tests alone"


def test_the_wheel_lists_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "amalia_mm").rglob("*.py")}
    assert listed == {".".join(folder.parts) for folder in folders} | {
        "amalia_mm.configs",
        "amalia_mm.recipes",
    }


def test_every_package_says_what_it_is():
    for folder in {path.parent for path in (ROOT / "amalia_mm").rglob("*.py")}:
        init = folder / "__init__.py"
        assert init.is_file(), f"{folder} has no __init__.py"
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{init} says nothing"


def test_every_test_module_is_collected(request):
    asked = [Path(arg.split("::")[0]).resolve() for arg in request.config.args]
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if not path.name.startswith("test_"):
            # Toys and guards that tests use; a test in there would never run.
            assert not re.search(r"^\s*def test_", path.read_text(encoding="utf-8"), re.MULTILINE), label(
                path
            )
        elif any(path == folder or folder in path.parents for folder in asked):
            assert path in request.config.collected_modules, f"{label(path)} holds no test"
