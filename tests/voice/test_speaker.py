"""A speaker encoder: what a clip is next to must not matter, nor how loud it is, nor what stands behind its end."""

from __future__ import annotations

import math

import pytest
import torch

from amalia_mm.voice.speaker import SpeakerEncoder, Verifier, embed_clips, enrolled, similarity

SMALL = {"num_mels": 20, "width": 16, "num_blocks": 2, "embed_size": 12, "bottleneck": 8, "scale": 4}


@pytest.fixture
def encoder():
    return SpeakerEncoder(**SMALL).eval()


def clip(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_samples", [161, 800, 4000, 15_999])
def test_a_clip_in_a_batch_gives_what_it_gives_alone(encoder, num_samples):
    batch = torch.full((2, 16_000), 7.0)  # what stands in the padding is loud
    batch[0], batch[1, :num_samples] = clip(16_000), clip(num_samples, seed=1)
    together = encoder.embed(batch, torch.tensor([16_000, num_samples]))
    alone = encoder.embed(clip(num_samples, seed=1)[None], torch.tensor([num_samples]))
    torch.testing.assert_close(together[1:], alone, atol=2e-6, rtol=0)


def test_frames_beyond_the_clip_do_not_matter(encoder):
    mel = torch.randn(2, 20, 50)
    num_frames = torch.tensor([50, 31])
    changed = mel.clone()
    changed[1, :, 31:] = 100.0
    torch.testing.assert_close(encoder(mel, num_frames), encoder(changed, num_frames))
    longer = torch.nn.functional.pad(mel, (0, 13), value=3.0)
    torch.testing.assert_close(encoder(mel, num_frames), encoder(longer, num_frames), atol=2e-6, rtol=0)


def test_vectors_have_length_one_and_a_gradient(encoder):
    mel = torch.randn(3, 20, 40, requires_grad=True)
    vectors = encoder(mel, torch.tensor([40, 25, 1]))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    vectors[:, 0].sum().backward()
    assert mel.grad is not None
    assert torch.isfinite(mel.grad).all()
    assert float(mel.grad[0].abs().sum()) > 0


@torch.no_grad()
def test_a_louder_clip_is_the_same_voice(encoder):
    quiet = encoder.embed(clip(16_000)[None], torch.tensor([16_000]))
    loud = encoder.embed(8 * clip(16_000)[None], torch.tensor([16_000]))
    assert float(similarity(quiet, loud)) > 0.9999


def test_order_in_the_batch_does_not_matter(encoder):
    clips = [clip(length, seed) for seed, length in enumerate((9000, 3000, 16_000, 5000))]
    forward, backward = embed_clips(encoder, clips, rows_at_once=2), embed_clips(encoder, clips[::-1])
    torch.testing.assert_close(forward, backward.flip(0), atol=2e-6, rtol=0)


def test_a_clip_without_a_frame_is_refused(encoder):
    with pytest.raises(ValueError, match=r"\[10, 0\] frames"):
        encoder(torch.randn(2, 20, 10), torch.tensor([10, 0]))
    with pytest.raises(ValueError, match="16 channels cannot be cut into 3"):
        SpeakerEncoder(**{**SMALL, "scale": 3})


def test_similarity_is_the_cosine_by_hand():
    left = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    right = torch.tensor([4.0, 3.0])
    expected = [24 / 25, 4 / 5]
    assert similarity(left, right).tolist() == pytest.approx(expected)


def test_the_middle_of_clips_is_one_long_and_of_nothing_is_refused():
    middle = enrolled(torch.tensor([[1.0, 0.0], [0.0, 5.0]]))  # lengths do not weigh
    assert middle.tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    for clips in (torch.zeros(0, 2), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])):
        with pytest.raises(ValueError, match="no middle"):
            enrolled(clips)


def test_the_check_accepts_at_its_threshold_and_not_below(encoder):
    own = embed_clips(encoder, [clip(8000)])[0]
    found = Verifier(encoder, 0.0).similarity(own, clip(12_000, seed=5))
    assert found == pytest.approx(float(similarity(own, embed_clips(encoder, [clip(12_000, seed=5)])[0])))
    assert Verifier(encoder, found - 1e-6).accepts(own, clip(12_000, seed=5))
    assert not Verifier(encoder, found + 1e-6).accepts(own, clip(12_000, seed=5))
