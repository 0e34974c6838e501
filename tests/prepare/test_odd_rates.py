"""A header that lies about the sample rate is found out by the other speakers; a slow or a high voice is no lie."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
import soxr
import torch
from corpora import write_jsonl
from sound import said

from amalia_mm.prepare.corpus_plan import Wishes
from amalia_mm.prepare.corpus_shards import summary_lines, write_corpus
from amalia_mm.prepare.odd_rates import Sound, bands_of, odd_rates, pace_of_all
from amalia_mm.prepare.plausible import num_chars
from amalia_mm.prepare.voices import TRAIN_VOICES

TEXTS = (
    "Preciso de ajuda para me levantar.",
    "O autocarro parte às oito e meia da manhã.",
    "Podes dar-me boleia para o mercado, Teresa?",
    "O champô está dentro do carro, Pedro.",
    "Perdi as minhas chaves na peixaria esta manhã.",
)
SPEAKERS = 6


@pytest.fixture(scope="module")
def clips() -> list[list[torch.Tensor]]:
    """The texts by each speaker."""
    voices = [voice for voice in TRAIN_VOICES[:SPEAKERS] for _ in TEXTS]
    flat = said(*TEXTS * SPEAKERS, voices=voices)
    return [flat[start : start + len(TEXTS)] for start in range(0, len(flat), len(TEXTS))]


def played_at(clip: torch.Tensor, speed: float) -> torch.Tensor:
    """What is heard of a clip whose header says `speed` times its sample rate."""
    return torch.from_numpy(soxr.resample(clip.numpy(), 16_000 * speed, 16_000))


def sounds(clips: Sequence[Sequence[torch.Tensor]], speaker: str = "speaker") -> list[Sound]:
    return [
        Sound(f"{speaker}{number}" if speaker else "", num_chars(text), len(clip) / 16_000, bands_of(clip))
        for number, own in enumerate(clips)
        for text, clip in zip(TEXTS, own, strict=True)
    ]


@pytest.mark.parametrize(
    ("speed", "says"), [(0.5, "about 2.0 times the sample rate"), (2.0, "about 1/2.0 of the sample rate")]
)
def test_a_speaker_at_another_rate_is_found_and_nobody_else(clips, speed, says) -> None:
    assert not odd_rates(sounds(clips))
    wrong = [[played_at(clip, speed) for clip in clips[2]] if n == 2 else own for n, own in enumerate(clips)]
    found = odd_rates(sounds(wrong))
    assert set(found) == {2 * len(TEXTS) + n for n in range(len(TEXTS))}
    assert {fault.reason for fault in found.values()} == {"sample_rate"}
    assert all(says in fault.value for fault in found.values())


def test_one_clip_of_a_speaker_is_found_among_the_others(clips) -> None:
    wrong = [
        [played_at(clip, 0.5) if n == s == 1 else clip for n, clip in enumerate(own)]
        for s, own in enumerate(clips)
    ]
    assert set(odd_rates(sounds(wrong))) == {len(TEXTS) + 1}
    nobody_knows_who = sounds(wrong, speaker="")
    assert set(odd_rates(nobody_knows_who)) == {len(TEXTS) + 1}


@pytest.mark.parametrize("pace", [0.5, 1.9])
def test_who_only_speaks_slowly_or_fast_is_no_lie(clips, pace) -> None:
    """Somebody with ALS needs twice the time, at the pitch of before: those clips are the ones that are needed."""
    from librosa.effects import time_stretch

    slow = [torch.from_numpy(time_stretch(clip.numpy(), rate=pace, n_fft=512)) for clip in clips[0]]
    assert not odd_rates(sounds([slow, *clips[1:]]))


def test_too_few_to_compare_with_accuse_nobody(clips) -> None:
    assert not odd_rates(sounds([[played_at(clip, 2.0) for clip in clips[0]], *clips[1:3]]))
    assert not odd_rates([])


def test_the_bands_are_those_of_the_tones() -> None:
    time_s = torch.arange(16_000) / 16_000
    levels = bands_of(torch.sin(2 * torch.pi * 720 * time_s) + 0.1 * torch.sin(2 * torch.pi * 2880 * time_s))
    # At 90 Hz * 2 ** 3 and * 2 ** 5: 20 dB apart, and spread over a band four times as wide.
    assert levels[12] == 0 and levels[20] == pytest.approx(-26, abs=1)
    assert levels[0] == -50


def test_a_corpus_of_which_all_is_too_slow_is_told(clips) -> None:
    assert pace_of_all(sounds(clips)) is None
    slow = [[played_at(clip, 0.5) for clip in own] for own in clips]
    note = pace_of_all(sounds(slow))
    assert note is not None and "is their sample rate right" in note and not odd_rates(sounds(slow))


def test_a_corpus_names_the_clips_whose_header_lies(clips, tmp_path: Path) -> None:
    """One speaker was recorded at 16,000 Hz, and every file of theirs says 8,000."""
    rows = []
    for speaker, own in enumerate(clips):
        for number, clip in enumerate(own):
            path = tmp_path / f"{speaker}-{number}.wav"
            soundfile.write(path, clip.numpy(), 8_000 if speaker == 3 else 16_000)
            rows.append(
                {"audio": path.name, "text": TEXTS[number], "speaker": f"s{speaker}", "split": "train"}
            )
    corpus = write_jsonl(tmp_path / "m.jsonl", rows)
    summary = write_corpus(corpus, tmp_path / "out", layout="manifest", progress=False)
    quarantine = (tmp_path / "out/quarantine.jsonl").read_text("utf-8").splitlines()
    refused = [json.loads(line) for line in quarantine]
    assert Counter((row["id"][0], row["reason"]) for row in refused) == {("3", "sample_rate"): len(TEXTS)}
    assert "of its header" in refused[0]["value"]
    assert f"quarantined\tsample_rate\t{len(TEXTS)}" in summary_lines(summary)
    kept = write_corpus(
        corpus, tmp_path / "all", layout="manifest", wishes=Wishes(keep_odd_rates=True), progress=False
    )
    assert kept["clips"] == len(rows) and not kept["quarantined"]
