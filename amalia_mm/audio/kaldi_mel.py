"""Log-mel features as Kaldi makes them, each clip at its own length: what w2v-BERT 2.0 was trained on.

Holds no parameters and no buffers, as `LogMel`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from amalia_mm.audio.geometry import LengthStage
from amalia_mm.audio.standardised import standardised
from amalia_mm.units import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
_FFT_SAMPLES = 512
_LOWEST_HZ = 20.0
_PREEMPHASIS = 0.97
_FLOOR = 1.192092955078125e-07
"""The spacing of float32 at 1, Kaldi's least energy."""


class KaldiMel(nn.Module):
    """Waveforms at 16 kHz to log-mel frames 10 ms apart, each bin at zero mean and unit variance over its clip.

    Equal to `SeamlessM4TFeatureExtractor` of transformers: windows of 25 ms that lie wholly in the clip, without their
    mean, pre-emphasised, in Povey's window; triangles in mel; the natural logarithm.
    """

    def __init__(self, num_mels: int = 80) -> None:
        super().__init__()
        self.num_mels = num_mels

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """How samples become frames."""
        return (LengthStage(kernel=WINDOW_SAMPLES, stride=HOP_SAMPLES),)

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return mel (k f m) float32, zero beyond a clip's frames, and num_frames (k).

        Args:
            waveforms: (k n) float32, right-padded; what stands in the padding does not matter.
            num_samples: (k) int64.
        """
        num_frames = self.stages[0].lengths(num_samples)
        if waveforms.shape[1] < WINDOW_SAMPLES:
            return waveforms.new_zeros(len(waveforms), 0, self.num_mels), num_frames
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = 2.0**15 * waveforms.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)
            frames = frames - frames.mean(dim=2, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
            emphasised = (frames - _PREEMPHASIS * before) * _window(waveforms.device)
            spectrum = torch.fft.rfft(emphasised, n=_FFT_SAMPLES)
            power = torch.view_as_real(spectrum).square().sum(dim=-1)
            mel = (power @ _mel_filters(self.num_mels, waveforms.device)).clamp(min=_FLOOR).log()
            return standardised(mel, num_frames, dim=1, eps=1e-7, unbiased=True), num_frames


@lru_cache
def _window(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(WINDOW_SAMPLES, periodic=False, device=device) ** 0.85


@lru_cache
def _mel_filters(num_mels: int, device: torch.device) -> Tensor:
    """Return the triangles (w m), of height 1 and straight in mel, from 20 to 8,000 Hz."""
    # Not a tensor of inference mode, which a later training step could not save for its backward pass.
    with torch.inference_mode(False), torch.device("cpu"):
        hz = torch.arange(_FFT_SAMPLES // 2 + 1, dtype=torch.float64) * SAMPLE_RATE_HZ / _FFT_SAMPLES
        mel = 1127.0 * (1.0 + hz / 700.0).log()
        lowest, highest = (1127.0 * math.log1p(edge / 700.0) for edge in (_LOWEST_HZ, SAMPLE_RATE_HZ / 2))
        corners = torch.linspace(lowest, highest, num_mels + 2, dtype=torch.float64)
        left, centre, right = corners[:-2], corners[1:-1], corners[2:]
        rising = (mel[:, None] - left) / (centre - left)
        falling = (right - mel[:, None]) / (right - centre)
        return torch.minimum(rising, falling).clamp(min=0.0).float().to(device)
