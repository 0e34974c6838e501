"""An encoder that is given sound as it comes, and gives frames as soon as their block is whole.

What it gives is what the encoder gives for the whole clip, since the encoder hears in blocks (`block_causal.py`); what
it keeps between blocks is as long as its reach to the left, however long it listens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from amalia_mm.audio.block_causal import no_sums, running_floor, running_normal, unpadded
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.encoder_layer import ConvolutionModule, EncoderLayer
from amalia_mm.audio.features import HOP_SAMPLES, WINDOW_SAMPLES

_EDGE_SAMPLES = WINDOW_SAMPLES // 2


class StreamingEncoder:
    """One clip, heard block by block.

    Args:
        encoder: With `block_frames`, in evaluation mode.

    Raises:
        ValueError: The encoder hears whole clips only, or is being trained.
    """

    def __init__(self, encoder: ConvTransformer) -> None:
        if encoder.block_frames is None or encoder.training:
            raise ValueError("only an encoder with block_frames, in evaluation mode, hears as sound comes")
        self._encoder = encoder
        self._convolutions = encoder.down_convolutions
        self.frame_samples = HOP_SAMPLES * 2 ** len(self._convolutions)
        self._block_samples = encoder.block_frames * self.frame_samples
        self._device = encoder.norm.weight.device
        self._samples = torch.empty(0, device=self._device)
        """From 200 samples before the first window that is still to come; of the start they are mirrored."""
        self._num_samples = 0
        self._num_mel = 0
        self._loudest = torch.full((1, 1, 1), -10.0, device=self._device)
        self._sums: Tensor | None = None
        self._before: dict[str, Tensor] = {}

    @torch.no_grad()
    def push(self, samples: Tensor) -> Tensor:
        """Return the frames (f e) that the next samples (n) complete: whole blocks, often none."""
        self._take(samples)
        frames = []
        # The last window of a block reaches 40 samples beyond it.
        reach = self._block_samples + WINDOW_SAMPLES - HOP_SAMPLES
        while self._is_begun and len(self._samples) >= reach:
            frames.append(self._block(self._samples, self._block_samples // HOP_SAMPLES))
            self._samples = self._samples[self._block_samples :].clone()
        return torch.cat([self._nothing, *frames])

    @torch.no_grad()
    def flush(self) -> Tensor:
        """Return the frames (f e) of what is left; the clip ends here.

        Raises:
            ValueError: The clip is shorter than a frame.
        """
        num_left = self._num_samples // HOP_SAMPLES - self._num_mel
        if self._num_samples < HOP_SAMPLES:
            raise ValueError(f"{self._num_samples} samples are shorter than a frame of {HOP_SAMPLES}")
        if not num_left:
            return self._nothing
        if not self._is_begun:
            whole = torch.tensor([self._num_samples], device=self._device)
            log_mel, _ = self._encoder.features.reflected(self._samples[None], whole)
            return self._of_mel(log_mel)
        # Whole blocks may be left: the sound after them, which their last window needs, never came.
        mirrored = self._samples[-_EDGE_SAMPLES - 1 : -1].flip(0)
        log_mel = self._encoder.features.unfloored(torch.cat([self._samples, mirrored])[None], num_left)
        per_block = self._block_samples // HOP_SAMPLES
        return torch.cat([self._of_mel(block) for block in log_mel.split(per_block, dim=2)])

    @property
    def _nothing(self) -> Tensor:
        return torch.empty(0, self._encoder.width, device=self._device)

    @property
    def _is_begun(self) -> bool:
        """Whether the start, of which 200 samples are mirrored, is there."""
        return self._num_samples > _EDGE_SAMPLES

    def _take(self, samples: Tensor) -> None:
        was_begun = self._is_begun
        self._samples = torch.cat([self._samples, samples.to(self._device)])
        self._num_samples += len(samples)
        if self._is_begun and not was_begun:
            start = self._samples[1 : _EDGE_SAMPLES + 1].flip(0)
            self._samples = torch.cat([start, self._samples])

    def _block(self, samples: Tensor, num_mel: int) -> Tensor:
        used = samples[: (num_mel - 1) * HOP_SAMPLES + WINDOW_SAMPLES]
        return self._of_mel(self._encoder.features.unfloored(used[None], num_mel))

    def _of_mel(self, log_mel: Tensor) -> Tensor:
        """Return the frames (f e) of the next log-mel frames (1 m f), one block or the rest of one."""
        mel, self._loudest = running_floor(log_mel, self._loudest)
        sums = no_sums(mel) if self._sums is None else self._sums
        hidden, self._sums = running_normal(mel, sums, self._num_mel)
        self._num_mel += mel.shape[2]
        for number, conv in enumerate(self._convolutions):
            reached = self._reached(f"convolution {number}", hidden, 1)
            # Where the clip ends in the middle of a window there are zeros, as beyond the edge of the whole.
            hidden = F.gelu(unpadded(conv, F.pad(reached, (0, hidden.shape[2] % 2))))
        position = self._encoder.position
        reach = position.kernel_size[0] // 2
        hidden = hidden + unpadded(position, F.pad(self._reached("position", hidden, reach), (0, reach)))
        hidden = rearrange(hidden, "k e f -> k f e")
        for number, layer in enumerate(self._encoder.encoder_layers, start=1):
            hidden = self._layer(f"layer {number}", layer, hidden)
            if self._encoder.letters is not None and number == self._encoder.letters_after:
                hidden, _ = self._encoder.letters(hidden)
        return self._encoder.norm(hidden)[0]

    def _layer(self, name: str, layer: EncoderLayer, hidden: Tensor) -> Tensor:
        query, key, value = layer.queries_keys_values(hidden)
        kept = (self._encoder.block_frames or 0) * self._encoder.left_blocks
        key, value = (
            rearrange(
                self._reached(f"{name} {part}", rearrange(each, "k h f e -> k (h e) f"), kept, False),
                "k (h e) f -> k h f e",
                h=layer.num_heads,
            )
            for part, each in (("key", key), ("value", value))
        )
        hidden = hidden + layer.attend(query, key, value)
        module = layer.convolution
        if module is not None:
            hidden = hidden + self._convolve(name, module, hidden)
        return hidden + layer.feed(hidden)

    def _convolve(self, name: str, module: ConvolutionModule, hidden: Tensor) -> Tensor:
        reach = module.depthwise.kernel_size[0] // 2
        reached = self._reached(f"{name} convolution", module.gated(hidden), reach)
        return module.finish(unpadded(module.depthwise, F.pad(reached, (0, reach))))

    def _reached(self, name: str, hidden: Tensor, reach: int, zeros: bool = True) -> Tensor:
        """Return hidden (k e f) with up to `reach` frames of before in front; with `zeros` always as many."""
        before = self._before.get(name)
        if before is None:
            before = hidden.new_zeros(*hidden.shape[:2], reach if zeros else 0)
        joined = torch.cat([before, hidden], dim=2)
        self._before[name] = joined[:, :, max(joined.shape[2] - reach, 0) :].clone()
        return joined
