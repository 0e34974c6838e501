"""Log-mel frames: a clip in a batch gives what it gives alone, at any length and under any precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.audio.features import LogMel


def alone(features: LogMel, clip: torch.Tensor) -> torch.Tensor:
    return features(clip[None], torch.tensor([len(clip)]))[0][0]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=5), st.integers(0, 10_000))
def test_a_clip_in_a_batch_gives_what_it_gives_alone(lengths, seed):
    torch.manual_seed(seed)
    # Rubbish in the padding, louder than the clips, must not be heard.
    waveforms = 5.0 * torch.randn(len(lengths), max(lengths))
    clips = [0.1 * torch.randn(length) for length in lengths]
    for row, clip in enumerate(clips):
        waveforms[row, : len(clip)] = clip
    features = LogMel(20)
    mel, num_frames = features(waveforms, torch.tensor(lengths))
    assert num_frames.tolist() == [length // 160 for length in lengths]
    for row, clip in enumerate(clips):
        frames = mel[row, :, : len(clip) // 160]
        torch.testing.assert_close(frames, alone(features, clip), atol=2e-5, rtol=0)
        assert not mel[row, :, len(clip) // 160 :].any()


def test_a_tone_stands_in_the_band_of_its_pitch():
    """The centre of Slaney's band i is i/81 of the way in mel; 1,000 Hz is 15 mel of 45.245 for 8,000 Hz."""
    tone = torch.sin(2 * math.pi * 1000.0 * torch.arange(16_000) / 16_000)
    loudest = alone(LogMel(80), tone)[:, 50].argmax().item()
    top_mel = 15 + math.log(8.0) * 27 / math.log(6.4)
    assert abs((loudest + 1) / 81 * top_mel - 15) < top_mel / 81


def test_reflection_goes_back_and_forth_in_a_clip_shorter_than_the_edge():
    """Against numpy's own reflection, which allows it where torch's does not."""
    import numpy as np

    clip = torch.randn(170)
    padded = torch.from_numpy(np.pad(clip.numpy(), 200, mode="reflect"))
    window = torch.hann_window(400)
    power = torch.fft.rfft(padded[:400] * window).abs().square()
    mel = alone(LogMel(10), clip)[:, 0]
    from torchaudio.functional import melscale_fbanks

    filters = melscale_fbanks(201, 0.0, 8000.0, 10, 16_000, norm="slaney", mel_scale="slaney")
    expected = (power @ filters).clamp(min=1e-10).log10()
    expected = (expected.clamp(min=expected.max() - 8) + 4) / 4
    torch.testing.assert_close(mel, expected, atol=1e-5, rtol=0)


def test_autocast_does_not_touch_the_features():
    clip = torch.randn(4000)
    plain = alone(LogMel(), clip)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = alone(LogMel(), clip)
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)


def test_half_precision_waveforms_are_refused():
    with pytest.raises(ValueError, match="bfloat16"):
        LogMel()(torch.zeros(1, 400, dtype=torch.bfloat16), torch.tensor([400]))


def test_a_module_built_on_meta_works_once_materialised():
    with torch.device("meta"):
        features = LogMel()
    clip = torch.randn(4000)
    assert torch.equal(alone(features.to_empty(device="cpu"), clip), alone(LogMel(), clip))
    assert not features.state_dict()


def test_features_first_made_for_inference_still_train():
    # A cached filter made under inference mode once could not be saved for the backward pass.
    with torch.inference_mode():
        LogMel(7)(torch.randn(1, 800), torch.tensor([800]))
    waveform = torch.randn(1, 800, requires_grad=True)
    LogMel(7)(waveform, torch.tensor([800]))[0].sum().backward()
    assert waveform.grad is not None and waveform.grad.isfinite().all()


def test_silence_is_flat():
    mel = alone(LogMel(), torch.zeros(1600))
    assert mel.unique().tolist() == [-1.5]
