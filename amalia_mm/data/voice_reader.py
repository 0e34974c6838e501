"""References of the order to spoken clips, and rows of them to a `VoiceBatch`: padding on the right, nothing cut.

It knows phones and waveforms; not how frames are made of them, nor models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from amalia_mm.audio.io import load_audio
from amalia_mm.batch import VoiceBatch
from amalia_mm.data.index import read_record
from amalia_mm.data.order import Ref
from amalia_mm.data.reader import Folder, StaleCountsError
from amalia_mm.data.voice_phones import said_in
from amalia_mm.errors import InputError
from amalia_mm.portuguese.read_aloud import ReadAloud, read_aloud
from amalia_mm.units import SAMPLE_RATE_HZ

_LEAST_RMS = 1e-5
"""Below it a clip is silence, which no gain makes speech of."""


@dataclass(frozen=True)
class Spoken:
    """One clip and what is said in it."""

    id: str
    phones: ReadAloud
    waveform: Tensor
    """(n) float32."""
    speaker: int
    where: str


@dataclass(frozen=True)
class VoiceReader:
    """Reads one record of the order; the same record is always the same clip.

    Args:
        folders: The sources of the order, phones counted in place of tokens.
        sample_rate_hz: Of the waveforms.
        hop_samples: Of the frames that will be made; a clip needs one for each phone.
        fft_samples: Of a frame's window; a clip is longer than half of it, so that its edges can be mirrored.
        level_db: Root mean square that every clip is brought to, relative to full scale; None leaves it.
        speaker_names: All speakers that have a number.
    """

    folders: Sequence[Folder]
    sample_rate_hz: int
    hop_samples: int
    fft_samples: int
    level_db: float | None
    speaker_names: tuple[str, ...]

    def read(self, ref: Ref) -> Spoken:
        """Return the clip of one reference.

        Raises:
            StaleCountsError: The text has another number of phones than the index says.
            InputError: The record or its clip is bad, or has fewer frames than phones.
        """
        folder = self.folders[ref.source]
        where = folder.index.where(ref.record)
        record, audio = read_record(folder.index, ref.record)
        phones = read_aloud(said_in(record), where)
        counted = int(folder.counts.num_tokens[ref.record])
        if len(phones) != counted:
            remedy = f"delete {folder.index.folder}/phones-*.npy, which another version of the rules has left"
            wanted = f"{counted} phones, as counted in the index"
            raise StaleCountsError(where, field="text", found=f"{len(phones)}", wanted=wanted, remedy=remedy)
        rates = self.sample_rate_hz, self.hop_samples, self.fft_samples
        waveform = _heard(phones, audio, where, *rates, self.level_db)
        names = self.speaker_names
        speaker = names.index(record.speaker) if record.speaker in names else -1
        return Spoken(record.id, phones, waveform, speaker, where)


def spoken_of(
    identity: str,
    text: str,
    audio: bytes,
    where: str,
    *,
    sample_rate_hz: int,
    hop_samples: int,
    fft_samples: int,
    level_db: float | None,
) -> Spoken:
    """Return a recording that lies in no shard, by the only speaker; arguments and errors as `VoiceReader` has them."""
    phones = read_aloud(text, where)
    waveform = _heard(phones, audio, where, sample_rate_hz, hop_samples, fft_samples, level_db)
    return Spoken(identity, phones, waveform, 0, where)


def _heard(
    phones: ReadAloud,
    audio: bytes | None,
    where: str,
    sample_rate_hz: int,
    hop_samples: int,
    fft_samples: int,
    level_db: float | None,
) -> Tensor:
    """Return the waveform (n) of a clip in which so many phones are said."""
    if audio is None:
        remedy = "give shards with audio"
        raise InputError(where, field="audio", found="no clip", wanted="the spoken clip", remedy=remedy)
    waveform = load_audio(audio, where=where, sample_rate_hz=sample_rate_hz)
    rms = float(waveform.square().mean().sqrt())
    if rms < _LEAST_RMS:
        remedy = "leave the record out"
        raise InputError(where, field="audio", found="silence", wanted="speech", remedy=remedy)
    num_frames = len(waveform) // hop_samples + 1
    if num_frames < len(phones) or len(waveform) <= fft_samples // 2:
        raise too_fast(where, num_frames, len(phones))
    return waveform if level_db is None else waveform * (10.0 ** (level_db / 20) / rms)


def too_fast(where: str, num_frames: int, num_phones: int) -> InputError:
    """Return the error of a clip that is too short for what is said in it."""
    remedy = "leave the record out, or check that the text is what is said"
    found, wanted = f"{num_frames} frames for {num_phones} phones", "a frame for each phone"
    return InputError(where, field="audio", found=found, wanted=wanted, remedy=remedy)


def num_frames_at(num_samples: np.ndarray, sample_rate_hz: int, hop_samples: int) -> np.ndarray:
    """Return (r) how many frames clips of samples at 16 kHz give at another rate, to one."""
    return num_samples * sample_rate_hz // SAMPLE_RATE_HZ // hop_samples + 1


def collate_voice(
    rows: Sequence[Sequence[Spoken]], *, speaker_names: tuple[str, ...], silence_samples: int, has_loss: bool
) -> VoiceBatch:
    """Return the batch of rows of one clip each, padded to the longest in phones and samples.

    Args:
        rows: The clips; without any there is one row of silence that carries no loss, for a process that has nothing.
        speaker_names: Those of the run.
        silence_samples: How long that row is.
        has_loss: False gives every row weight 0.
    """
    clips = [clip for row in rows for clip in row]
    if not clips:
        nothing = ReadAloud((1,), (False,), (False,))
        clips = [Spoken("", nothing, torch.zeros(silence_samples), -1, "")]
        has_loss = False

    def padded(columns: Sequence[Sequence[int | bool]]) -> Tensor:
        return pad_sequence([torch.tensor(column) for column in columns], batch_first=True)

    return VoiceBatch(
        phones=padded([clip.phones.symbols for clip in clips]),
        is_stressed=padded([clip.phones.is_stressed for clip in clips]),
        is_word_start=padded([clip.phones.is_word_start for clip in clips]),
        num_phones=torch.tensor([len(clip.phones) for clip in clips]),
        waveforms=pad_sequence([clip.waveform for clip in clips], batch_first=True),
        num_samples=torch.tensor([len(clip.waveform) for clip in clips]),
        speakers=torch.tensor([clip.speaker for clip in clips]),
        weights=torch.full((len(clips),), float(has_loss)),
        record_ids=tuple(clip.id for clip in clips if clip.id),
        places=tuple(clip.where for clip in clips if clip.id),
        speaker_names=speaker_names,
    )
