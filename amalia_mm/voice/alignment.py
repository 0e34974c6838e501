"""Monotonic alignment search: which phone each frame belongs to, where nobody has timed them.

Every phone gets one frame or more, in order; of all such alignments the one with the highest score is found by dynamic
programming (Kim et al. 2020, Glow-TTS, arXiv 2005.11129, section 3.2). It knows nothing of how frames are scored.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def monotonic_alignment(scores: Tensor, num_phones: Tensor, num_frames: Tensor) -> Tensor:
    """Return durations (b p) int64: how many frames each phone takes in the alignment with the highest sum of scores.

    They sum to `num_frames` in every row and are 0 on padding; what the scores say there does not matter.

    Args:
        scores: (b p f) of each phone in each frame.
        num_phones: (b) int64, at least 1.
        num_frames: (b) int64, at least as many as the phones.

    Raises:
        ValueError: A row has fewer frames than phones, or no phone: there is no alignment.
    """
    if bool((num_frames < num_phones).any()) or bool((num_phones < 1).any()):
        raise ValueError(
            f"no alignment of {num_phones.tolist()} phones with {num_frames.tolist()} frames: "
            "each phone needs one frame or more"
        )
    stays = _forward(scores.float(), num_phones)
    return _backward(stays, num_phones, num_frames)


def _forward(scores: Tensor, num_phones: Tensor) -> Tensor:
    """Return (f b p) bool: whether the best path to a phone at a frame was at this phone the frame before."""
    num_rows, most_phones, most_frames = scores.shape
    never = torch.full((num_rows, 1), -torch.inf, device=scores.device)
    is_phone = torch.arange(most_phones, device=scores.device) < num_phones[:, None]
    # A copy in the order of the walk: one frame after the other.
    by_frame = scores.masked_fill(~is_phone[:, :, None], -torch.inf).permute(2, 0, 1).contiguous()
    best = torch.cat([by_frame[0, :, :1], never.expand(-1, most_phones - 1)], dim=1)
    stays = torch.ones(most_frames, num_rows, most_phones, dtype=torch.bool, device=scores.device)
    for frame in range(1, most_frames):
        from_before = torch.cat([never, best[:, :-1]], dim=1)
        torch.ge(best, from_before, out=stays[frame])
        best = torch.maximum(best, from_before) + by_frame[frame]
    return stays


def _backward(stays: Tensor, num_phones: Tensor, num_frames: Tensor) -> Tensor:
    """Return durations (b p), walking back from the last phone at the last frame of each row."""
    most_frames, num_rows, most_phones = stays.shape
    durations = torch.zeros(num_rows, most_phones, dtype=torch.int64, device=stays.device)
    phone = num_phones - 1
    for frame in range(most_frames - 1, -1, -1):
        is_inside = frame < num_frames
        durations.scatter_add_(1, phone[:, None], is_inside.long()[:, None])
        stayed = stays[frame].gather(1, phone[:, None])[:, 0]
        # At the first frame nobody came from anywhere.
        phone = phone - (is_inside & ~stayed & (phone > 0)).long()
    return durations


def diagonal_prior(num_phones: Tensor, num_frames: Tensor, width: float) -> Tensor:
    """Return (b p f) log-weights of phones that lie about as far in their row as the frame does, 0 on the diagonal.

    A search over scores that know nothing yet then finds an even alignment, from which learning goes on. `width` is how
    far off, as a share of the row, costs half a unit.
    """
    most_phones, most_frames = int(num_phones.max()), int(num_frames.max())
    phone = torch.arange(most_phones, device=num_phones.device)[None, :, None] + 0.5
    frame = torch.arange(most_frames, device=num_phones.device)[None, None, :] + 0.5
    off = phone / num_phones[:, None, None] - frame / num_frames[:, None, None]
    return -0.5 * (off / width).square()


def likeness(mean: Tensor, mel: Tensor) -> Tensor:
    """Return (b p f) how like the mean frame of each phone (b p m) each frame of (b m f) is, to be searched through.

    It is -1/2 of the mean squared difference, without the part that is the same for every phone.
    """
    # Lower precision would make phones equal that are not.
    with torch.autocast(mean.device.type, enabled=False):
        return (mean @ mel - 0.5 * mean.square().sum(-1, keepdim=True)) / mel.shape[1]


def frames_of_phones(durations: Tensor) -> Tensor:
    """Return (b f) int64: the phone of each frame, f the most frames of a row; beyond a row's end its last phone."""
    ends = durations.cumsum(1)
    most_frames = int(ends[:, -1].max())
    frame = torch.arange(most_frames, device=durations.device).expand(len(durations), -1)
    phone = torch.searchsorted(ends, frame.contiguous(), right=True)
    last = (durations > 0).long().cumsum(1).argmax(dim=1)
    return torch.minimum(phone, last[:, None])


def spread(of_phones: Tensor, phone_of_frame: Tensor) -> Tensor:
    """Return (b f d): what each frame's phone has of (b p d)."""
    return of_phones.gather(1, phone_of_frame[:, :, None].expand(-1, -1, of_phones.shape[2]))


def mean_over_phones(
    of_frames: Tensor, is_counted: Tensor, phone_of_frame: Tensor, most_phones: int
) -> tuple[Tensor, Tensor]:
    """Return (b p), the mean of (b f) over the counted frames (b f) of each phone, and (b p), how many those are."""
    counted = is_counted.to(of_frames.dtype)
    none = of_frames.new_zeros(len(of_frames), most_phones)
    counts = none.scatter_add(1, phone_of_frame, counted)
    sums = none.scatter_add(1, phone_of_frame, of_frames * counted)
    return sums / counts.clamp(min=1), counts
