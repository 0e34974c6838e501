"""How far one model's words are from another's, some positions at a time: no logits of a batch stand in memory whole.

Like `chunked_nll.py`, the gradients are taken on the way forward, while a chunk's logits are at hand. It knows nothing
of batches, and of the two models only their states and the matrix that both end in.

A chunk is some positions with the whole vocabulary, so that no softmax is put together from parts. Seven tensors as
large as its logits exist at the same time, those of the chunk before among them, whatever the number of positions: with
128,000 entries and `distillation.py`'s limit of 2^25 logits for both models, 131 positions and 470 MB.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from amalia_mm.train.chunked_nll import product_type


class ChunkedKl(torch.autograd.Function):
    """(weighted sum (), divergence of each position (n)) of states (n d), of the teacher's (n d) and a matrix (v d)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        teacher: Tensor,
        importance: Tensor,
        temperature: float,
        chunk_tokens: int,
        is_training: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum with its gradient, and what each position has of it, unweighted, without.

        Args:
            hidden: (n d).
            weight: (v d).
            teacher: (n d), of the same positions; it gets no gradient.
            importance: (n) float32, what each position counts.
            temperature: Both models' logits are divided by it.
            chunk_tokens: Positions whose logits exist at the same time, of both models.
            is_training: Whether gradients are wanted; autograd does not tell a function in here.
        """
        of_hidden, of_weight = (is_training and wanted for wanted in ctx.needs_input_grad[:2])
        product = product_type(hidden, weight)
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        hidden_gradient = torch.empty_like(hidden) if of_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=exact) if of_weight else None
        total = hidden.new_zeros((), dtype=exact)
        each = hidden.new_empty(len(hidden), dtype=exact)
        with torch.autocast(hidden.device.type, enabled=False):
            matrix = weight.to(product)
            for start in range(0, len(hidden), chunk_tokens):
                piece = slice(start, min(start + chunk_tokens, len(hidden)))
                states = hidden[piece].to(product)
                own, wanted = (
                    (some @ matrix.T).to(exact).div_(temperature).log_softmax(dim=1)
                    for some in (states, teacher[piece].to(product))
                )
                probability = wanted.exp()
                torch.sum(probability * wanted.sub_(own), dim=1, out=each[piece])
                total += each[piece] @ importance[piece].to(exact)
                if hidden_gradient is None and weight_gradient is None:
                    continue
                # Of KL(p || softmax(s / T)) for s: (softmax(s / T) - p) / T.
                gradient = own.exp_().sub_(probability).mul_(importance[piece, None].to(exact) / temperature)
                narrow = gradient.to(product)
                if hidden_gradient is not None:
                    hidden_gradient[piece] = (narrow @ matrix).to(hidden.dtype)
                if weight_gradient is not None:
                    weight_gradient += (narrow.T @ states).to(exact)
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_type = weight.dtype
        ctx.mark_non_differentiable(each)
        return total, each

    @staticmethod
    @once_differentiable  # a gradient of the gradient would be wrong in silence
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (what the decorator makes of it)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden (n d) and weight (v d) for that of the sum."""
        of_hidden, of_weight = ctx.saved_tensors
        scale = gradients[0]
        return (
            None if of_hidden is None else of_hidden * scale.to(of_hidden.dtype),
            None if of_weight is None else (of_weight * scale.to(of_weight.dtype)).to(ctx.weight_type),
            *(None,) * 5,
        )
