"""A run with a tiny voice that an encoder tells who speaks, somebody's recordings, and a recipe to adapt it by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from voice_run import FRAMES, SPEAKERS, save_part

from amalia_mm.audio.io import encode_flac
from amalia_mm.speaking import encoder_hash
from amalia_mm.train.adapt import Recipe
from amalia_mm.voice.acoustic import AcousticModel
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice.speaker import SpeakerEncoder
from amalia_mm.voice.vocoder import Vocos

TEXTS = ("Bom dia, Ana.", "O comboio parte cedo.", "Está frio hoje.", "A Ana chama o gato.")
ENCODER = {"num_mels": 20, "width": 16, "num_blocks": 2, "embed_size": 6, "bottleneck": 8}
SIZES = {"width": 16, "encoder_blocks": 1, "mean_blocks": 1, "flow_blocks": 1, "speaker_size": 6}
OPTIM = {"lr": 1e-2, "warmup_steps": 1, "schedule": "linear"}
LORA = {"modules": [r"blocks\.\d+\.(expand|contract)$"], "rank": 2, "alpha": 3.0}
BUDGET = {"max_frames": 4000, "max_phones": 400, "max_rows": 4}


def save_run(run: Path) -> Path:
    """Return the run, with an encoder, an acoustic model that was told by it, and a vocoder."""
    save_part(run / "20_speaker", "speaker", SpeakerEncoder, ENCODER)
    sizes = {**FRAMES, **SIZES, "num_speakers": len(SPEAKERS)}
    notes = {"speakers": SPEAKERS, "speaker_encoder": "20_speaker"}
    notes |= {"speaker_encoder_sha256": encoder_hash(run)}
    save_part(run / "21_acoustic", "acoustic", AcousticModel, sizes, **notes)
    vocoder = {**FRAMES, "width": 16, "inner_width": 32, "num_layers": 2}
    save_part(run / "22_vocoder", "vocoder", Vocos, vocoder)
    return run


def sound(number: int, seconds: float = 2.0) -> torch.Tensor:
    """Harmonics of a voice that goes up and down, each time otherwise."""
    time = torch.arange(round(16_000 * seconds)) / 16_000
    phase = 2 * torch.pi * (180 + 5 * number) * time + 3 * torch.sin(2 * torch.pi * 3 * time)
    loud = 0.6 + 0.4 * torch.sin(2 * torch.pi * (2 + 0.1 * number) * time)
    return 0.1 * loud * sum(torch.sin(k * phase) / k for k in range(1, 9))


def recordings(num: int = 16, seconds: float = 2.0) -> list[Clip]:
    """Some recordings, thirty-two seconds of them."""
    return [Clip(TEXTS[n % len(TEXTS)], encode_flac(sound(n, seconds))) for n in range(num)]


def recipe(way: str = "lora", max_steps: int = 3, **model: Any) -> Recipe:
    """A few steps of a way: low-rank changes, the vector alone, or all of the model."""
    arguments = {"optim": OPTIM, "own_voice": True, "dropped": 0.0, **model}
    if way == "lora":
        arguments["lora"] = LORA
    elif way == "embedding":
        arguments["freeze"] = [r"^acoustic\.(?!speakers)"]
    return Recipe(arguments, {"max_steps": max_steps, "precision": "32-true"}, BUDGET)
