"""The frame of a pitch's harmonics is what a train of pulses of that pitch sounds like."""

from __future__ import annotations

import math

import pytest
import torch

from amalia_mm.voice.harmonics import harmonics
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.phone_predictors import log_pitch
from amalia_mm.voice.pitch import HIGHEST_HZ, LOWEST_HZ


@pytest.mark.parametrize(("rate_hz", "num_mels"), [(16_000, 80), (24_000, 100)])
@pytest.mark.parametrize("hz", [95.0, 190.0, 310.0])
def test_peaks_lie_where_those_of_pulses_do(rate_hz, num_mels, hz):
    mel = VoiceMel(rate_hz, num_mels)
    time_s = torch.arange(rate_hz) / rate_hz
    pulses = sum(torch.cos(2 * torch.pi * k * hz * time_s + k * k) for k in range(1, int(rate_hz / 2 / hz)))
    heard = mel(0.01 * pulses[None])[0, :, 30]
    told = harmonics(log_pitch(torch.tensor([[hz]])), mel)[0, 0]
    assert float(told.mean()) == pytest.approx(0.0, abs=1e-5)
    # Up to some twenty harmonics, or where the bins are wider than from one to the next.
    low = slice(2, 40)

    def peaks(frame):
        return {
            k
            for k in range(low.start, low.stop)
            if frame[k] > max(frame[k - 1], frame[k + 1]) and frame[k] > frame[2:40].mean()
        }

    assert peaks(told) == peaks(heard)
    assert float(torch.corrcoef(torch.stack([told[low], heard.clamp(min=-4)[low]]))[0, 1]) > 0.8


def test_a_pitch_between_two_of_the_table_is_between_them():
    mel = VoiceMel(16_000, 80)
    frames = harmonics(torch.linspace(-0.5, 0.5, 4001)[None], mel)[0]
    assert float(frames.diff(dim=0).abs().max()) < 0.05
    assert not torch.allclose(frames[0], frames[-1], atol=0.5)


def test_no_pitch_is_beyond_the_table():
    mel = VoiceMel(16_000, 80)
    ends = harmonics(
        torch.tensor([[-9.0, math.log(LOWEST_HZ / 1.5 / 150), math.log(HIGHEST_HZ * 1.5 / 150), 9.0]]), mel
    )[0]
    torch.testing.assert_close(ends[0], ends[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(ends[2], ends[3], atol=1e-4, rtol=0)
