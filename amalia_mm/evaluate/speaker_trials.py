"""How well a speaker encoder tells voices apart: one model and some clips to a table of figures and a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml

from amalia_mm.errors import InputError
from amalia_mm.evaluate.speaker_clips import SpeakerClip
from amalia_mm.evaluate.verification import (
    Floats,
    clip_trials,
    equal_error,
    equal_error_rate,
    errors_at,
    threshold_for,
    voice_scores,
    voice_trials,
)
from amalia_mm.hub import is_checkpoint
from amalia_mm.model_config import CONFIG, read_config
from amalia_mm.voice.pretrained_speaker import PretrainedSpeaker
from amalia_mm.voice.speaker import SpeakerEmbedder, SpeakerEncoder, Verifier, embed_clips
from amalia_mm.voice_folder import load_voice_part

THRESHOLD = "threshold"
"""What a model folder's configuration calls the similarity from which a clip is somebody's."""


@dataclass(frozen=True)
class TrialFigures:
    """What was measured over the clips of some speakers; shares from 0 to 1."""

    num_clips: int
    num_speakers: int
    clip_error_rate: float
    """Equal error rate of pairs of clips."""
    voice_error_rate: float
    """Equal error rate of a clip against a voice, the middle of the speaker's other clips."""
    recognised: float
    """Clips closer to the voice of their own speaker, of the others, than to anybody else's."""
    equal_threshold: float
    """Where both errors of a clip against a voice are equal."""
    threshold: float
    """The one that was asked for: of a folder that has one, else for the most false accepts."""
    false_accepts: float
    false_rejects: float
    """At the threshold."""


def model_folder(path: Path | str) -> Path:
    """Return the model folder that a path names: itself, or the `model` in a stage."""
    inside = Path(path) / "model"
    return inside if (inside / CONFIG).is_file() else Path(path)


def load_embedder(folder: Path | str) -> SpeakerEmbedder:
    """Return the speaker encoder of a model folder, of the `model` in a stage, or of a Hugging Face checkpoint.

    Raises:
        InputError: As `load_voice_part` and `PretrainedSpeaker`.
    """
    place = model_folder(folder)
    if not (place / CONFIG).is_file() and is_checkpoint(folder):
        return PretrainedSpeaker(str(folder)).eval()
    return load_voice_part(place, "speaker", SpeakerEncoder)[0]


def threshold_of(folder: Path | str) -> float:
    """Return the threshold that trials found for a model folder; `InputError` where none is written."""
    path = model_folder(folder)
    threshold = read_config(path).get(THRESHOLD)
    if not isinstance(threshold, float):
        test = path.parent.parent / "test.jsonl"
        clips = f"{test} --by voice" if test.is_file() else "CLIPS"
        remedy = f"measure it: `amalia voice trials {path} {clips} --write`"
        raise InputError(
            path / CONFIG, field=THRESHOLD, found=threshold, wanted="a similarity", remedy=remedy
        )
    return threshold


def load_verifier(folder: Path | str) -> Verifier:
    """Return the check of a model folder with its threshold; errors as `threshold_of`."""
    return Verifier(load_embedder(folder), threshold_of(folder))


def measure(
    embedder: SpeakerEmbedder,
    clips: Sequence[SpeakerClip],
    most_false_accepts: float = 0.01,
    threshold: float | None = None,
) -> TrialFigures:
    """Return the figures of an encoder over clips; at a threshold that is given, or found in these very clips.

    Raises:
        InputError: There are no trials: two speakers with two clips each are needed.
    """
    speakers = [clip.speaker for clip in clips]
    embeddings = embed_clips(embedder, [clip.waveform for clip in clips])
    pairs, voices = clip_trials(embeddings, speakers), voice_trials(embeddings, speakers)
    errors = threshold_for(voices, most_false_accepts) if threshold is None else errors_at(voices, threshold)
    return TrialFigures(
        num_clips=len(clips),
        num_speakers=len(set(speakers)),
        clip_error_rate=equal_error_rate(pairs),
        voice_error_rate=equal_error_rate(voices),
        recognised=_recognised(*voice_scores(embeddings, speakers), speakers),
        equal_threshold=equal_error(voices).threshold,
        threshold=errors.threshold,
        false_accepts=errors.false_accepts,
        false_rejects=errors.false_rejects,
    )


def _recognised(scores: Floats, names: Sequence[str], speakers: Sequence[str]) -> float:
    """Return the share of clips closest to their own voice, made without them; a speaker's only clip has none."""
    own = np.array([list(names).index(speaker) for speaker in speakers])
    has_own = np.isfinite(scores[np.arange(len(own)), own])
    closest = np.nanargmax(scores[has_own], axis=1)
    return float((closest == own[has_own]).mean())


def write_threshold(folder: Path, threshold: float) -> None:
    """Write the threshold into a model folder's configuration, whole or not at all."""
    path = folder / CONFIG
    text = yaml.safe_dump({**read_config(folder), THRESHOLD: threshold}, allow_unicode=True, sort_keys=False)
    fresh = path.with_name(path.name + ".writing")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def as_lines(figures: TrialFigures) -> list[str]:
    """Return one line a figure, name and value apart by a tab."""
    return [
        f"{name}\t{value:.4f}" if isinstance(value, float) else f"{name}\t{value}"
        for name, value in asdict(figures).items()
    ]
