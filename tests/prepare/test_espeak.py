"""The synthesiser behind its pipe: it speaks, it is never in our process, and its death loses nothing."""

from __future__ import annotations

import ast
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import amalia_mm
from amalia_mm.errors import InputError
from amalia_mm.prepare import espeak
from amalia_mm.prepare.espeak import CHILD, LANGUAGE, Speaker, SpeakerPool, Utterance
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES, Voice
from amalia_mm.units import SAMPLE_RATE_HZ

SENTENCE = "Podes abrir a janela do quarto, por favor?"
SILENT_FOR_EVER = "import struct, sys, time\n" + (
    'body = b\'{"version": "0", "language": "Portuguese (Portugal)"}\'\n'
    "sys.stdout.buffer.write(struct.pack('<4sII', b'INFO', 22050, len(body)) + body); sys.stdout.flush()\n"
    "time.sleep(60)\n"
)


def test_the_language_is_european_portuguese() -> None:
    with Speaker() as speaker:
        assert speaker.info()["language"] == LANGUAGE


def test_a_sentence_is_speech_at_16_khz_and_the_same_every_time() -> None:
    with Speaker() as speaker:
        first = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        speaker.speak(Utterance("Outra frase, noutra voz.", TRAIN_VOICES[10]))
        again = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
    assert (first.dtype, first.ndim) == (torch.float32, 1)
    assert 1.5 < len(first) / SAMPLE_RATE_HZ < 5
    assert first.abs().max() < 1
    assert torch.equal(first, again)


def test_the_beginning_of_every_word_is_told() -> None:
    """After a full stop there is a pause: the sound says by itself where the word after it begins."""
    with Speaker() as speaker:
        utterance = Utterance("Tenho sede. Bebe água fresca.", TRAIN_VOICES[0])
        waveform, starts = speaker.speak_words(utterance)
        assert torch.equal(waveform, speaker.speak(utterance))
        slow = Utterance(utterance.text, TRAIN_VOICES[0], tract_scale=0.8)
        longer, later = speaker.speak_words(slow)
    assert len(starts) == 5
    assert starts == sorted(starts)
    is_loud = (waveform.abs() > 0.01).tolist()
    last_silent = max(
        at for at in range(starts[2] - 3_200, starts[2] + 1_600) if not any(is_loud[at - 800 : at])
    )
    assert abs(last_silent - starts[2]) < 0.05 * SAMPLE_RATE_HZ
    assert [round(start / 0.8) for start in starts] == pytest.approx(later, abs=2)
    assert len(longer) == pytest.approx(len(waveform) / 0.8, abs=2)


def test_rate_and_pitch_are_heard() -> None:
    with Speaker() as speaker:
        own = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        fast = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0], rate_wpm=240))
        high = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0], pitch=90))
    assert 1.3 < len(own) / len(fast) < 1.7
    assert _pitch_hz(high) > 1.2 * _pitch_hz(own)


@pytest.mark.parametrize("scale", [0.86, 1.16])
def test_a_smaller_speaker_is_higher_and_faster_by_as_much(scale: float) -> None:
    with Speaker() as speaker:
        own = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        other = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0], tract_scale=scale))
    assert len(own) / len(other) == pytest.approx(scale, rel=1e-3)
    assert _pitch_hz(other) == pytest.approx(scale * _pitch_hz(own), rel=0.05)


def test_all_voices_speak_and_test_voices_are_not_training_voices() -> None:
    variants = [voice.variant for voice in TRAIN_VOICES + TEST_VOICES]
    assert len(set(variants)) == len(variants)
    assert len(TRAIN_VOICES) >= 12
    assert len(TEST_VOICES) == 4
    assert {voice.sex for voice in TEST_VOICES} == {"female", "male"} == {voice.sex for voice in TRAIN_VOICES}
    with Speaker() as speaker:
        heard = {
            voice: speaker.speak(Utterance("Bom dia, minha senhora.", voice))
            for voice in TRAIN_VOICES + TEST_VOICES
        }
    waveforms = list(heard.values())
    for i, waveform in enumerate(waveforms):
        assert waveform.abs().max() < 0.99, "a voice that clips is no voice"
        assert waveform.square().mean().sqrt() > 0.01
        assert not any(len(o) == len(waveform) and torch.allclose(o, waveform) for o in waveforms[:i])
    lowest_female_hz = min(_pitch_hz(w) for v, w in heard.items() if v.sex == "female")
    assert lowest_female_hz > max(_pitch_hz(w) for v, w in heard.items() if v.sex == "male")


def test_a_child_killed_between_sentences_is_started_again() -> None:
    with Speaker() as speaker:
        before = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        os.kill(_pid(speaker), signal.SIGKILL)
        after = speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        assert speaker.num_restarts == 1
    assert torch.equal(before, after)


