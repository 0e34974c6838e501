"""The smallest encoder that hears: what tests build that need one and do not ask which."""

from __future__ import annotations

from typing import Any

EARS: dict[str, Any] = {"width": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 16}
"""Of a `ConvTransformer`."""
