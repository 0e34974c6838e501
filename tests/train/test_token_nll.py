"""The next-token loss in chunks: against the plain formula, in value, gradient and memory."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from amalia_mm.batch import IGNORE
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.train import chunked_nll
from amalia_mm.train.losses import token_nll

LABELS = torch.tensor([[1, 2, IGNORE, 4, 0], [IGNORE, IGNORE, 10, 3, IGNORE]])


def _states(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 5, 8, generator=generator, dtype=dtype)
    weight = torch.randn(11, 8, generator=generator, dtype=dtype)
    return hidden.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("chunk_logits", [1, 33, 1000])
@pytest.mark.parametrize("z_weight", [0.0, 0.3])
def test_the_sum_over_labels_by_hand_with_the_same_gradients(chunk_logits: int, z_weight: float) -> None:
    hidden, weight = _states()
    expected = torch.zeros(())
    for row, position in itertools.product(range(2), range(5)):
        label = LABELS[row, position]
        if label != IGNORE:
            logits = weight @ hidden[row, position]
            normaliser = logits.exp().sum().log()
            expected = expected + normaliser - logits[label] + z_weight * normaliser**2
    wanted = torch.autograd.grad(expected, (hidden, weight))
    loss = token_nll(hidden, weight, LABELS, z_weight, chunk_logits)
    assert float(loss.count) == 6
    torch.testing.assert_close(loss.sum, expected)
    torch.testing.assert_close(torch.autograd.grad(loss.sum, (hidden, weight)), wanted)


@pytest.mark.parametrize("z_weight", [0.0, 0.3])
def test_gradients_are_those_of_small_differences(z_weight: float) -> None:
    hidden, weight = _states(torch.float64)

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return 0.7 * token_nll(hidden, weight, LABELS, z_weight, chunk_logits=22).sum

    assert torch.autograd.gradcheck(loss, (hidden, weight))


def test_one_chunk_is_bit_for_bit_what_torch_computes() -> None:
    """Runs of small models come out as they did before there were chunks."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(3, 40, 64, requires_grad=True), torch.randn(512, 64, requires_grad=True)
    labels = torch.randint(0, 512, (3, 40))
    labels[1, 5:] = IGNORE
    wanted = labels != IGNORE
    plain = F.cross_entropy(F.linear(hidden[wanted], weight), labels[wanted], reduction="sum")
    loss = token_nll(hidden, weight, labels)
    assert torch.equal(loss.sum, plain)
    for found, expected in zip(
        torch.autograd.grad(loss.sum, (hidden, weight)),
        torch.autograd.grad(plain, (hidden, weight)),
        strict=True,
    ):
        assert torch.equal(found, expected)


def test_each_position_knows_its_own_part() -> None:
    hidden, weight = _states()
    loss = token_nll(hidden, weight, LABELS, z_weight=0.3, chunk_logits=22)
    logits = (hidden @ weight.T).detach()
    expected = F.cross_entropy(logits.flatten(0, 1), LABELS.flatten(), ignore_index=IGNORE, reduction="none")
    torch.testing.assert_close(loss.each, expected.view(2, 5))
    assert not loss.each.requires_grad


def test_a_loss_can_be_used_twice_and_weighted() -> None:
    """Gradients taken on the way forward are kept: scaling the first use must not change the second."""
    hidden, weight = _states()
    loss = token_nll(hidden, weight, LABELS).sum
    once = torch.autograd.grad(loss, (hidden, weight), retain_graph=True)
    twice = torch.autograd.grad(3 * loss, (hidden, weight), retain_graph=True)
    again = torch.autograd.grad(loss, (hidden, weight))
    torch.testing.assert_close(twice, tuple(3 * gradient for gradient in once))
    torch.testing.assert_close(again, once, rtol=0, atol=0)


def test_accumulated_gradients_add_up() -> None:
    hidden, weight = _states()
    (wanted,) = torch.autograd.grad(token_nll(hidden, weight, LABELS).sum, weight)
    for _ in range(2):
        token_nll(hidden, weight, LABELS).sum.backward()
    torch.testing.assert_close(weight.grad, 2 * wanted)


