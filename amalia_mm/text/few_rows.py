"""A step of a few rows on a processor, in loops that numba compiles.

A token reads every weight once and multiplies it once: what takes time is reading and, in a small decoder, calling
torch some forty times a layer. Here a layer is one call; a matrix is read once for all rows, by all cores, and smaller
types are widened as they are read. Everything is computed in float32, and no row depends on the others.

numba, since it needs seconds and no compiler on the machine, and keeps what it compiled for the next process;
`torch.compile` needs a compiler, and minutes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numba import prange, types
from numba.core import config
from numba.extending import overload
from numpy.typing import NDArray
from torch import Tensor

from amalia_mm.text.int8 import Int8Weight
from amalia_mm.text.joined import JoinedBlock, Weight
from amalia_mm.text.slots import Slots

Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])
Numbers = NDArray[Any]
"""float32, bfloat16 as the uint16 of its bits, or int8."""
Matrix = tuple[Numbers, Floats]
"""The numbers (o d) of a weight and what those of each output are multiplied with (o), or nothing (0)."""

MAX_ROWS = 16
"""More rows are faster as torch's products, in bfloat16 where there are units for it from nine on (recipes/LOG.md)."""
DTYPES = (torch.float32, torch.bfloat16)
"""Types of what is stored, and of weights, which may have 8 bits, too."""

# Sums may be taken in any order, as in every fast product; what is no number stays none.
_FAST = {"reassoc", "contract"}
# The way to start threads that numba always has does not survive two callers at once. None survives a fork, as torch's
# own do not: who generates on several cores and forks must not generate in the child.
_ONE_AT_A_TIME = threading.Lock()
_MOST_THREADS = int(getattr(config, "NUMBA_NUM_THREADS"))  # noqa: B009 (numba makes it as it starts)


class FewRows:
    """The layers of a decoder and its output, for rows that go through the weights one by one.

    Args:
        blocks: Weights of one of `DTYPES` or of 8 bits in the memory of a processor; they are used where they are.
        norm: (d), before the output.
        head: (v d), the output.
        eps: Of the norms.
        num_heads: Of queries.
    """

    max_rows = MAX_ROWS

    def __init__(
        self, blocks: Sequence[JoinedBlock], norm: Tensor, head: Tensor, eps: float, num_heads: int
    ) -> None:
        self._blocks = [
            (
                *(_numbers(block.first_norm), _matrix(block.query_key_value), _matrix(block.output)),
                *(_numbers(block.second_norm), _matrix(block.gate_up), _matrix(block.down)),
            )
            for block in blocks
        ]
        self._output = _numbers(norm), _matrix(head)
        self._eps = eps
        self._num_heads = num_heads

    def step(self, x: Tensor, cos: Tensor, sin: Tensor, slots: Slots) -> Tensor:
        """Return the logits (n v) float32 after one more position (n d) in each of the first n slots.

        Keys and values are stored; `slots.lengths` is left to the caller.

        Args:
            x: (n d), the embeddings.
            cos: (n w/2), or (1 w/2) where all rows are rotated alike.
            sin: As cos.
            slots: Of the type of the weights.
        """
        made, stored = x.float().numpy(), _numbers(slots.stored)
        places = np.array(slots.lengths[: len(x)])
        rotations = cos.numpy(), sin.numpy()
        for layer, weights in enumerate(self._blocks):
            made = _run(
                "_layer", made, *weights, self._eps, stored[layer], places, *rotations, self._num_heads
            )
        return torch.from_numpy(_run("_logits", made, *self._output, self._eps))


def _matrix(weight: Weight) -> Matrix:
    if isinstance(weight, Int8Weight):
        return weight.numbers.numpy(), weight.scales.float().numpy()
    return _numbers(weight), np.empty(0, np.float32)


def _numbers(weight: Tensor) -> Numbers:
    """Return a tensor as numpy sees it, in the same memory."""
    return (weight.view(torch.uint16) if weight.dtype == torch.bfloat16 else weight).numpy()


def _compile(function: Function, is_parallel: bool = False) -> Function:
    """Return a function that is compiled when it is called first, and kept for other processes where there is room."""
    options = {"fastmath": _FAST, "parallel": is_parallel}
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's own can be written to
        compiled = numba.njit(**options)(function)
    return compiled


def _wide(value: Any) -> Any:
    """Return a number of `Numbers` as float32."""
    is_bits = value.dtype == np.uint16
    return (np.uint32(value) << np.uint32(16)).view(np.float32) if is_bits else np.float32(value)


