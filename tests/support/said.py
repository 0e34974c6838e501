"""A little synthetic speech for tests that mark and sign it."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TRAIN_VOICES
from amalia_mm.units import SAMPLE_RATE_HZ


@lru_cache
def spoken_clips() -> tuple[Tensor, ...]:
    """Three clips of 4 s at 16 kHz: four sentences each, by three voices of the synthesiser."""
    sentences = (
        "Bom dia, queria um café e um pastel de nata, por favor.",
        "Amanhã de manhã vou ao médico com a minha irmã.",
        "Fecha a janela, que está a entrar muito frio.",
        "O comboio para o Porto parte às nove horas e um quarto.",
    )
    with Speaker() as speaker:
        said = [
            torch.cat([speaker.speak(Utterance(text, voice)) for text in sentences])
            for voice in TRAIN_VOICES[:3]
        ]
    return tuple(clip[: 4 * SAMPLE_RATE_HZ] for clip in said)
