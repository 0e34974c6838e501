"""The distances of a vocoder's loss, beside slow ones written from the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import get_window

from amalia_mm.train.vocoder_loss import mel_distance, seen_alike, spectral, taken_for_real, told_apart
from amalia_mm.voice.discriminators import Judged


def amplitudes(samples: np.ndarray, size: int) -> np.ndarray:
    """(f w), one window after the other."""
    hop, window = size // 4, get_window("hann", size)
    padded = np.pad(samples, size // 2, mode="reflect")
    starts = range(0, len(padded) - size + 1, hop)
    return np.stack([np.abs(np.fft.rfft(padded[start : start + size] * window)) for start in starts])


def test_the_distance_of_spectra_is_that_of_the_paper():
    dice = np.random.default_rng(0)
    written, real = dice.normal(size=(2, 2, 3_000))
    expected = []
    for ours, theirs in zip(written, real, strict=True):
        total = 0.0
        for size in (128, 512):
            one, other = amplitudes(ours, size), amplitudes(theirs, size)
            total += np.sqrt(((one - other) ** 2).sum()) / np.sqrt((other**2).sum())
            total += np.abs(np.log(one) - np.log(other)).mean()
        expected.append(total / 2)
    found = spectral(torch.from_numpy(written).float(), torch.from_numpy(real).float(), (128, 512))
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_a_window_does_not_weigh_on_its_neighbour():
    """The loss is summed over windows: a batch of two is the sum of two batches of one."""
    written, real = torch.randn(2, 2, 4_000).unbind()
    both = spectral(written, real)
    each = [spectral(written[row : row + 1], real[row : row + 1])[0] for row in range(2)]
    assert torch.allclose(both, torch.stack(each), atol=1e-5)


def test_the_same_speech_has_no_distance_and_a_gradient_that_is_a_number():
    real = torch.randn(1, 4_000)
    assert float(spectral(real, real)) == 0.0
    silent = torch.zeros(1, 4_000, requires_grad=True)
    (spectral(silent, real) + spectral(silent, torch.zeros_like(real))).sum().backward()
    assert silent.grad is not None
    assert torch.isfinite(silent.grad).all()


def test_frames_are_compared_one_by_one():
    written = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    real = torch.tensor([[[1.0, 0.0], [0.0, 8.0]]])
    assert mel_distance(written, real).tolist() == [(0 + 2 + 3 + 4) / 4]


def judged(*scores: float) -> Judged:
    rows = torch.tensor([scores])
    return Judged(rows, (rows * 2, rows * 3))


def test_the_hinges_are_those_computed_by_hand():
    real, written = [judged(0.5, 2.0), judged(1.0, 1.0)], [judged(-0.5, 3.0), judged(-2.0, 0.0)]
    # Real speech: (0.5 + 0) / 2 and 0; the vocoder's: (0.5 + 4) / 2 and (0 + 1) / 2; weights 1 and 0.5.
    expected = (1.0 * (0.25 + 2.25) + 0.5 * (0.0 + 0.5)) / 1.5
    assert told_apart(real, written, (1.0, 0.5)).tolist() == pytest.approx([expected])
    expected = (1.0 * (1.5 + 0.0) / 2 + 0.5 * (3.0 + 1.0) / 2) / 1.5
    assert taken_for_real(written, (1.0, 0.5)).tolist() == pytest.approx([expected])
    # Layers see twice and thrice the scores: distances of (1 + 1) / 2 and (3 + 1) / 2, times 2.5.
    expected = (1.0 * 2.5 * 1.0 + 0.5 * 2.5 * 2.0) / 1.5
    assert seen_alike(real, written, (1.0, 0.5)).tolist() == pytest.approx([expected])


def test_real_speech_is_not_moved_by_the_vocoder():
    real = Judged(torch.zeros(1, 2), (torch.ones(1, 2, requires_grad=True),))
    written = Judged(torch.zeros(1, 2), (torch.zeros(1, 2, requires_grad=True),))
    seen_alike([real], [written], [1.0]).sum().backward()
    assert real.seen[0].grad is None
    assert written.seen[0].grad is not None


def test_a_window_that_is_all_but_silent_does_not_outweigh_the_others():
    """Of zeros it was 2.8 million, of the last bit of 16 some hundreds, of speech 3: such a batch taught silence."""
    written = 0.01 * torch.randn(1, 8192, generator=torch.Generator().manual_seed(0))
    silent = torch.zeros(1, 8192)
    last_bit = torch.randint(-1, 2, (1, 8192), generator=torch.Generator().manual_seed(1)) / 32768
    for quiet in (silent, last_bit):
        assert float(spectral(written, quiet)) < 300
