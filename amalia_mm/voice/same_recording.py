"""Whether a recording is another one again: cut, louder, resampled, or through a codec.

Two recordings are compared by how loud bands of the spectrum are from moment to moment, stretch by stretch and at every
delay (normalised cross-correlation). A person who says the same words again says them otherwise; a copy is the same
stretch for stretch. On real speech copies reach 0.96 and more, other words of the same corpus 0.86 at most
(`tests/benchmarks/voice/test_same_recording.py`). It imports no torch.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SAME = 0.9
"""The correlation from which two stretches are one sound."""
_STRETCH_S, _STEP_S = 2.0, 0.5
_FRAME_S, _HOP_S = 0.05, 0.02
_BANDS_HZ = (150.0, 3_600.0)
"""What a telephone still carries."""
_NUM_BANDS = 24
_RANGE_DB = 50.0
"""How far below the loudest moment anything counts: codecs and noise decide about what is softer."""
_LEAST_CHANGE_DB = 3.0
"""A stretch that changes less has nobody speaking in it."""

Floats = np.ndarray


def likeness(one: Floats, one_hz: int, other: Floats, other_hz: int) -> float:
    """Return how like the likeliest stretch of 2 s of one recording (n) is to one of the other, 1 for a copy.

    It is 0 where either has no such stretch of speech.
    """
    ours, theirs = _bands(one, one_hz), _bands(other, other_hz)
    size, step = round(_STRETCH_S / _HOP_S), round(_STEP_S / _HOP_S)
    if min(len(ours), len(theirs)) < size:
        return 0.0
    starts = [*range(0, len(ours) - size, step), len(ours) - size]
    stretches = np.stack([ours[start : start + size] for start in starts])
    stretches = stretches[stretches.std(axis=1).mean(axis=1) >= _LEAST_CHANGE_DB]
    if not len(stretches):
        return 0.0
    return _likeliest(stretches, theirs)


def _likeliest(stretches: Floats, theirs: Floats) -> float:
    """Return the highest correlation of stretches (k s b) with any stretch as long of theirs (f b)."""
    size = stretches.shape[1]
    centred = stretches - stretches.mean(axis=1, keepdims=True)
    lengths = np.sqrt((centred**2).sum(axis=(1, 2)))
    num_points = 1 << (len(theirs) + size - 2).bit_length()
    spectrum = np.fft.rfft(theirs, num_points, axis=0)
    ones = np.ones(size)
    sums = np.stack([np.convolve(band, ones, "valid") for band in theirs.T], axis=1)
    squares = np.convolve((theirs**2).sum(axis=1), ones, "valid")
    variances = (squares - (sums**2).sum(axis=1) / size).clip(min=0.0)
    quiet = size * theirs.shape[1] * _LEAST_CHANGE_DB**2
    norms = np.where(variances >= quiet, np.sqrt(variances.clip(min=quiet)), np.inf)
    most = 0.0
    for stretch, length in zip(centred, lengths, strict=True):
        # Ours are centred band by band, so that the mean of theirs adds nothing to the product.
        product = (np.fft.rfft(stretch, num_points, axis=0).conj() * spectrum).sum(axis=1)
        found = np.fft.irfft(product, num_points)[: len(norms)] / norms / length
        most = max(most, float(found.max()))
    return most


def _bands(samples: Floats, rate_hz: int) -> Floats:
    """Return (f b), the decibels of each band every 20 ms, no lower than 50 below the loudest."""
    frame, hop = round(_FRAME_S * rate_hz), _HOP_S * rate_hz
    if len(samples) < frame:
        return np.zeros((0, _NUM_BANDS))
    windows = sliding_window_view(samples.astype(np.float32), frame)
    starts = np.round(np.arange(0, len(windows), hop)).astype(int)
    edges_hz = np.geomspace(*_BANDS_HZ, _NUM_BANDS + 1)
    bins = np.unique(np.round(edges_hz * frame / rate_hz).astype(int))
    power = np.concatenate(
        [
            np.add.reduceat(
                np.abs(np.fft.rfft(windows[some[some < len(windows)]] * np.hanning(frame).astype(np.float32)))
                ** 2,
                bins,
                axis=1,
            )[:, : len(bins) - 1]
            for some in np.array_split(starts, -(-len(starts) // 1000))
        ]
    )
    decibels = 10.0 * np.log10(power + 1e-12)
    return decibels.clip(min=decibels.max() - _RANGE_DB)
