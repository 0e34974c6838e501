"""A speaker encoder learns to tell voices apart, and is validated on voices that it never met.

In training the speakers are classes, with a margin between them (`losses.additive_margin`); the classes are thrown away
in the end. In validation each clip is compared with the other clips of the unseen speakers in its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amalia_mm.batch import IGNORE, SpeakerBatch
from amalia_mm.data.speaker_data import SpeakerData
from amalia_mm.errors import InputError
from amalia_mm.run import warm_start
from amalia_mm.train.freeze import freeze as freeze_parameters
from amalia_mm.train.losses import Loss, additive_margin
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.summed import SummedStep
from amalia_mm.voice.speaker import SpeakerEncoder, similarity

PART = "speaker"
"""What the encoder is called in a model folder."""


class _Voices(nn.Module):
    """The encoder, under the name it has in a model folder."""

    def __init__(self, speaker: SpeakerEncoder) -> None:
        super().__init__()
        self.speaker = speaker


class Speaker(SummedStep[_Voices]):
    """Trains a speaker encoder on the speakers of the data.

    Args:
        speaker: Factory of the encoder.
        optim: Learning rate and schedule.
        margin: By how much the right speaker must be ahead, as a cosine.
        scale: Of the cosines before the softmax.
        margin_steps: Steps over which the margin grows from nothing.
        init_from: Model folder -> parts to start from (`speaker`).
        freeze: Regular expressions over parameter names; each must match one.
    """

    parts = (PART,)

    def __init__(
        self,
        speaker: Callable[[], SpeakerEncoder],
        optim: OptimConfig,
        margin: float = 0.2,
        scale: float = 30.0,
        margin_steps: int = 100,
        init_from: dict[str, list[str]] | None = None,
        freeze: list[str] | None = None,
    ) -> None:
        super().__init__(optim)
        for name, value in (("margin", margin), ("scale", scale), ("margin_steps", margin_steps)):
            if value < 0 or (name == "scale" and value == 0):
                remedy = "correct the value"
                raise InputError("model", field=name, found=value, wanted="0 or above", remedy=remedy)
        self.build_speaker = speaker
        self.margin, self.scale, self.margin_steps = margin, scale, margin_steps
        self.init_from = init_from or {}
        self.freeze_patterns = freeze or []
        self.model: _Voices | None = None
        self.classes: nn.Parameter | None = None
        """(s e), the direction of each speaker of the data; None until a trainer brings them."""

    def configure_model(self) -> None:
        """Build, warm-start and freeze the encoder, once; and as many classes as the data has speakers."""
        if self.model is None:
            model = _Voices(self.build_speaker())
            warm_start(model, self.init_from)
            freeze_parameters(model, self.freeze_patterns)
            self.model = model
        data = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        if self.classes is None and isinstance(data, SpeakerData):
            size = self.model.speaker.embed_size
            self.classes = nn.Parameter(torch.randn(len(data.speaker_names), size) / size**0.5)

    def loss_terms(self, batch: SpeakerBatch) -> dict[str, Loss]:
        """Return the margin loss of the clips, and how many of them were taken for somebody else."""
        if not self.training:
            return unseen_terms(self._embedded(batch), _each_once(batch), self.scale)
        assert self.classes is not None
        scores = self._embedded(batch) @ F.normalize(self.classes, dim=-1).T
        grown = min(1.0, self._step / self.margin_steps) if self.margin_steps else 1.0
        return {
            "loss": additive_margin(scores, batch.speakers, self.margin * grown, self.scale),
            "mistaken": _mistaken(scores, batch.speakers),
        }

    @property
    def _step(self) -> int:
        return 0 if self._trainer is None else self.trainer.global_step

    def _embedded(self, batch: SpeakerBatch) -> Tensor:
        assert self.model is not None
        with torch.no_grad():
            mel, num_frames = self.model.speaker.features(batch.waveforms, batch.num_samples)
        return self.model.speaker(mel, num_frames)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep whose class is which."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["speaker_names"] = list(self._names())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with other speakers: their classes would be those of strangers."""
        super().on_load_checkpoint(checkpoint)
        found, wanted = list(self._names()), checkpoint.get("speaker_names")
        if found != wanted:
            strangers = sorted(set(found) ^ set(wanted or ()))
            raise InputError(
                "data",
                field="shards",
                found=f"{len(found)} speakers, other ones at {', '.join(strangers[:3])}",
                wanted=f"the {len(wanted or ())} that the run began with",
                remedy="give the same shards and options, or start the run over (init_from keeps the encoder)",
            )

    def _names(self) -> tuple[str, ...]:
        data = getattr(self.trainer, "datamodule", None)
        return data.speaker_names if isinstance(data, SpeakerData) else ()


def _each_once(batch: SpeakerBatch) -> Tensor:
    """Return the speakers (b), `IGNORE` where a clip is there again: it would be found by itself."""
    seen: set[str] = set()
    speakers = batch.speakers.clone()
    for row, place in enumerate(batch.places):
        if place in seen:
            speakers[row] = IGNORE
        seen.add(place)
    return speakers


def unseen_terms(embeddings: Tensor, speakers: Tensor, scale: float) -> dict[str, Loss]:
    """Return how well clips find their speaker by the other clips of the batch: no class is needed.

    Each clip is compared with the middle of each speaker's clips, of its own speaker's without itself (Wan et al. 2018,
    arXiv 1710.10467, equations 8 and 9). A clip that is its speaker's only one counts for nothing.

    Args:
        embeddings: (b e) unit vectors.
        speakers: (b) int64, `IGNORE` where there is no loss.
        scale: Of the cosines before the softmax.
    """
    names, numbers = torch.unique(speakers[speakers != IGNORE], return_inverse=True)
    heard = embeddings[speakers != IGNORE]
    if not len(heard):
        nothing = Loss(embeddings.sum() * 0.0, embeddings.new_zeros(()))
        return {"loss": nothing, "mistaken": nothing}
    belongs = F.one_hot(numbers, len(names)).to(heard.dtype)
    sums = belongs.T @ heard
    scores = similarity(heard[:, None], sums[None])
    others = sums[numbers] - heard
    scores = torch.where(belongs.bool(), similarity(heard, others)[:, None], scores)
    has_others = belongs.sum(0)[numbers] > 1
    classes = torch.where(has_others, numbers, IGNORE)
    return {
        "loss": additive_margin(scores, classes, margin=0.0, scale=scale),
        "mistaken": _mistaken(scores, classes),
    }


def _mistaken(scores: Tensor, classes: Tensor) -> Loss:
    wanted = classes != IGNORE
    wrong = (scores.argmax(dim=1) != classes) & wanted if scores.numel() else wanted & ~wanted
    return Loss(wrong.sum().float(), wanted.sum().float())
