"""Layers that are computed again or compiled give the same numbers; packed rows are not compiled for one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.train.losses import token_nll


def _decoder(dropout: float = 0.0) -> Decoder:
    torch.manual_seed(1)
    return Decoder(DecoderConfig(61, 32, 48, 3, 4, 2, initializer_range=0.3, dropout=dropout))


def _gradients(decoder: Decoder, ids: Tensor, documents: Tensor) -> list[Tensor]:
    torch.manual_seed(2)  # of dropout
    hidden = decoder.hidden(ids, documents=documents)
    loss = decoder.at_output(hidden, lambda h, weight: token_nll(h, weight, ids))
    return [loss.sum.detach(), *torch.autograd.grad(loss.sum, list(decoder.parameters()))]


def _assert_near(found: list[Tensor], wanted: list[Tensor]) -> None:
    # Compiled, norms go through other sums: 5e-6 of each. One with an eps of 1e-6 in place of 1e-5 would be 8e-4 away.
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_activations_that_are_computed_again_change_no_bit(dropout: float) -> None:
    """Dropout must drop the same the second time."""
    ids, documents = torch.randint(61, (2, 20)), torch.ones(2, 20, dtype=torch.int64)
    kept = _gradients(_decoder(dropout), ids, documents)
    decoder = _decoder(dropout)
    decoder.recompute_layers()
    for found, wanted in zip(_gradients(decoder, ids, documents), kept, strict=True):
        assert torch.equal(found, wanted)


def test_fewer_activations_are_kept() -> None:
    def kept(decoder: Decoder) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            decoder.hidden(torch.zeros(2, 20, dtype=torch.int64))
        return sum(sizes)

    decoder = _decoder()
    whole = kept(decoder)
    decoder.recompute_layers()
    assert kept(decoder) < whole / 4


def test_one_compilation_serves_all_layers_and_all_packings() -> None:
    """Lengths of documents are other ones at every step: compiled in, every step would take seconds.

    The last packing is computed with every activation kept, the others with layers computed again.
    """
    decoder, ids = _decoder(), torch.randint(61, (1, 600))
    packings = [torch.arange(600)[None] // size + 1 for size in (50, 100, 77, 300)]
    wanted, counter = (
        [_gradients(decoder, ids, each) for each in packings],
        CompileCounterWithBackend("eager"),
    )
    torch._dynamo.reset()
    decoder.recompute_layers()
    decoder.compile_layers(backend=counter)
    counts = []
    for packing, theirs in zip(packings, wanted, strict=True):
        for block in decoder.model.layers:
            block.recomputes = packing is not packings[-1]
        _assert_near(_gradients(decoder, ids, packing), theirs)
        counts.append(counter.frame_count)
    assert 0 < counts[0] <= 4  # parts before and after attention; one for each layer would be 12
    assert counts == [counts[0]] * 4
