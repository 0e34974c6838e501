"""What the data must know of a model that is not built yet: its audio geometry, and what its CTC classes write."""

from __future__ import annotations

from collections.abc import Callable

import torch

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.fusion.projectors import (
    BuildProjector,
    Projector,
    geometry_between,
    own_vocabulary,
    projector_between,
)
from amalia_mm.text.decoder import DecoderConfig


def geometry_of(
    build_encoder: Callable[[], AudioEncoder], build_projector: BuildProjector, decoder: DecoderConfig
) -> AudioGeometry:
    """Return the geometry of encoder and projector, built on the meta device: no weight is allocated."""
    return geometry_between(*_weightless(build_encoder, build_projector, decoder))


def ctc_tokens_of(
    build_encoder: Callable[[], AudioEncoder], build_projector: BuildProjector, decoder: DecoderConfig
) -> dict[str, int] | None:
    """Return what the classes of a projector's own CTC vocabulary write, with their tokens; None where it has none."""
    _, projector = _weightless(build_encoder, build_projector, decoder)
    vocabulary = own_vocabulary(projector)
    return None if vocabulary is None else dict(vocabulary.tokens)


def _weightless(
    build_encoder: Callable[[], AudioEncoder], build_projector: BuildProjector, decoder: DecoderConfig
) -> tuple[AudioEncoder, Projector]:
    with torch.device("meta"):
        encoder = build_encoder()
        return encoder, projector_between(encoder, build_projector, decoder)
