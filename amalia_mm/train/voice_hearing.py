"""What the training of a voice hears in a clip: its frames, how high it is, and who speaks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import resample

from amalia_mm.batch import VoiceBatch
from amalia_mm.run import WEIGHTS
from amalia_mm.train.remembered import Remembered
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.acoustic import AcousticModel
from amalia_mm.voice.phone_predictors import log_pitch
from amalia_mm.voice.pitch import pitch_hz
from amalia_mm.voice.speaker import SpeakerEncoder, enrolled
from amalia_mm.voice_folder import load_voice_part


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


class Listener:
    """Tells who speaks in a clip; a frozen encoder, which is no part of what is trained or kept.

    Args:
        folder: Its model folder.
    """

    def __init__(self, folder: str) -> None:
        self.embedder, _ = load_voice_part(folder, "speaker", SpeakerEncoder)
        self.sha256 = hashlib.sha256((Path(folder) / WEIGHTS).read_bytes()).hexdigest()
        """Of its weights: vectors of another encoder mean nothing to what is trained with this one."""
        self._known = Remembered()

    @torch.no_grad()
    def vectors(self, batch: VoiceBatch, sample_rate_hz: int) -> Tensor:
        """Return (b e), the unit vector of each clip; one that was heard before is not heard again."""
        self.embedder.to(batch.waveforms.device)
        with torch.autocast(batch.waveforms.device.type, enabled=False):
            told = self._known.rows(
                _clips(batch), batch.places, lambda clip: self._vector(clip, sample_rate_hz)
            )
        return torch.stack(told)

    def _vector(self, clip: Tensor, sample_rate_hz: int) -> Tensor:
        """Return (e) of a clip (n)."""
        heard = clip[None]
        if sample_rate_hz != SAMPLE_RATE_HZ:
            heard = resample(heard, sample_rate_hz, SAMPLE_RATE_HZ)
        return self.embedder.embed(heard, torch.tensor([heard.shape[1]], device=heard.device))[0]

    @torch.no_grad()
    def middle(self, clips: Iterable[Tensor], sample_rate_hz: int) -> Tensor:
        """Return (e), the unit vector that stands for the person who says clips (n) each."""
        device = next(self.embedder.parameters()).device
        return enrolled(torch.stack([self._vector(clip.to(device), sample_rate_hz) for clip in clips]))


def hear(model: AcousticModel, batch: VoiceBatch, pitches: Remembered) -> Heard:
    """Return the frames and pitches of a batch's clips; each is what it would be alone.

    Args:
        model: Which frames they are.
        batch: The clips.
        pitches: Those of clips that were heard before; others are put into it.
    """
    rate_hz, hop_samples = model.mel.sample_rate_hz, model.mel.hop_samples
    clips = _clips(batch)
    mels = [model.mel(clip[None])[0].T for clip in clips]
    num_frames = torch.tensor([len(mel) for mel in mels], device=batch.phones.device)
    mel = pad_sequence([model.scaled(mel) for mel in mels], batch_first=True).transpose(1, 2)
    found = pitches.rows(clips, batch.places, lambda clip: pitch_hz(clip[None], rate_hz, hop_samples)[0])
    pitch = pad_sequence(found, batch_first=True)
    return Heard(mel, num_frames, log_pitch(pitch), pitch > 0)


def _clips(batch: VoiceBatch) -> list[Tensor]:
    """Return the waveforms (n), each as long as it is."""
    return [clip[:length] for clip, length in zip(batch.waveforms, batch.num_samples.tolist(), strict=True)]
