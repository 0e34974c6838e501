"""Nothing of a long recording is cut or invented, its times are the whole's, and memory does not grow with it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import soundfile
import soxr
import torch
import toy_recipe
from ears import EARS
from sound import said

from amalia_mm.assistant import Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.audio.vad import chunk, speech_segments
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.run import save_model
from amalia_mm.text.decoder import Decoder, DecoderConfig

SENTENCES = ("Preciso de ajuda.", "O autocarro parte às oito e meia.", "Onde fica a estação?")
SECOND = 16_000


@pytest.fixture(scope="module")
def assistant(model):
    return Assistant.load(model, device="cpu")


@pytest.fixture(scope="module")
def sentences():
    return said(*SENTENCES)


def of_length(sentences, seconds):
    """Sentences with pauses of 0.2 to 1.4 s, to the sample as long as asked; the last one ends at the end."""
    parts, total, number = [], 0, 0
    longest = max(map(len, sentences))
    wanted = round(seconds * SECOND)
    while total + 2 * longest + 2 * SECOND < wanted:
        part = torch.cat([sentences[number % 3], torch.zeros(SECOND // 5 * (1 + number * 3 % 7))])
        parts, total, number = [*parts, part], total + len(part), number + 1
    last = sentences[number % 3]
    return torch.cat([*parts, torch.zeros(wanted - total - len(last)), last])


def heard(assistant, source):
    return assistant.transcribe_timed([source], num_beams=None)[0]


@pytest.mark.parametrize("seconds", [29.9, 30.0, 30.1, 61.0])
def test_every_piece_of_speech_is_heard_where_it_is(assistant, sentences, seconds):
    waveform = of_length(sentences, seconds)
    found = heard(assistant, waveform)
    speech = speech_segments(waveform, threshold=0.4, min_speech_ms=100)
    pieces = chunk(waveform, 12.0, max_pause_seconds=0.6, segments=speech)
    alone = [
        assistant.transcribe_ctc([waveform[p.start_samples : p.end_samples]], vad=False)[0] for p in pieces
    ]
    assert found.text == " ".join(text for text in alone if text)
    assert [(s.start_s, s.end_s, s.text) for s in found.segments] == [
        (p.start_samples / SECOND, p.end_samples / SECOND, text)
        for p, text in zip(pieces, alone, strict=True)
        if text
    ]
    assert found.duration_s == seconds
    assert pieces[-1].end_samples == len(waveform), "the last sentence is heard to its end"
    assert " ".join(word.text for word in found.words) == " ".join(found.text.split())
    for segment in found.segments:
        assert all(
            segment.start_s - 0.1 <= word.start_s <= word.end_s <= segment.end_s + 0.1
            for word in segment.words
        )


@pytest.fixture(scope="module")
def writer(tmp_path_factory, toy_data):
    """A small decoder that reads half a minute at once, and writes something else of every clip."""
    torch.manual_seed(1)
    sizes = {**toy_recipe.DECODER, "dropout": 0.0, "max_position_embeddings": 2048}
    sizes["tie_word_embeddings"] = False
    config = DecoderConfig(**sizes)
    parts = {
        "decoder": sizes,
        "encoder": {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": EARS},
        "projector": {"class_path": "amalia_mm.fusion.projectors.CtcPosterior"},
    }
    model = SpeechTextModel(ConvTransformer(**EARS), CtcPosterior(8, config), Decoder(config))
    torch.nn.init.normal_(model.get_parameter("projector.head.weight"), std=2.0)
    output = torch.nn.init.normal_(model.get_parameter("decoder.lm_head.weight"))
    torch.nn.init.zeros_(output[:262])  # nothing but text, so that there is some; it never ends by itself
    folder = tmp_path_factory.mktemp("writer") / "model"
    save_model(folder, model, config=parts, tokenizer=toy_data / "tokenizer", card="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amalia_mm.assistant.transcript_limit", lambda num_samples: 12)
        yield Assistant.load(folder, device="cpu")


@pytest.mark.parametrize("seconds", [29.9, 30.0, 30.1, 61.0])
def test_decoder_and_beams_lose_nothing_of_what_is_cut_at_pauses(writer, sentences, seconds):
    """All pieces in one batch, and each by itself: the same texts, in order, where they are said."""
    waveform = of_length(sentences, seconds)
    found = writer.transcribe_timed([waveform], num_beams=3)[0]
    speech = speech_segments(waveform, threshold=0.4, min_speech_ms=100)
    pieces = chunk(waveform, 12.0, max_pause_seconds=0.6, segments=speech)
    alone = [
        writer.transcribe([waveform[p.start_samples : p.end_samples]], vad=False, num_beams=3)[0]
        for p in pieces
    ]
    assert len(pieces) > 2 and len(set(alone)) > 2
    assert found.text == " ".join(text for text in alone if text)
    assert [(s.start_s, s.end_s, s.text) for s in found.segments] == [
        (p.start_samples / SECOND, p.end_samples / SECOND, text)
        for p, text in zip(pieces, alone, strict=True)
        if text
    ]
    assert pieces[-1].end_samples == len(waveform) and found.duration_s == seconds
    assert " ".join(word.text for word in found.words) == " ".join(found.text.split())


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize(("seconds", "num_windows"), [(29.9, 1), (30.0, 1), (30.1, 2), (61.0, 3)])
def test_the_same_words_on_both_sides_of_a_border_are_written_on_both(
    writer, sentences, monkeypatch, seconds, num_windows, num_beams
):
    """Windows of 30 s, as Whisper's, without a look for speech: the border is in the middle of what is said."""
    monkeypatch.setitem(writer.config, "clip_s", 30.0)
    num_samples = round(seconds * SECOND)
    lengths = [(num_samples + place) // num_windows for place in reversed(range(num_windows))]
    assert sum(lengths) == num_samples
    spoken = torch.cat(sentences * 8)
    windows = [spoken[:length] for length in lengths]
    alone = [writer.transcribe([each], vad=False, num_beams=num_beams)[0] for each in windows]
    assert all(alone) and len(set(alone[1:])) <= 1
    for batch_size in (1, 16):
        found = writer.transcribe([torch.cat(windows)], vad=False, num_beams=num_beams, batch_size=batch_size)
        assert found == [" ".join(alone)]


def test_ten_minutes_read_in_blocks_are_ten_minutes_read_whole(assistant, sentences, tmp_path):
    """As a file beyond what is kept in memory, and as a waveform; at another rate, so that it is resampled, too."""
    waveform = of_length(sentences, 600.0)
    soundfile.write(tmp_path / "a.wav", waveform.numpy(), SECOND, subtype="FLOAT")
    from_file = heard(assistant, tmp_path / "a.wav")
    assert from_file.duration_s == 600.0
    assert from_file == heard(assistant, waveform)
    assert len(from_file.segments) > 60
    assert 590 < from_file.segments[-1].end_s <= 600
    doubled = soxr.resample(waveform.numpy(), SECOND, 2 * SECOND)
    soundfile.write(tmp_path / "b.wav", doubled, 2 * SECOND, subtype="FLOAT")
    assert heard(assistant, tmp_path / "b.wav") == heard(assistant, load_audio(tmp_path / "b.wav"))


def test_ten_minutes_of_silence_inside_invent_nothing_and_move_nothing(assistant, sentences, tmp_path):
    one, other = of_length(sentences, 13.0), of_length(sentences, 14.0)
    write_audio(tmp_path / "a.flac", torch.cat([one, torch.zeros(600 * SECOND), other]))
    found = heard(assistant, tmp_path / "a.flac")
    write_audio(tmp_path / "b.flac", torch.cat([one, torch.zeros(SECOND), other]))
    near = heard(assistant, tmp_path / "b.flac")
    assert len(found.segments) == len(near.segments)
    before = [segment for segment in found.segments if segment.start_s < 13]
    after = [segment for segment in found.segments if segment.start_s >= 613 - 0.2]
    assert len(before) + len(after) == len(found.segments) and before and after
    for far, close in zip(after, near.segments[len(before) :], strict=True):
        assert far.start_s == pytest.approx(close.start_s + 599, abs=0.07)
        assert far.end_s == pytest.approx(close.end_s + 599, abs=0.07)


def test_a_window_of_thirty_seconds_is_never_overfilled(assistant, monkeypatch):
    """Encoders as Whisper's take 30 s and refuse more; a model that learned from longer clips is cut to it."""
    monkeypatch.setitem(assistant.config, "clip_s", 45.0)
    assert assistant.chunk_samples == 45 * SECOND
    window = replace(assistant._responder.geometry, pad_to_samples=480_000)
    monkeypatch.setattr(assistant._responder, "geometry", window)
    assert assistant.chunk_samples == 480_000


MEMORY = """
import sys, threading, time, torch, psutil
torch.set_num_threads(1)
from pathlib import Path
from amalia_mm.assistant import Assistant
assistant = Assistant.load(sys.argv[1], device="cpu")
assistant.transcribe_timed([Path(sys.argv[2])], num_beams=None)
peak, done = [0], threading.Event()
def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
def watch():
    while not done.wait(0.02):
        peak[0] = max(peak[0], anonymous())
threading.Thread(target=watch, daemon=True).start()
found = assistant.transcribe_timed([Path(sys.argv[3])], num_beams=None)[0]
done.set()
sys.stdout.write(f"{peak[0]} {found.duration_s} {len(found.segments)} {found.segments[-1].end_s}")
"""


def peak_bytes(model, short, long):
    command = [sys.executable, "-c", MEMORY, str(model), str(short), str(long)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, *rest = map(float, done.stdout.split())
    return peak, rest


def repeated(path, waveform, times):
    with soundfile.SoundFile(path, "w", SECOND, 1, subtype="PCM_16") as file:
        for _ in range(times):
            file.write(waveform.numpy())
    return path


@pytest.mark.soak
def test_three_hours_take_the_memory_of_half_an_hour(model, sentences, tmp_path):
    """Held whole, three hours are 691 MB, and each copy as much again. Half an hour fills the pool of pieces."""
    minutes = of_length(sentences, 600.0)
    write_audio(tmp_path / "short.wav", minutes[: 20 * SECOND])
    peaks = {}
    for tens in (1, 3, 18):
        path = repeated(tmp_path / f"{tens}.wav", minutes, tens)
        peaks[tens], (duration_s, num_segments, end_s) = peak_bytes(model, tmp_path / "short.wav", path)
        assert duration_s == 600 * tens
        assert num_segments > 100 * tens
        assert 600 * tens - 10 < end_s <= 600 * tens
    held = 4 * SECOND * 600 * (18 - 3)  # 576 MB more, if recordings were held whole
    assert peaks[18] - peaks[3] < held / 5, peaks
    assert peaks[18] - peaks[1] < held / 3, peaks
