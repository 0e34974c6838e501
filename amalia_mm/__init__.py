"""Ears and a voice for AMÁLIA: speech-and-text models measured as European Portuguese."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amalia_mm.assistant import Assistant

__version__ = "0.1.0"
__all__ = ["Assistant", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import amalia_mm` alone stays light."""
    if name == "Assistant":
        from amalia_mm.assistant import Assistant

        return Assistant
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
