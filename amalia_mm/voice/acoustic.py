"""Phones and a speaker to the log-mel frames of speech.

Phones are encoded; each is given frames and a pitch, both measured in training and predicted afterwards; a regression
foresees the mean of the frames, an envelope and the harmonics of each frame's pitch; and a flow from noise makes real
frames of that mean (Matcha-TTS, Mehta et al. 2024, arXiv 2309.03199; F5-TTS, Chen et al. 2024, arXiv 2410.06885). All
of it is convolutions, so that a frame depends on its neighbourhood alone and speech can be made piece by piece. It
knows mel frames; not waveforms, losses or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from amalia_mm.portuguese.phonology.phonemes import SYMBOLS
from amalia_mm.voice.alignment import frames_of_phones, spread
from amalia_mm.voice.blocks import Stack, fourier_features
from amalia_mm.voice.flow import Solver, gaussian_velocity, guided, solve
from amalia_mm.voice.harmonics import harmonics
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.phone_predictors import PhonePredictor, pitch_contour, semitones, whole_frames

LEAST_LOG_MEL = -8.0
"""Frames are no quieter, some 90 dB below a loud one: silence would be learned before speech, and is not heard."""
_TIME_WAVES = 8


@dataclass(frozen=True)
class Phones:
    """What is said, as the encoder reads it; right-padded."""

    symbols: Tensor
    """(b p) int64, places in `SYMBOLS`; 0 is padding."""
    is_stressed: Tensor
    """(b p) bool."""
    is_word_start: Tensor
    """(b p) bool."""

    @property
    def valid(self) -> Tensor:
        """(b p) bool, False on padding."""
        return self.symbols > 0


@dataclass(frozen=True)
class Encoded:
    """What the encoder knows of each phone, by one speaker a row."""

    hidden: Tensor
    """(b p d)."""
    mean: Tensor
    """(b p m), the scaled mel frame that a phone is on average."""
    voice: Tensor
    """(b d), the speaker."""
    valid: Tensor
    """(b p) bool."""


@dataclass(frozen=True)
class Outline:
    """What the frames are to be: where the flow begins to know."""

    condition: Tensor
    """(b f d)."""
    mean: Tensor
    """(b m f), scaled."""
    voice: Tensor
    """(b d)."""
    valid: Tensor
    """(b f) bool."""

    def detached_mean(self) -> Outline:
        """Return it with a mean that no gradient reaches: a regression learns it, and the flow only begins there."""
        return replace(self, mean=self.mean.detach())


@dataclass(frozen=True)
class Manner:
    """How something is said.

    Args:
        rate: How many times as fast as the voice would.
        pitch_semitones: How much higher.
        guidance: Classifier-free guidance; 1 is the voice as it is, above it what is said and by whom is exaggerated.
        temperature: Of the noise the frames are made of; 0 gives the flow's middle way.
        num_steps: Of the solver.
        method: Of the solver.
        sway: Of the solver's steps.
    """

    rate: float = 1.0
    pitch_semitones: float = 0.0
    guidance: float = 1.0
    temperature: float = 0.2
    num_steps: int = 4
    method: Solver = "euler"
    sway: float = 0.0


class AcousticModel(nn.Module):
    """Phones to log-mel frames.

    Args:
        sample_rate_hz: Of the speech, as all that follows, an argument of `VoiceMel`.
        num_mels: Mel bins of a frame.
        fft_samples: Length of a window.
        hop_samples: From one frame to the next.
        width: Of phones and frames inside.
        encoder_blocks: Blocks over phones.
        mean_blocks: Blocks over frames, which foresee the mean.
        flow_blocks: Blocks over frames, which make frames of it; called at each step of the solver.
        phone_kernel: Phones that a convolution sees.
        frame_kernel: Frames that a convolution sees.
        dilation: Of every other block over frames.
        expansion: How many times as wide a position is inside of a block.
        speaker_size: Length of the vector that says who speaks.
        num_speakers: Rows of a table of such vectors, for speakers that are learned with the model; 0: they all come
            from a speaker encoder.
        dropout: On what a block of the encoder or a predictor adds.
        residual_std: How far real frames are from their mean, in units of `log_mel_std`: the flow begins with it.
        log_mel_mean: What is taken from log-mel frames; frames of speech are 0 on average then.
        log_mel_std: What they are divided by.
    """

    def __init__(
        self,
        sample_rate_hz: int = 24_000,
        num_mels: int = 100,
        fft_samples: int = 1024,
        hop_samples: int = 256,
        width: int = 192,
        encoder_blocks: int = 4,
        mean_blocks: int = 4,
        flow_blocks: int = 4,
        phone_kernel: int = 5,
        frame_kernel: int = 7,
        dilation: int = 2,
        expansion: int = 3,
        speaker_size: int = 128,
        num_speakers: int = 0,
        dropout: float = 0.05,
        residual_std: float = 0.25,
        log_mel_mean: float = -1.5,
        log_mel_std: float = 2.8,
    ) -> None:
        super().__init__()
        self.mel = VoiceMel(sample_rate_hz, num_mels, fft_samples, hop_samples)
        self.speaker_size, self.residual_std = speaker_size, residual_std
        self.log_mel_mean, self.log_mel_std = log_mel_mean, log_mel_std
        self.symbol = nn.Embedding(len(SYMBOLS), width, padding_idx=0)
        self.mark = nn.Embedding(4, width)
        self.speakers = nn.Embedding(num_speakers, speaker_size) if num_speakers else None
        self.speaker = nn.Linear(speaker_size, width)
        self.encoder = Stack(encoder_blocks, width, phone_kernel, expansion, width, dropout)
        self.phone_norm = nn.LayerNorm(width)
        self.phone_mean = nn.Linear(width, num_mels)
        middle = 0.09 * sample_rate_hz / hop_samples  # a phone is said in about 90 ms
        self.duration = PhonePredictor(width, phone_kernel, 2, dropout, math.log(middle))
        self.pitch = PhonePredictor(width, phone_kernel, 2, dropout, 0.0)
        self.place = nn.Linear(3 + 1 + num_mels, width)
        self.mean_stack = Stack(mean_blocks, width, frame_kernel, expansion, width, growth=dilation)
        self.mean_norm = nn.LayerNorm(width)
        self.frame_mean = nn.Linear(width, 2 * num_mels)
        self.nothing = nn.Parameter(torch.zeros(width))
        self.enter = nn.Linear(2 * num_mels, width)
        self.time = nn.Sequential(nn.Linear(2 * _TIME_WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.flow_stack = Stack(flow_blocks, width, frame_kernel, expansion, width, growth=dilation)
        self.flow_norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, num_mels)
        # The untrained flow is that of a Gaussian around the mean.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def scaled(self, log_mel: Tensor) -> Tensor:
        """Return log-mel frames as the model counts them."""
        return (log_mel.clamp(min=LEAST_LOG_MEL) - self.log_mel_mean) / self.log_mel_std

    def log_mel(self, scaled: Tensor) -> Tensor:
        """Return what `scaled` was made of."""
        return scaled * self.log_mel_std + self.log_mel_mean

    def encode(self, phones: Phones, speaker: Tensor) -> Encoded:
        """Return what is known of each phone.

        Args:
            phones: What is said.
            speaker: (b e) who says it; zeros are nobody in particular.
        """
        voice = self.speaker(speaker)
        marks = phones.is_stressed.long() + 2 * phones.is_word_start.long()
        embedded = self.symbol(phones.symbols) + self.mark(marks)
        hidden = self.phone_norm(self.encoder(embedded, phones.valid, voice))
        return Encoded(hidden, self.phone_mean(hidden).float(), voice, phones.valid)

    def log_durations(self, encoded: Encoded) -> Tensor:
        """Return (b p), the logarithm of how many frames each phone is predicted to take."""
        return self.duration(encoded.hidden, encoded.valid)

    def log_pitch(self, encoded: Encoded) -> Tensor:
        """Return (b p), the predicted `log_pitch` of each phone."""
        return self.pitch(encoded.hidden, encoded.valid)

    def outline(self, encoded: Encoded, durations: Tensor, contour: Tensor) -> Outline:
        """Return what the frames are to be: an envelope, and as much of the pitch's harmonics as each bin has.

        Args:
            encoded: The phones.
            durations: (b p) int64, frames of each phone, 0 on padding.
            contour: (b f), how high each frame is, as `log_pitch` counts it; `pitch_contour` draws one.
        """
        phone_of_frame = frames_of_phones(durations)
        num_frames = durations.sum(1)
        frame = torch.arange(phone_of_frame.shape[1], device=durations.device)
        valid = frame < num_frames[:, None]
        comb = harmonics(contour, self.mel)
        where = torch.cat([_places(durations, phone_of_frame), contour[..., None], comb], dim=-1)
        condition = spread(encoded.hidden, phone_of_frame) + self.place(where).to(encoded.hidden.dtype)
        hidden = self.mean_norm(self.mean_stack(condition, valid, encoded.voice))
        envelope, share = self.frame_mean(hidden).float().chunk(2, dim=-1)
        mean = (envelope + share * comb).transpose(1, 2) * valid[:, None]
        return Outline(hidden * valid[:, :, None], mean, encoded.voice, valid)

    def without(self, outline: Outline, is_dropped: Tensor) -> Outline:
        """Return the outline with what is said, and by whom, taken out of the rows (b) that are dropped."""
        dropped = is_dropped[:, None, None]
        condition = torch.where(dropped, self.nothing.to(outline.condition.dtype), outline.condition)
        return replace(
            outline,
            condition=condition * outline.valid[:, :, None],
            mean=outline.mean.masked_fill(dropped, 0.0),
            voice=outline.voice.masked_fill(is_dropped[:, None], 0.0),
        )

    def velocity(self, place: Tensor, time: Tensor, outline: Outline) -> Tensor:
        """Return where the flow moves frames (b m f) at a time (b) of 0..1, scaled.

        It is the velocity of a Gaussian around the mean, and what the network adds in units of what is uncertain then.
        """
        known = gaussian_velocity(place, time, outline.mean, self.residual_std)
        at = time[:, None, None]
        uncertain = self.residual_std / ((1 - at).square() + (at * self.residual_std).square()).sqrt()
        frames = torch.cat([place, outline.mean], dim=1).transpose(1, 2)
        hidden = self.enter(frames) + outline.condition
        condition = outline.voice + self.time(fourier_features(time, _TIME_WAVES))
        hidden = self.flow_norm(self.flow_stack(hidden, outline.valid, condition))
        return (known + uncertain * self.leave(hidden).float().transpose(1, 2)) * outline.valid[:, None]

    @torch.no_grad()
    def plan(self, phones: Phones, speaker: Tensor, manner: Manner = Manner()) -> tuple[Outline, Tensor]:
        """Return the outline of what is said, and the durations (b p) in frames that it gives the phones."""
        encoded = self.encode(phones, speaker)
        durations = whole_frames(self.log_durations(encoded).exp(), phones.valid, manner.rate)
        pitch = self.log_pitch(encoded) + semitones(manner.pitch_semitones)
        return self.outline(encoded, durations, pitch_contour(durations, pitch)), durations

    @torch.no_grad()
    def frames(self, outline: Outline, noise: Tensor, manner: Manner = Manner()) -> Tensor:
        """Return log-mel frames (b m f) of an outline, LEAST_LOG_MEL on padding; `noise` (b m f) is standard normal."""

        def velocity(place: Tensor, time: Tensor) -> Tensor:
            conditional = self.velocity(place, time, outline)
            if manner.guidance == 1.0:
                return conditional
            nothing = self.without(outline, torch.ones_like(time, dtype=torch.bool))
            return guided(conditional, self.velocity(place, time, nothing), manner.guidance)

        begun = manner.temperature * noise * outline.valid[:, None]
        made = solve(velocity, begun, manner.num_steps, manner.method, manner.sway)
        return self.log_mel(made).masked_fill(~outline.valid[:, None], LEAST_LOG_MEL)

    def pieces(
        self, outline: Outline, noise: Tensor, manner: Manner, piece_frames: int, first_frames: int
    ) -> Iterator[Tensor]:
        """Yield log-mel frames (b m f) one piece after the other, each as soon as it is made.

        Together they are what `frames` returns, to rounding: each is made with as many neighbours as the solver's steps
        can reach, and these are left out again.

        Raises:
            ValueError: A piece would have no frame.
        """
        if min(piece_frames, first_frames) < 1:
            raise ValueError(f"pieces of {first_frames} and then {piece_frames} frames: at least 1 each")
        calls = manner.num_steps * (2 if manner.method == "midpoint" else 1)
        context, total = calls * self.flow_stack.reach, outline.mean.shape[2]
        start = 0
        while start < total:
            stop = min(total, start + (piece_frames if start else first_frames))
            near = slice(max(0, start - context), min(total, stop + context))
            part = replace(
                outline,
                condition=outline.condition[:, near],
                mean=outline.mean[:, :, near],
                valid=outline.valid[:, near],
            )
            made = self.frames(part, noise[:, :, near], manner)
            yield made[:, :, start - near.start : stop - near.start]
            start = stop

    def speak(
        self, phones: Phones, speaker: Tensor, manner: Manner = Manner(), seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return log-mel frames (b m f) and how many each row has (b): what `plan` and `frames` give together."""
        outline, durations = self.plan(phones, speaker, manner)
        return self.frames(outline, noise_like(outline.mean, seed), manner), durations.sum(1)


def noise_like(frames: Tensor, seed: int) -> Tensor:
    """Return standard normal noise (b m f); a frame's is the same whatever the number of frames, rows or processes."""
    num_rows, num_mels, num_frames = frames.shape
    generator = torch.Generator().manual_seed(seed)
    # In sixteens: torch draws the last numbers again where there are not as many.
    drawn = torch.randn(-(-num_frames // 16) * 16, num_mels, generator=generator)[:num_frames]
    return drawn.T.expand(num_rows, -1, -1).to(frames.device)


def _places(durations: Tensor, phone_of_frame: Tensor) -> Tensor:
    """Return (b f 3): how far into its phone each frame is, and how long that is."""
    length = durations.gather(1, phone_of_frame).float()
    starts = (durations.cumsum(1) - durations).gather(1, phone_of_frame)
    frame = torch.arange(phone_of_frame.shape[1], device=durations.device)
    inside = (frame - starts + 0.5) / length.clamp(min=1.0)
    return torch.stack([inside - 0.5, (inside - 0.5).square(), length.clamp(min=1.0).log()], dim=-1)
