"""How high a voice is at each frame, and where it has a pitch at all.

YIN (de Cheveigné and Kawahara 2002, J. Acoust. Soc. Am. 111(4)): the lag at which a window is most like itself, of all
rows at once, so that it can run where the mel frames are made. It knows nothing of phones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOWEST_HZ, HIGHEST_HZ = 60.0, 420.0
_UNLIKE = 0.2
"""The share of a window's power that may differ a period later; above it there is no pitch."""
_LEAST_POWER = 1e-7
"""Mean square below which a window is silence."""
_AT_ONCE = 2
"""Samples averaged into one before the search: what is above 4 kHz tells nothing of pitch."""


@torch.no_grad()
def pitch_hz(waveforms: Tensor, sample_rate_hz: int, hop_samples: int) -> Tensor:
    """Return the pitch (b f) in Hz of waveforms (b n), 0 where there is none.

    Frame i is centred on sample i * hop_samples, n // hop_samples + 1 of them, as those of `VoiceMel`.

    Raises:
        ValueError: The hop is odd.
    """
    if hop_samples % _AT_ONCE:
        raise ValueError(f"hop_samples {hop_samples} is no multiple of {_AT_ONCE}")
    num_frames = waveforms.shape[1] // hop_samples + 1
    with torch.autocast(waveforms.device.type, enabled=False):
        slow = F.avg_pool1d(waveforms.float()[:, None], _AT_ONCE)[:, 0]
        rate_hz, hop = sample_rate_hz / _AT_ONCE, hop_samples // _AT_ONCE
        longest, shortest = round(rate_hz / LOWEST_HZ), round(rate_hz / HIGHEST_HZ)
        # Two of the longest periods are compared, those before the middle with those after it.
        window = 2 * longest
        half = (window + longest) // 2
        needed = (num_frames - 1) * hop + window + longest
        padded = F.pad(slow, (half, max(0, needed - half - slow.shape[1])))
        frames = padded.unfold(1, window + longest, hop)[:, :num_frames]
        unlike, power = _difference(frames, window, longest)
        return _first_dip(unlike, shortest, rate_hz) * (power > _LEAST_POWER)


def _difference(frames: Tensor, window: int, longest: int) -> tuple[Tensor, Tensor]:
    """Return the cumulative mean normalised difference (b f lag), eq. 8 of the paper, and the mean square (b f)."""
    size = 1 << (window + longest - 1).bit_length()
    whole = torch.fft.rfft(frames, size)
    first = torch.fft.rfft(frames[..., :window], size)
    likeness = torch.fft.irfft(whole * first.conj(), size)[..., : longest + 1]
    energy = F.pad(frames.square().cumsum(-1), (1, 0))
    at_lag = energy[..., window : window + longest + 1] - energy[..., : longest + 1]
    difference = (at_lag[..., :1] + at_lag - 2 * likeness).clamp(min=0)
    lag = torch.arange(1, longest + 1, device=frames.device)
    mean_so_far = (difference[..., 1:].cumsum(-1) / lag).clamp(min=1e-12)
    unlike = F.pad(difference[..., 1:] / mean_so_far, (1, 0), value=1.0)
    return unlike, at_lag[..., 0] / window


def _first_dip(unlike: Tensor, shortest: int, rate_hz: float) -> Tensor:
    """Return the pitch (b f) of the first local minimum that is low enough, between samples by a parabola; 0: none."""
    inner = unlike[..., shortest:-1]
    is_dip = (
        (inner < unlike[..., shortest - 1 : -2]) & (inner <= unlike[..., shortest + 1 :]) & (inner < _UNLIKE)
    )
    lag = is_dip.to(torch.uint8).argmax(-1, keepdim=True) + shortest
    before, here, after = (unlike.gather(-1, lag + by) for by in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = torch.where(bend > 1e-9, 0.5 * (before - after) / bend.clamp(min=1e-9), 0.0).clamp(-0.5, 0.5)
    return torch.where(is_dip.any(-1), rate_hz / (lag + shift)[..., 0], 0.0)
