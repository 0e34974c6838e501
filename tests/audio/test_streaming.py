"""What is heard as it comes is what is heard of the whole, with the same mask, however it is cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.audio.block_causal import (
    PRIOR_FRAMES,
    PRIOR_MEAN,
    PRIOR_VARIANCE,
    block_mask,
    no_sums,
    running_normal,
)
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.streaming import StreamingEncoder


def tiny(**changes) -> ConvTransformer:
    torch.manual_seed(0)
    sizes = {
        "num_mels": 16,
        "width": 24,
        "num_layers": 3,
        "num_heads": 2,
        "feed_forward": 32,
        "block_frames": 4,
    }
    return ConvTransformer(**(sizes | {"left_blocks": 1} | changes)).eval()


SHAPES = {
    "plain": {},
    "conformer with letters": {
        "layer_kernel": 5,
        "letters_after": 2,
        "num_letters": 7,
        "num_convolutions": 3,
        "left_blocks": 2,
    },
    "a frame a block": {"block_frames": 1, "left_blocks": 3, "position_kernel": 31},
    "no block before": {"left_blocks": 0, "layer_kernel": 9},
}


def noise(num_samples, seed=0):
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def streamed(encoder, waveform, sizes):
    stream, found, at = StreamingEncoder(encoder), [], 0
    for size in sizes:
        found.append(stream.push(waveform[at : at + size]))
        at += size
    return torch.cat([*found, stream.push(waveform[at:]), stream.flush()])


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.one_of(st.integers(160, 1_500), st.integers(1_500, 30_000)),
    st.lists(st.integers(0, 9_000), max_size=8),
)
def test_streamed_frames_are_those_of_the_whole(shape, num_samples, sizes):
    encoder, waveform = tiny(**SHAPES[shape]), noise(num_samples, seed=num_samples)
    with torch.no_grad():
        whole, num_frames = encoder(waveform[None], torch.tensor([num_samples]))
    found = streamed(encoder, waveform, sizes)
    assert found.shape == whole[0].shape == (num_frames.item(), 24)
    torch.testing.assert_close(found, whole[0], atol=1e-5, rtol=1e-5)


def test_frames_come_as_soon_as_their_block_is_there():
    encoder = tiny()
    stream = StreamingEncoder(encoder)
    # Four frames of 640 samples; the last window of the block reaches 40 samples beyond it.
    assert len(stream.push(noise(4 * 640 + 39))) == 0
    assert len(stream.push(noise(1))) == 4
    assert len(stream.push(noise(8 * 640))) == 8


def test_what_is_kept_does_not_grow():
    encoder = tiny(layer_kernel=5)
    stream, sizes = StreamingEncoder(encoder), []
    for seconds in range(12):
        stream.push(noise(16_000, seed=seconds))
        sizes.append(sum(kept.numel() for kept in stream._before.values()))
        assert len(stream._samples) <= 4 * 640 + 400 + 16_000
    assert len(set(sizes[1:])) == 1


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_later_sound_does_not_reach_earlier_blocks(shape):
    encoder = tiny(**SHAPES[shape])
    block_samples = encoder.block_frames * 160 * 2 ** len(encoder.down_convolutions)
    waveform = noise(6 * block_samples)
    other = waveform.clone()
    other[3 * block_samples + 40 :] = 5 * noise(len(waveform) - 3 * block_samples - 40, seed=9)
    num_samples = torch.tensor([len(waveform)])
    with torch.no_grad():
        one, two = encoder(waveform[None], num_samples)[0][0], encoder(other[None], num_samples)[0][0]
    known = 3 * encoder.block_frames
    torch.testing.assert_close(one[:known], two[:known], atol=1e-6, rtol=0)
    assert not torch.allclose(one[known:], two[known:], atol=1e-2)


def test_a_clip_in_a_batch_gives_what_it_gives_alone():
    encoder = tiny(layer_kernel=5, num_convolutions=3)
    lengths = [9_000, 700, 16_123]
    waveforms = torch.nn.utils.rnn.pad_sequence([noise(n, seed=n) for n in lengths], batch_first=True)
    with torch.no_grad():
        features, num_frames = encoder(waveforms, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone, _ = encoder(waveforms[row : row + 1, :length], torch.tensor([length]))
            torch.testing.assert_close(features[row, : num_frames[row]], alone[0], atol=1e-5, rtol=1e-5)
            assert not features[row, num_frames[row] :].any()


def test_it_learns_in_blocks():
    encoder = tiny(dropout=0.0).train()
    encoder(noise(32_000).view(2, -1), torch.tensor([16_000, 9_000]))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_the_mask_by_hand():
    valid = torch.tensor([[True] * 5 + [False]])
    assert block_mask(valid, 2, 1)[0, 0].int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 1],
    ]


def test_statistics_so_far_are_those_of_the_frames_so_far_and_of_the_prior():
    mel = torch.randn(1, 2, 90) + 0.5
    found, _ = running_normal(mel, no_sums(mel), 0)
    prior = PRIOR_VARIANCE**0.5 * torch.tensor([1.0, -1.0]).repeat(PRIOR_FRAMES // 2) + PRIOR_MEAN
    for frame in (0, 40, 89):
        heard = torch.cat([prior.expand(2, -1), mel[0, :, : frame + 1]], dim=1).double()
        wanted = (mel[0, :, frame] - heard.mean(1)) / heard.std(1, correction=0)
        torch.testing.assert_close(found[0, :, frame], wanted.float(), atol=1e-5, rtol=1e-5)


def test_an_encoder_of_whole_clips_is_refused():
    for encoder in (tiny(block_frames=None), tiny().train()):
        with pytest.raises(ValueError, match="block_frames"):
            StreamingEncoder(encoder)
    with pytest.raises(ValueError, match="block_frames 0"):
        tiny(block_frames=0)
    with pytest.raises(ValueError, match="100 samples are shorter than a frame of 160"):
        streamed(tiny(), noise(100), [])
