"""The quality gate: clips with one fault each are told by it, in Portuguese, and a clean clip passes."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import soundfile
import soxr
import torch

from amalia_mm.audio.augment import band
from amalia_mm.audio.music import music_clip
from amalia_mm.audio.noise import add_noise
from amalia_mm.audio.vad import Segment
from amalia_mm.portuguese.banking_script import load_script
from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES
from amalia_mm.voice.advice import ADVICE
from amalia_mm.voice.quality import QualityGate
from amalia_mm.voice.signal_figures import bandwidth_db, clipped_share, is_tonal, level_db, signal_to_noise_db
from amalia_mm.voice.speaker import SpeakerEmbedder, embed_clips

TEXTS = [prompt.text for prompt in load_script()[:8]]
RATE_HZ = 16_000


class Colour(SpeakerEmbedder):
    """The colour of a voice, its mean spectrum around its own mean: enough to tell a man of espeak from a woman."""

    embed_size = 80

    def __init__(self):
        super().__init__()
        from amalia_mm.audio.features import LogMel

        self.features = LogMel(80)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def embed(self, waveforms, num_samples):
        mel, num_frames = self.features(waveforms, num_samples)
        mean = mel.sum(2) / num_frames[:, None]
        return torch.nn.functional.normalize(mean - mean.mean(1, keepdim=True) - self.tilt(), dim=1)

    def tilt(self):
        """What all voices have: the spectrum falls."""
        return torch.linspace(0.25, -0.25, 80)


@pytest.fixture(scope="module")
def voices():
    """Three sentences each of a man and of a woman, with a pause before and after."""
    by_name = {voice.name: voice for voice in (*TRAIN_VOICES, *TEST_VOICES)}
    pause = torch.zeros(RATE_HZ // 4)
    with Speaker() as speaker:
        return {
            name: [torch.cat([pause, speaker.speak(Utterance(text, by_name[name])), pause]) for text in TEXTS]
            for name in ("m2", "f3")
        }


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def kinds(gate, source, text=None, voice=None):
    return [fault.kind for fault in gate.examine(source, text, voice).faults]


def wav(samples, rate_hz):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples), rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["m2", "f3"])
def test_clean_clips_pass(voices, name):
    for clip in voices[name]:
        found = QualityGate().examine(clip)
        assert found.is_good, found
        assert found.advice == ()
        assert found.figures["speech_share"] > 0.5


def test_one_fault_each(voices):
    clip, gate = voices["m2"][0], QualityGate()
    peak = float(clip.abs().max())
    assert kinds(gate, clip.clamp(-peak / 4, peak / 4)) == ["clipped"]
    assert kinds(gate, 0.01 * clip) == ["quiet"]
    assert kinds(gate, add_noise(clip, "white", 5.0, generator())) == ["noisy"]
    assert kinds(gate, band(clip, 0.0, 3900.0)) == ["narrow"]
    assert kinds(gate, torch.zeros(3 * RATE_HZ)) == ["silence"]
    assert kinds(gate, 1e-4 * torch.randn(3 * RATE_HZ, generator=generator())) == ["silence"]
    assert kinds(gate, torch.cat([clip, torch.zeros(12 * RATE_HZ)])) == ["short"]
    assert kinds(gate, 0.1 * torch.randn(3 * RATE_HZ, generator=generator())) == ["noisy"]


def test_what_was_clipped_and_made_quieter_is_still_clipped(voices):
    clip = voices["f3"][1]
    peak = float(clip.abs().max())
    assert kinds(QualityGate(), 0.3 * clip.clamp(-peak / 5, peak / 5)) == ["clipped"]


def test_a_file_at_8_khz_is_narrow_and_one_at_48_khz_is_not(voices):
    clip = voices["m2"][0].numpy()
    assert kinds(QualityGate(), wav(soxr.resample(clip, RATE_HZ, 8000), 8000)) == ["narrow"]
    assert kinds(QualityGate(), wav(soxr.resample(clip, RATE_HZ, 48_000), 48_000)) == []


def test_telephone_sound_in_a_file_of_44_khz_is_narrow(voices):
    clip = voices["m2"][0].numpy()
    through = soxr.resample(soxr.resample(clip, RATE_HZ, 8000), 8000, 44_100)
    assert kinds(QualityGate(), wav(through, 44_100)) == ["narrow"]


def test_a_channel_that_is_clipped_is_found_beside_one_that_is_not(voices):
    clip = voices["m2"][0].numpy()
    peak = np.abs(clip).max()
    both = np.stack([clip, np.clip(clip, -peak / 4, peak / 4)], axis=1)
    assert kinds(QualityGate(), wav(both, RATE_HZ)) == ["clipped"]


@pytest.mark.parametrize("seed", range(6))
def test_music_is_no_voice(seed):
    music = music_clip(5.0, generator(seed))
    found = kinds(QualityGate(), 0.1 * music / music.square().mean().sqrt())
    assert found[:1] == ["music"]


def test_music_behind_a_voice_is_heard(voices):
    clip = torch.cat([voices["m2"][0], torch.zeros(RATE_HZ // 2)])
    music = music_clip(len(clip) / RATE_HZ, generator(3))[: len(clip)]
    level = clip.square().mean().sqrt() / music.square().mean().sqrt()
    assert kinds(QualityGate(), clip + 0.5 * level * music) == ["music"]


def test_two_people_in_one_clip_are_two(voices):
    gate = QualityGate(embedder=Colour(), same_person=0.75)
    for man, woman in zip(voices["m2"], voices["f3"], strict=True):
        assert kinds(gate, man) == []
        assert kinds(gate, woman) == []
    for first in range(0, 6, 2):
        same = torch.cat(voices["m2"][first : first + 2])
        assert kinds(gate, same) == []
        assert kinds(gate, torch.cat([voices["m2"][first], voices["f3"][first + 1]])) == ["two_people"]


def test_somebody_elses_clip_is_not_the_enrolled_voice(voices):
    colour = Colour()
    gate = QualityGate(embedder=colour, same_person=-1.0, same_voice=0.8)
    own = embed_clips(colour, voices["m2"][:3]).mean(0)
    assert kinds(gate, voices["m2"][4], voice=own) == []
    assert kinds(gate, voices["f3"][4], voice=own) == ["other_person"]
    with pytest.raises(ValueError, match="no embedder"):
        QualityGate().examine(voices["m2"][0], voice=own)


def test_other_words_than_the_sentence_are_told_with_what_was_heard(voices):
    gate = QualityGate(transcribe=lambda clip: "queria um copo de água fresca")
    assert kinds(gate, voices["m2"][1], "Queria um copo de água fresca.") == []
    assert kinds(gate, voices["m2"][1], "Queria um corpo de água, fresca!") == []  # ears err by a letter
    found = gate.examine(voices["m2"][1], "A minha filha chega ao fim da tarde.")
    assert [fault.kind for fault in found.faults] == ["other_words"]
    assert found.advice[0].endswith("(ouve-se «queria um copo de água fresca»)")


def test_more_words_than_anybody_says_in_that_time_were_not_said(voices):
    """Without ears, too: a short clip is no statement of three sentences."""
    clip, said = voices["m2"][1], "Queria um copo de água fresca."
    assert kinds(QualityGate(), clip, said) == []
    assert kinds(QualityGate(), clip, 4 * said) == ["too_few_words"]


def test_words_of_nobody_are_not_asked_for():
    def never(clip):
        raise AssertionError

    assert kinds(QualityGate(transcribe=never), torch.zeros(RATE_HZ), "Bom dia.") == ["silence"]


def test_advice_is_one_portuguese_sentence_for_each_fault():
    for advice in ADVICE.values():
        assert advice.endswith(".")
        assert advice[0].isupper()
        assert len(advice) < 120
    assert len(set(ADVICE.values())) == len(ADVICE)


def test_figures_are_written_with_a_comma(voices):
    peak = float(voices["m2"][0].abs().max())
    (advice,) = QualityGate().examine(voices["m2"][0].clamp(-peak / 4, peak / 4)).advice
    assert re.search(r"\(\d+,\d % das amostras\)$", advice)


def test_flat_tops_are_counted_by_hand():
    samples = np.array([0.0, 0.5, 0.5, 0.5, 0.1, -0.5, -0.5, 0.2, -0.5, -0.5, -0.5, -0.5])
    assert clipped_share(samples) == pytest.approx((3 + 4) / 12)  # two in a row are no flat top
    assert clipped_share(np.zeros(5)) == 0.0
    time = np.arange(RATE_HZ) / RATE_HZ
    assert clipped_share(np.sin(2 * np.pi * 440 * time)) == 0.0


def test_levels_and_noise_by_hand():
    time = torch.arange(RATE_HZ) / RATE_HZ
    tone = 0.5 * torch.sin(2 * torch.pi * 200 * time)
    assert level_db(tone) == pytest.approx(10 * np.log10(0.125), abs=0.01)
    assert level_db(torch.zeros(9)) == -100.0
    noise = 0.05 * torch.randn(2 * RATE_HZ, generator=generator())
    mixed = noise + torch.cat([tone, torch.zeros(RATE_HZ)])
    found = signal_to_noise_db(mixed, [Segment(0, RATE_HZ)])
    assert found == pytest.approx(10 * np.log10(0.125 / 0.0025), abs=0.3)
    assert signal_to_noise_db(torch.zeros(RATE_HZ), []) == 0.0


def test_noise_where_nobody_pauses_is_that_of_the_quietest_frames():
    time = torch.arange(2 * RATE_HZ) / RATE_HZ
    tone = 0.5 * torch.sin(2 * torch.pi * 200 * time) * (torch.sin(2 * torch.pi * 3 * time) > -0.6)
    noise = 0.02 * torch.randn(len(tone), generator=generator())
    found = signal_to_noise_db(tone + noise, [Segment(0, len(tone))])
    expected = 10 * np.log10(float(tone.square().mean()) / 0.0004)
    assert found == pytest.approx(expected, abs=1.5)


def test_a_band_that_is_empty_is_far_below():
    noise = torch.randn(RATE_HZ, generator=generator())
    assert bandwidth_db(noise) == pytest.approx(10 * np.log10(3.3 / 3.5), abs=0.5)
    assert bandwidth_db(band(noise, 0.0, 3900.0)) < -60
    assert bandwidth_db(torch.zeros(10)) == 0.0


def test_noise_has_no_tones_and_a_chord_has():
    time = torch.arange(RATE_HZ) / RATE_HZ
    chord = sum(torch.sin(2 * torch.pi * pitch_hz * time) for pitch_hz in (440.0, 554.4, 659.3))
    hum = torch.sin(2 * torch.pi * 50 * time) + 0.01 * torch.randn(RATE_HZ, generator=generator())
    assert is_tonal(chord)
    assert not is_tonal(torch.randn(RATE_HZ, generator=generator()))
    assert not is_tonal(hum)
    assert not is_tonal(torch.zeros(0))
