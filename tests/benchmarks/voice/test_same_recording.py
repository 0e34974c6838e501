"""How often a copy of a recording is found, and how often somebody's other words are taken for one.

Clips of one corpus are the likeliest to be taken for one another: one microphone, one room, often one voice. Each is
compared with all the others, as a consent clip is with all recordings of a person. Copies are what somebody would
make a consent clip of: a stretch of 3 s of a recording, through one change. In a row, "peer" is the highest likeness of
other words, or the lowest of a copy; "ratio" is our own share.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
import soxr
import torch

from amalia_mm.audio.codecs import through
from amalia_mm.audio.io import load_audio
from amalia_mm.audio.noise import add_noise
from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples
from amalia_mm.voice.same_recording import SAME, likeness

pytestmark = pytest.mark.benchmark

CORPORA = ("gcompris_ptPT", "minderico_pt", "librispeech_10spk", "english", "fleurs")
NUM_CLIPS = 12
LEAST_S = 3.1
Waveform = np.ndarray


def mp3(clip: Waveform) -> Waveform:
    return through(torch.from_numpy(clip), "mp3").numpy()


def opus(clip: Waveform) -> Waveform:
    return through(torch.from_numpy(clip), "opus").numpy()


def telephone(clip: Waveform) -> Waveform:
    buffer = io.BytesIO()
    narrow = soxr.resample(clip, SAMPLE_RATE_HZ, 8_000)
    soundfile.write(buffer, narrow, 8_000, format="WAV", subtype="ULAW")
    buffer.seek(0)
    return soxr.resample(soundfile.read(buffer, dtype="float32")[0], 8_000, SAMPLE_RATE_HZ)


def noisy(clip: Waveform) -> Waveform:
    return add_noise(torch.from_numpy(clip), "pink", 20.0, torch.Generator().manual_seed(0)).numpy()


CHANGES: dict[str, Callable[[Waveform], Waveform]] = {
    "cut alone": lambda clip: clip,
    "20 dB softer": lambda clip: 0.1 * clip,
    "mp3": mp3,
    "opus": opus,
    "telephone": telephone,
    "pink noise 20 dB": noisy,
}


def test_copies_are_found_and_other_words_are_not(bench, shared_data) -> None:
    dice = np.random.default_rng(0)
    cut = seconds_to_samples(3.0)
    others: list[float] = []
    copies: dict[str, list[float]] = {name: [] for name in CHANGES}
    for corpus in CORPORA:
        paths = sorted(
            path
            for path in (shared_data / "speech" / corpus).rglob("*")
            if path.suffix in (".wav", ".flac", ".mp3", ".ogg")
        )
        sounds = [load_audio(path).numpy() for path in paths]
        long = [number for number, sound in enumerate(sounds) if len(sound) > seconds_to_samples(LEAST_S)]
        for number in dice.choice(long, min(NUM_CLIPS, len(long)), replace=False):
            whole = sounds[number]
            rest = np.concatenate([sound for other, sound in enumerate(sounds) if other != number])
            others.append(likeness(whole, SAMPLE_RATE_HZ, rest, SAMPLE_RATE_HZ))
            start = int(dice.integers(len(whole) - cut))
            for name, change in CHANGES.items():
                changed = change(whole[start : start + cut].copy())
                copies[name].append(likeness(changed, SAMPLE_RATE_HZ, whole, SAMPLE_RATE_HZ))
    share = float(np.mean([found >= SAME for found in others]))
    label = f"other words of a corpus, {len(others)} clips: taken for a copy"
    bench.row(
        "copy_false", label, ours=share, peer=max(others), unit="share", ratio=share, op="<=", must=0.01
    )
    for name, values in copies.items():
        share = float(np.mean([found >= SAME for found in values]))
        label = f"3 s of a recording, {name}: found in {len(values)}"
        id_ = f"copy_{name.replace(' ', '_')}"
        bench.row(id_, label, ours=share, peer=min(values), unit="share", ratio=share, op=">=", must=0.95)
