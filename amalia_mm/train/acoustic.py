"""Training of the acoustic model: phones are aligned with frames, and the model learns to foresee and to make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import one_hot

from amalia_mm.batch import VoiceBatch
from amalia_mm.data.voice import VoiceData
from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.run import warm_start
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.losses import Loss
from amalia_mm.train.one_person import (
    OnePersonsClips,
    add_to_acoustic,
    begin_row,
    check_own_voice,
    without_speakers,
)
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.remembered import Remembered
from amalia_mm.train.summed import SummedStep
from amalia_mm.train.voice_hearing import Heard, Listener, hear
from amalia_mm.voice.acoustic import (
    AcousticModel,
    Encoded,
    Outline,
    Phones,
    noise_like,
)
from amalia_mm.voice.alignment import (
    diagonal_prior,
    frames_of_phones,
    likeness,
    mean_over_phones,
    monotonic_alignment,
    spread,
)
from amalia_mm.voice.flow import flow_matching_loss
from amalia_mm.voice.phone_predictors import pitch_contour

PART = "acoustic"
_REMEMBERED = 0.05
"""What each new clip counts in the vector of its speaker."""


@dataclass(frozen=True)
class _Seen:
    """A batch as the losses see it."""

    heard: Heard
    encoded: Encoded
    durations: Tensor
    pitch: Tensor
    predicted_pitch: Tensor
    is_voiced: Tensor
    outline: Outline


class _Voice(nn.Module):
    """The part that is trained, under the name it has in a model folder."""

    def __init__(self, acoustic: AcousticModel) -> None:
        super().__init__()
        self.acoustic = acoustic


@dataclass(frozen=True)
class Sample:
    """One clip as it was heard and as it is made: log-mel frames, and how they were aligned."""

    heard: Tensor
    """(m f)."""
    mean: Tensor
    """(m f)."""
    made: Tensor
    """(m f), with the durations and the pitch of the clip."""
    alignment: Tensor
    """(p f), 1 where a frame is of a phone."""


class Acoustic(SummedStep[_Voice]):
    """Trains an `AcousticModel`; who speaks is told by its own table, or by a speaker encoder that hears each clip.

    Args:
        acoustic: Factory of the model.
        optim: Learning rate and schedule.
        speaker_encoder: Model folder of a speaker encoder; None takes the vectors from the model's own table. With
            both, the encoder tells, and the table keeps the middle of what it tells of each speaker: voices by name.
        duration_weight: What the error of a phone's duration counts beside a frame: half the deviance of some six
            frames is three times the squared error of their logarithm.
        pitch_weight: What the error of a phone's log pitch counts beside a frame.
        dropped: Share of rows in which what is said, and by whom, is taken out, for classifier-free guidance.
        alignment_width: How far off the diagonal, as a share of a clip, costs a phone as much as frames that are one
            standard deviation off.
        init_from: Model folder -> parts to start from (`acoustic`).
        freeze: Regular expressions over parameter names; each must match one.
        own_voice: The clips are one person's: the table has one row, which begins as the middle of what the encoder
            tells of all the clips, and is learned.
        lora: Low-rank changes to train in place of the weights that `init_from` gives. The model folder keeps them
            apart.
    """

    parts = (PART,)

    def __init__(
        self,
        acoustic: Callable[[], AcousticModel],
        optim: OptimConfig,
        speaker_encoder: str | None = None,
        duration_weight: float = 0.1,
        pitch_weight: float = 1.0,
        dropped: float = 0.1,
        alignment_width: float = 0.2,
        init_from: dict[str, list[str]] | None = None,
        freeze: list[str] | None = None,
        own_voice: bool = False,
        lora: LoraConfig | None = None,
    ) -> None:
        super().__init__(optim)
        self.own_voice, self.lora_apart = own_voice, lora
        self.build_acoustic = acoustic
        self.speaker_encoder = speaker_encoder
        self.duration_weight, self.pitch_weight = duration_weight, pitch_weight
        self.dropped, self.alignment_width = dropped, alignment_width
        self.init_from = init_from or {}
        self.freeze_patterns = freeze or []
        self._listener: Listener | None = None
        self._pitches = Remembered()
        self.model: _Voice | None = None

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the clips to learn from."""
        return self.voice_frames["sample_rate_hz"]

    @property
    def voice_frames(self) -> dict[str, int]:
        """How the model's frames are made of waveforms, as the data must know; no weight is allocated for it."""
        with torch.device("meta"):
            mel = self.build_acoustic().mel
        return {
            "sample_rate_hz": mel.sample_rate_hz,
            "hop_samples": mel.hop_samples,
            "fft_samples": mel.fft_samples,
        }

    def configure_model(self) -> None:
        """Build, warm-start and freeze the model, once; and take the speaker encoder, where there is one."""
        if self.model is not None:
            return
        model = _Voice(self.build_acoustic())
        if self.speaker_encoder is not None:
            self._listener = Listener(self.speaker_encoder)
        self._check_speakers(model.acoustic)
        init_from = self.init_from
        if self.own_voice:
            init_from = without_speakers(model.acoustic, init_from)
        elif self._listener is not None and model.acoustic.speakers is not None:
            _keep_only(model.acoustic.speakers)
        warm_start(model, init_from)
        if self.lora_apart is not None:
            add_to_acoustic(model.acoustic, self.lora_apart, self.init_from)
        freeze_parameters(model, self.freeze_patterns)
        if self.own_voice:
            check_own_voice(model.acoustic, self._listener is not None, self.init_from)
        self.model = model

    def on_train_start(self) -> None:
        """Begin a person's row, where it is one person's voice that is learned and the run begins."""
        if not self.own_voice or self.trainer.global_step > 0:
            return
        assert self.model is not None and self._listener is not None
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, OnePersonsClips)
        begin_row(self.model.acoustic, self._listener, data)

    def _check_speakers(self, acoustic: AcousticModel) -> None:
        """Refuse a model whose speakers come from nowhere, or as vectors of another length."""
        if self._listener is None and acoustic.speakers is None:
            wanted = "acoustic.num_speakers above 0 or a speaker_encoder"
            remedy = "set one of them, or both"
            raise InputError("model", field="speaker_encoder", found="neither", wanted=wanted, remedy=remedy)
        size = acoustic.speaker_size if self._listener is None else self._listener.embedder.embed_size
        if size != acoustic.speaker_size:
            raise InputError(
                "model.acoustic",
                field="speaker_size",
                found=acoustic.speaker_size,
                wanted=f"{size}, as the encoder in {self.speaker_encoder} gives",
                remedy="set it to that",
            )

    def notes(self) -> dict[str, Any]:
        """Return who speaks, row by row of the table, and which encoder told."""
        told: dict[str, Any] = {}
        if self._listener is not None:
            told |= {"speaker_encoder": self.speaker_encoder, "speaker_encoder_sha256": self._listener.sha256}
        data = getattr(self.trainer, "datamodule", None)
        if self.model is not None and self.model.acoustic.speakers is not None:
            told["speakers"] = list(data.speaker_names) if isinstance(data, VoiceData) else []
        return told

    def loss_terms(self, batch: VoiceBatch) -> dict[str, Loss]:
        """Return the losses of a batch: of the flow, of both means, of durations and of pitch."""
        assert self.model is not None
        model = self.model.acoustic
        seen = self._see(batch)
        heard, encoded, outline = seen.heard, seen.encoded, seen.outline
        counted = outline.valid & (batch.weights > 0)[:, None]
        counted_phones = encoded.valid & (batch.weights > 0)[:, None]
        phone_mean = spread(encoded.mean, frames_of_phones(seen.durations)).transpose(1, 2)
        terms = {
            "phone_mean": _squared(phone_mean - heard.mel, counted[:, None]),
            "mean": _squared(outline.mean - heard.mel, counted[:, None]),
            "duration": _deviance(model.log_durations(encoded), seen.durations, counted_phones),
            "pitch": _squared(seen.predicted_pitch - seen.pitch, counted_phones & seen.is_voiced),
        }
        time, noise, is_dropped = self._draw(heard)
        known = model.without(outline.detached_mean(), is_dropped)
        flow = flow_matching_loss(lambda x, t: model.velocity(x, t, known), heard.mel, counted, time, noise)
        terms["flow"] = Loss(*flow)
        if not self.training:  # with the pitch that would be said, which is no part of the loss
            said = model.outline(encoded, seen.durations, pitch_contour(seen.durations, seen.predicted_pitch))
            terms["said_mean"] = _squared(said.mean - heard.mel, counted[:, None])
        frames = terms["flow"].sum + terms["mean"].sum + terms["phone_mean"].sum
        phones = self.duration_weight * terms["duration"].sum + self.pitch_weight * terms["pitch"].sum
        logged = {name: Loss(term.sum.detach(), term.count) for name, term in terms.items()}
        return {"loss": Loss(frames / heard.mel.shape[1] + phones, counted.sum().float()), **logged}

    def _see(self, batch: VoiceBatch) -> _Seen:
        """Return a batch with its phones aligned and its frames outlined, pitches as they were measured."""
        assert self.model is not None
        model = self.model.acoustic
        with torch.no_grad():
            heard = hear(model, batch, self._pitches)
        encoded = model.encode(
            Phones(batch.phones, batch.is_stressed, batch.is_word_start), self.speaker_vectors(batch)
        )
        durations = self.aligned(encoded, heard, batch)
        pitch, voiced_frames = mean_over_phones(
            heard.log_pitch, heard.is_voiced, frames_of_phones(durations), batch.phones.shape[1]
        )
        predicted, is_voiced = model.log_pitch(encoded), voiced_frames > 0
        drawn = pitch_contour(durations, torch.where(is_voiced, pitch, predicted.detach()))
        # Harmonics lie where the pitch is, not where a straight line is: heard where it can be.
        contour = torch.where(heard.is_voiced, heard.log_pitch, drawn)
        outline = model.outline(encoded, durations, contour)
        return _Seen(heard, encoded, durations, pitch, predicted, is_voiced, outline)

    @torch.no_grad()
    def samples(self, batch: VoiceBatch, num_clips: int) -> list[Sample]:
        """Return the first clips of a batch, as they were heard and as the model makes them."""
        assert self.model is not None
        model = self.model.acoustic
        seen = self._see(batch)
        made = model.frames(seen.outline, noise_like(seen.outline.mean, seed=0))
        samples = []
        for row in range(min(num_clips, len(batch.phones))):
            num_frames, num_phones = int(seen.heard.num_frames[row]), int(batch.num_phones[row])
            phone = frames_of_phones(seen.durations)[row, :num_frames]
            heard, mean = (
                model.log_mel(mel[row, :, :num_frames]) for mel in (seen.heard.mel, seen.outline.mean)
            )
            alignment = one_hot(phone, num_phones).T.float()
            samples.append(Sample(heard, mean, made[row, :, :num_frames], alignment))
        return samples

    def speaker_vectors(self, batch: VoiceBatch) -> Tensor:
        """Return (b e), the vector of each clip's speaker; zeros where nobody is named."""
        assert self.model is not None
        table = self.model.acoustic.speakers
        if self._listener is not None and not self.own_voice:
            vectors = self._listener.vectors(batch, self.model.acoustic.mel.sample_rate_hz)
            if table is not None and self.training:
                self._check_table(table, batch)
                _remember(table.weight, batch, vectors)
            return vectors
        assert table is not None
        self._check_table(table, batch)
        vectors = table(batch.speakers.clamp(min=0))
        if self.own_voice:  # the length of what an encoder tells
            vectors = functional.normalize(vectors, dim=-1)
        return vectors.masked_fill((batch.speakers < 0)[:, None], 0.0)

    def _check_table(self, table: nn.Embedding, batch: VoiceBatch) -> None:
        if len(batch.speaker_names) > table.num_embeddings:
            raise InputError(
                "model.acoustic",
                field="num_speakers",
                found=f"{table.num_embeddings} for {len(batch.speaker_names)} speakers in the shards",
                wanted="a row for each speaker",
                remedy="name one in data.speaker"
                if self.own_voice
                else "raise num_speakers, or give a speaker_encoder",
            )

    @torch.no_grad()
    def aligned(self, encoded: Encoded, heard: Heard, batch: VoiceBatch) -> Tensor:
        """Return (b p), the frames of each phone, as the model finds them."""
        scores = likeness(encoded.mean, heard.mel)
        scores = scores + diagonal_prior(batch.num_phones, heard.num_frames, self.alignment_width)
        return monotonic_alignment(scores, batch.num_phones, heard.num_frames)

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


