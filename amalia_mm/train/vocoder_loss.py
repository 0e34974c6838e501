"""What a vocoder's waveform is compared by: spectra of several lengths, mel frames, and what discriminators say.

Each is a number for each window (b), a mean over the window's own frames: all of a batch are of one length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from amalia_mm.voice.discriminators import Judged
from amalia_mm.voice.mel import magnitudes

FFT_SAMPLES = (256, 512, 1024, 2048)
_QUIET = 1e-3
"""The amplitude, on average over a spectrum, below which nothing is divided by it any more."""
_LEAST = 1e-5
"""Of a spectrum's magnitudes, before the logarithm: what is fainter is silence."""


def spectral(written: Tensor, real: Tensor, fft_samples: Sequence[int] = FFT_SAMPLES) -> Tensor:
    """Return (b) the mean over window lengths of spectral convergence and of the distance of log magnitudes.

    As in Parallel WaveGAN (Yamamoto et al. 2020, arXiv 1910.11480, section 2.2), but for each clip by itself; windows
    lie a quarter of their length apart.

    Args:
        written: (b n) float32.
        real: (b n) float32.
        fft_samples: The window lengths.
    """
    total = written.new_zeros(len(written))
    with torch.autocast(written.device.type, enabled=False):
        for size in fft_samples:
            ours, theirs = (magnitudes(each, size, size // 4) for each in (written, real))
            apart = torch.linalg.vector_norm(ours - theirs, dim=(1, 2))
            # Of a window that is all but silent the loss would be as large as it is meaningless.
            least = _QUIET * theirs[0].numel() ** 0.5
            convergence = apart / torch.linalg.vector_norm(theirs, dim=(1, 2)).clamp(min=least)
            logs = (ours.clamp(min=_LEAST).log() - theirs.clamp(min=_LEAST).log()).abs().mean(dim=(1, 2))
            total = total + convergence + logs
    return total / len(fft_samples)


def mel_distance(written: Tensor, real: Tensor) -> Tensor:
    """Return (b) the mean distance of log-mel frames (b m f)."""
    return (written - real).abs().mean(dim=(1, 2))


def told_apart(real: Sequence[Judged], written: Sequence[Judged], weights: Sequence[float]) -> Tensor:
    """Return (b) the hinge loss of the discriminators: scores of speech above 1, of the vocoder's below -1."""
    return _weighted(
        [
            F.relu(1 - one.scores).mean(dim=1) + F.relu(1 + other.scores).mean(dim=1)
            for one, other in zip(real, written, strict=True)
        ],
        weights,
    )


def taken_for_real(written: Sequence[Judged], weights: Sequence[float]) -> Tensor:
    """Return (b) the hinge loss of the vocoder: its scores above 1."""
    return _weighted([F.relu(1 - one.scores).mean(dim=1) for one in written], weights)


def seen_alike(real: Sequence[Judged], written: Sequence[Judged], weights: Sequence[float]) -> Tensor:
    """Return (b) the mean distance between what the layers saw of speech and of the vocoder's; speech is not moved."""
    each = []
    for one, other in zip(real, written, strict=True):
        layers = [
            (ours - theirs.detach()).abs().flatten(1).mean(dim=1)
            for ours, theirs in zip(other.seen, one.seen, strict=True)
        ]
        each.append(torch.stack(layers).mean(dim=0))
    return _weighted(each, weights)


def _weighted(each: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return (b) the mean over discriminators, by their weights."""
    return torch.stack([weight * one for weight, one in zip(weights, each, strict=True)]).sum(dim=0) / sum(
        weights
    )
