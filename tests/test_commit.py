"""The commit that a result is labelled with: of this package's own repository, and honest about changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from amalia_mm import commit as module
from amalia_mm.commit import CHANGED, UNKNOWN_COMMIT, own_commit


def git(folder: Path, *arguments: str) -> str:
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", str(folder), *named, *arguments], capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    (tmp_path / "amalia_mm").mkdir()
    (tmp_path / "amalia_mm/commit.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "amalia_mm/commit.py"))
    return tmp_path


def test_a_clean_copy_is_its_commit(repository):
    (repository / "notes.txt").write_text("not ours")
    assert own_commit() == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["amalia_mm/commit.py", "amalia_mm/new.py", "recipes/new.yaml"])
def test_changed_and_new_files_are_told(repository, name):
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_text("changed = True\n")
    assert own_commit() == git(repository, "rev-parse", "HEAD") + CHANGED


def test_what_cannot_be_known_is_not_taken_for_unchanged(repository):
    (repository / ".git/index").write_bytes(b"broken")
    assert own_commit() == UNKNOWN_COMMIT


def test_a_copy_inside_another_repository_has_none(repository, monkeypatch):
    (repository / "lib/amalia_mm").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(repository / "lib/amalia_mm/commit.py"))
    assert own_commit() == UNKNOWN_COMMIT
