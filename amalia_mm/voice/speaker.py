"""Who is speaking: a clip to a unit vector in which clips of one person are close, and how close two of them are.

What a voice pack keeps of a person, what the acoustic model speaks like, and what the check of a recording asks. It
knows nothing of words, files or thresholds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amalia_mm.audio.features import LogMel
from amalia_mm.audio.geometry import is_frame

_LEAST = 1e-6
"""Below it a variance is none."""


class SpeakerEmbedder(nn.Module, ABC):
    """Waveforms to unit vectors: trained here (`SpeakerEncoder`), or somebody's checkpoint (`pretrained_speaker.py`).

    `embed_size` is the length of a vector.
    """

    embed_size: int

    @abstractmethod
    def embed(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Return unit vectors (b e) float32; a clip in a batch gives what it gives alone.

        Args:
            waveforms: (b n) float32 at 16 kHz, right-padded; what stands in the padding does not matter.
            num_samples: (b) int64.

        Raises:
            ValueError: A clip is too short to tell anything of it.
        """


class SpeakerEncoder(SpeakerEmbedder):
    """Log-mel frames to unit vectors: dilated Res2 blocks, then statistics over the frames that matter.

    A small ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143): squeeze and excitation over the whole clip, the
    frames of all blocks together, attention with the clip's own mean and deviation as context. Each frame is normed
    alone in place of batch norm, so that no clip knows what else is in its batch.

    Args:
        num_mels: Mel bins of `amalia_mm.audio.features.LogMel`, whose frames are 10 ms apart.
        width: Channels of a block.
        num_blocks: Blocks, dilated by 2, 3, 4, ...
        embed_size: The length of a vector.
        bottleneck: Channels of the attention and of the excitation.
        scale: Into how many groups of channels a block is cut.
        stride: Frames that become one.
    """

    def __init__(
        self,
        num_mels: int = 80,
        width: int = 192,
        num_blocks: int = 3,
        embed_size: int = 128,
        bottleneck: int = 64,
        scale: int = 4,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.embed_size, self.stride = embed_size, stride
        self.features = LogMel(num_mels)
        self.enter = nn.Conv1d(num_mels, width, kernel_size=5, stride=stride, padding=2)
        self.enter_norm = _FrameNorm(width)
        self.blocks = nn.ModuleList(
            _Res2Block(width, bottleneck, scale, dilation) for dilation in range(2, 2 + num_blocks)
        )
        together = width * num_blocks
        self.join = nn.Conv1d(together, together, kernel_size=1)
        self.pool = _AttentiveStatistics(together, bottleneck)
        self.out_norm = nn.LayerNorm(2 * together)
        self.out = nn.Linear(2 * together, embed_size)

    def forward(self, mel: Tensor, num_frames: Tensor) -> Tensor:
        """Return unit vectors (b e) float32, with gradient.

        Args:
            mel: (b m f) float32, the frames of `LogMel(num_mels)` of a clip at 16 kHz.
            num_frames: (b) int64; what stands beyond them does not matter.

        Raises:
            ValueError: A clip has no frame.
        """
        if not len(num_frames) or int(num_frames.min()) < 1:
            raise ValueError(
                f"clips of {num_frames.tolist()} frames: a voice needs one frame or more of each"
            )
        hidden = _centred(mel, rearrange(is_frame(num_frames, mel.shape[2]), "b f -> b 1 f"))
        num_frames = (num_frames + self.stride - 1).div(self.stride, rounding_mode="floor")
        hidden = self.enter_norm(F.gelu(self.enter(hidden)))
        valid = rearrange(is_frame(num_frames, hidden.shape[2]), "b f -> b 1 f")
        outputs = []
        for block in self.blocks:
            hidden = block(hidden.masked_fill(~valid, 0.0), valid)
            outputs.append(hidden)
        joined = F.gelu(self.join(torch.cat(outputs, dim=1)))
        return F.normalize(self.out(self.out_norm(self.pool(joined, valid))).float(), dim=-1)

    def embed(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Return unit vectors (b e) as `SpeakerEmbedder.embed` says."""
        return self(*self.features(waveforms, num_samples))


def similarity(left: Tensor, right: Tensor) -> Tensor:
    """Return the cosine of embeddings (... e), -1 to 1, over their last axis; the others are broadcast."""
    return F.cosine_similarity(left, right, dim=-1)


def enrolled(embeddings: Tensor) -> Tensor:
    """Return the unit vector (e) that stands for a person, of those of their clips (b e): the middle of them.

    Raises:
        ValueError: There is no clip, or the clips point everywhere and have no middle.
    """
    middle = F.normalize(embeddings, dim=-1).mean(dim=0) if len(embeddings) else torch.zeros(1)
    if float(middle.norm()) < _LEAST:
        raise ValueError(f"{len(embeddings)} embeddings have no middle")
    return F.normalize(middle, dim=-1)


@torch.no_grad()
def embed_clips(embedder: SpeakerEmbedder, clips: Sequence[Tensor], rows_at_once: int = 16) -> Tensor:
    """Return unit vectors (b e) of clips (n) float32 at 16 kHz, each whole, some of like length at a time."""
    by_length = sorted(range(len(clips)), key=lambda number: len(clips[number]))
    device = next(embedder.parameters()).device
    found = torch.zeros(len(clips), embedder.embed_size)
    for start in range(0, len(clips), rows_at_once):
        some = by_length[start : start + rows_at_once]
        padded = nn.utils.rnn.pad_sequence([clips[number] for number in some], batch_first=True)
        lengths = torch.tensor([len(clips[number]) for number in some])
        found[some] = embedder.embed(padded.to(device), lengths.to(device)).float().cpu()
    return found


class _FrameNorm(nn.Module):
    """Layer norm of each frame of (b c f) over its channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden.transpose(1, 2)).transpose(1, 2)


class _Res2Block(nn.Module):
    """A residual block whose groups of channels see wider and wider, then weighs channels by the whole clip."""

    def __init__(self, width: int, bottleneck: int, scale: int, dilation: int) -> None:
        super().__init__()
        if scale < 2 or width % scale:
            raise ValueError(f"{width} channels cannot be cut into {scale} groups of two or more")
        group = width // scale
        self.scale = scale
        self.before = nn.Conv1d(width, width, kernel_size=1)
        self.before_norm = _FrameNorm(width)
        self.groups = nn.ModuleList(
            nn.Conv1d(group, group, kernel_size=3, padding=dilation, dilation=dilation)
            for _ in range(scale - 1)
        )
        self.after = nn.Conv1d(width, width, kernel_size=1)
        self.after_norm = _FrameNorm(width)
        self.squeeze = nn.Linear(width, bottleneck)
        self.excite = nn.Linear(bottleneck, width)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return (b c f), zero where `valid` (b 1 f) is False, of (b c f) that is zero there."""
        first, *others = self.before_norm(F.gelu(self.before(hidden))).chunk(self.scale, dim=1)
        groups, wider = [first], torch.zeros_like(first)
        for group, convolution in zip(others, self.groups, strict=True):
            wider = F.gelu(convolution((group + wider).masked_fill(~valid, 0.0)))
            groups.append(wider)
        changed = self.after_norm(F.gelu(self.after(torch.cat(groups, dim=1))))
        mean, _ = _statistics(changed, valid)
        weight = torch.sigmoid(self.excite(F.gelu(self.squeeze(mean))))
        return (hidden + changed * rearrange(weight, "b c -> b c 1")).masked_fill(~valid, 0.0)


class _AttentiveStatistics(nn.Module):
    """Mean and deviation of each channel over the frames, weighted by attention (Okabe et al. 2018)."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.look = nn.Conv1d(3 * width, bottleneck, kernel_size=1)
        self.weigh = nn.Conv1d(bottleneck, width, kernel_size=1)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return (b 2c) of hidden (b c f)."""
        mean, deviation = (rearrange(each, "b c -> b c 1") for each in _statistics(hidden, valid))
        context = torch.cat([hidden, mean.expand_as(hidden), deviation.expand_as(hidden)], dim=1)
        scores = self.weigh(torch.tanh(self.look(context))).masked_fill(~valid, float("-inf"))
        return torch.cat(_statistics(hidden, valid, scores.softmax(dim=2)), dim=1)


def _statistics(hidden: Tensor, valid: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation (b c) of (b c f) over valid frames, all alike without weights (b c f)."""
    if weights is None:
        weights = valid / valid.sum(dim=2, keepdim=True)
    mean = (hidden * weights).sum(dim=2)
    variance = ((hidden - rearrange(mean, "b c -> b c 1")).square() * weights).sum(dim=2)
    return mean, variance.clamp(min=_LEAST).sqrt()


def _centred(mel: Tensor, valid: Tensor) -> Tensor:
    """Return frames (b m f) around a mean of zero over a clip, which its level does not change; zero beyond it."""
    mean = (mel * valid).sum(dim=(1, 2), keepdim=True) / (valid.sum(dim=(1, 2), keepdim=True) * mel.shape[1])
    return (mel - mean).masked_fill(~valid, 0.0)
