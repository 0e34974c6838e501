"""What every audio encoder promises, and the one that is trained here from scratch.

Knows nothing of text: what its frames mean is learned by the losses of `train/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.block_causal import (
    block_convolution,
    block_mask,
    no_sums,
    running_floor,
    running_normal,
)
from amalia_mm.audio.encoder_layer import EncoderLayer
from amalia_mm.audio.features import HOP_SAMPLES, LogMel
from amalia_mm.audio.geometry import LengthStage, is_frame
from amalia_mm.audio.letters import LetterHead
from amalia_mm.audio.spec_augment import SpecAugment
from amalia_mm.audio.standardised import standardised
from amalia_mm.errors import InputError


class AudioEncoder(nn.Module, ABC):
    """Waveforms to frames.

    `width` is the size of a frame; `pad_to_samples` the fixed window of encoders such as Whisper, else None;
    `max_samples` the longest clip of one that has a longest and pads none, else None; `stages` how samples become
    frames, features included.
    """

    width: int
    pad_to_samples: int | None = None
    max_samples: int | None = None
    num_letters: int = 0
    """Letters that are read half-way, without the blank; 0 where none are."""

    @property
    @abstractmethod
    def stages(self) -> tuple[LengthStage, ...]:
        """How the number of samples becomes the number of frames."""

    @abstractmethod
    def forward(
        self, waveforms: Tensor, num_samples: Tensor, clip_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features (k f e), zero beyond a clip's frames, and num_frames (k).

        Args:
            waveforms: (k n) float32 at 16 kHz, right-padded.
            num_samples: (k) int64.
            clip_seeds: A number for each clip, from which an encoder that hides parts of clips in training draws what.
        """

    def hear_letters(
        self, waveforms: Tensor, num_samples: Tensor, clip_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what `forward` does, and the letters' logits (k f*s l+1), blank last; None where none are read."""
        return (*self(waveforms, num_samples, clip_seeds), None)

    def load_checkpoint(self, source: Path | str) -> None:
        """Copy the weights of a Hugging Face folder or Hub id; `InputError` where there are none of this class."""
        raise InputError(
            str(source),
            found="a Hugging Face checkpoint",
            wanted=f"weights of {_path_of(type(self))}",
            remedy="give the folder of a model of it, or choose an encoder of that checkpoint's class",
        )

    def check_same(self, spec: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` naming both where a model folder's encoder is of another class.

        Args:
            spec: `class_path` and `init_args` of the encoder that the weights are of.
            where: The file that says so.
        """
        found = str(spec.get("class_path", ""))
        if found not in map(_path_of, type(self).__mro__):
            wanted = f"{_path_of(type(self))}, as the run's configuration says"
            remedy = "give a folder of that encoder, or choose the folder's"
            raise InputError(where, field="encoder", found=found, wanted=wanted, remedy=remedy)

    def portable(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return `class_path` and `init_args` that build this encoder anywhere, without the files they may name."""
        return dict(spec)


def _path_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class ConvTransformer(AudioEncoder):
    """Log-mel, strided convolutions, a transformer: a frame every 40 ms, 1.9 million parameters as it stands.

    The mel bins are brought to zero mean and unit variance over the clip; convolutions (kernel 3, stride 2,
    GELU) halve its length each, two of them to 25 frames a second; a depthwise convolution gives position;
    then pre-norm transformer layers and a final norm. Padding is masked everywhere: a clip in a batch gives
    what it gives alone.

    Args:
        num_mels: Mel bins.
        num_convolutions: Each halves the frame rate: 2 give 25 frames a second, 3 give 12.5.
        width: Size of a frame; a multiple of `num_heads`.
        num_layers: Transformer layers.
        num_heads: Attention heads.
        feed_forward: Width inside the feed-forward layers.
        dropout: Of the outputs of attention and feed-forward layers, in training.
        position_kernel: Odd width of the depthwise convolution, in frames.
        layer_kernel: Odd width of a convolution module in every layer (Conformer), in frames; None has none.
        letters_after: The layer, counted from 1, after which letters are read and handed on; None reads none.
        num_letters: Letters to tell apart, without the blank.
        letters_per_frame: Letters that are said in the time of one frame, at most.
        num_time_masks: SpecAugment (Park et al. 2019) in training: stretches of time hidden in a clip.
        max_time_mask_frames: The longest of them, in mel frames of 10 ms; never over a fifth of the clip.
        num_frequency_masks: Bands of mel bins hidden in a clip.
        max_frequency_mask_bins: The widest of them.
        block_frames: The encoder hears block by block of so many frames, as sound comes (`StreamingEncoder`): a frame
            knows its own block and those just before it, and mel bins are brought to the mean and variance so far.
            None: every frame knows the whole clip.
        left_blocks: The blocks before its own that a frame attends to, in each layer.
    """

    def __init__(
        self,
        num_mels: int = 80,
        num_convolutions: int = 2,
        width: int = 192,
        num_layers: int = 4,
        num_heads: int = 4,
        feed_forward: int = 768,
        dropout: float = 0.1,
        position_kernel: int = 15,
        layer_kernel: int | None = None,
        letters_after: int | None = None,
        num_letters: int = 0,
        letters_per_frame: int = 3,
        num_time_masks: int = 0,
        max_time_mask_frames: int = 25,
        num_frequency_masks: int = 0,
        max_frequency_mask_bins: int = 12,
        block_frames: int | None = None,
        left_blocks: int = 4,
    ) -> None:
        super().__init__()
        if num_convolutions < 1:
            raise ValueError(
                f"num_convolutions {num_convolutions} must be at least 1: mel bins become frames there"
            )
        if width % num_heads or position_kernel % 2 == 0:
            raise ValueError(
                f"width {width} must be a multiple of num_heads {num_heads}, and position_kernel "
                f"{position_kernel} odd"
            )
        if letters_after is not None and not 1 <= letters_after <= num_layers:
            raise ValueError(f"letters_after {letters_after} must be one of {num_layers} layers")
        if block_frames is not None and (block_frames < 1 or left_blocks < 0):
            raise ValueError(
                f"block_frames {block_frames} must be at least 1, left_blocks {left_blocks} 0 or more"
            )
        self.width = width
        self.block_frames = block_frames
        self.left_blocks = left_blocks
        self.features = LogMel(num_mels)
        self.spec_augment = SpecAugment(
            num_time_masks, max_time_mask_frames, num_frequency_masks, max_frequency_mask_bins
        )
        self.convolutions = nn.ModuleList(
            nn.Conv1d(num_mels if index == 0 else width, width, 3, stride=2, padding=1)
            for index in range(num_convolutions)
        )
        self.position = nn.Conv1d(width, width, position_kernel, padding=position_kernel // 2, groups=width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, num_heads, feed_forward, dropout, layer_kernel, block_frames)
            for _ in range(num_layers)
        )
        self.letters_after = letters_after
        self.num_letters = 0 if letters_after is None else num_letters
        self.letters = None if letters_after is None else LetterHead(width, num_letters, letters_per_frame)
        self.norm = nn.LayerNorm(width)

    @property
    def stages(self) -> tuple[LengthStage, ...]:
        """How samples become frames: the features, then the convolutions."""
        return (*self.features.stages, *(_conv_stage(conv) for conv in self.down_convolutions))

    @property
    def down_convolutions(self) -> list[nn.Conv1d]:
        """The convolutions that halve the frame rate, in order."""
        return [conv for conv in self.convolutions if isinstance(conv, nn.Conv1d)]

    @property
    def encoder_layers(self) -> list[EncoderLayer]:
        """The transformer layers, in order."""
        return [layer for layer in self.layers if isinstance(layer, EncoderLayer)]

    def forward(
        self, waveforms: Tensor, num_samples: Tensor, clip_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features (k f e) and num_frames (k), as `AudioEncoder.forward` says."""
        features, num_frames, _ = self.hear_letters(waveforms, num_samples, clip_seeds)
        return features, num_frames

    def hear_letters(
        self, waveforms: Tensor, num_samples: Tensor, clip_seeds: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what `AudioEncoder.hear_letters` says."""
        with torch.no_grad():
            if waveforms.shape[1] < HOP_SAMPLES:
                raise ValueError(f"{waveforms.shape[1]} samples are shorter than a frame of {HOP_SAMPLES}")
            hidden, num_frames = self._mel(waveforms, num_samples)
            if self.training:
                hidden = self.spec_augment(hidden, num_frames, clip_seeds)
        for conv in self.down_convolutions:
            num_frames = _conv_stage(conv).lengths(num_frames)
            hidden = F.gelu(conv(hidden))
            # A convolution must find zeros, as beyond the edge, where a shorter clip of the batch has ended.
            hidden = hidden * is_frame(num_frames, hidden.shape[2])[:, None]
        if self.block_frames is None:
            hidden = hidden + self.position(hidden)
        else:
            hidden = hidden + block_convolution(self.position, hidden, self.block_frames)
        hidden = self.dropout(rearrange(hidden, "k e f -> k f e"))
        valid = is_frame(num_frames, hidden.shape[1])
        # Clips without a frame attend to anything rather than to nothing, which would be NaN.
        attended = rearrange(valid | (num_frames == 0)[:, None], "k f -> k 1 1 f")
        if self.block_frames is not None:
            attended = block_mask(valid, self.block_frames, self.left_blocks)
        letter_logits = None
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, attended, valid)
            if self.letters is not None and number == self.letters_after:
                hidden, letter_logits = self.letters(hidden)
        return self.norm(hidden) * valid[..., None], num_frames, letter_logits

    def _mel(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normal mel (k m f), zero beyond a clip's frames, and num_frames (k)."""
        if self.block_frames is None:
            mel, num_frames = self.features(waveforms, num_samples)
            return standardised(mel, num_frames, dim=2, eps=1e-5), num_frames
        log_mel, num_frames = self.features.reflected(waveforms, num_samples)
        mel, _ = running_floor(log_mel, log_mel.new_full((len(log_mel), 1, 1), -10.0))
        mel, _ = running_normal(mel, no_sums(mel), 0)
        return mel * is_frame(num_frames, mel.shape[2])[:, None], num_frames


def _conv_stage(conv: nn.Conv1d) -> LengthStage:
    padding = conv.padding[0]
    if isinstance(padding, str):
        raise ValueError(
            f"a convolution that changes lengths states its padding as a number, not {padding!r}"
        )
    return LengthStage(kernel=conv.kernel_size[0], stride=conv.stride[0], pad_left=padding, pad_right=padding)
