"""The pictures of the report as data URIs: loss curves, bars by voice, mel and CTC alignment of a clip.

Labels are in European Portuguese; nothing here touches files or models.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, ScalarFormatter
from torch import Tensor

INK = "#1c2733"
ACCENT = "#1d6fa5"
SECOND = "#d9822b"
MUTED = "#8796a5"
GRID = "#e3e8ed"


@dataclass(frozen=True)
class TokenSpan:
    """A token that CTC read, and the frames where it did, `end` excluded."""

    label: str
    start: int
    end: int


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as an address that needs no file and no network."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def loss_curve(losses: Sequence[tuple[int, float]], val_losses: Sequence[tuple[int, float]]) -> str:
    """Return a picture of the training loss by step, with its running mean, and of the validation loss."""
    figure = Figure(figsize=(4.6, 2.5), layout="constrained")
    axes = figure.add_subplot()
    steps = np.array([step for step, _ in losses])
    values = np.array([loss for _, loss in losses])
    window = max(1, len(values) // 12)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps, values, color=ACCENT, alpha=0.25, linewidth=0.8)
    axes.plot(steps[window - 1 :], smooth, color=ACCENT, linewidth=1.6, label="treino")
    if val_losses:
        axes.plot(*zip(*val_losses, strict=True), "o-", color=SECOND, markersize=3.5, label="validação")
    axes.set_xlabel("passo")
    axes.set_ylabel("perda")
    axes.set_ylim(bottom=min(0.0, float(values.min())), top=_robust_top(values))
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure, axes)


def bars(rates: Mapping[str, float], label: str) -> str:
    """Return a picture of one horizontal bar a name, the lowest rate on top; rates are shown in per cent."""
    ordered = sorted(rates.items(), key=lambda item: -item[1])
    figure = Figure(figsize=(10.4, 0.6 + 0.3 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(
        [name for name, _ in ordered], [100 * rate for _, rate in ordered], color=ACCENT, height=0.65
    )
    axes.bar_label(
        drawn,
        labels=[f"{100 * rate:.1f}".replace(".", ",") for _, rate in ordered],
        padding=4,
        fontsize=8,
        color=INK,
    )
    axes.set_xlabel(label)
    axes.margins(x=0.1)
    return _svg(figure, axes)


def alignment(mel: Tensor, log_probs: Tensor, spans: Sequence[TokenSpan], seconds: float) -> str:
    """Return a picture of what was heard when.

    Args:
        mel: (m f) log-mel of the clip.
        log_probs: (f v+1) of the CTC head, the blank last; its frames cover the same time.
        spans: The tokens read, in frames of `log_probs`.
        seconds: The length of the clip.
    """
    figure = Figure(figsize=(10.4, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.6))
    above.imshow(
        mel.numpy(), origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, mel.shape[0])
    )
    above.set_ylabel("banda mel")
    frame_s = seconds / len(log_probs)
    times = (np.arange(len(log_probs)) + 0.5) * frame_s
    spoken = 1.0 - log_probs[:, -1].exp().numpy()
    below.fill_between(times, spoken, color=ACCENT, alpha=0.3, linewidth=0)
    below.plot(times, spoken, color=ACCENT, linewidth=1)
    for number, span in enumerate(spans):
        middle = (span.start + span.end) / 2 * frame_s
        above.axvline(span.start * frame_s, color="white", alpha=0.35, linewidth=0.6)
        below.text(
            middle, 1.12 + 0.34 * (number % 2), span.label, ha="center", va="bottom", fontsize=8, color=INK
        )
    below.set_ylim(0, 1.85)
    below.set_yticks([0, 1])
    below.set_ylabel("1 − p(vazio)")
    below.set_xlabel("segundos")
    below.set_xlim(0, seconds)
    return as_png(figure, above, below)


def spectrogram(mel: Tensor, seconds: float) -> str:
    """Return a picture of a log-mel (m f) of so many seconds."""
    figure = Figure(figsize=(4.6, 1.7), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(
        mel.numpy(), origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, mel.shape[0])
    )
    axes.set_xlabel("segundos")
    axes.set_ylabel("banda mel")
    return as_png(figure, axes)


def _robust_top(values: np.ndarray) -> float:
    """Return the top of the axis: the first, huge losses would press the rest to the ground."""
    return float(max(np.quantile(values, 0.98), values[len(values) // 10 :].max(initial=0.0))) * 1.08 + 1e-6


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), ScalarFormatter):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace(".", ",")))
    axes.xaxis.label.set(color=INK, size=9)
    axes.yaxis.label.set(color=INK, size=9)


def _svg(figure: Figure, axes: Axes) -> str:
    _style(axes)
    axes.grid(axis="both", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return data_uri(buffer.getvalue(), "image/svg+xml")


def as_png(figure: Figure, *axes: Axes) -> str:
    """Return a figure as an address, its axes in the report's style."""
    for each in axes:
        _style(each)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return data_uri(buffer.getvalue(), "image/png")
