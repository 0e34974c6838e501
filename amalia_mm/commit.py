"""The commit of this copy of the package, so that what it makes can be made again."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNKNOWN_COMMIT = "unknown"
CHANGED = "+changes"
"""Follows a commit where files that decide a result differed from it, or were new."""
_OURS = ("--", "amalia_mm", "configs", "recipes", "pyproject.toml", "constraints.txt")


def own_commit() -> str:
    """Return the commit of the package's own repository, not of one it happens to be installed inside."""
    package = Path(__file__).resolve().parent
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != package.parent:
        return UNKNOWN_COMMIT
    commit, changes = (
        _git(package, "rev-parse", "HEAD"),
        _git(package.parent, "status", "--porcelain", *_OURS),
    )
    if not commit or changes is None:
        return UNKNOWN_COMMIT
    return commit + CHANGED if changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
