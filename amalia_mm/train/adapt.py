"""A person's recordings to what a voice pack holds of an acoustic model: recipes/23_own_voice, in memory.

Nothing is written anywhere: what is learned of a person belongs into the pack alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, IterableDataset

from amalia_mm.batch import VoiceBatch
from amalia_mm.data.order import BudgetOrder
from amalia_mm.data.visits import Source
from amalia_mm.data.voice_reader import Spoken, collate_voice, spoken_of
from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.model_config import build_part, read_config
from amalia_mm.run import WEIGHTS, read_weights
from amalia_mm.train.acoustic import PART, Acoustic
from amalia_mm.train.callbacks import SeedEveryStep, StepProgress
from amalia_mm.train.cli import quieten
from amalia_mm.train.optim import OptimConfig
from amalia_mm.voice.acoustic import AcousticModel
from amalia_mm.voice.adapters import pack_adapters
from amalia_mm.voice.own_voice import SpeakerData
from amalia_mm.voice.phrases import Clip

LEAST_S = 30.0
"""Speech below which nothing is learned: the encoder's vector says more than so little teaches."""
_LEVEL_DB = -23.0
_OURS = ("acoustic", "optim", "speaker_encoder", "init_from", "own_voice", "lora")


@dataclass(frozen=True)
class Recipe:
    """How a voice is adapted, as a recipe of 23_own_voice says it.

    Args:
        model: The arguments of `Acoustic`.
        trainer: `max_steps` and `precision`.
        budget: `max_frames`, `max_phones` and `max_rows` of a batch.
    """

    model: Mapping[str, Any]
    trainer: Mapping[str, Any]
    budget: Mapping[str, int]

    @classmethod
    def of(cls, recipe: Mapping[str, Any], where: str) -> Recipe:
        """Return it of a recipe as it is read; `InputError` where it is one of another stage."""
        try:
            model, data = recipe["model"]["init_args"], recipe["data"]["init_args"]
            budget = {name: int(data[name]) for name in ("max_frames", "max_phones", "max_rows")}
            trainer = {name: recipe["trainer"][name] for name in ("max_steps", "precision")}
        except (KeyError, TypeError) as error:
            model, budget, trainer, missing = {}, {}, {}, str(error)
        else:
            missing = "" if model.get("own_voice") else "own_voice"
        if missing:
            remedy = "give one of recipes/23_own_voice"
            wanted = "a recipe that adapts a voice"
            raise InputError(where, field=missing, found="nothing", wanted=wanted, remedy=remedy)
        return cls(model, trainer, budget)


def adapt(
    recipe: Recipe, base: Path, encoder: Path, clips: Sequence[Clip], seed: int = 0, progress: bool = True
) -> SpeakerData:
    """Return what is learned of a person: the vector, and what changes in the acoustic model.

    Args:
        recipe: How.
        base: Model folder of the acoustic model.
        encoder: That of the speaker encoder which told it who speaks.
        clips: The person's recordings.
        seed: Of the order, and of the numbers that are drawn.
        progress: Show a bar on stderr.

    Raises:
        InputError: There is too little speech, a recording is silence or too short for what is said in it; the base
            learned with another encoder.
    """
    encoder_sha256 = _hash(encoder)
    _check_encoder(base, encoder_sha256)
    quieten()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _module(recipe, base, encoder)
        module.configure_model()
        assert module.model is not None
        own = module.model.acoustic
        data = _Clips(_spoken(clips, own), own.mel.hop_samples, recipe.budget, seed)
        _check_seconds(data, own.mel.sample_rate_hz)
        callbacks: list[L.Callback] = [SeedEveryStep(seed), *([StepProgress()] if progress else [])]
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            gradient_clip_val=1.0,
            max_epochs=-1,
            num_sanity_val_steps=0,
            callbacks=callbacks,
            **recipe.trainer,
        )
        trainer.fit(module, data)
        if trainer.global_step < trainer.max_steps:  # Lightning may take Ctrl-C for an end
            raise KeyboardInterrupt
    assert own.speakers is not None
    vector = normalize(own.speakers.weight[0].detach().float(), dim=0)
    weights = {name.removeprefix(f"{PART}."): value for name, value in read_weights(base).items()}
    return SpeakerData(
        vector.numpy().astype(np.float32),
        pack_adapters(weights, own.state_dict(), module.lora_apart),
        {"speaker_encoder": encoder_sha256, "acoustic": _hash(base)},
    )


