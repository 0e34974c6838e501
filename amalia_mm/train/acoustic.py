"""Training of the acoustic model: phones are aligned with frames, and the model learns to foresee and to make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from amalia_mm.batch import VoiceBatch
from amalia_mm.errors import InputError
from amalia_mm.run import warm_start
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.losses import Loss
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.summed import SummedStep
from amalia_mm.voice.acoustic import AcousticModel, Encoded, Phones
from amalia_mm.voice.alignment import (
    diagonal_prior,
    frames_of_phones,
    mean_over_phones,
    monotonic_alignment,
    spread,
)
from amalia_mm.voice.flow import flow_matching_loss
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.phone_predictors import log_pitch
from amalia_mm.voice.pitch import pitch_hz


class _Voice(nn.Module):
    """The parts that speak, under the names they have in a model folder."""

    def __init__(self, acoustic: AcousticModel, speakers: nn.Embedding) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.speakers = speakers


@dataclass(frozen=True)
class Heard:
    """The frames of a batch's clips."""

    mel: Tensor
    """(b m f), scaled, 0 on padding."""
    num_frames: Tensor
    """(b) int64."""
    log_pitch: Tensor
    """(b f), 0 where there is no pitch."""
    is_voiced: Tensor
    """(b f) bool."""


class Acoustic(SummedStep[_Voice]):
    """Trains an `AcousticModel`, and a vector for each speaker.

    Args:
        acoustic: Factory of the model.
        optim: Learning rate and schedule.
        num_speakers: Rows of the table of speakers; more speakers than rows are an error.
        duration_weight: What the error of a phone's log duration counts beside a frame.
        pitch_weight: What the error of a phone's log pitch counts beside a frame.
        dropped: Share of rows in which what is said, and by whom, is taken out, for classifier-free guidance.
        alignment_width: How far off the diagonal, as a share of a clip, costs a phone as much as frames that are one
            standard deviation off.
        init_from: Model folder -> parts to start from (`acoustic`, `speakers`).
        freeze: Regular expressions over parameter names; each must match one.
    """

    def __init__(
        self,
        acoustic: Callable[[], AcousticModel],
        optim: OptimConfig,
        num_speakers: int = 64,
        duration_weight: float = 0.3,
        pitch_weight: float = 1.0,
        dropped: float = 0.1,
        alignment_width: float = 0.2,
        init_from: dict[str, list[str]] | None = None,
        freeze: list[str] | None = None,
    ) -> None:
        super().__init__(optim)
        self.build_acoustic = acoustic
        self.num_speakers = num_speakers
        self.duration_weight, self.pitch_weight = duration_weight, pitch_weight
        self.dropped, self.alignment_width = dropped, alignment_width
        self.init_from = init_from or {}
        self.freeze_patterns = freeze or []
        self.model: _Voice | None = None

    @property
    def mel(self) -> VoiceMel:
        """How frames are made of waveforms; known without allocating a weight."""
        with torch.device("meta"):
            return self.build_acoustic().mel

    @property
    def sample_rate_hz(self) -> int:
        """Of the waveforms that the data give."""
        return self.mel.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """From one frame to the next."""
        return self.mel.hop_samples

    @property
    def fft_samples(self) -> int:
        """Of the window of a frame."""
        return self.mel.fft_samples

    def configure_model(self) -> None:
        """Build, warm-start and freeze the model, once."""
        if self.model is not None:
            return
        acoustic = self.build_acoustic()
        speakers = nn.Embedding(self.num_speakers, acoustic.speaker_size)
        model = _Voice(acoustic, speakers)
        warm_start(model, self.init_from)
        freeze_parameters(model, self.freeze_patterns)
        self.model = model

    def loss_terms(self, batch: VoiceBatch) -> dict[str, Loss]:
        """Return the losses of a batch: of the flow, of both means, of durations and of pitch."""
        assert self.model is not None
        model = self.model.acoustic
        with torch.no_grad():
            heard = hear(model, batch)
        encoded = model.encode(
            Phones(batch.phones, batch.is_stressed, batch.is_word_start), self.speaker_vectors(batch)
        )
        durations = self.aligned(encoded, heard, batch)
        phone_of_frame = frames_of_phones(durations)
        pitch, voiced_frames = mean_over_phones(
            heard.log_pitch, heard.is_voiced, phone_of_frame, batch.phones.shape[1]
        )
        predicted = model.log_pitch(encoded)
        outline = model.outline(encoded, durations, torch.where(voiced_frames > 0, pitch, predicted.detach()))
        counted = outline.valid & (batch.weights > 0)[:, None]
        counted_phones = encoded.valid & (batch.weights > 0)[:, None]
        phone_mean = spread(encoded.mean, phone_of_frame).transpose(1, 2)
        terms = {
            "phone_mean": _squared(phone_mean - heard.mel, counted[:, None]),
            "mean": _squared(outline.mean - heard.mel, counted[:, None]),
            "duration": _squared(
                model.log_durations(encoded) - durations.clamp(min=1).float().log(), counted_phones
            ),
            "pitch": _squared(predicted - pitch, counted_phones & (voiced_frames > 0)),
        }
        time, noise, is_dropped = self._draw(heard)
        known = model.without(outline.detached_mean(), is_dropped)
        flow = flow_matching_loss(lambda x, t: model.velocity(x, t, known), heard.mel, counted, time, noise)
        terms["flow"] = Loss(*flow)
        frames = sum(terms[name].sum for name in ("flow", "mean", "phone_mean")) / heard.mel.shape[1]
        phones = self.duration_weight * terms["duration"].sum + self.pitch_weight * terms["pitch"].sum
        logged = {name: Loss(term.sum.detach(), term.count) for name, term in terms.items()}
        return {"loss": Loss(frames + phones, counted.sum().float()), **logged}

    def speaker_vectors(self, batch: VoiceBatch) -> Tensor:
        """Return (b e), the vector of each clip's speaker; zeros where nobody is named."""
        assert self.model is not None
        if len(batch.speaker_names) > self.num_speakers:
            raise InputError(
                "model",
                field="num_speakers",
                found=f"{self.num_speakers} for {len(batch.speaker_names)} speakers in the shards",
                wanted="a row for each speaker",
                remedy="raise num_speakers",
            )
        vectors = self.model.speakers(batch.speakers.clamp(min=0))
        return vectors.masked_fill((batch.speakers < 0)[:, None], 0.0)

    @torch.no_grad()
    def aligned(self, encoded: Encoded, heard: Heard, batch: VoiceBatch) -> Tensor:
        """Return (b p), the frames of each phone: as somebody has timed them, else as the model finds them."""
        num_mels = heard.mel.shape[1]
        mean = encoded.mean
        # -1/2 of the mean squared difference, without the part that is the same for every phone.
        scores = (mean @ heard.mel - 0.5 * mean.square().sum(-1, keepdim=True)) / num_mels
        scores = scores + diagonal_prior(batch.num_phones, heard.num_frames, self.alignment_width)
        found = monotonic_alignment(scores, batch.num_phones, heard.num_frames)
        if batch.durations is None:
            return found
        return torch.where(batch.durations[:, :1] >= 0, batch.durations, found)

    def _draw(self, heard: Heard) -> tuple[Tensor, Tensor, Tensor]:
        """Return time (b), noise (b m f) and which rows are dropped (b); the same ones whenever nothing is learned."""
        num_rows, device = len(heard.mel), heard.mel.device
        if not self.training:
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(heard.mel.shape, generator=generator).to(device)
            time = (torch.arange(num_rows, device=device) + 0.5) / num_rows
            return time, noise, torch.zeros(num_rows, dtype=torch.bool, device=device)
        # A time out of each of as many equal parts: the loss is then less of a lottery.
        parts = torch.randperm(num_rows, device=device)
        time = (parts + torch.rand(num_rows, device=device)) / num_rows
        is_dropped = torch.rand(num_rows, device=device) < self.dropped
        return time, torch.randn_like(heard.mel), is_dropped


def hear(model: AcousticModel, batch: VoiceBatch) -> Heard:
    """Return the frames and pitches of a batch's clips; each is what it would be alone."""
    mels = [
        model.mel(clip[None, :length])[0].T
        for clip, length in zip(batch.waveforms, batch.num_samples.tolist(), strict=True)
    ]
    num_frames = torch.tensor([len(mel) for mel in mels], device=batch.phones.device)
    mel = pad_sequence([model.scaled(mel) for mel in mels], batch_first=True).transpose(1, 2)
    pitch = pitch_hz(batch.waveforms, model.mel.sample_rate_hz, model.mel.hop_samples)[:, : mel.shape[2]]
    return Heard(mel, num_frames, log_pitch(pitch), pitch > 0)


def _squared(error: Tensor, is_counted: Tensor) -> Loss:
    """Return the sum of squares where it counts, and over how many numbers."""
    counted = is_counted.expand_as(error)
    return Loss((error.float().square() * counted).sum(), counted.sum().float())
