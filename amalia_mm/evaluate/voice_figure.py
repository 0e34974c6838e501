"""The picture of speech that is said by a reference and by a voice: frames, pitch, and which phone is when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from amalia_mm.evaluate.figures import ACCENT, INK, as_png
from amalia_mm.voice.pitch import HIGHEST_HZ


@dataclass(frozen=True)
class Seen:
    """Speech as it is drawn."""

    title: str
    mel: Tensor
    """(m f), log-mel frames."""
    pitch_hz: Tensor
    """(f), 0 where there is none."""
    durations: Sequence[int]
    """Frames of each phone."""
    frame_s: float


def voice_picture(speech: Sequence[Seen], phones: Sequence[str]) -> str:
    """Return a picture, as an address, of one column for each that says the same phones.

    From top to bottom: the log-mel frames and where phones meet, the pitch, and the alignment of phones and frames.
    """
    figure = Figure(figsize=(10.4, 6.4), layout="constrained")
    grid = figure.subplots(3, len(speech), squeeze=False, height_ratios=(3, 1.3, 3.2))
    for column, seen in zip(grid.T, speech, strict=True):
        _frames(column[0], seen)
        _pitch(column[1], seen)
        _alignment(column[2], seen, phones)
        for axes in column:
            axes.set_xlim(0, seen.mel.shape[1] * seen.frame_s)
    for axes in grid[:, 1:].flat:
        axes.set_ylabel("")
    return as_png(figure, *grid.flat)


def _frames(axes: Axes, seen: Seen) -> None:
    num_mels, num_frames = seen.mel.shape
    extent = (0, num_frames * seen.frame_s, 0, num_mels)
    axes.imshow(seen.mel.numpy(), origin="lower", aspect="auto", cmap="magma", extent=extent)
    for end in np.cumsum(seen.durations)[:-1]:
        axes.axvline(float(end) * seen.frame_s, color="white", alpha=0.35, linewidth=0.6)
    axes.set_title(seen.title, fontsize=9.5, color=INK, loc="left")
    axes.set_ylabel("banda mel")


def _pitch(axes: Axes, seen: Seen) -> None:
    pitch = seen.pitch_hz.numpy()
    times = (np.arange(len(pitch)) + 0.5) * seen.frame_s
    axes.plot(times, np.where(pitch > 0, pitch, np.nan), ".", color=ACCENT, markersize=3)
    axes.set_ylim(0, HIGHEST_HZ)
    axes.set_ylabel("altura, Hz")


def _alignment(axes: Axes, seen: Seen, phones: Sequence[str]) -> None:
    ends = np.cumsum(seen.durations)
    starts = ends - np.asarray(seen.durations)
    axes.barh(
        np.arange(len(phones)),
        (ends - starts) * seen.frame_s,
        left=starts * seen.frame_s,
        height=0.9,
        color=ACCENT,
    )
    for number, (end, phone) in enumerate(zip(ends, phones, strict=True)):
        axes.text(end * seen.frame_s, number, f" {phone}", fontsize=7, va="center", color=INK)
    axes.set_ylim(-1, len(phones))
    axes.set_yticks([])
    axes.set_ylabel("som")
    axes.set_xlabel("segundos")
