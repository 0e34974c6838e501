from __future__ import annotations

import pytest
from torch import nn

from amalia_mm.errors import InputError
from amalia_mm.train.freeze import freeze


def test_freezes_what_matches_and_says_how_much() -> None:
    module = nn.ModuleDict({"encoder": nn.Linear(3, 2), "decoder": nn.Linear(2, 2)})
    assert freeze(module, [r"^encoder\."]) == 3 * 2 + 2
    assert {name for name, p in module.named_parameters() if p.requires_grad} == {
        "decoder.weight",
        "decoder.bias",
    }


def test_a_parameter_matched_twice_is_counted_once() -> None:
    assert freeze(nn.Linear(3, 2), ["weight", "."]) == 8


@pytest.mark.parametrize("pattern", ["encodr", "("])
def test_a_pattern_that_matches_nothing_or_is_no_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(InputError, match="freeze"):
        freeze(nn.Linear(3, 2), [pattern])
