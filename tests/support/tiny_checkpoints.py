"""Checkpoints of every class of pretrained encoder, tiny, with weights large enough that a wrong mask or head shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from amalia_mm.audio.pretrained import PretrainedEncoder
from amalia_mm.audio.wav2vec import Hubert, Wav2Vec2, WavLM
from amalia_mm.audio.wav2vec_bert import Wav2VecBert
from amalia_mm.audio.whisper import Whisper

IDS = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1}
WHISPER: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 64,
    **IDS,
}
LAYERS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    **dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout"), 0.0),
}
WAVEFORM: dict[str, Any] = {
    **LAYERS,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
CASES = {
    "whisper 80": (Whisper, WhisperForConditionalGeneration, WhisperConfig, {**WHISPER, "num_mel_bins": 80}),
    "whisper 128": (
        Whisper,
        WhisperForConditionalGeneration,
        WhisperConfig,
        {**WHISPER, "num_mel_bins": 128},
    ),
    "w2v-bert": (
        Wav2VecBert,
        Wav2Vec2BertModel,
        Wav2Vec2BertConfig,
        {**LAYERS, "conformer_conv_dropout": 0.0},
    ),
    "hubert base": (Hubert, HubertModel, HubertConfig, {**WAVEFORM, **BASE}),
    "hubert large": (Hubert, HubertModel, HubertConfig, {**WAVEFORM, **LARGE, "conv_bias": True}),
    "wavlm base": (WavLM, WavLMModel, WavLMConfig, {**WAVEFORM, **BASE, "max_bucket_distance": 40}),
    "wavlm large": (WavLM, WavLMModel, WavLMConfig, {**WAVEFORM, **LARGE, "max_bucket_distance": 40}),
    "wav2vec2 large": (Wav2Vec2, Wav2Vec2Model, Wav2Vec2Config, {**WAVEFORM, **LARGE, "conv_bias": True}),
}
"""Title -> our class, transformers' class, its configuration's class, the sizes."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder, what is in it, and our class for it."""

    folder: Path
    kind: type[PretrainedEncoder]
    model: Any
    extractor: Any

    def encoder(self, **arguments: Any) -> PretrainedEncoder:
        """Our encoder with the folder's weights, in evaluation mode."""
        encoder = self.kind(str(self.folder), **arguments)
        encoder.load_checkpoint(self.folder)
        return encoder.eval()

    def inputs(self, clip: Tensor) -> Any:
        """What transformers' own feature extractor makes of one clip."""
        with torch.autocast("cpu", enabled=False):
            return self.extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt")

    def theirs(self, clip: Tensor, **options: Any) -> Any:
        """What transformers' own pipeline gives for one clip alone; `last_hidden_state` is (1 f e)."""
        inputs = self.inputs(clip)
        model = self.model.model.encoder if self.kind is Whisper else self.model
        output = model(**inputs, **options)
        if self.kind is Wav2VecBert:
            # A last mel frame without a second one is stacked with padding, and masked.
            size = int(inputs["attention_mask"].sum())
            output.last_hidden_state = output.last_hidden_state[:, :size]
        return output


def write_checkpoint(folder: Path, title: str, **changes: Any) -> Checkpoint:
    """Write the checkpoint of a case, with changes of its sizes."""
    kind, model_class, config_class, sizes = CASES[title]
    torch.manual_seed(7)
    model = model_class(config_class(**{**sizes, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("encoder.embed_positions.weight"):
                is_gain = parameter.ndim == 1 and name.endswith("norm.weight")
                parameter.copy_(0.15 * torch.randn_like(parameter) + float(is_gain))
    if kind is Whisper:
        extractor: Any = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    elif kind is Wav2VecBert:
        extractor = SeamlessM4TFeatureExtractor(padding_value=1)
    else:
        # transformers masks the padding of large models only; base ones hear a clip alone.
        extractor = Wav2Vec2FeatureExtractor(do_normalize=title != "wavlm base", return_attention_mask=True)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return Checkpoint(Path(folder), kind, model, extractor)


def batch_of(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Noise of some lengths with a slow swell: waveforms (k n), num_samples (k), and the clips."""
    generator = torch.Generator().manual_seed(seed)
    clips = [
        0.1 * torch.randn(length, generator=generator) * torch.linspace(0.2, 1.0, length)
        for length in lengths
    ]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(lengths), clips
