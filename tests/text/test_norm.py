"""The norm is torch's, value and gradient, on the processor too, where its gradient is our own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from amalia_mm.text.norm import OnCpu, RMSNorm


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=dtype)


@pytest.mark.parametrize("shape", [(7, 16), (2, 5, 16), (3, 1, 2, 16)])
def test_values_and_gradients_are_torchs(shape):
    norm = RMSNorm(16, 1e-5, torch.float32)
    with torch.no_grad():
        norm.weight.copy_(drawn(16))
    ours, theirs = (3 * drawn(*shape)).requires_grad_(), (3 * drawn(*shape)).requires_grad_()
    weight = norm.weight.detach().clone().requires_grad_()
    found, wanted = norm(ours), F.rms_norm(theirs, (16,), weight, 1e-5)
    torch.testing.assert_close(found, wanted)
    for result in (found, wanted):
        result.mul(drawn(*shape, 1).squeeze(-1)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(norm.weight.grad, weight.grad)


def test_its_gradient_is_that_of_its_value():
    x, weight = drawn(4, 6, dtype=torch.float64), drawn(6, dtype=torch.float64)
    assert torch.autograd.gradcheck(OnCpu.apply, (x.requires_grad_(), weight.requires_grad_(), 1e-3))


def test_a_gradient_of_its_gradient_is_refused_and_not_wrong():
    x, weight = drawn(4, 6).requires_grad_(), drawn(6).requires_grad_()
    (gradient,) = torch.autograd.grad(OnCpu.apply(x, weight, 1e-3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable|does not require grad"):
        gradient.square().sum().backward()


def test_a_backward_pass_inside_autocast_keeps_its_precision():
    x, weight = drawn(64, 96).requires_grad_(), drawn(96).requires_grad_()
    wanted = torch.autograd.grad(F.rms_norm(x, (96,), weight, 1e-5).square().sum(), (x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(OnCpu.apply(x, weight, 1e-5).square().sum(), (x, weight))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_zeros_stay_zeros_and_have_a_finite_gradient():
    norm = RMSNorm(8, 1e-5, torch.float32)
    x = torch.zeros(2, 8, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert not norm(x).any()


def test_the_type_it_came_in_comes_out_and_gradients_have_it_too():
    norm = RMSNorm(8, 1e-5, torch.bfloat16)
    x = drawn(3, 8).bfloat16().requires_grad_()
    out = norm(x)
    out.sum().backward()
    assert out.dtype == x.grad.dtype == norm.weight.grad.dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.equal(norm(x), out)
