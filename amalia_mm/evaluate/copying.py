"""How much a vocoder loses: real speech to frames and back again, beside Griffin-Lim.

Clips in, `copies.json` out. Both vocoders read the same frames of the same clips; what is heard is compared with the
clip by its log-mel frames, and by the opinions that DNSMOS foretells.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import soxr
import torch
from torch import Tensor

from amalia_mm.audio.io import audio_seconds, load_audio, write_audio
from amalia_mm.errors import InputError, writing
from amalia_mm.evaluate.dnsmos import Dnsmos, mean_opinion
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds
from amalia_mm.voice.griffin_lim import GriffinLim
from amalia_mm.voice.vocoder import Vocoder
from amalia_mm.voice.watermark import mark
from amalia_mm.voice_folder import load_vocoder

REPORT = "copies.json"
_AUDIO = {".wav", ".flac", ".ogg", ".mp3", ".opus"}
_REAL, _LEARNED, _GRIFFIN_LIM = "real", "vocoder", "griffin_lim"


@dataclass(frozen=True)
class Copy:
    """A clip as one vocoder says it again."""

    by: str
    waveform: Tensor
    """(n) float32 at the vocoder's rate."""
    distance: float
    """Mean distance of log-mel frames from the clip's, in nats."""
    seconds_taken: float


def evaluate_copies(
    vocoder: Path | str,
    sources: Sequence[Path],
    output: Path,
    *,
    dnsmos: Path | None = None,
    num_clips: int = 20,
    min_s: float = 1.0,
    split: str = "test",
    seed: int = 0,
) -> dict[str, Any]:
    """Return the figures of a vocoder on real speech; write them to `output/copies.json`, and the sounds beside it.

    Args:
        vocoder: A stage or model folder with a vocoder, or a folder of Vocos' checkpoint.
        sources: Folders of recordings, or manifests (JSONL) that name them in `audio`.
        output: Where to write.
        dnsmos: The folder of its weights; None leaves opinions out.
        num_clips: Clips of each source, drawn by the seed from those of `min_s` or more.
        min_s: Shortest clip, in seconds.
        split: Of a row with a `split`, the one that is measured; a row without one always is.
        seed: Draws the clips.

    Raises:
        InputError: There is no vocoder, no clip, or one of them cannot be read.
    """
    model = load_vocoder(vocoder)
    judge = None if dnsmos is None else Dnsmos(dnsmos)
    figures: dict[str, Any] = {"vocoder": str(vocoder), "sample_rate_hz": model.sample_rate_hz, "seed": seed}
    figures["sources"] = []
    for number, source in enumerate(sources, start=1):
        paths = clips_of(source, split)
        chosen = _chosen(paths, num_clips, min_s, seed, source)
        place = output / f"{number}-{source.stem}"
        figures["sources"].append({"source": str(source), **_measured(model, chosen, judge, place)})
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(figures, ensure_ascii=False, indent=1) + "\n"
        (output / REPORT).write_text(text, encoding="utf-8")
    return figures


def copies(vocoders: dict[str, Vocoder], waveform: Tensor) -> list[Copy]:
    """Return a waveform (n) as each vocoder says it again, without the end that is no whole hop."""
    made = []
    for name, vocoder in vocoders.items():
        hop = vocoder.mel.hop_samples
        real = waveform[None, : len(waveform) // hop * hop]
        with torch.inference_mode():
            frames = vocoder.mel(real)
            started = time.perf_counter()
            written = vocoder(frames)
            seconds_taken = time.perf_counter() - started
            distance = float((vocoder.mel(written) - frames).abs().mean())
        made.append(Copy(name, written[0], distance, seconds_taken))
    return made


def clips_of(source: Path, split: str = "test") -> list[Path]:
    """Return the recordings of a folder, or of a manifest's rows; `InputError` where there is none."""
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in _AUDIO)
    else:
        found = [
            source.parent / str(row["audio"]) for row in _rows(source) if row.get("split", split) == split
        ]
    if not found:
        remedy = "give a folder of recordings, or a manifest"
        raise InputError(source, found="no recording", wanted="one or more", remedy=remedy)
    return found


def lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures for a terminal, a vocoder of a source a line."""
    told = []
    for each in figures["sources"]:
        for name in (_LEARNED, _GRIFFIN_LIM):
            row = each[name]
            line = (
                f"{each['source']}\t{name}\tlog-mel {row['log_mel']:.3f}\t{row['real_time']:.3f} x tempo real"
            )
            if "ovr" in row:
                drops = (
                    f"{kind} {row[kind] - each[_REAL][kind]:+.2f}" for kind in ("ovr", "sig", "bak", "p808")
                )
                line += "\tDNSMOS " + ", ".join(drops)
            told.append(f"{line}\t{each['clips']} clipes")
    return told


def _measured(vocoder: Vocoder, paths: Sequence[Path], judge: Dnsmos | None, place: Path) -> dict[str, Any]:
    vocoders = {_LEARNED: vocoder, _GRIFFIN_LIM: GriffinLim.of(vocoder.mel)}
    rate_hz, total_s = vocoder.sample_rate_hz, 0.0
    heard: dict[str, list[Copy]] = {name: [] for name in (_REAL, *vocoders)}
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(paths, start=1):
            waveform = load_audio(path, sample_rate_hz=rate_hz)
            total_s += samples_to_seconds(len(waveform), rate_hz)
            for copy in (Copy(_REAL, waveform, 0.0, 0.0), *copies(vocoders, waveform)):
                heard[copy.by].append(copy)
                # Judged as it is; what leaves the machine is marked, as all speech that a model makes.
                kept = copy.waveform if copy.by == _REAL else mark(copy.waveform, rate_hz)
                write_audio(place / f"{number:03}-{path.stem}.{copy.by}.flac", kept, rate_hz)
    figures: dict[str, Any] = {"clips": len(paths), "seconds": round(total_s, 1), _REAL: {}}
    for name, those in heard.items():
        row = {}
        if name != _REAL:
            row["log_mel"] = sum(copy.distance for copy in those) / len(those)
            row["real_time"] = sum(copy.seconds_taken for copy in those) / total_s
        if judge is not None:
            row |= asdict(mean_opinion([judge(at_16_khz(copy.waveform, rate_hz)) for copy in those]))
        figures[name] = row
    return figures


def at_16_khz(waveform: Tensor, rate_hz: int) -> Tensor:
    """Return a waveform (n) at 16 kHz."""
    if rate_hz == SAMPLE_RATE_HZ:
        return waveform
    return torch.from_numpy(soxr.resample(waveform.numpy(), rate_hz, SAMPLE_RATE_HZ))


def _chosen(paths: Sequence[Path], count: int, min_s: float, seed: int, source: Path) -> list[Path]:
    long = [path for path in paths if audio_seconds(path) >= min_s]
    if not long:
        wanted, remedy = f"clips of {min_s:g} s or more", "give longer ones"
        raise InputError(source, found=f"{len(paths)} shorter clips", wanted=wanted, remedy=remedy)
    return sorted(random.Random(f"copies {seed}").sample(long, min(count, len(long))))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        remedy = "give a folder of recordings, or a manifest"
        raise InputError(path, found=error, wanted="JSON, one object a line", remedy=remedy) from error
    for row in rows:
        if not isinstance(row, dict) or not row.get("audio"):
            remedy = "name the recording in `audio`, relative to the manifest"
            raise InputError(path, field="audio", found=row, wanted="a recording", remedy=remedy)
    return rows
