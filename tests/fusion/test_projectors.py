"""Projectors: padding does not matter, and a posterior that is certain is the token itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.fusion.projectors import CtcPosterior, Projector, StackMLP
from amalia_mm.text.decoder import Decoder, DecoderConfig

CONFIG = DecoderConfig(30, 16, 32, 1, 2, 1, initializer_range=0.5)
WIDTH = 12


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(1)
    return Decoder(CONFIG).eval()


def certain(paths: torch.Tensor) -> torch.Tensor:
    return 200.0 * torch.nn.functional.one_hot(paths, CONFIG.vocab_size + 1).float()


@pytest.mark.parametrize("projector", [StackMLP(WIDTH, CONFIG), CtcPosterior(WIDTH, CONFIG)])
def test_an_item_in_a_batch_gives_what_it_gives_alone(projector: Projector, decoder):
    num_frames = torch.tensor([7, 3, 1])
    features = torch.randn(3, 7, WIDTH)
    together = projector(features, num_frames, decoder.embed_expected)
    counts = projector.num_audio_tokens(num_frames)
    for row, (frames, count) in enumerate(zip(num_frames.tolist(), counts.tolist(), strict=True)):
        alone = projector(features[row : row + 1, :frames], num_frames[row : row + 1], decoder.embed_expected)
        assert alone.shape == (1, count, 16)
        torch.testing.assert_close(together[row, :count], alone[0])


def test_a_stack_cut_short_is_completed_with_zeros(decoder):
    projector = StackMLP(WIDTH, CONFIG, stack=3)
    features = torch.randn(1, 4, WIDTH)
    completed = torch.cat([features, torch.zeros(1, 2, WIDTH)], dim=1)
    torch.testing.assert_close(
        projector(features, torch.tensor([4]), decoder.embed_expected),
        projector(completed, torch.tensor([6]), decoder.embed_expected),
    )


def test_a_certain_posterior_is_the_path(decoder):
    """The decoder learns from paths of ids and later hears posteriors: both must look the same to it."""
    projector = CtcPosterior(WIDTH, CONFIG)
    paths = torch.cat([torch.arange(CONFIG.vocab_size + 1), torch.tensor([30, 5, 5, 30])])[None]
    mixed = projector.mix(certain(paths), decoder.embed_expected)
    torch.testing.assert_close(mixed, projector.embed_path(paths, decoder.embed))
    torch.testing.assert_close(mixed[0, 4], decoder.embed(torch.tensor(4)))
    torch.testing.assert_close(mixed[0, 30], projector.blank)


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(0, 99))
def test_a_posterior_is_mixed_as_by_hand(top_k, seed):
    torch.manual_seed(seed)
    decoder, projector = Decoder(CONFIG), CtcPosterior(WIDTH, CONFIG, top_k)
    logits = torch.randn(2, 3, CONFIG.vocab_size + 1)
    posterior = logits.softmax(-1)
    expected = torch.zeros(2, 3, 16)
    for k, f in [(k, f) for k in range(2) for f in range(3)]:
        order = posterior[k, f, :-1].argsort(descending=True)
        kept, dropped = order[:top_k], order[top_k:]
        rest = posterior[k, f, -1] + posterior[k, f, dropped].sum()
        table = decoder.embed(torch.arange(CONFIG.vocab_size))
        expected[k, f] = posterior[k, f, kept] @ table[kept] + rest * projector.blank
    torch.testing.assert_close(projector.mix(logits, decoder.embed_expected), expected, atol=1e-5, rtol=1e-4)


def test_the_loss_reaches_head_blank_features_and_embeddings(decoder):
    projector = CtcPosterior(WIDTH, CONFIG)
    features = torch.randn(1, 5, WIDTH, requires_grad=True)
    projector(features, torch.tensor([5]), decoder.embed_expected).square().sum().backward()
    for tensor in (features, projector.head.weight, projector.blank, decoder.model.embed_tokens.weight):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0
    decoder.zero_grad()


def test_a_projector_built_on_meta_can_be_drawn():
    with torch.device("meta"):
        projector = CtcPosterior(WIDTH, CONFIG)
    projector.to_empty(device="cpu")
    with torch.no_grad():
        projector.blank.fill_(float("nan"))
    projector.reset_parameters()
    assert projector.blank.isfinite().all() and projector.blank.std() > 0


@pytest.mark.parametrize("top_k", [0, 31])
def test_more_tokens_than_there_are_cannot_be_mixed(top_k):
    with pytest.raises(ValueError, match=rf"{top_k} .* 30"):
        CtcPosterior(WIDTH, CONFIG, top_k)
