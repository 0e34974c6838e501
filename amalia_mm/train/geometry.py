"""The audio geometry of a model that is not built yet."""

from __future__ import annotations

from collections.abc import Callable

import torch

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.fusion.projectors import Projector
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.units import SAMPLE_RATE_HZ


def geometry_of(
    build_encoder: Callable[[], AudioEncoder],
    build_projector: Callable[[int, DecoderConfig], Projector],
    decoder: DecoderConfig,
) -> AudioGeometry:
    """Return the geometry of encoder and projector, built on the meta device: no weight is allocated."""
    with torch.device("meta"):
        encoder = build_encoder()
        projector = build_projector(encoder.width, decoder)
    stages = (*encoder.stages, *projector.stages)
    return AudioGeometry(SAMPLE_RATE_HZ, encoder.pad_to_samples, stages, max_samples=encoder.max_samples)
