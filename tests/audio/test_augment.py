"""Augmentation: exact ratios, the right colours, one seed one clip, and cheap."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sound import rms, seeded

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.no_speech import NO_SPEECH, no_speech_clip
from amalia_mm.audio.noise import add_noise, coloured_noise


@given(st.sampled_from(["white", "pink", "brown"]), st.floats(-10, 40), st.integers(1, 99))
def test_noise_comes_at_the_ratio_asked_for(colour, snr_db, seed):
    clip = 0.2 * torch.randn(8000, generator=seeded(seed))
    noise = add_noise(clip, colour, snr_db, seeded(seed)) - clip
    assert 20 * math.log10(rms(clip) / rms(noise)) == pytest.approx(snr_db, abs=0.05)


@pytest.mark.parametrize(("colour", "slope_db"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_the_power_falls_by_the_colour_of_the_noise(colour, slope_db):
    """From the power in octaves of 125 to 4,000 Hz of a long stretch, by Welch's method."""
    from scipy.signal import welch

    noise = coloured_noise(colour, 16_000 * 10, seeded())
    hz, density = welch(noise.numpy(), 16_000, nperseg=4096)
    octaves = [density[(hz >= low) & (hz < 2 * low)].mean() for low in (125, 250, 500, 1000, 2000)]
    slopes = [10 * math.log10(high / low) for low, high in pairwise(octaves)]
    assert sum(slopes) / len(slopes) == pytest.approx(slope_db, abs=0.25)


def test_the_same_seed_gives_the_same_clip_and_another_seed_another():
    clip = torch.randn(4000, generator=seeded())
    augment = Augment(1.0, (5.0, 20.0), 1.0, (-6.0, 6.0), 0.5)
    assert torch.equal(augment(clip, seeded(7)), augment(clip, seeded(7)))
    assert not torch.equal(augment(clip, seeded(7)), augment(clip, seeded(8)))


def test_it_leaves_the_clip_and_the_global_generator_alone():
    clip = torch.randn(4000, generator=seeded())
    before, state = clip.clone(), torch.get_rng_state()
    Augment(1.0, (5.0, 20.0), 1.0, (-6.0, 6.0), 1.0)(clip, seeded())
    assert torch.equal(clip, before)
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(1, 5000), st.integers(0, 20))
def test_the_length_never_changes(num_samples, seed):
    clip = torch.randn(num_samples, generator=seeded(seed))
    out = Augment(1.0, (5.0, 20.0), 1.0, (-6.0, 6.0), 1.0)(clip, seeded(seed))
    assert out.shape == clip.shape and out.isfinite().all() and out.dtype == torch.float32


def test_nothing_happens_at_probability_zero():
    clip = torch.randn(4000)
    assert torch.equal(Augment(0.0, gain_probability=0.0)(clip, seeded()), clip)


def test_the_telephone_leaves_its_band():
    time_s = torch.arange(16_000) / 16_000
    inside, outside = (torch.sin(2 * torch.pi * hz * time_s) for hz in (1000.0, 5000.0))
    telephone = Augment(0.0, gain_probability=0.0, telephone_probability=1.0)
    assert (telephone(inside + outside, seeded()) - inside)[200:-200].abs().max() < 2e-3


def test_silence_gets_a_little_noise():
    noisy = add_noise(torch.zeros(4000), "white", 20.0, seeded())
    assert rms(noisy) == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize("kind", NO_SPEECH)
def test_clips_without_speech_have_their_length_and_level(kind):
    for seed in range(5):
        clip = no_speech_clip(kind, 1.3, seeded(seed))
        assert clip.shape == (20_800,) and clip.dtype == torch.float32 and clip.isfinite().all()
        assert torch.equal(clip, no_speech_clip(kind, 1.3, seeded(seed)))
        if kind not in ("silence", "clicks"):
            assert -60.1 < 20 * math.log10(rms(clip)) < -19.9
    assert no_speech_clip(kind, 0.0, seeded()).shape == (0,)


def test_a_kind_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="'rain'.*silence"):
        no_speech_clip("rain", 1.0, seeded())


@pytest.mark.parametrize(
    "wrong", [{"noise_probability": 1.5}, {"noise_snr_db": (30.0, 10.0)}, {"telephone_hz": (3400.0, 300.0)}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment(**wrong)


def test_two_seconds_take_a_few_milliseconds():
    # A hundredth of real time here would already be more than the encoder's own step.
    clip, generator, augment = torch.randn(32_000), seeded(), Augment(1.0)
    augment(clip, generator)
    times = []
    for _ in range(20):
        start = time.process_time()
        augment(clip, generator)
        times.append(time.process_time() - start)
    assert sorted(times)[10] < 0.02
