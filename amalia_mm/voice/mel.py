"""Log-mel frames of speech to be spoken again, numerically those of Vocos.

What the acoustic model writes, the vocoder reads and the speaker encoder listens to. Holds no parameters and no
buffers: window and filters follow from the arguments, so a module built on the meta device needs no repair.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

LEAST_AMPLITUDE = 1e-7
"""Mel amplitudes are no smaller than this, so that silence has a logarithm."""


class VoiceMel(nn.Module):
    """Waveforms to log-mel frames, one every `hop_samples`.

    Equal to the `MelSpectrogramFeatures` of Vocos with centred windows (Siuzdak 2023, arXiv 2306.00814): periodic Hann
    window, reflected edges, amplitudes, HTK mel filters from 0 Hz to half the sample rate with peaks of 1, natural
    logarithm no smaller than that of 1e-7. A clip of n samples gives n // hop_samples + 1 frames; frame i is centred on
    sample i * hop_samples.

    Args:
        sample_rate_hz: Of the waveforms; nothing here resamples.
        num_mels: Mel bins of a frame.
        fft_samples: Length of a window and of its Fourier transform.
        hop_samples: From one frame to the next.
    """

    def __init__(
        self,
        sample_rate_hz: int = 24_000,
        num_mels: int = 100,
        fft_samples: int = 1024,
        hop_samples: int = 256,
    ) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.num_mels = num_mels
        self.fft_samples = fft_samples
        self.hop_samples = hop_samples

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames a clip gives."""
        return num_samples // self.hop_samples + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """Return mel (b m f) float32.

        Args:
            waveform: (b n) float32, all of one length: zeros after a clip are silence that is heard.

        Raises:
            ValueError: The waveform is not float32, or too short for its edges to be mirrored.
        """
        if waveform.dtype != torch.float32:
            raise ValueError(f"waveforms must be float32, not {waveform.dtype}")
        if waveform.shape[-1] <= self.fft_samples // 2:
            raise ValueError(
                f"a waveform of {waveform.shape[-1]} samples has no edge of {self.fft_samples // 2} samples to mirror"
            )
        with torch.autocast(waveform.device.type, enabled=False):
            amplitudes = self.filters(waveform.device) @ magnitudes(
                waveform, self.fft_samples, self.hop_samples
            )
            return amplitudes.clamp(min=LEAST_AMPLITUDE).log()

    def filters(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the mel filters (m w) over the w = fft_samples // 2 + 1 frequencies of a window."""
        return _mel_filters(self.sample_rate_hz, self.num_mels, self.fft_samples, torch.device(device))


def magnitudes(waveform: Tensor, fft_samples: int, hop_samples: int) -> Tensor:
    """Return the amplitudes (b w f) of `short_time_spectrum`."""
    return short_time_spectrum(waveform, fft_samples, hop_samples).abs()


def short_time_spectrum(
    waveform: Tensor, fft_samples: int, hop_samples: int, pad_mode: str = "reflect"
) -> Tensor:
    """Return the short-time spectrum (b w f), complex, of (b n), centred Hann windows; edges mirrored, or silence."""
    window = hann(fft_samples, waveform.device)
    return torch.stft(
        waveform,
        fft_samples,
        hop_samples,
        window=window,
        center=True,
        pad_mode=pad_mode,
        return_complex=True,
    )


@lru_cache
def hann(num_samples: int, device: torch.device) -> Tensor:
    """Return the periodic Hann window (n)."""
    # Not a tensor of inference mode, which a later training step could not save for its backward pass.
    with torch.inference_mode(False):
        return torch.hann_window(num_samples, device=device)


@lru_cache
def _mel_filters(sample_rate_hz: int, num_mels: int, fft_samples: int, device: torch.device) -> Tensor:
    # Imported here: torchaudio loads its own libraries, which only this needs.
    from torchaudio.functional import melscale_fbanks

    with torch.inference_mode(False), torch.device("cpu"):
        filters = melscale_fbanks(fft_samples // 2 + 1, 0.0, sample_rate_hz / 2, num_mels, sample_rate_hz)
        return filters.T.contiguous().to(device)
