"""What tells speech from a vocoder's: by every n-th sample, and by bands of its spectrum.

Several discriminators look at a waveform, each from its own side; each gives scores and what its layers saw on the way,
which a vocoder is to make alike (feature matching). Used in training alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from amalia_mm.voice.mel import hann

_SLOPE = 0.1
_BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Borders as parts of the spectrum: low ones, where voices have their pitch, have layers of their own."""


@dataclass(frozen=True)
class Judged:
    """What one discriminator says of a batch of waveforms."""

    scores: Tensor
    """(b, any) above 0 for speech; one score for each place that is looked at."""
    seen: tuple[Tensor, ...]
    """(b, ...) what came out of each layer."""


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample, side by side (HiFi-GAN: Kong et al. 2020, arXiv 2010.05646, section 2.3)."""

    def __init__(self, period: int, channels: Sequence[int] = (32, 128, 512, 1024, 1024)) -> None:
        super().__init__()
        self.period = period
        inputs, strides = (1, *channels), (3,) * (len(channels) - 1) + (1,)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(inputs[i], inputs[i + 1], (5, 1), (stride, 1), padding=(2, 0)))
            for i, stride in enumerate(strides)
        )
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> Judged:
        """Return what it says of waveforms (b n); the end is mirrored to whole periods."""
        lacking = -waveform.shape[1] % self.period
        padded = F.pad(waveform[:, None], (0, lacking), mode="reflect")
        return _through(self.layers, self.score, rearrange(padded, "b 1 (n p) -> b 1 n p", p=self.period))


class ResolutionDiscriminator(nn.Module):
    """Looks at the complex short-time spectrum in bands (Descript's codec: Kumar et al. 2023, arXiv 2306.06546)."""

    def __init__(self, fft_samples: int, channels: int = 32) -> None:
        super().__init__()
        self.fft_samples = fft_samples
        self.bands = nn.ModuleList(_band_layers(channels) for _ in _BANDS[1:])
        self.score = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: Tensor) -> Judged:
        """Return what it says of waveforms (b n), each brought to a peak of 0.8."""
        level = waveform - waveform.mean(dim=1, keepdim=True)
        level = 0.8 * level / (level.abs().amax(dim=1, keepdim=True) + 1e-9)
        window = hann(self.fft_samples, waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                level.float(), self.fft_samples, self.fft_samples // 4, window=window, return_complex=True
            )
        pairs = rearrange(torch.view_as_real(spectrum), "b w f c -> b c f w")
        borders = [int(part * pairs.shape[3]) for part in _BANDS]
        seen: list[Tensor] = []
        outputs = []
        for layers, low, high in zip(self.bands, borders[:-1], borders[1:], strict=True):
            band = pairs[:, :, :, low:high]
            assert isinstance(layers, nn.ModuleList)
            for layer in layers:
                band = F.leaky_relu(layer(band), _SLOPE)
                seen.append(band)
            outputs.append(band)
        scores = self.score(torch.cat(outputs, dim=3))
        return Judged(rearrange(scores, "b 1 f w -> b (f w)"), tuple(seen))


class Discriminators(nn.Module):
    """All of them: one for each period, and one for each resolution.

    Args:
        periods: Of the first kind; primes, so that they overlap least.
        fft_samples: Window lengths of the second kind.
        period_channels: Of the layers of the first kind.
        resolution_channels: Of the second kind.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        fft_samples: Sequence[int] = (2048, 1024, 512),
        period_channels: Sequence[int] = (32, 128, 512, 1024, 1024),
        resolution_channels: int = 32,
    ) -> None:
        super().__init__()
        self.periods = nn.ModuleList(PeriodDiscriminator(period, period_channels) for period in periods)
        self.resolutions = nn.ModuleList(
            ResolutionDiscriminator(size, resolution_channels) for size in fft_samples
        )

    def forward(self, waveform: Tensor) -> list[Judged]:
        """Return what each says of waveforms (b n), those of the periods first."""
        return [judge(waveform) for judge in (*self.periods, *self.resolutions)]


def _band_layers(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        weight_norm(nn.Conv2d(inputs, channels, (3, width), (1, stride), padding=(1, width // 2)))
        for inputs, width, stride in (
            (2, 9, 1),
            (channels, 9, 2),
            (channels, 9, 2),
            (channels, 9, 2),
            (channels, 3, 1),
        )
    )


def _through(layers: nn.ModuleList, score: nn.Module, inputs: Tensor) -> Judged:
    seen: list[Tensor] = []
    for layer in layers:
        inputs = F.leaky_relu(layer(inputs), _SLOPE)
        seen.append(inputs)
    return Judged(score(inputs).flatten(1), tuple(seen))
