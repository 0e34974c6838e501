"""Weights of 8 bits: what they cost in quality, and what is said where the package is missing."""

from __future__ import annotations

import copy
import gc
import sys
import weakref

import pytest
import torch
from torch import nn

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.engine import Engine, Request
from amalia_mm.text.fused import FusedDecoder, Piece
from amalia_mm.text.int8 import quantised
from amalia_mm.text.sampling import Sampling
from amalia_mm.text.slots import Slots

SIZES = DecoderConfig(97, 64, 112, 3, 4, 2, max_position_embeddings=64, initializer_range=0.2)


def logits(decoder: Decoder, num_rows: int, int8: bool) -> torch.Tensor:
    """What follows some prompts and one token more, (2n v)."""
    fused, dice = FusedDecoder(decoder, int8), torch.Generator().manual_seed(1)
    slots = Slots(num_rows, 32, SIZES, torch.float32, torch.device("cpu"))
    rows = [torch.randint(97, (5 + number % 7,), generator=dice) for number in range(num_rows)]
    read = fused.read([Piece(slots.open(None), row) for row in rows], slots)
    return torch.cat([read, fused.step([5] * num_rows, slots)])


def with_rounded_weights(decoder: Decoder) -> Decoder:
    """The decoder whose layers have, as float32, the numbers that 8 bits can say."""
    rounded = copy.deepcopy(decoder)
    for linear in rounded.model.layers.modules():
        if isinstance(linear, nn.Linear):
            made = quantised(linear.weight)
            linear.weight.data = made.numbers.float() * made.scales.float()[:, None]
    return rounded


@pytest.mark.parametrize("num_rows", [1, 4, 20])
def test_logits_are_those_of_a_decoder_with_rounded_weights(num_rows, record_property):
    """A step of few rows reads the numbers as they are, one of many widens them first: nothing else is rounded."""
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    decoder = Decoder(SIZES).eval().requires_grad_(False)
    plain, eight = logits(decoder, num_rows, False), logits(decoder, num_rows, True)
    rounded = logits(with_rounded_weights(decoder), num_rows, False)
    record_property("change_by_spread", float((plain - eight).square().mean().sqrt() / plain.std()))
    torch.testing.assert_close(eight, rounded, rtol=1e-4, atol=1e-4)
    # Of 16 random decoders, which forgive less than one that has learned, the worst had 0.06 of the spread.
    assert 0 < (plain - rounded).square().mean().sqrt() < 0.1 * plain.std()


def test_eight_bits_are_the_nearest_numbers_of_each_output():
    """By hand: the largest weight of an output is 127 of its steps, and no weight moves further than half a step."""
    pytest.importorskip("torchao")
    weight = torch.randn(20, 48) * torch.rand(20, 1)
    made = quantised(weight)
    assert made.numbers.shape == (20, 48)
    step = weight.abs().amax(dim=1) / 127
    torch.testing.assert_close(made.scales.float(), step, rtol=0.02, atol=0)
    restored = made.numbers.float() * made.scales.float()[:, None]
    # A scale in bfloat16 is off by up to 1/256: half a step at 127.
    assert ((restored - weight).abs() <= 1.3 * step[:, None]).all()
    for num_rows in (1, 9):
        x = torch.randn(num_rows, 48)
        torch.testing.assert_close(made.product(x), x @ restored.t(), rtol=0.02, atol=0.05)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(
        InputError, match=r"engine: int8: found no package torchao.*pip install 'amalia-mm\[int8\]'"
    ):
        Engine(Decoder(SIZES), int8=True)


def test_an_engine_generates_with_8_bits():
    pytest.importorskip("torchao")
    decoder = Decoder(SIZES)
    engine = Engine(decoder, 2, max_length=32, int8=True)
    weight = weakref.ref(decoder.model.layers[0].mlp.down_proj.weight)
    del decoder
    gc.collect()
    assert weight() is None, "half the memory: the decoder's own weights can go"
    for prompt in ([1, 2, 3], [4]):
        engine.add(Request(prompt, Sampling(5)))
    assert sum(len(engine.step()) for _ in range(6)) == 10
