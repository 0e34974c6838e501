"""A source has the pitch of its frames, an even spectrum, and goes on where it was."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.voice.harmonics import harmonics
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.phone_predictors import log_pitch
from amalia_mm.voice.pitch import pitch_hz
from amalia_mm.voice.source import source, source_after, source_spectrum

MEL = VoiceMel(16_000, 80)


def frames_of(*pitches_hz: float) -> torch.Tensor:
    """Log-mel frames (1 m f) of pulses of these pitches."""
    return harmonics(log_pitch(torch.tensor([pitches_hz])), MEL).transpose(1, 2)


def glide(first_hz: float, last_hz: float, num_frames: int = 60) -> torch.Tensor:
    return frames_of(
        *torch.logspace(*torch.tensor([first_hz, last_hz]).log10().tolist(), num_frames).tolist()
    )


def even(num_frames: int = 60) -> torch.Tensor:
    """Frames without a pitch."""
    return torch.zeros(1, 80, num_frames)


@pytest.mark.parametrize("hz", [70.0, 95.0, 200.0, 380.0])
def test_its_pitch_is_that_of_the_frames(hz):
    # Softer the higher, as a mouth makes it: the search is not made for pulses of a single sample.
    made = torch.nn.functional.conv1d(
        source(glide(hz, hz * 1.08), MEL)[:, None], torch.hann_window(33)[None, None], padding=16
    )[:, 0]
    found = pitch_hz(made, 16_000, 256)[0, 4:-4]
    wanted = torch.logspace(*torch.tensor([hz, hz * 1.08]).log10().tolist(), 60)[4:-4]
    assert float((found / wanted).log2().abs().max()) < 1 / 24


def test_without_a_pitch_it_is_noise():
    assert float((pitch_hz(source(even(), MEL), 16_000, 256) > 0).float().mean()) < 0.05


@pytest.mark.parametrize("frames", [glide(95, 95), glide(250, 150), even()], ids=["low", "falling", "noise"])
def test_it_is_as_loud_at_every_frequency_and_everywhere(frames):
    made = source(frames, MEL)
    assert float(made.square().mean()) == pytest.approx(1.0, abs=0.1)
    energy = source_spectrum(frames, MEL)[0, :, 4:-4].abs().square().mean(1)
    bands = energy[8:-1].reshape(8, -1).mean(1)
    assert float(bands.max() / bands.min()) < 1.3
    assert float(energy.mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("cut", [1, 17, 58])
def test_it_goes_on_where_it_was(cut):
    """Pulses and noise both, to the last bits: a stream is cut somewhere else every time."""
    frames = torch.cat([glide(90, 130), even(20), glide(300, 200, 30)], dim=2).expand(2, -1, -1)
    whole = source(frames, MEL)
    first, rest = frames[:, :, : cut + 1], frames[:, :, cut:]
    start = source_after(first, MEL)
    assert start.num_samples == cut * 256
    pieces = torch.cat([source(first, MEL), source(rest, MEL, start)], dim=1)
    torch.testing.assert_close(pieces, whole, atol=1e-3, rtol=0)


def test_where_it_is_after_one_frame_is_where_it_was():
    start = source_after(glide(90, 130), MEL)
    same = source_after(glide(130, 130, 1), MEL, start)
    assert torch.equal(same.turns, start.turns)
    assert same.num_samples == start.num_samples
