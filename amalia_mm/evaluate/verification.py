"""Whether two clips are of one person: trials, the equal error rate, and the threshold that a check is made with.

It knows similarities and names of speakers; not how a similarity is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.voice.speaker import enrolled, similarity

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trials:
    """Similarities of clips with voices: of the same person, and of somebody else."""

    same: Floats
    """(r) one a trial."""
    different: Floats
    """(r) one a trial."""

    def __post_init__(self) -> None:
        if not len(self.same) or not len(self.different):
            found = f"{len(self.same)} trials of the same speaker, {len(self.different)} of two"
            remedy = "give two speakers or more, with two clips or more each"
            raise InputError("trials", found=found, wanted="some of both", remedy=remedy)


@dataclass(frozen=True)
class Errors:
    """What a threshold lets through and keeps out: similarities at or above it are accepted."""

    threshold: float
    false_accepts: float
    """Share of the trials of somebody else that are accepted."""
    false_rejects: float
    """Share of the trials of the same person that are not."""


def errors_at(trials: Trials, threshold: float) -> Errors:
    """Return the errors of one threshold."""
    accepts, rejects = trials.different >= threshold, trials.same < threshold
    return Errors(threshold, float(accepts.mean()), float(rejects.mean()))


def equal_error(trials: Trials) -> Errors:
    """Return the errors at the threshold where both are as near to each other as they come.

    Thresholds are the similarities of the trials, and one above them all. Where no two errors are equal, the pair with
    the least larger one counts.
    """
    candidates = np.unique(np.concatenate([trials.same, trials.different]))
    candidates = np.append(candidates, np.nextafter(candidates[-1], np.inf))
    different, same = np.sort(trials.different), np.sort(trials.same)
    false_accepts = 1 - np.searchsorted(different, candidates, side="left") / len(different)
    false_rejects = np.searchsorted(same, candidates, side="left") / len(same)
    larger, both = np.maximum(false_accepts, false_rejects), false_accepts + false_rejects
    best = int(np.lexsort((both, larger))[0])
    return Errors(float(candidates[best]), float(false_accepts[best]), float(false_rejects[best]))


def equal_error_rate(trials: Trials) -> float:
    """Return the larger of the two errors of `equal_error`, 0 to 1: the figure never flatters."""
    errors = equal_error(trials)
    return max(errors.false_accepts, errors.false_rejects)


def threshold_for(trials: Trials, most_false_accepts: float) -> Errors:
    """Return the errors of the lowest threshold that lets at most this share of strangers through.

    Raises:
        ValueError: The share is outside 0 to 1.
    """
    if not 0 <= most_false_accepts <= 1:
        raise ValueError(f"a share of {most_false_accepts} strangers")
    strangers = np.sort(trials.different)[::-1]
    allowed = int(most_false_accepts * len(strangers))
    threshold = strangers[allowed] if allowed < len(strangers) else strangers[-1]
    lowest = np.nextafter(threshold, np.inf) if allowed < len(strangers) else threshold
    return errors_at(trials, float(lowest))


def clip_trials(embeddings: Tensor, speakers: Sequence[str]) -> Trials:
    """Return all pairs of clips, each once: how close two clips are, of one person or of two.

    Args:
        embeddings: (b e) unit vectors.
        speakers: (b) whose clip each is.
    """
    scores = similarity(embeddings[:, None], embeddings[None]).double().numpy()
    names = np.array(speakers)
    is_same = names[:, None] == names[None]
    once = np.triu(np.ones_like(is_same), k=1)
    return Trials(scores[is_same & once], scores[~is_same & once])


def voice_trials(embeddings: Tensor, speakers: Sequence[str]) -> Trials:
    """Return each clip against every voice, as the check of a recording asks: its own without the clip itself.

    Speakers with a single clip are voices for others, and no trial of their own.
    """
    scores, names = voice_scores(embeddings, speakers)
    own = np.array([[name == speaker for name in names] for speaker in speakers])
    return Trials(scores[own & np.isfinite(scores)], scores[~own])


def voice_scores(embeddings: Tensor, speakers: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
    """Return (b s) the similarity of each clip with each voice, and their names.

    A voice is the middle of its clips, without the clip it is compared with; where that was its only one, there is
    nothing to compare with: NaN.
    """
    names = tuple(sorted(set(speakers)))
    scores = np.full((len(speakers), len(names)), np.nan)
    for column, name in enumerate(names):
        own = [number for number, speaker in enumerate(speakers) if speaker == name]
        scores[:, column] = similarity(embeddings, enrolled(embeddings[own])).double().numpy()
        for number in own:
            others = [other for other in own if other != number]
            scores[number, column] = (
                float(similarity(embeddings[number], enrolled(embeddings[others]))) if others else np.nan
            )
    return scores, names


def recognised(clips: Tensor, speakers: Sequence[str], voices: Tensor, names: Sequence[str]) -> float:
    """Return the share of clips that are closer to their own speaker's voice than to every other's.

    Args:
        clips: (b e) embeddings.
        speakers: (b) whose voice each should be.
        voices: (s e) embeddings.
        names: (s) whose they are.
    """
    scores = similarity(clips[:, None], voices[None])
    own = torch.tensor([list(names).index(speaker) for speaker in speakers])
    right = scores[torch.arange(len(clips)), own]
    others = scores.scatter(1, own[:, None], -torch.inf).amax(dim=1)
    return float((right > others).double().mean())
