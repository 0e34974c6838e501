"""Files and functions stay short enough to be read whole, and say what they take and return."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "amalia_mm").rglob("*.py"), *(ROOT / "demos").rglob("*.py")])
FILE_LINES, FUNCTION_LINES = 400, 60
NAMELESS = {"utils", "util", "common", "base", "misc", "helpers", "helper", "tools", "stuff", "registry"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> list[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def num_lines(function: Function) -> int:
    """The lines of a function from its `def` on, its docstring not counted."""
    docstring = 0
    if ast.get_docstring(function) is not None:
        docstring = function.body[0].end_lineno - function.body[0].lineno + 1
    return function.end_lineno - function.lineno + 1 - docstring


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=label)
def test_a_file_is_one_concept(path):
    source = path.read_text(encoding="utf-8")
    num_file_lines = len(source.splitlines())
    assert num_file_lines <= FILE_LINES, f"{num_file_lines} lines: cut it where the concept changes"
    assert path.stem not in NAMELESS, "a file's name is its concept"
    assert ast.get_docstring(ast.parse(source)), "no module docstring: say what the file is"
    long = {f.name: num_lines(f) for f in functions(path) if num_lines(f) > FUNCTION_LINES}
    assert not long, f"functions over {FUNCTION_LINES} lines: {long}"


@pytest.mark.parametrize("path", FILES, ids=label)
def test_every_argument_and_return_is_annotated(path):
    for function in functions(path):
        where = f"{path.name}:{function.lineno} {function.name}"
        signature = function.args
        named = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
        bare = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare, f"{where}: no annotation for {bare}"
        assert function.returns is not None, f"{where}: no annotation of what it returns"
        assert "cfg" not in {a.arg for a in named}, f"{where}: the signature is the schema, spell `cfg` out"
        assert signature.kwarg is None, f"{where}: the signature is the schema, spell **{signature.kwarg} out"


@pytest.mark.parametrize("path", FILES, ids=label)
def test_nothing_is_printed(path):
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    lines = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert not lines, f"print at lines {lines}: log, or write to stdout at the command line's edge"


def test_the_measures_measure(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text('def short():\n    """One.\n\n    Two.\n    """\n    return 1\n')
    assert [num_lines(f) for f in functions(path)] == [2]
