"""Log-mel of ten minutes beside openai-whisper's and librosa's, from the same samples and with the same parameters."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
import whisper
from paired import best_of, paired
from spoken import recording
from torch import Tensor

from amalia_mm.audio.features import HOP_SAMPLES, WINDOW_SAMPLES, LogMel
from amalia_mm.units import SAMPLE_RATE_HZ

pytestmark = pytest.mark.benchmark

SECONDS, WINDOW_S = 600, 30


@pytest.fixture(scope="module")
def waveform() -> Tensor:
    return recording(SECONDS)


def _ours(waveform: Tensor) -> Tensor:
    with torch.inference_mode():
        return LogMel(80)(waveform[None], torch.tensor([len(waveform)]))[0][0]


def _whisper(waveform: Tensor) -> Tensor:
    with torch.inference_mode():
        return whisper.log_mel_spectrogram(waveform)


def _librosa(samples: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=SAMPLE_RATE_HZ,
        n_fft=WINDOW_SAMPLES,
        hop_length=HOP_SAMPLES,
        pad_mode="reflect",
        n_mels=80,
        fmax=SAMPLE_RATE_HZ / 2,
    )
    log_mel = np.log10(np.maximum(power, 1e-10))
    return (np.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0


def test_beside_whisper(bench, waveform: Tensor) -> None:
    assert (_ours(waveform) - _whisper(waveform)).abs().max() <= 1e-4
    ways = {
        "the whole": lambda: _whisper(waveform),
        f"windows of {WINDOW_S} s": lambda: [
            _whisper(piece) for piece in waveform.split(WINDOW_S * SAMPLE_RATE_HZ)
        ],
    }
    best = best_of(ways)
    times = paired(lambda: _ours(waveform), ways[best], num_pairs=15)
    bench.row(
        "mel_whisper",
        f"log-mel, 80 bins, {SECONDS} s of audio; openai-whisper, {best}",
        ours=SECONDS / times.ours_median_s,
        peer=SECONDS / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio,
        op=">=",
        must=1.0,
    )


def test_beside_librosa(bench, waveform: Tensor) -> None:
    samples = waveform.numpy()
    theirs = _librosa(samples)[:, :-1]  # Whisper leaves out the last frame, half of which lies beyond the end
    assert np.abs(_ours(waveform).numpy() - theirs).max() <= 1e-3
    times = paired(lambda: _ours(waveform), lambda: _librosa(samples), num_pairs=9)
    bench.row(
        "mel_librosa",
        f"log-mel, 80 bins, {SECONDS} s of audio; librosa with the same parameters",
        ours=SECONDS / times.ours_median_s,
        peer=SECONDS / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio,
        op=">=",
        must=3.0,
    )