def _keep_only(table: nn.Embedding) -> None:
    """Make a table's weight a buffer of zeros: kept with the model and its checkpoints, and not learned.

    Of several processes the first one's is kept: it hears clips of everybody, too.
    """
    weight = torch.zeros_like(table.weight)
    del table.weight
    table.register_buffer("weight", weight)


@torch.no_grad()
def _remember(table: Tensor, batch: VoiceBatch, vectors: Tensor) -> None:
    """Move the row (s e) of each clip's speaker towards the clip's vector (b e); the first one is taken as it is."""
    for speaker, weight, vector in zip(batch.speakers.tolist(), batch.weights.tolist(), vectors, strict=True):
        if speaker >= 0 and weight > 0:
            row = table[speaker]
            row.copy_(vector if not row.any() else torch.lerp(row, vector, _REMEMBERED))


def _deviance(log_predicted: Tensor, frames: Tensor, counted: Tensor) -> Loss:
    """Return half the Poisson deviance of frames (b p), which is least where their mean is predicted.

    Squared errors of logarithms are least at the geometric mean, and speech of geometric means is too fast.
    """
    wanted = frames.clamp(min=1).float()
    each = log_predicted.exp() - wanted - wanted * (log_predicted - wanted.log())
    return Loss(torch.where(counted, each, 0.0).sum(), counted.sum().float())


def _squared(error: Tensor, is_counted: Tensor) -> Loss:
    """Return the sum of squares where it counts, and over how many numbers."""
    counted = is_counted.expand_as(error)
    return Loss((error.float().square() * counted).sum(), counted.sum().float())
