"""What a run beside a large decoder takes: memory of one GPU, time of an epoch, worked out from the sizes of a recipe.

The parts are built on the meta device, so nothing is allocated. The time is that of the multiplications; reading the
data comes beside it, and decides where an adapter alone is trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.errors import InputError
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.model_config import build_model
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.train.freeze import freeze
from amalia_mm.units import seconds_to_samples

H100_FLOP_PER_S = 989e12
"""Dense bf16, of NVIDIA's data sheet; `mfu` is what of it a run reaches."""
TEXT_TOKENS_PER_S = 3.5
"""Of a transcript, for each second of speech."""
CHUNK_LOGITS = 2**25
"""As many as the losses make at once, by default."""
USABLE = 0.9
"""What of a GPU's memory a batch may fill; the rest is for fragments and libraries."""
_FLOAT = 4


@dataclass(frozen=True)
class Machine:
    """The GPUs.

    Args:
        num_gpus: How many.
        gigabytes: Memory of each.
        mfu: The part of `H100_FLOP_PER_S` that is reached.
    """

    num_gpus: int = 1
    gigabytes: float = 80.0
    mfu: float = 0.4

    def __post_init__(self) -> None:
        for name, value, holds, wanted in (
            ("gpus", self.num_gpus, self.num_gpus >= 1, "at least 1"),
            ("gigabytes", self.gigabytes, 0 < self.gigabytes < math.inf, "a number above 0"),
            ("mfu", self.mfu, 0 < self.mfu <= 1, "above 0 and at most 1"),
        ):
            if not holds:
                raise InputError(f"--{name}", found=value, wanted=wanted, remedy="correct it")


@dataclass(frozen=True)
class Cost:
    """What is trained, and what it takes."""

    num_trained: int
    num_frozen: int
    audio_tokens_per_s: float
    weights_gb: float
    """Of all parts, as they are kept on each GPU."""
    training_gb: float
    """Gradients and two moments of what is trained, in float32."""
    gb_per_audio_s: float
    """What the decoder keeps for the way back, for each second of audio in a GPU's batch."""
    audio_s_per_gpu: float
    """Seconds of audio that a GPU's batch has room for."""
    teraflop_per_audio_s: float
    seconds_per_hour: float
    """To train on an hour of audio once, with all GPUs."""

    def lines(self, hours: float) -> list[str]:
        """Return the figures for people; an epoch has `hours` of audio."""
        return [
            f"trained: {self.num_trained:,} parameters; frozen: {self.num_frozen:,}",
            f"audio: {self.audio_tokens_per_s:.2f} decoder positions a second",
            f"weights: {self.weights_gb:.1f} GB, gradients and moments {self.training_gb:.2f} GB, on each GPU",
            f"activations: {1000 * self.gb_per_audio_s:.0f} MB for a second of audio;"
            f" room for {self.audio_s_per_gpu:.0f} s in the batch of a GPU",
            f"compute: {self.teraflop_per_audio_s:.3f} TFLOP for a second of audio",
            f"time: {self.seconds_per_hour * hours / 60:.1f} minutes for {hours:g} hours of audio",
        ]


def model_of(recipe: Mapping[str, Any], where: str) -> SpeechTextModel:
    """Return the model of a recipe of `Understanding` on the meta device, with what it trains left to be trained.

    Raises:
        InputError: It has no decoder, encoder or projector, or a part cannot be built.
    """
    arguments = (recipe.get("model") or {}).get("init_args") or {}
    for part in ("decoder", "encoder", "projector"):
        if not arguments.get(part):
            remedy = "give a recipe such as recipes/11_align/recipe.yaml"
            raise InputError(where, field=part, found="none", wanted="a recipe that hears", remedy=remedy)
    with torch.device("meta"):
        model = build_model(arguments, where)
    if arguments.get("lora"):
        for name, parameter in model.decoder.named_parameters():
            parameter.requires_grad_(".lora_" in name)
    freeze(model, arguments.get("freeze") or [])
    return model


