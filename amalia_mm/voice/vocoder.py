"""Log-mel frames to a waveform: what every vocoder can do, and the one that is learned.

`Vocos` is built of a ConvNeXt backbone and a head that writes the short-time spectrum, whose inverse transform is the
waveform (Siuzdak 2023, arXiv 2306.00814): as many steps as frames, no upsampling. Its parameters are named as in the
checkpoints of Vocos. `griffin_lim.py` has the one that needs no training.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from amalia_mm.voice.correction import corrected
from amalia_mm.voice.mel import VoiceMel, hann
from amalia_mm.voice.mel_pitch import check_pitch_is_in
from amalia_mm.voice.source import SourceTrack, source_spectrum, source_track

MOST_MAGNITUDE = 100.0
"""Of a spectrum that is written: an early step of training must not overflow."""


class Vocoder(nn.Module):
    """Log-mel frames to a waveform.

    Args:
        mel: The frames it reads.
    """

    def __init__(self, mel: VoiceMel) -> None:
        super().__init__()
        self.mel = mel

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the waveforms it writes."""
        return self.mel.sample_rate_hz

    @property
    @abstractmethod
    def context_frames(self) -> int | None:
        """How many frames on either side of a hop decide about its samples; None where all of them do."""

    @abstractmethod
    def forward(self, mel: Tensor, track: SourceTrack | None = None) -> Tensor:
        """Return the waveform (b n) float32 of log-mel frames (b m f), n = (f - 1) * hop_samples.

        Frame i is centred on sample i * hop_samples, so the last one ends the waveform.

        Args:
            mel: The frames.
            track: What `track` gives of them; None where they begin a clip.
        """

    def track(self, mel: Tensor, before: SourceTrack | None = None) -> SourceTrack | None:
        """Return what the source of frames (b m f) follows from, and of those `before`; None where there is none."""
        return None

    def check_frames(self, mel: Tensor) -> None:
        """Raise `ValueError` where frames are not (b m f) of this vocoder, or fewer than two: sound lies between."""
        if mel.ndim != 3 or mel.shape[1] != self.mel.num_mels or mel.shape[2] < 2:
            raise ValueError(
                f"mel frames of shape {tuple(mel.shape)}; wanted (b, {self.mel.num_mels}, f) with f of at least 2"
            )

    def stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the waveform (b n) in pieces while log-mel frames (b m f) come in chunks of any size.

        Together the pieces are the waveform of all frames at once: a hop is written when the frames after it that
        decide about it are there, and computed again from those before it.
        """
        context, hop = self.context_frames, self.mel.hop_samples
        kept: Tensor | None = None
        track: SourceTrack | None = None
        num_dropped = num_written = 0  # frames that are no longer kept; hops that are written
        for chunk in chunks:
            kept = chunk if kept is None else torch.cat([kept, chunk], dim=2)
            track = self.track(chunk, track)
            if context is None:
                continue
            # Hop i lies between frames i and i + 1.
            ready = num_dropped + kept.shape[2] - 1 - context
            if ready <= num_written:
                continue
            waveform = self(kept, track)
            yield waveform[:, (num_written - num_dropped) * hop : (ready - num_dropped) * hop]
            num_written = ready
            needless = max(0, num_written - context - num_dropped)
            kept, num_dropped = kept[:, :, needless:], num_dropped + needless
            track = None if track is None else track.since(needless, self.mel)
        if kept is not None and kept.shape[2] - 1 > num_written - num_dropped:
            yield self(kept, track)[:, (num_written - num_dropped) * hop :]


class Vocos(Vocoder):
    """The vocoder of Siuzdak 2023 (arXiv 2306.00814), with the parameter names of its checkpoints.

    The sizes of `vocos-mel-24khz` are the defaults.

    Args:
        sample_rate_hz: Of the waveform.
        num_mels: Mel bins of a frame.
        fft_samples: Length of a window, in the frames it reads and in the spectrum it writes.
        hop_samples: From one frame to the next.
        width: Of the backbone.
        inner_width: Of its layers' pointwise part.
        num_layers: ConvNeXt layers.
        num_corrections: Rounds that bring what is written nearer to the frames (`corrected`); not in training. Each
            adds to `context_frames`.
        has_source: Whether the head shapes a source (`source.py`), pulses of the frames' own pitch and noise, and does
            not write a spectrum of its own: phases that go on from frame to frame then need not be learned. No
            checkpoint of Vocos was trained so. A low voice through a telephone is said without its pitch.

    Raises:
        ValueError: A source is asked for, and no pitch can be read off such frames.
    """

    def __init__(
        self,
        sample_rate_hz: int = 24_000,
        num_mels: int = 100,
        fft_samples: int = 1024,
        hop_samples: int = 256,
        width: int = 512,
        inner_width: int = 1536,
        num_layers: int = 8,
        num_corrections: int = 0,
        has_source: bool = False,
    ) -> None:
        super().__init__(VoiceMel(sample_rate_hz, num_mels, fft_samples, hop_samples))
        if has_source:
            check_pitch_is_in(self.mel)
        self.num_corrections = num_corrections
        self.has_source = has_source
        self.backbone = VocosBackbone(num_mels, width, inner_width, num_layers)
        self.head = IstftHead(width, fft_samples, hop_samples)

    @property
    def context_frames(self) -> int:
        """How many frames on either side of a hop decide about its samples, by the kernels of the layers."""
        reach = sum(
            layer.dilation[0] * (layer.kernel_size[0] - 1) // 2
            for layer in self.backbone.modules()
            if isinstance(layer, nn.Conv1d)
        )
        # A frame of a spectrum sees these hops: of the source; and, in a round of correction, of the waveform.
        seen = -(-self.mel.fft_samples // (2 * self.mel.hop_samples))
        if self.has_source:
            reach = max(reach, seen)
        return reach + self.head.reach_frames + self.num_corrections * (self.head.reach_frames + seen)

    def forward(self, mel: Tensor, track: SourceTrack | None = None) -> Tensor:
        """Return the waveform (b n) float32 of log-mel frames (b m f); as `Vocoder.forward`."""
        return corrected(self.uncorrected(mel, track), mel, self.mel, self.num_corrections)

    def track(self, mel: Tensor, before: SourceTrack | None = None) -> SourceTrack | None:
        """Return what the source of frames (b m f) follows from, and of those `before`."""
        return source_track(mel, self.mel, before) if self.has_source else None

    def uncorrected(self, mel: Tensor, track: SourceTrack | None = None) -> Tensor:
        """Return the waveform (b n) as the head writes it: what training moves."""
        self.check_frames(mel)
        known = self.track(mel) if track is None else track
        return self.head(self.backbone(mel), None if known is None else source_spectrum(known, self.mel))


class VocosBackbone(nn.Module):
    """Log-mel frames (b m f) to features (b f d)."""

    def __init__(self, num_mels: int, width: int, inner_width: int, num_layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(num_mels, width, kernel_size=7, padding=3)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.convnext = nn.ModuleList(
            ConvNeXtBlock(width, inner_width, layer_scale=1 / num_layers) for _ in range(num_layers)
        )
        self.final_layer_norm = nn.LayerNorm(width, eps=1e-6)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv1d, nn.Linear)):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, mel: Tensor) -> Tensor:
        """Return features (b f d)."""
        features = self.norm(rearrange(self.embed(mel), "b d f -> b f d"))
        for block in self.convnext:
            features = block(features)
        return self.final_layer_norm(features)


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution over time, then a pointwise part, added to what comes in (Liu et al. 2022)."""

    def __init__(self, width: int, inner_width: int, layer_scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, inner_width)
        self.pwconv2 = nn.Linear(inner_width, width)
        self.gamma = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, features: Tensor) -> Tensor:
        """Return features (b f d) of features (b f d)."""
        mixed = self.dwconv(rearrange(features, "b f d -> b d f"))
        inner = self.pwconv1(self.norm(rearrange(mixed, "b d f -> b f d")))
        return features + self.gamma * self.pwconv2(F.gelu(inner))


