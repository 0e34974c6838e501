"""Encoders that read the waveform itself: HuBERT, WavLM, and wav2vec 2.0, from which they descend."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from amalia_mm.audio.architecture import Kind, transformers_config
from amalia_mm.audio.geometry import LengthStage, is_frame
from amalia_mm.audio.pretrained import Dtype, Hidden, PretrainedEncoder, attended, only_frames
from amalia_mm.audio.standardised import standardised
from amalia_mm.lora import LoraConfig
from amalia_mm.units import SAMPLE_RATE_HZ

_SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *(
        "layer_norm_eps",
        "feat_extract_norm",
        "feat_extract_activation",
        "conv_dim",
        "conv_kernel",
        "conv_stride",
    ),
    *("conv_bias", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "do_stable_layer_norm"),
)
_DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout")
_HEARING: dict[str, Any] = {
    "hearing": ("do_normalize",),
    "hearing_only": {"sampling_rate": (SAMPLE_RATE_HZ,), "feature_size": (1,)},
}


class WaveformEncoder(PretrainedEncoder):
    """Convolutions without padding over the waveform, a convolution for position, a transformer: a frame every 20 ms.

    Args:
        config: A Hugging Face folder, a Hub id, or the content of a config.json with `do_normalize`.
        layer_mix: A learned mixture of the hidden frames of all layers, in place of the last ones.
        lora: Low-rank changes to train in place of the encoder's own weights; a model folder has them merged.
        dtype: The type of the weights: float32 to train them.

    Source:
        Baevski et al. 2020, "wav2vec 2.0", arXiv 2006.11477, section 2.
    """

    def __init__(
        self,
        config: str | dict[str, Any],
        layer_mix: bool = False,
        lora: LoraConfig | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__(config, layer_mix, lora, dtype)
        self.width = self.architecture["hidden_size"]
        self.is_pre_norm: bool = self.architecture["do_stable_layer_norm"]
        self.is_group_norm: bool = self.architecture["feat_extract_norm"] == "group"

    @property
    def num_layers(self) -> int:
        """How many layers the frames go through."""
        return self.architecture["num_hidden_layers"]

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """How samples become frames: the convolutions, 400 samples to the first frame."""
        windows = zip(self.architecture["conv_kernel"], self.architecture["conv_stride"], strict=True)
        return tuple(LengthStage(kernel, stride) for kernel, stride in windows)

    def before(self, waveforms: Tensor, num_samples: Tensor) -> Hidden:
        """Return the frames of the convolutions with their positions."""
        heard = waveforms.masked_fill(~is_frame(num_samples, waveforms.shape[1]), 0.0)
        if self.architecture["do_normalize"]:
            heard = standardised(heard, num_samples, dim=1, eps=1e-7)
        frames, num_frames = rearrange(heard, "k n -> k 1 n").to(self.dtype), num_samples
        for number, (convolution, stage) in enumerate(
            zip(self.backbone.feature_extractor.conv_layers, self.stages, strict=True)
        ):
            # Without padding of their own, no frame of a clip sees what lies beyond its end.
            num_frames = stage.lengths(num_frames)
            if number == 0 and self.is_group_norm:
                frames = _normed_over_the_clip(convolution, frames, num_frames)
            else:
                frames = convolution(frames)
        frames = only_frames(self.backbone.feature_projection(rearrange(frames, "k e f -> k f e")))
        frames = frames.masked_fill(~is_frame(num_frames, frames.shape[1])[..., None], 0.0)
        encoder = self.backbone.encoder
        frames = frames + encoder.pos_conv_embed(frames)
        if not self.is_pre_norm:
            frames = encoder.layer_norm(frames)
        mask = attended(num_frames, frames.shape[1])
        return Hidden(encoder.dropout(frames), num_frames, {"attention_mask": mask})

    def through(self, number: int, hidden: Hidden) -> Tensor:
        """Return the frames (k f e) behind a layer."""
        return only_frames(self.backbone.encoder.layers[number](hidden.frames, **hidden.given))

    def after(self, frames: Tensor) -> Tensor:
        """Return the frames behind the last norm, where the layers begin with one."""
        return self.backbone.encoder.layer_norm(frames) if self.is_pre_norm else frames


class Wav2Vec2(WaveformEncoder):
    """wav2vec 2.0 and what was trained like it, such as XLS-R; see `WaveformEncoder`."""

    kind = Kind(
        model_type="wav2vec2",
        config=Wav2Vec2Config,
        sizes=_SIZES,
        dropouts=_DROPOUTS,
        only={"add_adapter": (False,), "adapter_attn_dim": (None,)},
        **_HEARING,
    )
    prefixes = ("wav2vec2.", "")
    aside = ("wav2vec2.masked_spec_embed", "masked_spec_embed", "lm_head.")
    title: ClassVar[str] = "a wav2vec 2.0 encoder"

    def build(self) -> nn.Module:
        """Return wav2vec 2.0 without its quantiser."""
        return Wav2Vec2Model(transformers_config(self.architecture, self.kind))


class Hubert(WaveformEncoder):
    """HuBERT, base and larger; see `WaveformEncoder`.

    Source:
        Hsu et al. 2021, "HuBERT", arXiv 2106.07447.
    """

    kind = Kind(
        model_type="hubert",
        config=HubertConfig,
        sizes=(*_SIZES, "feat_proj_layer_norm"),
        dropouts=_DROPOUTS,
        only={"conv_pos_batch_norm": (False,), "adapter_attn_dim": (None,)},
        **_HEARING,
    )
    prefixes = ("hubert.", "")
    aside = ("hubert.masked_spec_embed", "masked_spec_embed", "lm_head.")
    title: ClassVar[str] = "a HuBERT encoder"

    def build(self) -> nn.Module:
        """Return HuBERT."""
        return HubertModel(transformers_config(self.architecture, self.kind))


class WavLM(WaveformEncoder):
    """WavLM, base and large; see `WaveformEncoder`.

    Source:
        Chen et al. 2021, "WavLM", arXiv 2110.13900.
    """

    kind = Kind(
        model_type="wavlm",
        config=WavLMConfig,
        sizes=(*_SIZES, "num_buckets", "max_bucket_distance"),
        dropouts=_DROPOUTS,
        only={"add_adapter": (False,)},
        **_HEARING,
    )
    prefixes = ("wavlm.", "")
    aside = ("wavlm.masked_spec_embed", "masked_spec_embed", "lm_head.")
    title: ClassVar[str] = "a WavLM encoder"

    def build(self) -> nn.Module:
        """Return WavLM, its attention computed by torch's fused kernel."""
        model = WavLMModel(transformers_config(self.architecture, self.kind))
        for layer in model.encoder.layers:
            layer.attention = GatedAttention(layer.get_submodule("attention"))
        return model

    def through(self, number: int, hidden: Hidden) -> Tensor:
        """Return the frames (k f e) behind a layer; the first one's bias by distance serves all."""
        layer = self.backbone.encoder.layers[number]
        frames, hidden.given["position_bias"] = layer(hidden.frames, **hidden.given)[:2]
        return frames


