from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from amalia_mm.errors import InputError
from amalia_mm.train.optim import OptimConfig, build_optimizer, lr_factor


def test_warm_up_is_a_straight_line_to_the_peak() -> None:
    factor = lr_factor(OptimConfig(lr=1.0, warmup_steps=4), max_steps=100)
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    "wrong",
    [{"lr": -1.0}, {"warmup_steps": -1}, {"decay_fraction": 2.0}, {"beta1": 1.0}, {"lr_scales": {"a": -1.0}}],
)
def test_what_would_move_weights_the_wrong_way_is_refused(wrong: dict[str, object]) -> None:
    """AdamW takes a negative rate without a word, and climbs."""
    (name,) = wrong
    with pytest.raises(InputError, match=f"model.optim: {name}: found"):
        OptimConfig(**{"lr": 1e-3, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_every_schedule_ends_at_its_final_fraction_and_never_rises_after_warm_up(schedule: str) -> None:
    config = OptimConfig(lr=1.0, warmup_steps=10, schedule=schedule, final_fraction=0.05)  # type: ignore[arg-type]
    factor = lr_factor(config, max_steps=200)
    values = [factor(step) for step in range(201)]
    assert values[200] == pytest.approx(0.05)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values[10:]))


def test_cosine_is_half_way_down_in_the_middle() -> None:
    factor = lr_factor(OptimConfig(lr=1.0, warmup_steps=0, final_fraction=0.0), max_steps=100)
    assert factor(50) == pytest.approx(0.5)


def test_wsd_holds_the_peak_until_the_decay() -> None:
    factor = lr_factor(
        OptimConfig(lr=1.0, warmup_steps=10, schedule="wsd", decay_fraction=0.2), max_steps=100
    )
    assert {factor(step) for step in range(10, 81)} == {1.0}
    assert factor(90) == pytest.approx((1 + 0.02) / 2)


def test_vectors_are_not_decayed_and_scales_apply_to_what_they_match() -> None:
    module = nn.ModuleDict({"encoder": nn.Linear(3, 3), "decoder": nn.Linear(3, 3)})
    config = OptimConfig(lr=1.0, warmup_steps=0, weight_decay=0.5, lr_scales={r"^encoder\.": 0.1})
    optimizer, _ = build_optimizer(module, config, max_steps=10)
    by_parameter = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in module.named_parameters():
        group = by_parameter[id(parameter)]
        assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0.0)
        assert group["initial_lr"] == pytest.approx(0.1 if name.startswith("encoder") else 1.0)


@pytest.mark.parametrize("decay_embeddings", [False, True])
def test_a_table_of_embeddings_is_decayed_where_that_is_asked_for(decay_embeddings: bool) -> None:
    module = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    config = OptimConfig(lr=1.0, weight_decay=0.5, decay_embeddings=decay_embeddings)
    optimizer, _ = build_optimizer(module, config, max_steps=10)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays[id(module["head"].weight)] == 0.5
    assert decays[id(module["embed"].weight)] == (0.5 if decay_embeddings else 0.0)


def test_a_scale_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="lr_scales"):
        build_optimizer(nn.Linear(2, 2), OptimConfig(lr=1.0, lr_scales={"nothing": 0.1}), max_steps=10)


def test_a_model_frozen_whole_is_an_error() -> None:
    module = nn.Linear(2, 2)
    module.requires_grad_(False)
    with pytest.raises(InputError, match="freeze less"):
        build_optimizer(module, OptimConfig(lr=1.0), max_steps=10)


def test_the_schedule_moves_the_optimiser_of_torch() -> None:
    module = nn.Linear(2, 2)
    optimizer, schedule = build_optimizer(module, OptimConfig(lr=0.4, warmup_steps=2, schedule="linear"), 10)
    seen = []
    for _ in range(10):
        seen.append(optimizer.param_groups[0]["lr"])
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    assert seen[:3] == pytest.approx([0.2, 0.4, 0.4])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4 * 0.02)


def test_weights_of_half_precision_are_not_trained() -> None:
    """At a rate of 1e-5, 85 of 100 weights of a bfloat16 checkpoint stayed where they were, and the loss still fell."""
    module = nn.Linear(4, 4, dtype=torch.bfloat16)
    with pytest.raises(
        InputError, match=r"model: weight: found weights to train of type bfloat16; wanted float32"
    ):
        build_optimizer(module, OptimConfig(lr=1e-5), max_steps=10)
    module.weight.requires_grad_(False)
    module.bias.data = module.bias.data.float()
    build_optimizer(module, OptimConfig(lr=1e-5), max_steps=10)
