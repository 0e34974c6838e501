"""Who may import whom: the walls of the house, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "amalia_mm"

_LEAVES = {"batch", "units", "variety", "lora", "hub", "safetensors_files"}
_UNDERSTANDING = {"fusion", "voice", "text", "audio"}
MAY_IMPORT: dict[str, set[str]] = {
    "units": set(),
    "commit": set(),
    "variety": set(),
    "lora": set(),
    "hub": set(),
    "safetensors_files": set(),
    "json_rows": set(),
    "batch": {"units", "variety"},
    "portuguese": {"variety"},
    "text": _LEAVES,
    "audio": _LEAVES,
    "transcript": set(),
    "fusion": {"text", "audio", "batch", "units", "lora", "transcript"},
    "voice": {"audio", "portuguese", "batch", "units", "lora", "hub", "json_rows", "safetensors_files"},
    "data": {
        *("batch", "units", "variety", "portuguese", "text.tokenizer", "text.chat", "text.ctc_vocabulary"),
        *("audio.geometry", "audio.io", "audio.features", "audio.augment", "audio.speed"),
    },
    "model_config": {"audio", "fusion", "text", "lora"},
    "run": {*_UNDERSTANDING, "model_config", "lora", "hub", "safetensors_files"},
    "evaluate.metrics": {"portuguese", "batch"},
    "train": {
        *_UNDERSTANDING,
        "model_config",
        "run",
        "voice_folder",
        "data",
        "batch",
        "units",
        "variety",  # the log counts the tokens of each
        "lora",
        "evaluate.metrics",
        "halo.emg",
        "ctrl_c",
    },
    "voice_folder": {"lora", "model_config", "run", "voice"},
    "speaking": {"resolve", "run", "voice", "voice_folder"},
    "voices": {"audio.io", "run", "speaking", "voice"},
    "resolve": {"model_config", "run"},
    "assistant": {
        *(*_UNDERSTANDING, "resolve", "run", "voices", "portuguese", "batch", "units", "transcript"),
    },
    "evaluate": {
        *_UNDERSTANDING,
        *(
            "assistant",
            "resolve",
            "model_config",
            "run",
            "voice_folder",
            "data",
            "portuguese",
            "batch",
            "units",
            "variety",
            "commit",
            "hub",
            "speaking",
            "json_rows",
        ),
    },
    "prepare": {
        *(
            "data",
            "audio",
            "portuguese",
            "text.tokenizer",
            "text.ctc_vocabulary",
            "batch",
            "units",
            "variety",
            "json_rows",
        ),
    },
    "prepare.distil": {
        *(
            "data",
            "audio",
            "portuguese",
            "text.tokenizer",
            "text.chat",
            "text.sampling",
            *_LEAVES,
            "assistant",
        ),
    },
    "halo": {"assistant", "portuguese", "voice.bank"},
    "serve": {"assistant", "halo", "portuguese"},
    # The edge: what the command line and the quickstart are made of.
    "quickstart": {
        *("child_process", "commit", "quickstart_folder", "quickstart_plan", "quickstart_stages", "terminal"),
    },
    "quickstart_folder": {"quickstart_plan"},
    "quickstart_plan": {"quickstart_stages", "recipe_paths"},
    "quickstart_stages": set(),
    "recipe_paths": set(),
    "child_process": set(),
    "host_memory": set(),
    "terminal": set(),
    "ctrl_c": set(),
    "termination": set(),
    "failures": set(),
    "commands": {
        *("assistant", "evaluate", "export", "live", "prepare", "resolve", "speaking", "subtitles", "train"),
        "voices",
        *(
            "audio",
            "data",
            "fusion",
            "portuguese",
            "text",
            "transcript",
            "voice",
            "batch",
            "units",
            "variety",
        ),
        *("quickstart_folder", "quickstart_plan", "recipe_paths", "terminal"),
    },
    "export": {"model_config", "run", "resolve", "fusion", "text", "hub"},
    "subtitles": {"transcript"},
    "live": {"assistant", "audio", "fusion", "portuguese", "units"},
    "doctor": {"resolve"},
    "cli": {"commands", "ctrl_c", "host_memory", "terminal", "termination"},
}
EVERYONE_MAY_IMPORT = {"", "errors"}  # "" is the package itself: its version
AT_START = {
    "ctrl_c",
    "terminal",
    "termination",
    "child_process",
    "host_memory",
    "commit",
    "quickstart_folder",
    "quickstart_plan",
    "quickstart_stages",
    "recipe_paths",
    "data.index",
}
HEAVY = ("torch", "torchaudio", "transformers", "lightning", "c2pa", "perth")
NO_TORCH = (
    "portuguese",
    "units",
    "variety",
    "errors",
    "cli",
    "doctor",
    "quickstart",
    "halo.emergency",
    "voice.bank",
    "commands.voice",
)


def modules() -> dict[str, Path]:
    """Every module of the package by its name inside it ("text.decoder")."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def is_for_types(node: ast.AST) -> bool:
    """Whether a block is read by type checkers alone."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield every imported module's full name, and whether it is imported when the file is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_for_types(block)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in late
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                ours = name.removeprefix("amalia_mm.") in MODULES
                yield (name if ours else str(node.module)), id(node) not in late


def own(name: str) -> str | None:
    """The name inside the package, or None for somebody else's module."""
    return name.removeprefix("amalia_mm").removeprefix(".") if inside(name, "amalia_mm") else None


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("", "errors", "cli")])
def test_imports_follow_the_plan(module):
    rooms = [room for room in MAY_IMPORT if inside(module, room)]
    assert rooms, f"{module} has no row in the plan: say in MAY_IMPORT what it may import"
    room = max(rooms, key=len)
    allowed = MAY_IMPORT[room] | {room.split(".")[0]}
    if room == "evaluate.metrics":
        allowed = MAY_IMPORT[room] | {room}
    for name, _ in imports(MODULES[module]):
        target = own(name)
        if target is None or target in EVERYONE_MAY_IMPORT:
            continue
        assert any(inside(target, wall) for wall in allowed), f"{module} may not import {target}"


