"""A run's voice, ready to speak: its acoustic model, its vocoder, and who speaks.

A run has them as the recipes write them: `21_acoustic`, `22_vocoder` (else Griffin-Lim), and `20_speaker` where the
acoustic model is told by a speaker encoder who speaks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amalia_mm.errors import InputError
from amalia_mm.resolve import DEFAULT_RUN
from amalia_mm.run import WEIGHTS
from amalia_mm.voice.acoustic import AcousticModel, Manner
from amalia_mm.voice.adapters import with_adapters
from amalia_mm.voice.griffin_lim import GriffinLim
from amalia_mm.voice.own_voice import SpeakerData
from amalia_mm.voice.synthesis import Synthesiser
from amalia_mm.voice.vocoder import Vocoder
from amalia_mm.voice_folder import load_vocoder, load_voice_part

SPEAKER, ACOUSTIC, VOCODER = "20_speaker", "21_acoustic", "22_vocoder"
_AS_IT_IS = Manner()
DEFAULT_SPEAKER = "pt"
"""The synthesiser's own voice of European Portuguese; a run without it speaks with its first."""


def run_folder(run: Path | str | None = None) -> Path:
    """Return a run folder: the one that is named, `$AMALIA_MODEL`, or `runs/quickstart`."""
    return Path(run) if run is not None else Path(os.environ.get("AMALIA_MODEL") or DEFAULT_RUN)


def encoder_folder(run: Path) -> Path:
    """Return the model folder of a run's speaker encoder; `InputError` where it has none."""
    folder = run / SPEAKER / "model"
    if not (folder / WEIGHTS).is_file():
        remedy = "amalia fit -c recipes/20_speaker/recipe.yaml, or give --model"
        wanted = f"a run with {SPEAKER}/model"
        raise InputError(run, found="no speaker encoder", wanted=wanted, remedy=remedy)
    return folder


def encoder_hash(run: Path) -> str:
    """Return the hash by which a banked voice knows the speaker encoder that heard it; errors as `encoder_folder`."""
    return _hash(encoder_folder(run))


def has_voice(run: Path) -> bool:
    """Return whether a run has learned to speak."""
    return (run / ACOUSTIC / "model" / WEIGHTS).is_file()


def acoustic_folder(run: Path) -> Path:
    """Return the model folder of a run's acoustic model; `InputError` where it has none."""
    folder = run / ACOUSTIC / "model"
    if not (folder / WEIGHTS).is_file():
        remedy = "amalia prepare voice, then amalia fit -c recipes/21_acoustic/recipe.yaml; or give --model"
        raise InputError(run, found="no voice", wanted=f"a run with {ACOUSTIC}/model", remedy=remedy)
    return folder


def acoustic_hash(run: Path) -> str:
    """Return the hash by which a person's adapters know the model that they change; errors as `acoustic_folder`."""
    return _hash(acoustic_folder(run))


