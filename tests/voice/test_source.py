"""A source has the pitch of its frames, an even spectrum, and goes on where it was."""

from __future__ import annotations

import pytest
import torch
from scipy.signal import butter, sosfilt

from amalia_mm.voice.harmonics import harmonics
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.phone_predictors import log_pitch
from amalia_mm.voice.pitch import pitch_hz
from amalia_mm.voice.source import source, source_spectrum, source_track

MEL = VoiceMel(16_000, 80)


def frames_of(*pitches_hz: float) -> torch.Tensor:
    """Log-mel frames (1 m f) of pulses of these pitches."""
    return harmonics(log_pitch(torch.tensor([pitches_hz])), MEL).transpose(1, 2)


def glide(first_hz: float, last_hz: float, num_frames: int = 60) -> torch.Tensor:
    return frames_of(
        *torch.logspace(*torch.tensor([first_hz, last_hz]).log10().tolist(), num_frames).tolist()
    )


def made(frames: torch.Tensor) -> torch.Tensor:
    return source(source_track(frames, MEL), MEL)


def even(num_frames: int = 60) -> torch.Tensor:
    """Frames without a pitch."""
    return torch.zeros(1, 80, num_frames)


@pytest.mark.parametrize("hz", [70.0, 95.0, 200.0, 380.0])
def test_its_pitch_is_that_of_the_frames(hz):
    # Softer the higher, as a mouth makes it: the search is not made for pulses of a single sample.
    softer = torch.nn.functional.conv1d(
        made(glide(hz, hz * 1.08))[:, None], torch.hann_window(33)[None, None], padding=16
    )[:, 0]
    found = pitch_hz(softer, 16_000, 256)[0, 4:-4]
    wanted = torch.logspace(*torch.tensor([hz, hz * 1.08]).log10().tolist(), 60)[4:-4]
    assert float((found / wanted).log2().abs().max()) < 1 / 24


def test_without_a_pitch_it_is_noise():
    assert float((pitch_hz(made(even()), 16_000, 256) > 0).float().mean()) < 0.05


@pytest.mark.parametrize("cut_hz", [0, 20, 50, 80, 120])
def test_noise_stays_noise_whatever_the_microphone_cuts_off(cut_hz):
    """Some pitch fits any frame a little; a roll-off below the lowest harmonic must not fit better."""
    noise = torch.randn(1, 16_000 * 8, generator=torch.Generator().manual_seed(0)).numpy()
    if cut_hz:
        noise = sosfilt(butter(4, cut_hz, "highpass", fs=16_000, output="sos"), noise)
    frames = MEL(torch.as_tensor(0.1 * noise, dtype=torch.float32))
    assert float(source_track(frames, MEL).voiced.mean()) < 0.12


@pytest.mark.parametrize("frames", [glide(95, 95), glide(250, 150), even()], ids=["low", "falling", "noise"])
def test_it_is_as_loud_at_every_frequency_and_everywhere(frames):
    assert float(made(frames).square().mean()) == pytest.approx(1.0, abs=0.1)
    spectrum = source_spectrum(source_track(frames, MEL), MEL)
    energy = spectrum[0, :, 4:-4].abs().square().mean(1)
    bands = energy[8:-1].reshape(8, -1).mean(1)
    assert float(bands.max() / bands.min()) < 1.3
    assert float(energy.mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("sizes", [[110], [1] * 110, [2, 57, 51], [60, 49, 1]], ids=["1", "110", "3", "4"])
def test_it_goes_on_where_it_was(sizes):
    """Frames come in chunks of any size, and those that were heard are forgotten: pulses and noise go on."""
    frames = torch.cat([glide(90, 130), even(20), glide(300, 200, 30)], dim=2).expand(2, -1, -1)
    whole, track, pieces = made(frames), None, []
    for chunk in frames.split(sizes, dim=2):
        track = source_track(chunk, MEL, track)
        pieces.append(source(track, MEL))
        track = track.since(track.hz.shape[1] - 1, MEL)
    assert track is not None and track.num_samples == whole.shape[1]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-3 * float(whole.max()), rtol=0)


def test_in_training_it_begins_somewhere_else_every_time():
    frames = glide(95, 95).expand(2, -1, -1)
    track = source_track(frames, MEL)
    torch.manual_seed(0)
    one, other = (source(track.moved(), MEL) for _ in range(2))
    for a, b in ((one[0], one[1]), (one[0], other[0])):
        assert abs(float((a * b).mean())) < 0.9, "the same pulses, or the same noise"
    torch.manual_seed(0)
    assert torch.equal(source(track.moved(), MEL), one)
