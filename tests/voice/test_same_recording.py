"""A copy of a recording is found whatever was done to its file, and nobody's own words are taken for one.

How often on real speech is measured in the benchmarks; here on synthetic speech.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import soxr
from said import spoken_clips

from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TRAIN_VOICES
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.same_recording import SAME, likeness


@pytest.fixture(scope="module")
def clip():
    return spoken_clips()[0].numpy()


def coded(samples, rate_hz, container, subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32")


def noisy(samples, snr_db):
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    return samples + noise * np.sqrt((samples**2).mean()) * 10 ** (-snr_db / 20)


COPIES = {
    "itself": lambda clip: (clip, 16_000),
    "cut to 2.5 s": lambda clip: (clip[9_137 : 9_137 + 40_000], 16_000),
    "softer": lambda clip: (0.05 * clip, 16_000),
    "at 24 kHz": lambda clip: (soxr.resample(clip, 16_000, 24_000), 24_000),
    "by telephone": lambda clip: coded(soxr.resample(clip, 16_000, 8_000), 8_000, "WAV", "ULAW"),
    "as mp3": lambda clip: coded(clip, 16_000, "MP3", "MPEG_LAYER_III"),
    "as vorbis": lambda clip: coded(clip, 16_000, "OGG", "VORBIS"),
    "as opus": lambda clip: coded(clip, 16_000, "OGG", "OPUS"),
    "in noise": lambda clip: (noisy(clip, 20.0), 16_000),
    "between silences": lambda clip: (np.pad(clip[9_137 : 9_137 + 40_000], 16_000), 16_000),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_copy_is_found(clip, change):
    assert likeness(*change(clip), clip, SAMPLE_RATE_HZ) >= SAME


def test_the_same_words_said_again_are_no_copy():
    """The synthesiser says them alike to the millisecond; nobody does, so they are said a little slower again."""
    text = "Eu autorizo que a minha voz seja usada para dizer o que eu escolher dizer, até ao fim do ano."
    with Speaker() as speaker:
        first, other = (speaker.speak(Utterance(text, voice)).numpy() for voice in TRAIN_VOICES[:2])
    for again in (first, other):
        slower = soxr.resample(again, 100, 106)
        assert likeness(first, SAMPLE_RATE_HZ, slower, SAMPLE_RATE_HZ) < SAME - 0.1


def test_other_words_of_one_voice_are_no_copy(clip):
    middle = len(clip) // 2
    assert likeness(clip[:middle], SAMPLE_RATE_HZ, clip[middle:], SAMPLE_RATE_HZ) < SAME - 0.1


@pytest.mark.parametrize("other", [np.zeros(48_000), np.full(48_000, 0.3), np.zeros(10), np.zeros(0)])
def test_where_nobody_speaks_nothing_is_like_anything(clip, other):
    assert likeness(other.astype(np.float32), 16_000, clip, 16_000) == 0.0
    assert likeness(clip, 16_000, other.astype(np.float32), 16_000) == 0.0
    assert likeness(other.astype(np.float32), 16_000, other.astype(np.float32), 16_000) == 0.0


def test_steady_noise_is_no_copy_of_itself_or_of_other_noise():
    """The hum of a room is in all recordings of a person; stretches of it say nothing."""
    noise = np.random.default_rng(0).standard_normal(96_000).astype(np.float32) * 0.01
    assert likeness(noise[:48_000], 16_000, noise[48_000:], 16_000) == 0.0


def test_a_long_recording_is_searched_to_its_end(clip):
    apart = np.random.default_rng(1).standard_normal(16_000 * 120).astype(np.float32) * 1e-3
    assert likeness(clip[20_000:60_000], 16_000, np.concatenate([apart, clip]), 16_000) >= SAME
