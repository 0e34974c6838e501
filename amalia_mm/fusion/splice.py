"""Audio embeddings over the runs of placeholders; fails with both counts where they disagree."""

from __future__ import annotations

import torch
from torch import Tensor


def splice(embeddings: Tensor, is_audio: Tensor, audio: Tensor, num_audio_tokens: Tensor) -> Tensor:
    """Return embeddings (b t d) with the audio embeddings where `is_audio` is True.

    The k items fill the placeholders in their order, row by row. Differentiable in `embeddings` and `audio`.

    Args:
        embeddings: (b t d).
        is_audio: (b t) bool.
        audio: (k a d), right-padded; padding is left out.
        num_audio_tokens: (k) int64, the length of each item.

    Raises:
        ValueError: The runs of placeholders and the items disagree in length; both counts are named.
    """
    if int(num_audio_tokens.max().item() if num_audio_tokens.numel() else 0) > audio.shape[1]:
        raise ValueError(
            f"items of {num_audio_tokens.tolist()} audio tokens in {audio.shape[1]} embeddings an item"
        )
    _check_runs(is_audio, num_audio_tokens)
    valid = torch.arange(audio.shape[1], device=audio.device) < num_audio_tokens[:, None]
    return embeddings.masked_scatter(is_audio[..., None], audio[valid].to(embeddings.dtype))


def _check_runs(is_audio: Tensor, num_audio_tokens: Tensor) -> None:
    runs = _runs(is_audio)
    ends, wanted_ends = runs.cumsum(0), num_audio_tokens.cumsum(0)
    num_placeholders, num_given = int(runs.sum()), int(num_audio_tokens.sum())
    # Two items may stand side by side and make one run, so it is the ends of runs that must be ends of items.
    if num_placeholders != num_given or not torch.isin(ends, wanted_ends).all():
        raise ValueError(
            f"{num_placeholders} audio placeholders in runs of {runs.tolist()} do not match {num_given} "
            f"audio tokens in items of {num_audio_tokens.tolist()}"
        )


def _runs(is_audio: Tensor) -> Tensor:
    """Return the lengths of the runs of True, row by row."""
    before = torch.zeros_like(is_audio)
    before[:, 1:] = is_audio[:, :-1]
    starts = is_audio & ~before
    run_of_position = starts.flatten().cumsum(0)[is_audio.flatten()]
    return torch.bincount(run_of_position, minlength=1)[1:]
