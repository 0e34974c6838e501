"""Products that numba compiles: the numbers of plain formulas, on one core and on several, and two callers at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from amalia_mm.text import few_rows
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.few_rows import MAX_ROWS, FewRows
from amalia_mm.text.joined import JoinedBlock
from amalia_mm.text.slots import Slots

EPS, HEADS, GROUPS, WIDTH = 1e-5, 4, 2, 6
D, INNER, ENTRIES = 10, 11, 13
"""Sizes that four does not divide: the last outputs are computed apart."""
SIZES = DecoderConfig(ENTRIES, D, INNER, 2, HEADS, GROUPS, head_dim=WIDTH, rms_norm_eps=EPS)


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def weights(dtype: torch.dtype) -> tuple[list[JoinedBlock], Tensor, Tensor]:
    dice = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=dice).to(dtype)

    def block() -> JoinedBlock:
        joined = draw((HEADS + 2 * GROUPS) * WIDTH, D)
        return JoinedBlock(
            draw(D), joined, draw(D, HEADS * WIDTH), draw(D), draw(2 * INNER, D), draw(D, INNER)
        )

    return [block(), block()], draw(D), draw(ENTRIES, D)


def normed(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * gain.double()


def turned(heads: Tensor, angles: Tensor) -> Tensor:
    """(h w), by w/2 angles: two numbers are a complex one."""
    first, second = heads.chunk(2, dim=-1)
    both = torch.complex(first, second) * torch.exp(1j * angles.double())
    return torch.cat([both.real, both.imag], dim=-1)


def by_definition(x: Tensor, angles: Tensor, stored: Tensor, parts) -> tuple[Tensor, Tensor]:
    """One row (d) in float64, whose earlier keys and values are stored (layers 2g l w).

    Returns the logits (v), and the new keys and values (layers 2g w) before they are rounded to be stored.
    """
    blocks, norm, head = parts
    x, new = x.double(), []
    for block, before in zip(blocks, stored, strict=True):
        heads = (block.query_key_value.double() @ normed(x, block.first_norm)).view(-1, WIDTH)
        query, key, value = heads.split([HEADS, GROUPS, GROUPS])
        new.append(torch.cat([turned(key, angles), value]))
        seen = torch.cat([before, new[-1].to(stored.dtype)[:, None]], dim=1).double()
        keys, values = (each.repeat_interleave(HEADS // GROUPS, 0) for each in seen.split(GROUPS))
        scores = torch.einsum("hw,hlw->hl", turned(query, angles), keys) / WIDTH**0.5
        mixed = torch.einsum("hl,hlw->hw", scores.softmax(-1), values)
        x = x + block.output.double() @ mixed.flatten()
        gates, values = (block.gate_up.double() @ normed(x, block.second_norm)).chunk(2)
        x = x + block.down.double() @ (gates * gates.sigmoid() * values)
    return head.double() @ normed(x, norm), torch.stack(new)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[0], [5], [3, 3], [4, 0, 7]])
def test_a_step_is_what_its_formulas_say(num_threads, dtype, lengths):
    """In bfloat16 new keys and values are rounded to the nearest number before they are seen, and nothing else is."""
    torch.manual_seed(3)
    parts = blocks, norm, head = weights(dtype)
    slots = Slots(4, 9, SIZES, dtype, torch.device("cpu"))
    for _ in lengths:
        slots.open(None)
    slots.stored.normal_()
    slots.lengths[:] = lengths
    before = slots.stored.clone()
    x = torch.randn(len(lengths), D).to(dtype)
    is_even = len(set(lengths)) == 1
    angles = torch.rand(1 if is_even else len(lengths), WIDTH // 2)
    found = FewRows(blocks, norm, head, EPS, HEADS).step(x, angles.cos(), angles.sin(), slots)
    for row, length in enumerate(lengths):
        angle = angles[0 if is_even else row]
        logits, new = by_definition(x[row], angle, before[:, row, :, :length], parts)
        torch.testing.assert_close(
            found[row].double(), logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max())
        )
        # Eight bits of a number are kept: the nearest is off by 2^-8 of it at most, one that is cut by 2^-7.
        kept = slots.stored[:, row, :, length]
        step = 2**-8 if dtype == torch.bfloat16 else 0.0
        torch.testing.assert_close(kept.double(), new, rtol=step + 1e-5, atol=1e-4)
        before[:, row, :, length] = kept
    assert torch.equal(slots.stored, before), "what stands elsewhere is left alone"
    assert slots.lengths == lengths


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_given_the_same_whatever_the_others_are(num_threads, dtype):
    """Up to the rounding of float32, in bfloat16 too: what a seed draws may not hang on who is beside it."""
    blocks, norm, head = weights(dtype)
    few = FewRows(blocks, norm, head, EPS, HEADS)
    x = torch.randn(MAX_ROWS, D)
    cos, sin = torch.ones(1, WIDTH // 2), torch.zeros(1, WIDTH // 2)

    def step(rows: Tensor) -> Tensor:
        slots = Slots(MAX_ROWS, 2, SIZES, dtype, torch.device("cpu"))
        for _ in rows:
            slots.open(None)
        return few.step(rows, cos, sin, slots)

    torch.testing.assert_close(step(x), torch.cat([step(row[None]) for row in x]), rtol=1e-5, atol=1e-5)


def test_numbers_become_bfloat16_and_back_as_torch_has_them():
    """To the nearest, the even of two: in Python, and as numba compiles the same beside it."""

    @numba.njit
    def compiled(value, other):
        bits = few_rows._like(value, other)
        return bits, few_rows._wide(bits)

    ties = [1.00390625, 1.01171875, -1.00390625]  # half-way between two numbers of bfloat16
    for value in (0.0, -0.0, 3.14159, -1e-30, 3.4e38, float("inf"), *ties):
        wanted = torch.tensor(value).bfloat16()
        bits = few_rows._like(np.float32(value), np.uint16(0))
        found, back = compiled(np.float32(value), np.uint16(0))
        assert int(bits) == int(found) == int(wanted.view(torch.uint16))
        assert float(few_rows._wide(bits)) == float(back) == float(wanted)
    assert np.isnan(few_rows._wide(few_rows._like(np.float32("nan"), np.uint16(0))))


def test_what_is_no_number_stays_none():
    """A weight that overflowed must show: sums that may be taken in any order may not be taken for finite ones."""
    for dtype in (torch.float32, torch.bfloat16):
        blocks, norm, head = weights(dtype)
        slots = Slots(1, 2, SIZES, dtype, torch.device("cpu"))
        slots.open(None)
        cos, sin = torch.ones(1, WIDTH // 2), torch.zeros(1, WIDTH // 2)
        head[5, 2] = torch.nan
        found = FewRows(blocks, norm, head, EPS, HEADS).step(torch.ones(1, D), cos, sin, slots)
        assert found.isnan().nonzero().tolist() == [[0, 5]]
        blocks[1].query_key_value[-1] = torch.nan
        assert FewRows(blocks, norm, head, EPS, HEADS).step(torch.ones(1, D), cos, sin, slots).isnan().all()
        assert slots.stored.isnan().nonzero().tolist() == [[1, 0, 3, 0, WIDTH - 1]]


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(monkeypatch):
    """A package in a folder of root's, and a user without a home."""
    compile_ = numba.njit

    def njit(cache: bool = False, **options: object):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(**options)

    monkeypatch.setattr(numba, "njit", njit)
    assert few_rows._compile(lambda x: x + 1)(2) == 3


TWO_CALLERS = """
import threading
import torch
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.generate import complete
from amalia_mm.text.sampling import Sampling

torch.set_num_threads(2)
torch.manual_seed(0)
decoder = Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, initializer_range=0.3))
found = [None] * 4

def caller(number):
    torch.set_num_threads(2)
    found[number] = complete(decoder, torch.tensor([[5, 6]]), stop_ids=(), sampling=Sampling(400))

callers = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
for each in callers:
    each.start()
for each in callers:
    each.join()
assert found[0] is not None and found == [found[0]] * 4
import numba
print(numba.threading_layer())
"""


def test_two_callers_at_once_wait_for_each_other():
    """The way to start threads that numba has on every machine ends the process when two callers meet in it."""
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_CALLERS], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["workqueue"], done.stderr