@pytest.mark.parametrize(
    "module",
    [
        "",
        "cli",
        "errors",
        "commands.preparation",
        "commands.shards",
        "commands.voice",
        "doctor",
        "quickstart",
    ],
)
def test_the_command_line_imports_its_rooms_when_called(module):
    at_start = {
        name for name in map(own, (name for name, early in imports(MODULES[module]) if early)) if name
    }
    assert {name for name in at_start if not inside(name, "commands")} <= EVERYONE_MAY_IMPORT | AT_START


@pytest.mark.parametrize("module", [m for m in MODULES if any(inside(m, room) for room in NO_TORCH)])
def test_language_and_edges_start_without_torch(module):
    heavy = {f"{by}: {name}" for by, name in loaded_with(module) if name.split(".")[0] in HEAVY}
    assert not heavy


def loaded_with(module: str) -> set[tuple[str, str]]:
    """Every import that loading a module brings, through those of ours as well: who imports what."""
    seen: set[str] = set()
    found: set[tuple[str, str]] = set()
    waiting = [module]
    while waiting:
        by = waiting.pop()
        if by in seen or by not in MODULES:
            continue
        seen.add(by)
        # Importing `voice.bank` runs the packages above it first.
        waiting += [by.rpartition(".")[0]] if by else []
        early = [name for name, is_early in imports(MODULES[by]) if is_early]
        found |= {(by, name) for name in early}
        waiting += [target for name in early if (target := own(name)) is not None]
    return found


def test_an_import_behind_another_would_be_seen(monkeypatch):
    assert ("audio.io", "torch") in loaded_with("commands.live")
    assert not any(name == "torch" for _, name in loaded_with("voice.bank"))


def test_preparation_is_never_imported_by_training():
    for module, path in MODULES.items():
        if inside(module, "train"):
            assert not any(inside(name, "amalia_mm.prepare") for name, _ in imports(path)), module


def test_the_espeak_process_is_imported_by_nobody_and_imports_nothing_of_ours():
    child = "prepare.espeak_child"
    assert child in MODULES
    for module, path in MODULES.items():
        names = {own(name) for name, _ in imports(path)}
        assert child not in names, f"{module} imports espeak-ng into our process: its licence is GPL-3"
    assert {own(name) for name, _ in imports(MODULES[child])} == {None}


def test_lightning_stays_in_training_and_data():
    for module, path in MODULES.items():
        if not inside(module, "train") and module not in (
            "data.module",
            "data.shard_data",
            "data.speaker_data",
        ):
            assert not any(inside(name, "lightning") for name, _ in imports(path)), module
