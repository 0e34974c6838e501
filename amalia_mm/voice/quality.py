"""Whether a recording is good enough to learn a voice from; where it is not, what to do about it, in Portuguese.

One clip at a time, each fault by a figure and a limit. Those who read the advice have little strength for a second
reading, so what is refused is only what would be heard in the voice. It knows nothing of folders and sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amalia_mm.audio.io import channel_blocks, load_audio
from amalia_mm.audio.vad import Segment, speech_segments
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds
from amalia_mm.voice.advice import ADVICE, Kind, comma
from amalia_mm.voice.signal_figures import (
    bandwidth_db,
    clipped_share,
    frame_powers,
    is_tonal,
    level_db,
    signal_to_noise_db,
)
from amalia_mm.voice.speaker import SpeakerEmbedder, embed_clips, enrolled, similarity

_WINDOW_S, _HOP_S = 1.6, 0.8
"""Stretches of speech that are compared with one another; shorter ones tell voices apart badly."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a clip."""

    kind: Kind
    found: str
    """The figure, as a Portuguese reader writes it."""

    @property
    def advice(self) -> str:
        """What to do about it, in European Portuguese."""
        return ADVICE[self.kind]


@dataclass(frozen=True)
class Examined:
    """What was found in one clip."""

    faults: tuple[Fault, ...]
    figures: dict[str, float]
    """What was measured, by name with its unit; only what could be."""

    @property
    def is_good(self) -> bool:
        """Whether a voice can be learned from it."""
        return not self.faults

    @property
    def advice(self) -> tuple[str, ...]:
        """A sentence for each fault, with what was measured."""
        return tuple(f"{fault.advice} ({fault.found})" for fault in self.faults)


@dataclass(frozen=True)
class QualityGate:
    """Examines recordings.

    Args:
        min_speech_s: Least speech of a clip.
        min_speech_share: Least part of a clip that is speech.
        min_level_db: The level of the speech (root mean square, full scale) below which it was recorded too low.
        max_clipped_share: Most samples at the ceiling.
        min_snr_db: Least signal-to-noise ratio.
        min_bandwidth_db: Least power above 4 kHz, against that below, of a recording that had 16 kHz or more.
        max_pace: Most characters that anybody says in a second of speech: with more, something was left out. People who
            hurry reach some 20.
        max_character_errors: Most characters that are heard otherwise than they are written, as a share.
        transcribe: Writes down a clip (n) at 16 kHz, to compare it with what should be said; None compares nothing.
        embedder: Tells voices apart; None does not look for a second person.
        same_person: The similarity below which two stretches of a clip are of two people.
        same_voice: The similarity with an enrolled voice below which a clip is somebody else's. Both
            defaults were measured with the encoder of recipes/20_speaker on real speech; another encoder needs its own
            (`amalia voice trials`).
    """

    min_speech_s: float = 1.0
    min_speech_share: float = 0.3
    min_level_db: float = -40.0
    max_clipped_share: float = 1e-3
    min_snr_db: float = 15.0
    min_bandwidth_db: float = -50.0
    max_pace: float = 30.0
    max_character_errors: float = 0.35
    transcribe: Callable[[Tensor], str] | None = None
    embedder: SpeakerEmbedder | None = None
    same_person: float = 0.7
    same_voice: float = 0.84

    def examine(
        self, source: Path | str | bytes | Tensor, text: str | None = None, voice: Tensor | None = None
    ) -> Examined:
        """Return what is wrong with a recording, and what was measured.

        Args:
            source: A file, the bytes of one, or a waveform (n) at 16 kHz.
            text: What should be said; None compares nothing.
            voice: The embedding (e) of whose clip it should be; None asks nothing of it.

        Raises:
            InputError: It is no whole sound file.
            ValueError: A voice, and no embedder to compare with.
        """
        if voice is not None and self.embedder is None:
            raise ValueError("a voice to compare with, but no embedder")
        waveform = source if isinstance(source, Tensor) else load_audio(source)
        clip = _Clip(waveform, speech_segments(waveform))
        found = _Findings()
        rate_hz, clipped = _native(source)
        self._examine_sound(clip, rate_hz, clipped, found)
        # Of what is no speech nobody can say whose it is.
        if clip.speech_s >= self.min_speech_s:
            self._examine_person(clip, voice, found)
            self._examine_words(clip, text, found)
        return Examined(tuple(found.faults), found.figures)

    def _examine_sound(self, clip: _Clip, rate_hz: int, clipped: float, found: _Findings) -> None:
        level = level_db(clip.speech if clip.speech_s else clip.waveform)
        found.figures |= {"speech_s": clip.speech_s, "speech_share": clip.speech_share, "level_db": level}
        found.figures |= {"sample_rate_hz": float(rate_hz), "clipped_share": clipped}
        if clip.speech_s < self.min_speech_s or clip.speech_share < self.min_speech_share:
            found.add(self._instead_of_speech(clip), f"{comma(clip.speech_s, 1)} s de fala")
            if clip.speech_s < self.min_speech_s:
                return
        if level < self.min_level_db:
            found.add("quiet", f"{comma(level, 0)} dB")
        if clipped > self.max_clipped_share:
            found.add("clipped", f"{comma(100 * clipped, 1)} % das amostras")
        snr = signal_to_noise_db(clip.waveform, clip.segments)
        found.figures["snr_db"] = snr
        if snr < self.min_snr_db:
            kind = "music" if is_tonal(clip.pauses) else "noisy"
            found.add(kind, f"{comma(snr, 0)} dB de diferença entre a voz e o resto")
        band = bandwidth_db(clip.speech)
        found.figures["bandwidth_db"] = band
        if rate_hz < SAMPLE_RATE_HZ or band < self.min_bandwidth_db:
            shown = f"{rate_hz} Hz" if rate_hz < SAMPLE_RATE_HZ else "nada acima de 4 kHz"
            found.add("narrow", shown)

    def _instead_of_speech(self, clip: _Clip) -> Kind:
        """Return what a clip with too little speech is instead."""
        powers = frame_powers(clip.pauses)
        if not len(powers) or 10 * np.log10(np.median(powers) + 1e-12) < self.min_level_db - 10:
            return "silence" if clip.speech_s == 0 else "short"
        return "music" if is_tonal(clip.pauses) else "noisy"

    def _examine_person(self, clip: _Clip, voice: Tensor | None, found: _Findings) -> None:
        if self.embedder is None:
            return
        windows = clip.windows()
        if len(windows) > 1:
            apart = _two_parts(embed_clips(self.embedder, windows))
            found.figures["parts_similarity"] = apart
            if apart < self.same_person:
                found.add("two_people", f"semelhança {comma(apart, 2)} entre partes")
        if voice is not None:
            close = float(similarity(voice, embed_clips(self.embedder, [clip.speech])[0]))
            found.figures["voice_similarity"] = close
            if close < self.same_voice:
                found.add("other_person", f"semelhança {comma(close, 2)} com a voz registada")

    def _examine_words(self, clip: _Clip, text: str | None, found: _Findings) -> None:
        if text is None:
            return
        wanted = spoken_form(text)
        found.figures["pace"] = pace = len(wanted) / clip.speech_s
        if pace > self.max_pace:
            found.add("too_few_words", f"{comma(clip.speech_s, 1)} s de fala para {len(wanted)} letras")
        if self.transcribe is None:
            return
        from jiwer import cer

        heard = spoken_form(self.transcribe(clip.waveform))
        errors = float(cer(wanted, heard))  # pyright: ignore[reportArgumentType]
        found.figures["character_errors"] = errors
        if errors > self.max_character_errors:
            found.add("other_words", f"ouve-se «{heard}»")