class IstftHead(nn.Module):
    """Features (b f d) to the short-time spectrum, or to what a source's is multiplied by, and that to the waveform."""

    def __init__(self, width: int, fft_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.fft_samples = fft_samples
        self.hop_samples = hop_samples
        self.out = nn.Linear(width, fft_samples + 2)
        nn.init.trunc_normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    @property
    def reach_frames(self) -> int:
        """How many frames on either side of a hop have a window that reaches into it, its own two ends not counted."""
        # Frame i reaches over the samples between (i * hop) - half and (i * hop) + half; hop i lies between the frames
        # i and i + 1, so frame i - reach is the first whose window ends after sample i * hop.
        return -(-self.fft_samples // (2 * self.hop_samples)) - 1

    def forward(self, features: Tensor, source_spectrum: Tensor | None = None) -> Tensor:
        """Return the waveform (b n) float32 of features, and the spectrum (b w f) of a source where there is one."""
        written = rearrange(self.out(features), "b f w -> b w f")
        with torch.autocast(written.device.type, enabled=False):
            log_magnitude, phase = written.float().chunk(2, dim=1)
            spectrum = torch.polar(log_magnitude.exp().clamp(max=MOST_MAGNITUDE), phase)
            return self.waveform(spectrum if source_spectrum is None else spectrum * source_spectrum)

    def waveform(self, spectrum: Tensor) -> Tensor:
        """Return the waveform (b n) of a spectrum (b w f), complex."""
        window = hann(self.fft_samples, spectrum.device)
        return torch.istft(spectrum, self.fft_samples, self.hop_samples, window=window, center=True)
