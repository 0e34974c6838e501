"""Words and texts to sounds a second, and the agreement with espeak-ng's `pt`, on real text."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from amalia_mm.portuguese.g2p import utterance
from amalia_mm.portuguese.phonology.pronunciation import pronounced
from amalia_mm.prepare.phoneme_agreement import against_espeak

pytestmark = pytest.mark.benchmark

WORDS_PER_S = 20_000
NUM_COMPARED = 2_000


@pytest.fixture(scope="module")
def newspaper(shared_data: Path) -> Path:
    return shared_data / "text" / "bosque" / "bosque_pt-PT.tsv"


def test_words_never_seen(bench, newspaper: Path) -> None:
    words = sorted(set(re.findall("[a-zãáâàéêíóôõúç]{3,}", newspaper.read_text(encoding="utf-8"))))
    rates = []
    for _ in range(5):
        pronounced.cache_clear()
        start_s = time.process_time()
        for word in words:
            pronounced(word)
        rates.append(len(words) / (time.process_time() - start_s))
    rate = sorted(rates)[len(rates) // 2]
    bench.row(
        "g2p_words",
        f"{len(words)} different words, none cached, a second of processor time; the peer is the promise",
        ours=rate,
        peer=WORDS_PER_S,
        unit="words/s",
        ratio=rate / WORDS_PER_S,
        op=">=",
        must=1.0,
    )


def test_running_text(bench, newspaper: Path) -> None:
    lines = [line.split("\t")[2] for line in newspaper.read_text(encoding="utf-8").splitlines()[1:1001]]
    num_words = sum(len(line.split()) for line in lines)
    start_s = time.process_time()
    for line in lines:
        utterance(line)
    rate = num_words / (time.process_time() - start_s)
    bench.row(
        "g2p_text",
        f"{num_words} words of newspaper through `utterance`, a second of processor time; the peer is the promise",
        ours=rate,
        peer=WORDS_PER_S,
        unit="words/s",
        ratio=rate / WORDS_PER_S,
        op=">=",
        must=1.0,
    )


def test_beside_espeak(bench, newspaper: Path) -> None:
    agreement = against_espeak([newspaper], NUM_COMPARED)
    accounted = agreement.num_agreeing + agreement.num_explained
    bench.row(
        "g2p_espeak",
        f"of the {NUM_COMPARED} most frequent words, those as espeak-ng's pt says them or otherwise by a named rule",
        ours=accounted,
        peer=agreement.num_words,
        unit="words",
        ratio=accounted / agreement.num_words,
        op=">=",
        must=0.97,
    )
