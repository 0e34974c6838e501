"""Matrices as pictures: the smallest PNG there is, a square for each number, so that a run can be watched."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

_COLOURS = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))
"""From nothing to most, of even brightness: five of the colours of "magma"."""
_GAP = 4
_MAGIC = b"\x89PNG\r\n\x1a\n"


def write_picture(path: Path, panels: Sequence[Tensor], zoom: int = 3) -> None:
    """Write matrices (y x) below each other, each from its least number, dark, to its largest; row 0 is at the bottom.

    They may differ in height, not in width; every number is `zoom` by `zoom` pixels.

    Raises:
        ValueError: The matrices differ in width.
    """
    widths = {panel.shape[1] for panel in panels}
    if len(widths) != 1:
        raise ValueError(f"panels of different widths: {sorted(widths)}")
    gap = torch.full((_GAP, widths.pop() * zoom, 3), 255, dtype=torch.uint8)
    rows = [part for panel in panels for part in (gap, _coloured(panel, zoom))][1:]
    path.write_bytes(_png(torch.cat(rows)))


def _coloured(matrix: Tensor, zoom: int) -> Tensor:
    """Return (y x 3) uint8, the first row last."""
    values = matrix.detach().float().cpu().flip(0)
    low, high = values.min(), values.max()
    place = (values - low) / (high - low).clamp(min=1e-9) * (len(_COLOURS) - 1)
    below = place.floor().long().clamp(max=len(_COLOURS) - 2)
    colours = torch.tensor(_COLOURS, dtype=torch.float32)
    mixed = torch.lerp(colours[below], colours[below + 1], (place - below)[..., None])
    return mixed.round().to(torch.uint8).repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)


def _png(pixels: Tensor) -> bytes:
    height, width, _ = pixels.shape
    # Each line begins with the number of its filter: 0, none.
    lines = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), pixels.reshape(height, -1)], dim=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(lines.contiguous().numpy().tobytes(), 6)
    return _MAGIC + b"".join(_chunk(k, v) for k, v in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
