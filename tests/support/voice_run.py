"""A run with a tiny voice that has learned nothing: its stages are what recipes 20 to 22 write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from amalia_mm.run import save_model
from amalia_mm.voice.acoustic import AcousticModel
from amalia_mm.voice.vocoder import Vocos

FRAMES = {"sample_rate_hz": 16_000, "num_mels": 16, "fft_samples": 256, "hop_samples": 64}
SPEAKERS = ["ana", "pt"]


def save_part(folder: Path, part: str, kind: type[nn.Module], sizes: dict[str, Any], **notes: Any) -> None:
    """Write a stage with a part of random weights; what begins at zero is given numbers."""
    torch.manual_seed(0)
    made = kind(**sizes)
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    spec = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": sizes}
    holder = nn.ModuleDict({part: made})
    save_model(folder / "model", holder, config={part: spec, **notes}, tokenizer=None, card="")


def save_voice(run: Path, **notes: Any) -> Path:
    """Return the run, with an acoustic model of two speakers and a vocoder in it."""
    sizes = {"width": 16, "encoder_blocks": 1, "mean_blocks": 1, "flow_blocks": 1, "speaker_size": 6}
    own = {**FRAMES, **sizes, "num_speakers": len(SPEAKERS)}
    save_part(run / "21_acoustic", "acoustic", AcousticModel, own, speakers=SPEAKERS, **notes)
    vocoder = {**FRAMES, "width": 16, "inner_width": 32, "num_layers": 2}
    save_part(run / "22_vocoder", "vocoder", Vocos, vocoder)
    return run
