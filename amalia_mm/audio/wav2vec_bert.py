"""w2v-BERT 2.0, a Conformer that heard 143 languages."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertSelfAttention

from amalia_mm.audio.architecture import Kind, transformers_config
from amalia_mm.audio.geometry import LengthStage, is_frame
from amalia_mm.audio.kaldi_mel import KaldiMel
from amalia_mm.audio.pretrained import Dtype, Hidden, PretrainedEncoder, attended, only_frames
from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.units import SAMPLE_RATE_HZ


class Wav2VecBert(PretrainedEncoder):
    """Kaldi's log-mel, two frames stacked, a Conformer: a frame every 20 ms.

    Args:
        config: A Hugging Face folder, a Hub id, or the content of a config.json with `num_mel_bins` and `stride`.
        layer_mix: A learned mixture of the hidden frames of all layers, in place of the last ones.
        lora: Low-rank changes to train in place of the encoder's own weights; a model folder has them merged.
        dtype: The type of the weights: float32 to train them.

    Source:
        Barrault et al. 2023, "Seamless", arXiv 2312.05187, section 3.2.1.
    """

    kind = Kind(
        model_type="wav2vec2-bert",
        config=Wav2Vec2BertConfig,
        sizes=(
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
            *("layer_norm_eps", "feature_projection_input_dim", "conv_depthwise_kernel_size"),
            *("left_max_position_embeddings", "right_max_position_embeddings"),
        ),
        dropouts=(
            *("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout"),
            "conformer_conv_dropout",
        ),
        only={
            "position_embeddings_type": ("relative_key",),
            "add_adapter": (False,),
            "use_intermediate_ffn_before_adapter": (False,),
        },
        hearing=("num_mel_bins", "stride"),
        hearing_only={"sampling_rate": (SAMPLE_RATE_HZ,)},
    )
    prefixes = ("wav2vec2_bert.", "")
    aside = ("wav2vec2_bert.masked_spec_embed", "masked_spec_embed", "lm_head.")
    title: ClassVar[str] = "a w2v-BERT 2.0 encoder"

    def __init__(
        self,
        config: str | dict[str, Any],
        layer_mix: bool = False,
        lora: LoraConfig | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__(config, layer_mix, lora, dtype)
        sizes = self.architecture
        self.width = sizes["hidden_size"]
        self.stride: int = sizes["stride"]
        self.features = KaldiMel(sizes["num_mel_bins"])
        if sizes["num_mel_bins"] * self.stride != sizes["feature_projection_input_dim"]:
            raise InputError(
                "encoder.config",
                field="num_mel_bins",
                found=f"{sizes['num_mel_bins']} bins of {self.stride} frames",
                wanted=f"{sizes['feature_projection_input_dim']} together (feature_projection_input_dim)",
                remedy="copy config.json and preprocessor_config.json again, from one checkpoint",
            )

    def build(self) -> nn.Module:
        """Return w2v-BERT 2.0, its attention computed by torch's fused kernel."""
        model = Wav2Vec2BertModel(transformers_config(self.architecture, self.kind))
        for layer in model.encoder.layers:
            layer.self_attn = DistanceAttention(layer.get_submodule("self_attn"))
        return model

    @property
    def num_layers(self) -> int:
        """How many layers the frames go through."""
        return self.architecture["num_hidden_layers"]

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """How samples become frames: the features, then as many of them as are stacked."""
        return (*self.features.stages, LengthStage(kernel=self.stride, stride=self.stride))

    def before(self, waveforms: Tensor, num_samples: Tensor) -> Hidden:
        """Return the stacked features, as wide as the layers."""
        mel, num_mel_frames = self.features(waveforms, num_samples)
        whole = mel[:, : mel.shape[1] // self.stride * self.stride]
        stacked = rearrange(whole, "k (f s) m -> k f (s m)", s=self.stride)
        num_frames = self.stages[1].lengths(num_mel_frames)
        frames = only_frames(self.backbone.feature_projection(stacked.to(self.dtype)))
        valid = is_frame(num_frames, frames.shape[1])
        frames = frames.masked_fill(~valid[..., None], 0.0)
        given = {"attention_mask": attended(num_frames, frames.shape[1]), "conv_attention_mask": valid}
        return Hidden(self.backbone.encoder.dropout(frames), num_frames, given)

    def through(self, number: int, hidden: Hidden) -> Tensor:
        """Return the frames (k f e) behind a layer."""
        return only_frames(self.backbone.encoder.layers[number](hidden.frames, **hidden.given))


class DistanceAttention(Wav2Vec2BertSelfAttention):
    """Attention with a learned key for every distance (Shaw et al. 2018), through `scaled_dot_product_attention`.

    A query meets each of the distances once, 73 of them. transformers makes a vector for every pair of frames, 576 MB
    in every layer for 30 s (1,500 x 1,500 vectors of 64).
    """

    def __init__(self, theirs: nn.Module) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(theirs.__dict__)  # the same parameters: nothing is drawn twice

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        relative_position_embeddings: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, None]:
        """Return frames (k f e), and no weights."""
        query, key, value = (
            rearrange(project(hidden_states), "k f (h e) -> k h f e", h=self.num_heads)
            for project in (self.linear_q, self.linear_k, self.linear_v)
        )
        left, right = self.left_max_position_embeddings, self.right_max_position_embeddings
        place = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        distance = (place[None] - place[:, None]).clamp(-left, right) + left
        by_distance = query @ self.distance_embedding.weight.to(query.dtype).T * self.head_size**-0.5
        bias = by_distance.gather(3, distance.expand(*query.shape[:2], *distance.shape))
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask, float("-inf"))
        dropout = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.linear_out(rearrange(mixed, "k h f e -> k f (h e)")), None