def test_without_a_label_every_parameter_of_the_output_layer_still_gets_a_gradient() -> None:
    """An untied output layer without one makes DDP wait for ever, on the process that had nothing to learn."""
    hidden, weight = _states()
    loss = token_nll(hidden, weight, torch.full((2, 5), IGNORE), z_weight=0.1)
    assert (loss.sum.item(), loss.count.item()) == (0, 0)
    loss.sum.backward()
    for gradient in (hidden.grad, weight.grad):
        assert gradient is not None and not gradient.any()


def test_without_gradients_none_are_computed() -> None:
    """Validation multiplies once by the matrix, not three times."""
    hidden, weight = _states()
    with torch.no_grad(), _Calls() as calls:
        token_nll(hidden, weight, LABELS)
    assert calls.num_products == 1
    weight.requires_grad_(False)
    with _Calls() as calls:
        token_nll(hidden, weight, LABELS)
    assert calls.num_products == 2  # a frozen matrix has no gradient to compute


@pytest.mark.parametrize("is_tied", [True, False])
def test_the_output_layer_learns_tied_or_not(is_tied: bool) -> None:
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(11, 8, 16, 1, 2, 1, tie_word_embeddings=is_tied))
    ids = LABELS.clamp(min=0)

    def gradients(loss: Tensor) -> dict[str, Tensor]:
        found = torch.autograd.grad(loss, list(decoder.parameters()))
        return dict(zip(dict(decoder.named_parameters()), found, strict=True))

    hidden = decoder.hidden(ids)
    found = gradients(decoder.at_output(hidden, lambda h, weight: token_nll(h, weight, LABELS)).sum)
    plain = F.cross_entropy(
        decoder(ids).flatten(0, 1), LABELS.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    torch.testing.assert_close(found, gradients(plain))


@pytest.mark.parametrize("has_units", [True, False])
def test_under_autocast_it_is_as_near_as_bf16_allows(
    has_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor without units for bf16 multiplies in float32, which is exact; one with them rounds what goes in."""
    monkeypatch.setattr(chunked_nll, "cpu_multiplies_bf16", lambda: has_units)
    hidden, weight = _states()
    exact = token_nll(hidden, weight, LABELS)
    wanted = torch.autograd.grad(exact.sum, (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        loss = token_nll(hidden, weight, LABELS, chunk_logits=22)
    found = torch.autograd.grad(loss.sum, (hidden, weight))
    tolerance = 2e-2 if has_units else 1e-6
    assert loss.sum.dtype == torch.float32 and {g.dtype for g in found} == {torch.float32}
    assert (abs(loss.sum - exact.sum) > 1e-4) == has_units
    torch.testing.assert_close(loss.sum, exact.sum, rtol=tolerance, atol=0)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_bf16_weights_add_up_in_float32() -> None:
    """512 chunks added up in bf16 would stand still: 256 + 1 is 256 there."""
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    hidden = torch.ones(1, 512, 1, dtype=torch.bfloat16)
    token_nll(hidden, weight, torch.zeros(1, 512, dtype=torch.int64), chunk_logits=2).sum.backward()
    assert weight.grad is not None and weight.grad.dtype == torch.bfloat16
    assert weight.grad.flatten().tolist() == [-256, 256]


def test_no_more_logits_exist_at_once_than_were_allowed() -> None:
    hidden, weight = torch.randn(1, 300, 4, requires_grad=True), torch.randn(1000, 4, requires_grad=True)
    with _Calls() as calls:
        token_nll(hidden, weight, torch.zeros(1, 300, dtype=torch.int64), chunk_logits=10_000).sum.backward()
    assert calls.largest == 10_000


class _Calls(TorchDispatchMode):
    """Counts products of matrices and the largest tensor that an operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.num_products = 0
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.num_products += func.overloadpacket.__name__ in ("mm", "addmm_", "addmm")
        if isinstance(out, Tensor):
            self.largest = max(self.largest, out.numel())
        return out