def test_children_killed_mid_way_lose_no_sentence() -> None:
    utterances = [
        Utterance(f"{SENTENCE} Ou a porta da {room}?", voice)
        for room in ("sala", "cozinha", "casa de banho", "garagem")
        for voice in TRAIN_VOICES
    ]
    with Speaker() as alone:
        wanted = [alone.speak(utterance) for utterance in utterances]
    with SpeakerPool(2) as pool:
        heard: list[tuple[int, Tensor]] = []
        for i, answer in enumerate(pool.speak(utterances, lambda i, waveform: (i, waveform))):
            assert not isinstance(answer, InputError)
            heard.append(answer)
            if i in (3, 20):
                os.kill(_pid(pool.speakers[0]), signal.SIGKILL)
        assert pool.speakers[0].num_restarts >= 1
    assert [i for i, _ in heard] == list(range(len(utterances)))
    assert all(torch.equal(waveform, expected) for (_, waveform), expected in zip(heard, wanted, strict=True))


def test_a_sentence_over_its_time_limit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "silent.py"
    child.write_text(SILENT_FOR_EVER)
    monkeypatch.setattr(espeak, "CHILD", child)
    start_s = time.monotonic()
    with Speaker(limit_s=0.2) as speaker:
        with pytest.raises(InputError, match=r"no answer within 0\.2 s"):
            speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        assert speaker.num_restarts == 2
    assert time.monotonic() - start_s < 10


def test_a_missing_synthesiser_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(CHILD.read_text().replace("import espeakng_loader", "import no_such_loader"))
    monkeypatch.setattr(espeak, "CHILD", child)
    with Speaker() as speaker, pytest.raises(InputError, match=r"no_such_loader.*install"):
        speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))


def test_a_brazilian_voice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(CHILD.read_text().replace('_LANGUAGE = "pt"', '_LANGUAGE = "pt-br"'))
    monkeypatch.setattr(espeak, "CHILD", child)
    with (
        Speaker() as speaker,
        pytest.raises(InputError, match=r"Portuguese \(Brazil\).*Portuguese \(Portugal\)"),
    ):
        speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))


@pytest.mark.parametrize(
    ("text", "variant", "found"), [("", "pt", "no sound"), ("Olá", "pt+nobody-at-all", "no variant")]
)
def test_what_cannot_be_said_is_an_error_and_the_child_lives(text: str, variant: str, found: str) -> None:
    with Speaker() as speaker:
        speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        pid = _pid(speaker)
        with pytest.raises(InputError, match=found):
            speaker.speak(Utterance(text, Voice("odd", variant, "male")))
        speaker.speak(Utterance(SENTENCE, TRAIN_VOICES[0]))
        assert _pid(speaker) == pid


def test_an_unspeakable_sentence_takes_its_place_in_the_pool_as_an_error() -> None:
    utterances = [Utterance(text, TRAIN_VOICES[0]) for text in ("Bom dia.", "", "Boa noite.")]
    with SpeakerPool(2) as pool:
        answers = list(pool.speak(utterances, lambda i, waveform: len(waveform)))
    assert isinstance(answers[1], InputError)
    assert isinstance(answers[0], int)
    assert isinstance(answers[2], int)


def test_two_children_speak_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=20)
    utterances = [Utterance("Bom dia.", TRAIN_VOICES[0])] * 2
    with SpeakerPool(2) as pool:
        answers = list(pool.speak(utterances, lambda i, waveform: together.wait() >= 0))
    assert answers == [True, True]


def test_closing_ends_the_child() -> None:
    speaker = Speaker()
    speaker.info()
    process = speaker._child.process if speaker._child else None
    assert process is not None
    assert process.poll() is None
    speaker.close()
    assert process.poll() is not None


def test_the_protocol_is_what_the_file_says() -> None:
    request = {"text": "Olá.", "voice": "pt+f2", "rate_wpm": 150, "pitch": 50, "range": 50}
    lines = (json.dumps(request) + "\n" + "{}\n" + "not json\n").encode()
    done = subprocess.run(
        [sys.executable, "-P", str(CHILD)], input=lines, capture_output=True, timeout=60, check=True
    )
    answers, rest = [], done.stdout
    while rest:
        kind, rate_hz, num_bytes = struct.unpack("<4sII", rest[:12])
        answers.append((kind, rate_hz, rest[12 : 12 + num_bytes]))
        rest = rest[12 + num_bytes :]
    assert [kind for kind, _, _ in answers] == [b"INFO", b"PCM1", b"ERR1", b"ERR1"]
    assert answers[1][1] == 22_050
    assert len(answers[1][2]) > 2 * 22_050 * 0.2


def test_nothing_imports_the_child_and_nothing_else_names_its_library() -> None:
    root = Path(amalia_mm.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            assert not any(name.endswith("espeak_child") for name in names), path
            assert path == CHILD or not any(name.startswith("espeakng_loader") for name in names), path


def _pid(speaker: Speaker) -> int:
    assert speaker._child is not None
    return speaker._child.process.pid


def _pitch_hz(waveform: Tensor) -> float:
    """The median pitch by autocorrelation of 40 ms frames, over the louder half of the clip."""
    frames = waveform.unfold(0, 640, 320).double().numpy()
    frames = frames[np.argsort(-np.square(frames).sum(1))[: len(frames) // 2]]
    low, high = SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 60
    peaks = [low + int(np.argmax(np.correlate(f, f, "full")[639 + low : 639 + high])) for f in frames]
    return SAMPLE_RATE_HZ / float(np.median(peaks))
