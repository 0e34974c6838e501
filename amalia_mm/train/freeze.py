"""Which parameters stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from amalia_mm.errors import InputError
from amalia_mm.train.patterns import compiled


def freeze(module: nn.Module, patterns: Sequence[str]) -> int:
    """Freeze the parameters whose name matches any of the regular expressions; return how many numbers that is.

    Called when the module is built, before a strategy wraps it.

    Raises:
        InputError: A pattern is not a regular expression, or matches no parameter.
    """
    names = dict(module.named_parameters())
    num_frozen = 0
    for pattern in patterns:
        expression = compiled(pattern, "model", "freeze")
        matching = [name for name in names if expression.search(name)]
        if not matching:
            raise InputError(
                "model",
                field="freeze",
                found=repr(pattern),
                wanted=f"a pattern that matches a parameter, such as {next(iter(names), 'none')}",
                remedy="correct it or remove it",
            )
        for name in matching:
            num_frozen += names[name].numel() if names[name].requires_grad else 0
            names[name].requires_grad_(False)
    return num_frozen
