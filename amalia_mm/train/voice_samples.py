"""What an acoustic model in training sounds and looks like: clips and pictures at every validation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from amalia_mm.audio.io import write_audio
from amalia_mm.batch import VoiceBatch
from amalia_mm.train.acoustic import Acoustic, Sample
from amalia_mm.train.picture import write_picture
from amalia_mm.voice.griffin_lim import GriffinLim
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.watermark import can_mark, mark

_LOG = logging.getLogger(__name__)
FOLDER = "samples"


class VoiceSamples(Callback):
    """Writes `samples/step-<n>/` in the run folder: of the first validation clips a picture, and both to listen to.

    The picture has, from top to bottom, the frames heard, their foreseen mean, the frames made, and which phone each
    frame was found to be. Both waveforms are by Griffin-Lim, so that they differ by the acoustic model alone, and carry
    the watermark as all speech that is made. There is no signed manifest in them: a bank signs, and training has none.
    Where what marks is not installed only the picture is written.

    Args:
        folder: The run folder; None writes nothing.
        num_clips: Clips of the first validation batch.
    """

    def __init__(self, folder: str | None = None, num_clips: int = 3) -> None:
        self.folder = folder
        self.num_clips = num_clips

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say once where there will be nothing to listen to."""
        if self.folder is not None and isinstance(pl_module, Acoustic) and not can_mark():
            remedy = "pip install 'amalia-mm[voice]'"
            _LOG.warning("samples are pictures alone: what marks speech is not installed (%s)", remedy)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the samples of the first batch of a validation in training, from the first process."""
        is_fit = trainer.state.fn == TrainerFn.FITTING and trainer.is_global_zero
        if not (is_fit and isinstance(pl_module, Acoustic) and isinstance(batch, VoiceBatch)):
            return
        if batch_idx > 0 or dataloader_idx > 0 or self.folder is None:
            return
        assert pl_module.model is not None
        folder = Path(self.folder) / FOLDER / f"step-{trainer.global_step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, sample in zip(batch.record_ids, pl_module.samples(batch, self.num_clips), strict=False):
            write_sample(folder, name, sample, pl_module.model.acoustic.mel)


def write_sample(folder: Path, name: str, sample: Sample, mel: VoiceMel) -> None:
    """Write `<name>.png`, `<name>_heard.wav` and `<name>_made.wav`, marked; the name's slashes become dashes."""
    name = name.replace("/", "-")
    panels = [sample.heard, sample.mean, sample.made, sample.alignment]
    write_picture(folder / f"{name}.png", panels)
    if not can_mark():
        return
    vocoder = GriffinLim.of(mel)
    for kind, frames in (("heard", sample.heard), ("made", sample.made)):
        with torch.no_grad():
            waveform = vocoder(frames[None].float())[0]
        write_audio(folder / f"{name}_{kind}.wav", mark(waveform, mel.sample_rate_hz), mel.sample_rate_hz)
