"""Muon moves matrices along their singular vectors, all at one pace; AdamW moves the rest as ever."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from amalia_mm.errors import InputError
from amalia_mm.train.muon import MuonAdamW, orthogonalised
from amalia_mm.train.optim import OptimConfig, build_optimizer


def module():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "wide": nn.Linear(12, 4, bias=False),
            "tall": nn.Linear(4, 12, bias=False),
            "twin": nn.Linear(12, 4, bias=False),
            "norm": nn.LayerNorm(4),
            "head": nn.Linear(4, 3),
        }
    )


def loss_of(parts, inputs):
    hidden = parts["wide"](inputs) + parts["twin"](inputs)
    return parts["head"](parts["norm"](hidden + parts["wide"](parts["tall"](hidden)))).square().sum()


INPUTS = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
CONFIG = OptimConfig(
    lr=1e-2, warmup_steps=0, weight_decay=0.1, beta2=0.98, muon=["wide", "tall", "twin"], muon_lr=0.05
)


def test_singular_values_come_near_one_and_vectors_stay():
    matrix = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    for given in (matrix, matrix.mT, 1e-4 * matrix, matrix[:, :6]):
        left, _, right = torch.linalg.svd(given, full_matrices=False)
        inside = left.mT @ orthogonalised(given) @ right.mT
        assert inside.diagonal().min() > 0.9
        assert inside.diagonal().max() < 1.1
        assert (inside - inside.diagonal().diag()).abs().max() < 1e-3
    assert not orthogonalised(torch.zeros(3, 3)).any()


def test_small_singular_values_grow_a_lot():
    values = torch.tensor([1.0, 0.3, 0.1, 0.03, 0.01, 0.001])
    left, right = (
        torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(n)))[0] for n in (0, 1)
    )
    found = (left.mT @ orthogonalised(left @ values.diag() @ right.mT) @ right).diagonal()
    assert found[:5].min() > 0.9
    assert found[5] > 50 * values[5]


def test_matrices_move_as_by_torchs_muon_and_the_rest_as_by_adamw(monkeypatch):
    """But for how a matrix is made orthogonal, which is torch's in bfloat16 and with other iterations."""
    monkeypatch.setattr(
        "torch.optim._muon._zeropower_via_newtonschulz", lambda grad, *_: orthogonalised(grad)
    )
    ours, theirs = module(), module()
    optimizer, _ = build_optimizer(ours, CONFIG, max_steps=10)
    matrices = [theirs[name].weight for name in ("wide", "tall", "twin")]
    rest = [p for p in theirs.parameters() if not any(p is matrix for matrix in matrices)]
    others = [
        Muon(matrices, lr=0.05, weight_decay=0.1, momentum=0.95, nesterov=True),
        AdamW(
            [
                {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.1},
                {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
            ],
            lr=1e-2,
            betas=(0.9, 0.98),
        ),
    ]
    before = copy.deepcopy(ours.state_dict())
    gradients = torch.Generator().manual_seed(2)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=gradients)
            other.grad = mine.grad.clone()
        for stepper in (optimizer, *others):
            stepper.step()
    for name, wanted in theirs.state_dict().items():
        found = ours.state_dict()[name]
        assert (found - wanted).norm() <= 1e-5 * (wanted - before[name]).norm(), name


def test_gradients_are_still_there_after_a_step():
    parts = module()
    optimizer, _ = build_optimizer(parts, CONFIG, max_steps=10)
    loss_of(parts, INPUTS).backward()
    optimizer.step()
    assert all(parameter.grad is not None for parameter in parts.parameters())


def test_a_run_that_is_taken_up_again_goes_on_bit_by_bit():
    def train(parts, optimizer, steps):
        for _ in range(steps):
            parts.zero_grad()
            loss_of(parts, INPUTS).backward()
            optimizer.step()

    whole = module()
    optimizer, _ = build_optimizer(whole, CONFIG, max_steps=10)
    train(whole, optimizer, 2)
    saved = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
    train(whole, optimizer, 2)
    again = module()
    later, _ = build_optimizer(again, CONFIG, max_steps=10)
    again.load_state_dict(saved[0])
    later.load_state_dict(saved[1])
    train(again, later, 2)
    assert all(torch.equal(whole.state_dict()[name], value) for name, value in again.state_dict().items())


def test_muon_takes_matrices_only_and_the_rate_falls_with_the_others():
    parts = module()
    config = OptimConfig(lr=1e-2, warmup_steps=4, muon=["norm|wide"], muon_lr=0.05)
    optimizer, schedule = build_optimizer(parts, config, max_steps=10)
    assert isinstance(optimizer, MuonAdamW)
    by_muon = [group for group in optimizer.param_groups if group["muon"]]
    assert [p.shape for group in by_muon for p in group["params"]] == [(4, 12)]
    assert by_muon[0]["lr"] == pytest.approx(0.05 / 4)
    loss_of(parts, INPUTS).backward()
    optimizer.step()
    schedule.step()
    assert by_muon[0]["lr"] == pytest.approx(0.05 / 2)


def test_a_pattern_without_a_matrix_is_an_error():
    with pytest.raises(InputError, match="muon"):
        build_optimizer(module(), OptimConfig(lr=1.0, muon=["norm"]), max_steps=10)


def test_a_pattern_that_is_none_is_an_error():
    with pytest.raises(InputError, match="regular expression"):
        build_optimizer(module(), OptimConfig(lr=1.0, muon=["a("]), max_steps=10)