def _like(value: Any, other: Any) -> Any:
    """Return a float32 in the type of `other`; for bfloat16, the bits of the nearest one, the even of two."""
    if other.dtype == np.float32:
        return value
    bits = int(value.view(np.uint32))
    return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) if value == value else np.uint16(0x7FC0)


# The same two for numba, whose integers would grow to 64 bits on the way.
@overload(_wide, inline="always", strict=False)
def _compiled_wide(value: types.Type) -> Callable[[Any], Any]:
    if value != types.uint16:
        return lambda value: np.float32(value)  # noqa: PLW0108 (numba wants a function)
    return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)


@overload(_like, inline="always", strict=False)
def _compiled_like(value: types.Type, other: types.Type) -> Callable[[Any, Any], Any]:
    if isinstance(other, types.Float):
        return lambda value, other: value

    def nearest(value: Any, other: Any) -> Any:
        bits = np.uint64(np.float32(value).view(np.uint32))
        rounded = (bits + np.uint64(0x7FFF) + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
        return np.uint16(rounded if value == value else np.uint64(0x7FC0))

    return nearest


@_compile
def _normed(x: Floats, gain: Numbers, eps: float) -> Floats:
    """Return (n d) divided by its root mean square, times the gain (d)."""
    normed = np.empty_like(x)
    for n in range(x.shape[0]):
        total = np.float32(0)
        for d in range(x.shape[1]):
            total += x[n, d] * x[n, d]
        scale = np.float32(1 / math.sqrt(total / x.shape[1] + eps))
        for d in range(x.shape[1]):
            normed[n, d] = x[n, d] * scale * _wide(gain[d])
    return normed


@_compile
def _dot(x: Floats, weight: Numbers) -> np.float32:
    """Return the product of a row (d) and the weights of an output (d)."""
    total = np.float32(0)
    for d in range(x.shape[0]):
        total += x[d] * _wide(weight[d])
    return total


@_compile
def _four_dots(
    x: Floats, first: Numbers, second: Numbers, third: Numbers, fourth: Numbers
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Return the products of a row (d) and the weights of four outputs (d)."""
    one, two, three, four = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for d in range(x.shape[0]):
        one += x[d] * _wide(first[d])
        two += x[d] * _wide(second[d])
        three += x[d] * _wide(third[d])
        four += x[d] * _wide(fourth[d])
    return one, two, three, four


@_compile
def _add(x: Floats, other: Floats) -> None:
    """Add (n d) to (n d) where it lies; `x + other` takes numba longer to compile."""
    for n in range(x.shape[0]):
        for d in range(x.shape[1]):
            x[n, d] += other[n, d]


def _product(x: Floats, matrix: Matrix) -> Floats:
    """Return (n o) of (n d) and a weight (o d).

    Four outputs far from each other are read side by side: a core asks ahead for each of several streams of memory,
    and one stream alone is read at two thirds of the speed (recipes/LOG.md).
    """
    weight, scales = matrix
    num_rows, num_outputs, quarter = x.shape[0], weight.shape[0], weight.shape[0] // 4
    made = np.empty((num_rows, num_outputs), np.float32)
    for o in prange(quarter):
        p, q, r = o + quarter, o + 2 * quarter, o + 3 * quarter
        if num_rows == 1 or weight.itemsize == 4:
            for n in range(num_rows):
                made[n, o], made[n, p], made[n, q], made[n, r] = _four_dots(
                    x[n], weight[o], weight[p], weight[q], weight[r]
                )
        else:
            # Widened once for all rows.
            wide = np.empty((4, weight.shape[1]), np.float32)
            for d in range(weight.shape[1]):
                wide[0, d], wide[1, d] = _wide(weight[o, d]), _wide(weight[p, d])
                wide[2, d], wide[3, d] = _wide(weight[q, d]), _wide(weight[r, d])
            for n in range(num_rows):
                made[n, o], made[n, p], made[n, q], made[n, r] = _four_dots(
                    x[n], wide[0], wide[1], wide[2], wide[3]
                )
    for o in range(4 * quarter, num_outputs):
        for n in range(num_rows):
            made[n, o] = _dot(x[n], weight[o])
    if scales.shape[0]:
        for n in range(num_rows):
            for o in range(num_outputs):
                made[n, o] *= scales[o]
    return made


@_compile
def _turn_and_store(
    heads: Floats, cos: Floats, sin: Floats, stored: Numbers, places: NDArray[np.int64], num_heads: int
) -> None:
    """Rotate queries and keys (n h+2g w) where they lie, and put keys and values into the slots."""
    num_rows, num_all, width = heads.shape
    num_groups, half = (num_all - num_heads) // 2, width // 2
    for n in range(num_rows):
        at = min(n, cos.shape[0] - 1)  # one rotation for all rows, or one for each
        for h in range(num_heads + num_groups):
            for w in range(half):
                first, second = heads[n, h, w], heads[n, h, half + w]
                heads[n, h, w] = first * cos[at, w] - second * sin[at, w]
                heads[n, h, half + w] = second * cos[at, w] + first * sin[at, w]
        for g in range(2 * num_groups):
            for w in range(width):
                place = stored[n, g, places[n]]
                place[w] = _like(heads[n, num_heads + g, w], place[w])


def _attended(heads: Floats, stored: Numbers, places: NDArray[np.int64], num_heads: int) -> Floats:
    """Return what the queries of each row (n h+2g w) see in its slot of (s 2g l w), up to its place, (n hw)."""
    num_rows, num_all, width = heads.shape
    num_groups = (num_all - num_heads) // 2
    num_queries, scale = num_heads // num_groups, np.float32(1 / math.sqrt(width))
    mixed = np.zeros((num_rows, num_heads * width), np.float32)
    for job in prange(num_rows * num_groups):
        n, g = job // num_groups, job % num_groups
        num_seen = places[n] + 1
        scores = np.empty((num_queries, num_seen), np.float32)
        for t in range(num_seen):
            for q in range(num_queries):
                scores[q, t] = _dot(heads[n, g * num_queries + q], stored[n, g, t]) * scale
        for q in range(num_queries):
            start, most, total = (g * num_queries + q) * width, scores[q, 0], np.float32(0)
            for t in range(num_seen):
                most = max(most, scores[q, t])
            for t in range(num_seen):
                scores[q, t] = math.exp(scores[q, t] - most)
                total += scores[q, t]
            for t in range(num_seen):
                share = scores[q, t] / total
                for w in range(width):
                    mixed[n, start + w] += share * _wide(stored[n, num_groups + g, t, w])
    return mixed


def _layer(
    x: Floats,
    first_norm: Numbers,
    query_key_value: Matrix,
    output: Matrix,
    second_norm: Numbers,
    gate_up: Matrix,
    down: Matrix,
    eps: float,
    stored: Numbers,
    places: NDArray[np.int64],
    cos: Floats,
    sin: Floats,
    num_heads: int,
) -> Floats:
    """Return the layer's output (n d) of (n d), and store its keys and values."""
    made = _product(_normed(x, first_norm, eps), query_key_value)
    heads = made.reshape(x.shape[0], -1, stored.shape[3])
    _turn_and_store(heads, cos, sin, stored, places, num_heads)
    after = _product(_attended(heads, stored, places, num_heads), output)
    _add(after, x)
    gates = _product(_normed(after, second_norm, eps), gate_up)
    num_inner = gates.shape[1] // 2
    inner = np.empty((x.shape[0], num_inner), np.float32)
    for n in range(x.shape[0]):
        for i in range(num_inner):
            inner[n, i] = gates[n, i] / (1 + math.exp(-gates[n, i])) * gates[n, num_inner + i]
    made = _product(inner, down)
    _add(made, after)
    return made


def _logits(x: Floats, norm: Numbers, head: Matrix, eps: float) -> Floats:
    """Return (n v) of what the last layer left (n d)."""
    return _product(_normed(x, norm, eps), head)


def _ways(is_parallel: bool) -> dict[str, Callable[..., Floats]]:
    """Return `_layer` and `_logits` by name, with what takes long on all cores, or without any threads."""
    names, way = dict(globals()), "parallel" if is_parallel else "serial"
    for function in (_product, _attended, _layer, _logits):
        name = function.__name__
        # A copy that calls copies. numba keeps what it compiled by name alone, so each has a name of its own.
        own = FunctionType(function.__code__, names, f"{name}_{way}")
        own.__qualname__, own.__module__ = own.__name__, __name__
        is_split = is_parallel and function in (_product, _attended)
        names[name] = _compile(own, is_split)
    return names


_SERIAL, _PARALLEL = _ways(is_parallel=False), _ways(is_parallel=True)


def _run(name: str, *arguments: object) -> Floats:
    """Return what a function makes on as many cores as torch may use."""
    num_threads = min(torch.get_num_threads(), _MOST_THREADS)
    if num_threads == 1:
        return _SERIAL[name](*arguments)
    with _ONE_AT_A_TIME:
        numba.set_num_threads(num_threads)
        return _PARALLEL[name](*arguments)
