"""A learned mixture of an encoder's layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LayerMix(nn.Module):
    """The sum of an encoder's hidden frames over its layers, weighted by a softmax that begins even.

    Of encoders that were trained without words the best layer for recognition is seldom the last one.

    Args:
        num_states: The input of the first layer, then the output of each.

    Source:
        Yang et al. 2021, "SUPERB: Speech processing Universal PERformance Benchmark", arXiv 2105.01051, section 3.
    """

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_states))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return (k f e) float32 for as many hidden frames (k f e); `ValueError` where their number is another."""
        if len(states) != len(self.weights):
            raise ValueError(f"{len(states)} hidden states for a mixture of {len(self.weights)}")
        shares = self.weights.float().softmax(dim=0)
        mixed = shares[0] * states[0].float()
        for share, state in zip(shares[1:], states[1:], strict=True):
            mixed = mixed + share * state.float()
        return mixed
