"""Log-mel features, numerically those of Whisper, of each clip at its own length.

Holds no parameters and no buffers: the window and the filters follow from the arguments, so a module built on
the meta device needs no repair. Knows nothing of the encoder that reads the features.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.geometry import LengthStage, is_frame
from amalia_mm.units import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
_EDGE_SAMPLES = WINDOW_SAMPLES // 2
_CACHED_FRAMES = 2048
"""Their windows and spectra are 6.6 MB."""


class LogMel(nn.Module):
    """Waveforms at 16 kHz to log-mel frames 10 ms apart.

    Equal to `whisper.log_mel_spectrogram` of each clip without its padding (Radford et al. 2022, section
    2.2): centred windows of 25 ms with reflected edges, Slaney mel filters, log10, no deeper than 8 below the
    clip's own maximum, then (x + 4) / 4. A clip of n samples gives n // 160 frames.
    """

    def __init__(self, num_mels: int = 80) -> None:
        super().__init__()
        self.num_mels = num_mels

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """How samples become frames."""
        return (LengthStage(kernel=HOP_SAMPLES, stride=HOP_SAMPLES),)

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return mel (k m f) float32, zero beyond a clip's frames, and num_frames (k).

        Args:
            waveforms: (k n) float32, right-padded; what stands in the padding does not matter.
            num_samples: (k) int64.

        Raises:
            ValueError: The waveforms are not float32: lower precision does not hold 16-bit audio.
        """
        if waveforms.dtype != torch.float32:
            raise ValueError(f"waveforms must be float32, not {waveforms.dtype}")
        num_frames = self.stages[0].lengths(num_samples)
        max_frames = self.stages[0](waveforms.shape[1])
        if max_frames == 0:
            return waveforms.new_zeros(len(waveforms), self.num_mels, 0), num_frames
        valid = is_frame(num_frames, max_frames)
        with torch.autocast(waveforms.device.type, enabled=False):
            return self._log_mel(_reflect_edges(waveforms, num_samples), valid), num_frames

    def _log_mel(self, padded: Tensor, valid: Tensor) -> Tensor:
        """Return (k m f) of waveforms (k n+400) with mirrored edges; `valid` (k f) bool is True on a clip's frames."""
        windows = padded.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)[:, : valid.shape[1]]
        window, filters = _window(padded.device), mel_filters(self.num_mels, padded.device)
        # On a processor the frames that fit its cache go all the way before the next ones begin, and where every clip
        # fills the batch nothing is hidden; a GPU would have to be waited for to know that.
        at_once = valid.shape[1] if padded.is_cuda else max(1, _CACHED_FRAMES // len(padded))
        hides = padded.is_cuda or padded.is_meta or not bool(valid.all())
        hidden = rearrange(~valid, "k f -> k 1 f")
        mel = padded.new_empty(len(padded), self.num_mels, valid.shape[1])
        loudest = []
        for start in range(0, valid.shape[1], at_once):
            frames = slice(start, start + at_once)
            spectrum = torch.fft.rfft(windows[:, frames] * window)
            # A sum over pairs of neighbours would take three times as long as all the rest of it.
            power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
            some = (filters @ rearrange(power, "k f w -> w (k f)")).clamp_(min=1e-10).log10_()
            some = rearrange(some, "m (k f) -> k m f", k=len(padded))
            seen = some.masked_fill(hidden[:, :, frames], -10.0) if hides else some
            loudest.append(seen.amax(dim=(1, 2), keepdim=True))
            mel[:, :, frames] = _scaled(some)
        least = _scaled(torch.stack(loudest).amax(dim=0) - 8.0)
        mel = torch.maximum(mel, least, out=None if mel.requires_grad else mel)
        return mel.masked_fill_(hidden, 0.0) if hides else mel

    def reflected(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return log10 of the mel power (k m f) without a floor, and num_frames (k); arguments as `forward`."""
        num_frames = self.stages[0].lengths(num_samples)
        with torch.autocast(waveforms.device.type, enabled=False):
            padded = _reflect_edges(waveforms, num_samples)
            return self.unfloored(padded, self.stages[0](waveforms.shape[1])), num_frames

    def unfloored(self, padded: Tensor, num_frames: int) -> Tensor:
        """Return log10 of the mel power (k m f) of padded (k n), whose first window begins at its first sample."""
        windows = padded.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)[:, :num_frames]
        spectrum = torch.fft.rfft(windows * _window(padded.device))
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        power = rearrange(power, "k f w -> k w f")
        return (mel_filters(self.num_mels, padded.device) @ power).clamp(min=1e-10).log10()


def _scaled(log_mel: Tensor) -> Tensor:
    return (log_mel + 4.0).div_(4.0)


def _reflect_edges(waveforms: Tensor, num_samples: Tensor) -> Tensor:
    """Return (k n+400) with each clip's 200 samples before its start and after its own end mirrored.

    Only the edges are gathered; clips shorter than an edge are mirrored back and forth.
    """
    edge = torch.arange(_EDGE_SAMPLES, device=waveforms.device)
    last = (num_samples[:, None] - 1).clamp(min=0)
    period = (2 * last).clamp(min=1)
    start = (edge - _EDGE_SAMPLES) % period
    end_position = edge + num_samples[:, None]
    end = end_position % period
    sources = torch.cat([torch.minimum(start, period - start), torch.minimum(end, period - end)], dim=1)
    mirrored = waveforms.gather(1, sources.clamp(max=max(waveforms.shape[1] - 1, 0)))
    at_start, at_end = mirrored.chunk(2, dim=1)
    padded = torch.cat([at_start, waveforms, torch.zeros_like(at_end)], dim=1)
    return padded.scatter_(1, end_position + _EDGE_SAMPLES, at_end)


@lru_cache
def _window(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(WINDOW_SAMPLES, device=device)


@lru_cache
def mel_filters(num_mels: int, device: torch.device) -> Tensor:
    """Return the Slaney filters (m w), each of unit area, from 0 to 8,000 Hz."""
    # Imported here: torchaudio loads its own libraries, which only this needs.
    from torchaudio.functional import melscale_fbanks

    # Not a tensor of inference mode, which a later training step could not save for its backward pass.
    with torch.inference_mode(False), torch.device("cpu"):
        filters = melscale_fbanks(
            WINDOW_SAMPLES // 2 + 1,
            0.0,
            SAMPLE_RATE_HZ / 2,
            num_mels,
            SAMPLE_RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        )
        return filters.T.contiguous().to(device)
