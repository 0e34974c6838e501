"""Rotary positions."""

from __future__ import annotations

import torch
from torch import Tensor


class Rotary:
    """The rotations of every position up to a limit (Su et al. 2021, arXiv 2104.09864), in float32.

    No module and no buffer: it must survive meta devices and `to_empty`, and never become bfloat16.
    """

    def __init__(self, head_width: int, theta: float, max_positions: int) -> None:
        self.head_width = head_width
        self.theta = theta
        self.max_positions = max_positions
        self._table: tuple[Tensor, Tensor] | None = None

    def between(self, start: int, end: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cos and sin (t w/2) from position `start` to before `end`; `ValueError` past the limit."""
        self._check(end - 1)
        cos, sin = self._on(device)
        return cos[start:end], sin[start:end]

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin (b 1 t w/2) of positions (b t); `ValueError` past the limit."""
        if positions.device.type != "meta":
            self._check(int(positions.max()))
        cos, sin = self._on(positions.device)
        return cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)

    def _check(self, last: int) -> None:
        if last >= self.max_positions:
            raise ValueError(f"position {last}, but max_position_embeddings is {self.max_positions}")

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._table is None or self._table[0].device != device:
            # No inference tensor: training after generation would refuse to save it for its backward pass.
            with torch.inference_mode(False):
                exponents = torch.arange(0, self.head_width, 2, device=device).float() / self.head_width
                positions = torch.arange(self.max_positions, device=device).float()
                angles = torch.outer(positions, 1 / self.theta**exponents)
                self._table = angles.cos(), angles.sin()
        return self._table