def _module(recipe: Recipe, base: Path, encoder: Path) -> Acoustic:
    """Return the recipe's module, on the model that is there in place of the one that the recipe names."""
    spec = read_config(base)[PART]
    sizes = {**spec["init_args"], "num_speakers": 1}
    arguments = {name: value for name, value in recipe.model.items() if name not in _OURS}
    lora = recipe.model.get("lora")
    return Acoustic(
        build_part({**spec, "init_args": sizes}, AcousticModel, str(base)),
        OptimConfig(**recipe.model["optim"]),
        speaker_encoder=str(encoder),
        init_from={str(base): [PART]},
        own_voice=True,
        lora=None if lora is None else LoraConfig(**lora),
        **arguments,
    )


def _check_encoder(base: Path, sha256: str) -> None:
    told = str(read_config(base).get("speaker_encoder_sha256"))
    if told != sha256:
        remedy = "give the encoder that it learned with"
        field = "speaker encoder"
        raise InputError(base, field=field, found=sha256[:12], wanted=told[:12], remedy=remedy)


def _hash(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def _spoken(clips: Sequence[Clip], acoustic: AcousticModel) -> list[Spoken]:
    """Return recordings as training reads them."""
    mel = acoustic.mel
    return [
        spoken_of(
            str(number),
            clip.text,
            clip.audio,
            f"recording {number} of «{clip.text}»",
            sample_rate_hz=mel.sample_rate_hz,
            hop_samples=mel.hop_samples,
            fft_samples=mel.fft_samples,
            level_db=_LEVEL_DB,
        )
        for number, clip in enumerate(clips, start=1)
    ]


def _check_seconds(data: _Clips, sample_rate_hz: int) -> None:
    seconds = sum(len(clip.waveform) for clip in data.spoken) / sample_rate_hz
    if seconds < LEAST_S:
        found = f"{seconds:.1f} s of speech in {len(data.spoken)} recordings"
        remedy = "record more, or leave the adaptation out: the encoder's vector needs 10 s"
        raise InputError("the recordings", found=found, wanted=f"{LEAST_S:g} s or more", remedy=remedy)


class _Clips(L.LightningDataModule):
    """One person's recordings in memory, in the batches that `VoiceData` would cut of them."""

    def __init__(
        self, spoken: Sequence[Spoken], hop_samples: int, budget: Mapping[str, int], seed: int
    ) -> None:
        super().__init__()
        self.spoken = spoken
        frames = np.array([len(clip.waveform) // hop_samples + 1 for clip in spoken])
        phones = np.array([len(clip.phones) for clip in spoken])
        for clip, num_frames, num_phones in zip(spoken, frames.tolist(), phones.tolist(), strict=True):
            if num_frames > budget["max_frames"] or num_phones > budget["max_phones"]:
                found = f"{num_frames} frames and {num_phones} phones"
                wanted = f"at most {budget['max_frames']} and {budget['max_phones']}"
                remedy = "cut the recording at a pause, or leave it out"
                raise InputError(clip.where, field="length", found=found, wanted=wanted, remedy=remedy)
        self._order = BudgetOrder(
            [Source(1.0, np.arange(len(spoken)), phones, frames)],
            max_audio_tokens=budget["max_frames"],
            max_text_tokens=budget["max_phones"],
            max_rows=budget["max_rows"],
            seed=seed,
        )

    def waveforms(self) -> Iterator[Tensor]:
        """Yield each clip (n) once."""
        return (clip.waveform for clip in self.spoken)

    def train_dataloader(self) -> DataLoader[VoiceBatch]:
        """Return the endless batches."""
        return DataLoader(_Batches(self._order, self.spoken), batch_size=None)


class _Batches(IterableDataset[VoiceBatch]):
    def __init__(self, order: BudgetOrder, spoken: Sequence[Spoken]) -> None:
        self.order, self.spoken = order, spoken

    def __iter__(self) -> Iterator[VoiceBatch]:
        step = 0
        while True:
            rows = [[self.spoken[ref.record] for ref in row] for row in self.order.batch(step)]
            yield collate_voice(rows, speaker_names=("",), silence_samples=1, has_loss=True)
            step += 1