def _hash(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


class SpeechModel:
    """What a run speaks with, whoever speaks.

    Args:
        run: The run folder; None is `$AMALIA_MODEL`, else `runs/quickstart`.
        vocoder: Folder of a vocoder in place of the run's; "griffin-lim" for the one that needs no training.
        acoustic: Stage or model folder of an acoustic model in place of the run's, such as one adapted to a person.

    Raises:
        InputError: There is no acoustic model there, a file is damaged, or the vocoder reads other frames.
    """

    def __init__(
        self,
        run: Path | str | None = None,
        vocoder: Path | str | None = None,
        acoustic: Path | str | None = None,
    ) -> None:
        self.run = run_folder(run)
        self.folder = folder = acoustic_folder(self.run) if acoustic is None else _inside(Path(acoustic))
        self.acoustic, self.config = load_voice_part(folder, "acoustic", AcousticModel)
        self.acoustic.requires_grad_(False)
        self.vocoder = self._vocoder(vocoder)

    def _vocoder(self, named: Path | str | None) -> Vocoder:
        if named == "griffin-lim":
            return GriffinLim.of(self.acoustic.mel)
        if named is None and not (self.run / VOCODER / "model" / WEIGHTS).is_file():
            return GriffinLim.of(self.acoustic.mel)
        folder = self.run / VOCODER if named is None else Path(named)
        vocoder = load_vocoder(folder).requires_grad_(False)
        frames = _frames(vocoder.mel)
        if frames != _frames(self.acoustic.mel):
            remedy = "give a vocoder of these frames, or --vocoder griffin-lim"
            wanted = f"{_frames(self.acoustic.mel)}, as the acoustic model makes them"
            raise InputError(folder, field="frames", found=frames, wanted=wanted, remedy=remedy)
        return vocoder

    @property
    def speakers(self) -> list[str]:
        """The voices that were learned with the model, by name."""
        return list(self.config.get("speakers") or [])

    @property
    def default_speaker(self) -> str:
        """Whose voice speaks where none is named: `DEFAULT_SPEAKER`, else the first; "" where none has a name."""
        names = self.speakers
        return DEFAULT_SPEAKER if DEFAULT_SPEAKER in names else next(iter(names), "")

    @property
    def hears_speakers(self) -> bool:
        """Whether a speaker encoder tells the model who speaks: only then can it speak like somebody else."""
        return bool(self.config.get("speaker_encoder"))

    def learned(self, name: str | None = None, manner: Manner = _AS_IT_IS) -> Synthesiser:
        """Return the voice of a speaker that was learned with the model; None is `default_speaker`.

        Raises:
            InputError: There is nobody of that name.
        """
        names = self.speakers
        chosen = self.default_speaker if name is None else name
        if chosen not in names or self.acoustic.speakers is None:
            found = repr(name) if name is not None else "no speaker of its own"
            wanted = ", ".join(names) or "a model that learned its speakers by name"
            remedy = "choose one of these"
            if not names:
                remedy = "give --voice, a banked one; or train with acoustic.num_speakers above 0"
            raise InputError(self.folder, field="speaker", found=found, wanted=wanted, remedy=remedy)
        vector = self.acoustic.speakers.weight[names.index(chosen)].detach()
        if self.hears_speakers:
            vector = functional.normalize(vector, dim=0)  # the middle of unit vectors is none
        return self.voiced(vector, manner)

    def checked(self, data: SpeakerData) -> np.ndarray:
        """Return the vector (e) of a banked voice, that was made for this model.

        Raises:
            InputError: The model is not told by a speaker encoder who speaks, or by another one; or what was learned of
                the voice was learned with another acoustic model.
        """
        remedy = "give --model the run that the voice was enrolled with, or enrol it again"
        if not self.hears_speakers:
            wanted = "one that a speaker encoder tells who speaks (`speaker_encoder`)"
            found = "an acoustic model with voices of its own alone"
            raise InputError(self.run, field="acoustic", found=found, wanted=wanted, remedy=remedy)
        made_for = data.made_for.get("speaker_encoder", "none")
        own = str(self.config.get("speaker_encoder_sha256"))
        if made_for != own:
            field = "speaker encoder"
            raise InputError(self.run, field=field, found=own[:12], wanted=made_for[:12], remedy=remedy)
        if data.adapters is not None or "acoustic" in data.made_for:
            made_for, own = data.made_for.get("acoustic", "none"), _hash(self.folder)
            if made_for != own:
                field = "acoustic model"
                raise InputError(
                    self.folder, field=field, found=own[:12], wanted=made_for[:12], remedy=remedy
                )
        return data.embedding

    def own(self, data: SpeakerData, manner: Manner = _AS_IT_IS) -> Synthesiser:
        """Return a banked voice, with what it changes of the model; errors as `checked` and `with_adapters`."""
        speaker = torch.from_numpy(self.checked(data)).to(torch.float32)
        acoustic = self.acoustic if data.adapters is None else with_adapters(self.acoustic, data.adapters)
        return Synthesiser(acoustic, self.vocoder, speaker, manner)

    def voiced(self, speaker: Tensor, manner: Manner = _AS_IT_IS) -> Synthesiser:
        """Return the voice of a vector (e)."""
        return Synthesiser(self.acoustic, self.vocoder, speaker.to(torch.float32), manner)


def _inside(folder: Path) -> Path:
    return folder / "model" if (folder / "model").is_dir() else folder


def _frames(mel: Any) -> Mapping[str, int]:
    names = ("sample_rate_hz", "num_mels", "fft_samples", "hop_samples")
    return {name: getattr(mel, name) for name in names}
