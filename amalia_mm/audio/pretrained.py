"""What encoders share that others have trained: a checkpoint in, layers through, frames out.

The layers are transformers' own; how a clip gets to them, and what is padding, is ours: in a batch a clip gives what it
gives alone. A new class of checkpoint is a subclass in a file of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.architecture import (
    Kind,
    check_same_architecture,
    compare_architectures,
    read_architecture,
)
from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry, is_frame
from amalia_mm.audio.layer_mix import LayerMix
from amalia_mm.hub import checkpoint_folder
from amalia_mm.lora import LoraConfig, add_lora, is_change
from amalia_mm.safetensors_files import SafetensorsFiles, check_index, weight_files
from amalia_mm.units import SAMPLE_RATE_HZ

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass
class Hidden:
    """Frames on their way into the layers."""

    frames: Tensor
    """(k f e)."""
    num_frames: Tensor
    """(k) int64."""
    given: dict[str, Any] = field(default_factory=dict)
    """What every layer takes beside the frames, such as the mask."""


class PretrainedEncoder(AudioEncoder):
    """An encoder of transformers, built from a checkpoint's configuration and filled by `load_checkpoint`.

    Frozen, it computes without dropout and without a graph, whatever mode it is in. Checkpoints' own random masks and
    skipped layers are left out. What a subclass adds: `kind`, the layers, and the way from waveforms to them.

    Args:
        config: A Hugging Face folder, a Hub id, or the content of a config.json.
        layer_mix: A learned mixture of the hidden frames of all layers, in place of the last ones.
        lora: Low-rank changes to train in place of the encoder's own weights; a model folder has them merged.
        dtype: The type of the weights: float32 to train them.
    """

    kind: ClassVar[Kind]
    prefixes: ClassVar[tuple[str, ...]] = ("",)
    """Where in a checkpoint the encoder's tensors may stand."""
    aside: ClassVar[tuple[str, ...]] = ()
    """What the names of tensors begin with that no encoder has, such as a decoder's."""
    title: ClassVar[str]
    backbone: Any

    def __init__(
        self,
        config: str | dict[str, Any],
        layer_mix: bool = False,
        lora: LoraConfig | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__()
        self.architecture = read_architecture(config, self.kind)
        self.backbone = self.build().to(getattr(torch, dtype))
        self.mix = LayerMix(self.num_layers + 1) if layer_mix else None
        if lora is not None:
            add_lora(self.backbone, lora if isinstance(lora, LoraConfig) else LoraConfig(**lora))

    @abstractmethod
    def build(self) -> nn.Module:
        """Return transformers' module for `architecture`; its parameters are named as in a checkpoint."""

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """How many layers the frames go through."""

    @abstractmethod
    def before(self, waveforms: Tensor, num_samples: Tensor) -> Hidden:
        """Return what the first layer takes."""

    @abstractmethod
    def through(self, number: int, hidden: Hidden) -> Tensor:
        """Return the frames (k f e) behind a layer, counted from 0."""

    def after(self, frames: Tensor) -> Tensor:
        """Return the frames behind all layers; of some encoders with a last norm."""
        return frames

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.backbone.parameters()).dtype

    @property
    def learns(self) -> bool:
        """Whether any weight of the layers can change."""
        return any(parameter.requires_grad for parameter in self.backbone.parameters())

    @property
    def geometry(self) -> AudioGeometry:
        """How many frames a waveform gives."""
        return AudioGeometry(SAMPLE_RATE_HZ, self.pad_to_samples, self.stages, max_samples=self.max_samples)

    def forward(
        self, waveforms: Tensor, num_samples: Tensor, clip_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features (k f e) float32 and num_frames (k), as `AudioEncoder.forward` says; nothing is hidden.

        Raises:
            ValueError: The waveforms are not float32, a clip is longer than the window, or none has a frame.
        """
        self._check(waveforms, num_samples)
        if not self.learns:
            self.backbone.eval()
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
            hidden = self.before(waveforms, num_samples)
            states = [hidden.frames]
            for number in range(self.num_layers):
                hidden.frames = self.through(number, hidden)
                if self.mix is None:
                    states.clear()
                states.append(hidden.frames)
            states[-1] = self.after(states[-1])
        features = states[-1].float() if self.mix is None else self.mix(states)
        valid = is_frame(hidden.num_frames, features.shape[1])
        return features.masked_fill(~valid[..., None], 0.0), hidden.num_frames

    def _check(self, waveforms: Tensor, num_samples: Tensor) -> None:
        if waveforms.dtype != torch.float32:
            raise ValueError(f"waveforms must be float32, not {waveforms.dtype}")
        longest = int(num_samples.max()) if len(num_samples) else 0
        if longest > waveforms.shape[1]:
            raise ValueError(f"a clip of {longest} samples in waveforms of {waveforms.shape[1]}")
        self.geometry.num_audio_tokens(longest)

    def load_checkpoint(self, source: Path | str) -> None:
        """Copy the weights of a Hugging Face folder or Hub id, each tensor once, into the encoder's own type.

        Of a whole model its decoder or its head is left aside, and nothing else.

        Raises:
            InputError: The folder's configuration is another one than this encoder's; a file is missing, cut short or
                a pickle; a tensor is missing, unknown or of another shape.
        """
        folder = checkpoint_folder(source)
        check_same_architecture(self.architecture, folder, self.kind)
        with SafetensorsFiles(weight_files(folder)) as files:
            check_index(files, folder)
            own = {name: value for name, value in self.backbone.state_dict().items() if not is_change(name)}
            places = self._places(own, files.names)
            aside = {name for name in files.names if name.startswith(self.aside)}
            shapes = {places[name]: tuple(value.shape) for name, value in own.items()}
            files.check(shapes, aside - shapes.keys(), folder, part="encoder", kind=self.title)
            for name, value in own.items():
                files.copy_into(places[name], value)

    def _places(self, own: Mapping[str, Tensor], names: set[str]) -> dict[str, str]:
        """Return own name -> name in a checkpoint that has these."""
        prefix = next((p for p in self.prefixes if any(p + name in names for name in own)), self.prefixes[0])
        found = {}
        for name in own:
            # A weight that is normed by its length has had two names.
            older = name.replace(".parametrizations.weight.original0", ".weight_g")
            older = older.replace(".parametrizations.weight.original1", ".weight_v")
            found[name] = prefix + (older if prefix + older in names else name)
        return found

    def check_same(self, spec: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` naming both where a model folder's encoder is of another class or architecture."""
        super().check_same(spec, where)
        theirs = (spec.get("init_args") or {}).get("config") or {}
        if isinstance(theirs, Mapping):
            compare_architectures(self.architecture, theirs, where, self.kind)

    def portable(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spec with the architecture in place of the folder it was read from, and changes merged."""
        arguments = {**(spec.get("init_args") or {}), "config": self.architecture, "lora": None}
        return {**spec, "init_args": arguments}


def attended(num_frames: Tensor, size: int) -> Tensor:
    """Return (k 1 1 f) bool, True on the frames to attend to.

    Clips without a frame attend to anything rather than to nothing, which would be NaN.
    """
    return rearrange(is_frame(num_frames, size) | (num_frames == 0)[:, None], "k f -> k 1 1 f")


def only_frames(output: Tensor | tuple[Any, ...]) -> Tensor:
    """Return the frames of what a layer of transformers gives: alone, or before weights that nobody asked for."""
    return output[0] if isinstance(output, tuple) else output