def cost_of(
    model: SpeechTextModel, machine: Machine, *, is_distilled: bool = False, clip_s: float = 30.0
) -> Cost:
    """Return what it takes to train a model as it is frozen.

    A frozen decoder is gone through forwards and, for the gradient of what it hears, backwards: 4 operations for each
    parameter and token; with its own weights trained 6; as a teacher 2 more for each token of text, read and answered.
    An encoder takes 2 for each frame where it is frozen, else 6. Attention comes beside that: at these lengths a few
    per cent. What an encoder that is trained keeps for the way back is not counted.

    Args:
        model: As `model_of` gives it.
        machine: The GPUs.
        is_distilled: Whether the decoder also reads what is said.
        clip_s: How long the clips are; encoders with a fixed window pad shorter ones.
    """
    geometry = model.geometry
    if geometry is None or model.encoder is None or model.projector is None:
        raise ValueError("the cost of a model that cannot hear")
    parts = {"encoder": model.encoder, "projector": model.projector, "decoder": model.decoder}
    if model.ctc_head is not None:
        parts["ctc_head"] = model.ctc_head
    sizes = {name: _count(part.parameters()) for name, part in parts.items()}
    trained = {name: _count(p for p in part.parameters() if p.requires_grad) for name, part in parts.items()}
    tokens_per_s = _a_second(geometry, clip_s)
    frames_per_s = _a_second(
        AudioGeometry(geometry.sample_rate_hz, geometry.pad_to_samples, model.encoder.stages), clip_s
    )
    config, is_own = model.decoder.config, trained["decoder"] == sizes["decoder"]
    # Embeddings are looked up, not multiplied; a table that is tied is multiplied at the end.
    table = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    multiplied = sizes["decoder"] - table
    positions_per_s = tokens_per_s + TEXT_TOKENS_PER_S
    flop = (6 if is_own else 4) * multiplied * positions_per_s
    flop += 2 * multiplied * 2 * TEXT_TOKENS_PER_S if is_distilled else 0
    flop += (6 if trained["encoder"] else 2) * sizes["encoder"] * frames_per_s
    flop += 6 * sizes["projector"] * tokens_per_s
    if model.ctc_head is not None:
        of_projector = model.ctc_head.config.reads == "projector"
        flop += 6 * sizes["ctc_head"] * (tokens_per_s if of_projector else frames_per_s)
    weights = sum(p.numel() * p.element_size() for part in parts.values() for p in part.parameters())
    training = 3 * _FLOAT * sum(trained.values())
    each_s = config.num_hidden_layers * kept_bytes(config, is_trained=is_own) * positions_per_s
    # Logits, their logarithms, the gradient and a rounded copy, of a chunk.
    left = USABLE * machine.gigabytes * 1e9 - weights - training - 4 * _FLOAT * CHUNK_LOGITS
    return Cost(
        num_trained=sum(trained.values()),
        num_frozen=sum(sizes.values()) - sum(trained.values()),
        audio_tokens_per_s=tokens_per_s,
        weights_gb=weights / 1e9,
        training_gb=training / 1e9,
        gb_per_audio_s=each_s / 1e9,
        audio_s_per_gpu=max(0.0, left / each_s),
        teraflop_per_audio_s=flop / 1e12,
        seconds_per_hour=3600 * flop / (H100_FLOP_PER_S * machine.mfu * machine.num_gpus),
    )


def kept_bytes(config: DecoderConfig, *, is_trained: bool) -> int:
    """Return what a layer keeps of a token for the way back, in bytes, attention fused.

    Two norms keep what they read in float32, and a number each; attention its queries, keys, values and output, and a
    number for each head; the feed-forward its two branches. Weights that are trained need what they multiply, too.
    """
    width, inner = config.hidden_size, config.intermediate_size
    size = torch.empty(0, dtype=config.torch_dtype).element_size()
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    attention = 2 * (heads + groups) * config.head_width * size + heads * _FLOAT
    inputs = (2 * width + inner) * size if is_trained else 0
    return 2 * (width + 1) * _FLOAT + attention + 2 * inner * size + inputs


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _a_second(geometry: AudioGeometry, clip_s: float) -> float:
    return geometry.num_audio_tokens(seconds_to_samples(clip_s)) / clip_s
