"""Clips in which nobody speaks, as shards: silence, noises and music whose transcript is empty."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import torch
from torch import Generator
from tqdm import tqdm

from amalia_mm.audio.io import encode_flac
from amalia_mm.audio.music import music_clip
from amalia_mm.audio.no_speech import NO_SPEECH, no_speech_clip
from amalia_mm.data.schema import TRANSCRIBE, Record
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.units import samples_to_seconds
from amalia_mm.variety import Variety

MUSIC = "music"
SOURCE = "no-speech"


def write_negatives(
    output: Path, num_records: int, seconds: tuple[float, float], *, seed: int = 0
) -> Counter[str]:
    """Write clips without speech as a folder of shards; return how many there are of each kind.

    Half of them are music, the others silence and noises in equal shares. A clip depends on the seed and its number.

    Args:
        output: A new or empty folder.
        num_records: How many clips.
        seconds: The shortest and the longest clip.
        seed: Of all draws.

    Raises:
        InputError: A number cannot be, the folder is not empty, or the disk is full.
    """
    if num_records < 1:
        remedy = "correct it"
        raise InputError("--records", found=num_records, wanted="at least 1", remedy=remedy)
    shortest, longest = seconds
    if not 0 < shortest <= longest:
        wanted, remedy = "--min-s above 0 and at most --max-s", "correct them"
        raise InputError("--min-s", found=f"{shortest} to {longest}", wanted=wanted, remedy=remedy)
    made: Counter[str] = Counter()
    with ShardWriter(output, max_seconds=max(600.0, longest)) as writer:
        for number in tqdm(range(num_records), desc=output.name, unit="clip", delay=2.0):
            generator = _generator(seed, number)
            is_music, noise = number % 2 == 1, NO_SPEECH[number // 2 % len(NO_SPEECH)]
            kind = MUSIC if is_music else noise
            duration_s = shortest + (longest - shortest) * float(torch.rand((), generator=generator))
            clip = (
                music_clip(duration_s, generator)
                if is_music
                else no_speech_clip(noise, duration_s, generator)
            )
            record = Record(
                id=f"{SOURCE}-{seed}-{number:06d}-{kind}",
                task=TRANSCRIBE,
                variety=Variety.UNKNOWN,
                speaker="",
                source=f"{SOURCE}-{kind}",
                licence="CC0-1.0",
                split="train",
                text="",
                seconds=round(samples_to_seconds(len(clip)), 3),
            )
            writer.write(record, encode_flac(clip), num_samples=len(clip))
            made[kind] += 1
    return made


def _generator(seed: int, number: int) -> Generator:
    digest = hashlib.sha256(f"{seed} {SOURCE} {number}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))