@dataclass
class _Findings:
    """What is found on the way through a clip."""

    faults: list[Fault] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, kind: Kind, found: str) -> None:
        self.faults.append(Fault(kind, found))


@dataclass(frozen=True)
class _Clip:
    """A waveform (n) at 16 kHz, and where speech is in it."""

    waveform: Tensor
    segments: list[Segment]

    @property
    def speech(self) -> Tensor:
        """(n) all speech, without pauses."""
        return _joined([self.waveform[s.start_samples : s.end_samples] for s in self.segments])

    @property
    def pauses(self) -> Tensor:
        """(n) all the rest."""
        ends = [0, *(segment.end_samples for segment in self.segments)]
        starts = [*(segment.start_samples for segment in self.segments), len(self.waveform)]
        return _joined([self.waveform[a:b] for a, b in zip(ends, starts, strict=True)])

    @property
    def speech_s(self) -> float:
        """How much speech, in seconds."""
        return samples_to_seconds(sum(segment.num_samples for segment in self.segments))

    @property
    def speech_share(self) -> float:
        """How much of the clip is speech."""
        return self.speech_s / samples_to_seconds(len(self.waveform)) if len(self.waveform) else 0.0

    def windows(self) -> list[Tensor]:
        """Return stretches of speech of like length, half over one another; the last one reaches the end."""
        speech, size = self.speech, round(_WINDOW_S * SAMPLE_RATE_HZ)
        if len(speech) < size:
            return [speech]
        starts = list(range(0, len(speech) - size, round(_HOP_S * SAMPLE_RATE_HZ)))
        return [speech[start : start + size] for start in [*starts, len(speech) - size]]


def _joined(pieces: list[Tensor]) -> Tensor:
    return torch.cat([torch.empty(0), *pieces])


def _native(source: Path | str | bytes | Tensor) -> tuple[int, float]:
    """Return a recording's own sample rate in Hz, and the largest share of clipped samples of its channels.

    Looked at before it is resampled: a flat top does not stay flat.
    """
    if isinstance(source, Tensor):
        return SAMPLE_RATE_HZ, clipped_share(source.numpy())
    blocks, rates_hz = zip(*channel_blocks(source), strict=True)
    whole = np.concatenate(blocks)
    return rates_hz[0], max(clipped_share(whole[:, channel]) for channel in range(whole.shape[1]))


def _two_parts(embeddings: Tensor) -> float:
    """Return how alike two parts of a clip are, of its windows (b e), cut where they are least alike.

    People speak one after the other, so a cut in time tells: windows before it against windows after it.
    """
    cuts = range(1, len(embeddings))
    return min(float(similarity(enrolled(embeddings[:cut]), enrolled(embeddings[cut:]))) for cut in cuts)