class GatedAttention(WavLMAttention):
    """WavLM's attention with a gated bias by distance (section 3.1), through `scaled_dot_product_attention`.

    transformers' own reads the matrices without calling the maps, so that low-rank changes would do nothing, and keeps
    every weight of every head.
    """

    def __init__(self, theirs: nn.Module) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(theirs.__dict__)  # the same parameters: nothing is drawn twice

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        index: int = 0,
        output_attentions: bool = False,
    ) -> tuple[Tensor, None, Tensor]:
        """Return frames (k f e), no weights, and the bias (h f f) for the layers that follow."""
        if position_bias is None:
            position_bias = self.compute_bias(hidden_states.shape[1], hidden_states.shape[1])
        heads = rearrange(hidden_states, "k f (h e) -> k h f e", h=self.num_heads)
        gates = rearrange(self.gru_rel_pos_linear(heads), "k h f (two e) -> k h f two e", two=2).sum(dim=-1)
        update, reset = gates.sigmoid().chunk(2, dim=-1)
        bias = (update * (reset * self.gru_rel_pos_const - 1.0) + 2.0) * position_bias
        query, key, value = (
            rearrange(project(hidden_states), "k f (h e) -> k h f e", h=self.num_heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = bias.to(query.dtype)
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask, float("-inf"))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(rearrange(mixed, "k h f e -> k f (h e)")), None, position_bias


def _normed_over_the_clip(layer: Any, frames: Tensor, num_frames: Tensor) -> Tensor:
    """Return the first convolution of a base model, each channel normed over the clip's own frames.

    Its GroupNorm takes mean and variance over time: over the padding, too, if it were called as it is.
    """
    convolved = layer.conv(frames)
    with torch.autocast(frames.device.type, enabled=False):
        norm = layer.layer_norm
        standard = standardised(convolved.float(), num_frames, dim=2, eps=norm.eps)
        normed = standard * norm.weight[:, None] + norm.bias[:, None]
    return layer.activation(normed.to(convolved.dtype))
