"""What SpecAugment leaves of a clip: its mel frames with their masks, and a sound made of such frames.

An encoder masks what it hears and no waveform, so a sound of it has to be found: by the mel filters turned round and
phases after Griffin and Lim. Frames without masks made into sound the same way tell what of it is the masks' doing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.features import HOP_SAMPLES, WINDOW_SAMPLES, LogMel, mel_filters
from amalia_mm.audio.spec_augment import SpecAugment
from amalia_mm.model_config import build_part, fitting

NUM_MELS = 80


def spec_augment_of(content: Mapping[str, Any], where: str) -> SpecAugment | None:
    """Return the masks of a recipe's encoder, or of an encoder's own YAML; None where it has none.

    Raises:
        InputError: There is an encoder that masks, but it cannot be built.
    """
    model = content.get("model")
    inside = model.get("init_args") if isinstance(model, Mapping) else None
    spec = inside.get("encoder") if isinstance(inside, Mapping) else content
    if not isinstance(spec, Mapping):
        return None
    arguments = spec.get("init_args") or {}
    if not any(arguments.get(name) for name in ("num_time_masks", "num_frequency_masks")):
        return None
    with torch.device("meta"), fitting(where, "encoder"):
        encoder = build_part(spec, AudioEncoder, where)()
    return next((part for part in encoder.modules() if isinstance(part, SpecAugment)), None)


def mel_of(waveform: Tensor) -> Tensor:
    """Return the log-mel (m f) of a clip (n), as encoders hear it."""
    mel, _ = LogMel(NUM_MELS)(waveform[None], torch.tensor([len(waveform)]))
    return mel[0]


def masked(mel: Tensor, masks: SpecAugment, seeds: range) -> Iterator[Tensor]:
    """Yield log-mel (m f) with the masks of each seed: what is hidden is the mean of its band, the 0 of encoders."""
    num_frames = torch.tensor([mel.shape[1]])
    mean = mel.mean(dim=1, keepdim=True)
    for seed in seeds:
        is_seen = masks(torch.ones_like(mel)[None], num_frames, (seed,))[0] > 0
        yield torch.where(is_seen, mel, mean)


def sound_of(mel: Tensor, num_iterations: int = 32) -> Tensor:
    """Return a waveform (n) with the log-mel (m f), 160 samples a frame; the same frames give the same."""
    # Imported here: torchaudio loads its own libraries, which only this needs.
    from torchaudio.functional import griffinlim

    power = 10.0 ** (4.0 * mel - 4.0)
    filters = torch.linalg.pinv(mel_filters(len(mel), mel.device).double()).float()
    spectrum = (filters @ torch.cat([power, power[:, -1:]], dim=1)).clamp(min=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return griffinlim(
            spectrum[None],
            window=torch.hann_window(WINDOW_SAMPLES),
            n_fft=WINDOW_SAMPLES,
            hop_length=HOP_SAMPLES,
            win_length=WINDOW_SAMPLES,
            power=2.0,
            n_iter=num_iterations,
            momentum=0.99,
            length=mel.shape[1] * HOP_SAMPLES,
            rand_init=True,
        )[0]
