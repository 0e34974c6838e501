"""A waveform brought nearer to the log-mel frames it was made of: what a vocoder's phases are good for, once more.

As Griffin-Lim goes back and forth between waveform and spectrum (Griffin and Lim 1984), but from a waveform that is
nearly right, and with the frames themselves as the aim in place of a spectrum guessed from them: each round multiplies
the spectrum by what every mel bin lacks, spread over its frequencies (the update of Lee and Seung 1999 with the
spectrum in the place of the factor), so that what is fine in it stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amalia_mm.voice.mel import LEAST_AMPLITUDE, VoiceMel, hann, short_time_spectrum

_MOST_CHANGE = 20.0
"""What a mel bin lacks is taken for no more than so many times what it has, nor for less than that share of it."""
_MOMENTUM = 0.5
"""How much of a round's step the next one takes again: half as many rounds are needed."""


def corrected(waveform: Tensor, log_mel: Tensor, mel: VoiceMel, num_rounds: int) -> Tensor:
    """Return the waveform (b n) nearer to its frames; as it is where it is too short for frames of its own.

    Args:
        waveform: (b n) float32, n = (f - 1) * hop_samples.
        log_mel: (b m f) what its frames should be.
        mel: The frames.
        num_rounds: Times back and forth; 0 changes nothing.
    """
    num_samples = waveform.shape[1]
    if num_samples <= mel.fft_samples // 2:
        return waveform
    window, filters = hann(mel.fft_samples, waveform.device), mel.filters(waveform.device)
    # Nothing is known of frequencies that no mel bin hears: they stay.
    heard = filters.sum(0)[:, None]
    share = torch.where(heard > 0, 1 / heard.clamp(min=1e-6), 0.0)
    stay = (heard <= 0).to(waveform.dtype)
    before: Tensor | None = None
    with torch.autocast(waveform.device.type, enabled=False):
        wanted = log_mel.float().exp()
        for _ in range(num_rounds):
            spectrum = short_time_spectrum(waveform, mel.fft_samples, mel.hop_samples)
            lack = wanted / (filters @ spectrum.abs()).clamp(min=LEAST_AMPLITUDE)
            lack = lack.clamp(1 / _MOST_CHANGE, _MOST_CHANGE)
            spectrum = spectrum * ((filters.T @ lack) * share + stay)
            ahead = spectrum if before is None else spectrum + _MOMENTUM * (spectrum - before)
            before = spectrum
            waveform = torch.istft(
                ahead, mel.fft_samples, mel.hop_samples, window=window, center=True, length=num_samples
            )
    return waveform
