"""Speaker encoders that others have trained: x-vectors over WavLM, wav2vec 2.0 and their kin, from a local folder.

The model is transformers' own. Clips go through it one by one: its group norm, and its pooling of padded batches, would
let a clip's neighbours change its vector.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.hub import checkpoint_folder
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.speaker import SpeakerEmbedder

_HEAD = ("objective.", "classifier.")
"""Tells the speakers of its training apart; nobody asks for them."""


class PretrainedSpeaker(SpeakerEmbedder):
    """An x-vector checkpoint (`WavLMForXVector`, `Wav2Vec2ForXVector` and their kin), frozen.

    Args:
        folder: A Hugging Face folder with safetensors, or a Hub id.

    Raises:
        InputError: A file is missing or a pickle, the model gives no x-vectors or is of another sample rate, or its
            weights are not all there.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        from transformers import AutoModelForAudioXVector

        place = checkpoint_folder(folder)
        self.is_normalised = _is_normalised(place)
        try:
            # `output_loading_info` gives a pair, which the annotations do not say.
            loaded: Any = AutoModelForAudioXVector.from_pretrained(
                place, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            remedy = "give the folder of such a checkpoint, its weights as safetensors"
            found = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(place, found=found, wanted="an x-vector model", remedy=remedy) from error
        self.backbone, report = loaded
        missing = sorted(name for name in report["missing_keys"] if not name.startswith(_HEAD))
        if missing:
            remedy = "give a checkpoint that was trained to tell speakers apart, not its encoder alone"
            found = f"no {', '.join(missing[:3])} ({len(missing)} tensors)"
            raise InputError(place, field="weights", found=found, wanted="every tensor", remedy=remedy)
        self.backbone.requires_grad_(False).eval()
        self.embed_size = int(self.backbone.config.xvector_output_dim)

    def train(self, mode: bool = True) -> PretrainedSpeaker:
        """Stay as it is: dropout would blur a frozen encoder."""
        return super().train(False)

    def embed(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Return unit vectors (b e) as `SpeakerEmbedder.embed` says."""
        least = self._least_samples()
        vectors = []
        for waveform, length in zip(waveforms, num_samples.tolist(), strict=True):
            if length < least:
                raise ValueError(f"a clip of {length} samples: this encoder needs {least} or more")
            clip = waveform[:length]
            if self.is_normalised:
                clip = (clip - clip.mean()) / (clip.var(unbiased=False) + 1e-7).sqrt()
            vectors.append(self.backbone(clip[None]).embeddings[0])
        return F.normalize(torch.stack(vectors).float(), dim=-1)

    def _least_samples(self) -> int:
        """Return the samples of which two frames are left in the end: a deviation needs two."""
        config, frames = self.backbone.config, 2
        for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True):
            frames += dilation * (kernel - 1)
        for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
            frames = (frames - 1) * stride + kernel
        return frames


def _is_normalised(folder: Path) -> bool:
    """Return whether clips are brought to a mean of 0 and a variance of 1, as preprocessor_config.json says."""
    path = folder / "preprocessor_config.json"
    remedy = "copy the folder again, whole"
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        found = "no such file" if isinstance(error, OSError) else error
        raise InputError(path, found=found, wanted="how clips are taken", remedy=remedy) from error
    if content.get("sampling_rate", SAMPLE_RATE_HZ) != SAMPLE_RATE_HZ:
        found, wanted = content["sampling_rate"], f"{SAMPLE_RATE_HZ} Hz"
        raise InputError(path, field="sampling_rate", found=found, wanted=wanted, remedy="take another")
    if "do_normalize" not in content:
        raise InputError(path, field="do_normalize", found=None, wanted="true or false", remedy=remedy)
    return bool(content["do_normalize"])
