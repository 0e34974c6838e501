"""Whisper's encoder, of any size and any fine-tuning: OpenAI's, CAMÕES'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder as Layers

from amalia_mm.audio.architecture import Kind, transformers_config
from amalia_mm.audio.features import HOP_SAMPLES, LogMel
from amalia_mm.audio.geometry import LengthStage, is_frame
from amalia_mm.audio.pretrained import Dtype, Hidden, PretrainedEncoder, attended, only_frames
from amalia_mm.lora import LoraConfig
from amalia_mm.units import SAMPLE_RATE_HZ

Window = Literal["padded", "trimmed", "unpadded"]


class Whisper(PretrainedEncoder):
    """Log-mel, two convolutions, a transformer: a frame every 20 ms.

    It was trained on windows of 30 s, silence to the end. Without the silence French lost half a point of word error
    rate and English nothing (Voxtral, arXiv 2507.13264). No clip may be longer than the window.

    Args:
        config: A Hugging Face folder, a Hub id, or the content of a config.json.
        window: `padded`: every clip is filled up, and the whole window given, 1,500 frames of 30 s. `trimmed`: the
            layers hear the same, and only the frames of the clip itself are given. `unpadded`: they hear the clip
            alone, which costs less time and some accuracy.
        layer_mix: A learned mixture of the hidden frames of all layers, in place of the last ones.
        lora: Low-rank changes to train in place of the encoder's own weights; a model folder has them merged.
        dtype: The type of the weights: float32 to train them.

    Source:
        Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv 2212.04356.
    """

    kind = Kind(
        model_type="whisper",
        config=WhisperConfig,
        sizes=(
            *("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins"),
            *("max_source_positions", "activation_function"),
        ),
        dropouts=("dropout", "attention_dropout", "activation_dropout"),
        hearing_only={
            "sampling_rate": (SAMPLE_RATE_HZ,),
            "hop_length": (HOP_SAMPLES,),
            "n_fft": (400,),
            "dither": (0.0,),
        },
        hearing_as={"feature_size": "num_mel_bins"},
    )
    prefixes = ("model.encoder.", "encoder.", "")
    aside = ("model.decoder.", "decoder.", "proj_out.")
    title: ClassVar[str] = "a Whisper encoder"

    def __init__(
        self,
        config: str | dict[str, Any],
        window: Window = "padded",
        layer_mix: bool = False,
        lora: LoraConfig | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__(config, layer_mix, lora, dtype)
        self.width = self.architecture["d_model"]
        self.features = LogMel(self.architecture["num_mel_bins"])
        # Two mel frames give one position of the table, whose length bounds the clip.
        self.window_samples = 2 * HOP_SAMPLES * self.architecture["max_source_positions"]
        self.window: Window = window
        self.pad_to_samples = self.window_samples if window == "padded" else None
        self.max_samples = None if window == "padded" else self.window_samples

    def build(self) -> nn.Module:
        """Return Whisper's encoder without its decoder."""
        layers = Layers(transformers_config(self.architecture, self.kind))
        # transformers leaves the table of positions out of training: one that starts from nothing must keep it.
        return layers.requires_grad_(True)

    @property
    def num_layers(self) -> int:
        """How many layers the frames go through."""
        return self.architecture["encoder_layers"]

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """How samples become frames: the features, then two convolutions."""
        convolutions = (self.backbone.conv1, self.backbone.conv2)
        return (*self.features.stages, *(_stage(convolution) for convolution in convolutions))

    def forward(
        self, waveforms: Tensor, num_samples: Tensor, clip_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features (k f e) float32 and num_frames (k), as `PretrainedEncoder.forward` says."""
        features, num_frames = super().forward(waveforms, num_samples, clip_seeds)
        if self.window == "trimmed":
            features = features[:, : int(num_frames.max())]
        return features, num_frames

    def mel(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the layers hear: log-mel (k m f) of clips, or of the windows they begin, and num_frames (k)."""
        heard = waveforms[:, : self.window_samples]  # beyond it lies padding alone
        if self.window == "unpadded":
            return self.features(heard, num_samples)
        heard = F.pad(heard, (0, self.window_samples - heard.shape[1]))
        heard = heard.masked_fill(~is_frame(num_samples, self.window_samples), 0.0)
        return self.features(heard, torch.full_like(num_samples, self.window_samples))

    def before(self, waveforms: Tensor, num_samples: Tensor) -> Hidden:
        """Return the frames of the convolutions with their positions."""
        mel, num_frames = self.mel(waveforms, num_samples)
        frames = mel.to(self.dtype)
        for convolution, stage in zip(
            (self.backbone.conv1, self.backbone.conv2), self.stages[1:], strict=True
        ):
            frames, num_frames = F.gelu(convolution(frames)), stage.lengths(num_frames)
            # A convolution must find zeros, as beyond the edge, where a shorter clip of the batch has ended.
            frames = frames.masked_fill(~is_frame(num_frames, frames.shape[2])[:, None], 0.0)
        frames = rearrange(frames, "k e f -> k f e")
        frames = frames + self.backbone.embed_positions.weight[: frames.shape[1]]
        frames = F.dropout(frames, self.backbone.dropout, self.backbone.training)
        mask = attended(num_frames, frames.shape[1]) if self.window == "unpadded" else None
        if self.window == "trimmed":
            num_frames = num_samples
            for stage in self.stages:
                num_frames = stage.lengths(num_frames)
        return Hidden(frames, num_frames, {"attention_mask": mask})

    def through(self, number: int, hidden: Hidden) -> Tensor:
        """Return the frames (k f e) behind a layer."""
        return only_frames(self.backbone.layers[number](hidden.frames, **hidden.given))

    def after(self, frames: Tensor) -> Tensor:
        """Return the frames behind the last norm."""
        return self.backbone.layer_norm(frames)


def _stage(convolution: nn.Conv1d) -> LengthStage:
    padding = int(convolution.padding[0])
    return LengthStage(convolution.kernel_size[0], convolution.stride[0], padding, padding)
