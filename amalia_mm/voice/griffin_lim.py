"""The vocoder that needs no training: phases found by going back and forth between waveform and spectrum."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from amalia_mm.voice.mel import VoiceMel, hann
from amalia_mm.voice.source import SourceTrack
from amalia_mm.voice.vocoder import Vocoder


class GriffinLim(Vocoder):
    """Spectra of least squares from the mel filters, phases by the fast Griffin-Lim algorithm of torchaudio.

    The same batch of frames gives the same waveforms: the phases begin at random numbers of a fixed seed (Griffin and
    Lim 1984; Perraudin et al. 2013).

    Args:
        sample_rate_hz: Of the waveform.
        num_mels: Mel bins of a frame.
        fft_samples: Length of a window.
        hop_samples: From one frame to the next.
        num_iterations: Times back and forth.
    """

    def __init__(
        self,
        sample_rate_hz: int = 24_000,
        num_mels: int = 100,
        fft_samples: int = 1024,
        hop_samples: int = 256,
        num_iterations: int = 32,
    ) -> None:
        super().__init__(VoiceMel(sample_rate_hz, num_mels, fft_samples, hop_samples))
        self.num_iterations = num_iterations

    @classmethod
    def of(cls, mel: VoiceMel, num_iterations: int = 32) -> GriffinLim:
        """Return the one that reads the frames of `mel`."""
        return cls(mel.sample_rate_hz, mel.num_mels, mel.fft_samples, mel.hop_samples, num_iterations)

    @property
    def context_frames(self) -> None:
        """None: every frame decides about every sample."""
        return

    def forward(self, mel: Tensor, track: SourceTrack | None = None) -> Tensor:
        """Return the waveform (b n) float32 of log-mel frames (b m f); as `Vocoder.forward`."""
        # Imported here: torchaudio loads its own libraries, which only this needs.
        from torchaudio.functional import griffinlim

        self.check_frames(mel)
        with torch.autocast(mel.device.type, enabled=False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return griffinlim(
                (_inverse_filters(self.mel, mel.device) @ mel.float().exp()).clamp(min=0.0),
                window=hann(self.mel.fft_samples, mel.device),
                n_fft=self.mel.fft_samples,
                hop_length=self.mel.hop_samples,
                win_length=self.mel.fft_samples,
                power=1.0,
                n_iter=self.num_iterations,
                momentum=0.99,
                length=(mel.shape[2] - 1) * self.mel.hop_samples,
                rand_init=True,
            )


def _inverse_filters(mel: VoiceMel, device: torch.device) -> Tensor:
    return _pseudo_inverse(mel.sample_rate_hz, mel.num_mels, mel.fft_samples, device)


@lru_cache
def _pseudo_inverse(sample_rate_hz: int, num_mels: int, fft_samples: int, device: torch.device) -> Tensor:
    """Return (w m): the spectrum of least norm among those that come nearest to a mel spectrum."""
    with torch.inference_mode(False), torch.no_grad():
        filters = VoiceMel(sample_rate_hz, num_mels, fft_samples).filters(device)
        return torch.linalg.pinv(filters.double()).float()
