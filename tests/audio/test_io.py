"""Every kind of file comes in as mono float32 at 16 kHz, and what is not whole audio is told in one line."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.audio.io import audio_seconds, encode_flac, load_audio, write_audio
from amalia_mm.errors import InputError


def tone(seconds: float = 1.0, rate_hz: int = 16_000, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * math.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def encoded(
    samples: np.ndarray, rate_hz: int = 16_000, container: str = "WAV", subtype: str = "PCM_16"
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def fundamental_hz(waveform: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs()
    return spectrum.argmax().item() * 16_000 / len(waveform)


FORMATS = [
    ("WAV", "PCM_16", 16_000),
    ("WAV", "PCM_U8", 8_000),
    ("WAV", "PCM_24", 44_100),
    ("WAV", "FLOAT", 96_000),
    ("WAV", "ULAW", 8_000),
    ("WAV", "IMA_ADPCM", 22_050),
    ("WAVEX", "PCM_16", 48_000),
    ("RF64", "PCM_16", 16_000),
    ("FLAC", "PCM_16", 22_050),
    ("FLAC", "PCM_24", 48_000),
    ("MP3", "MPEG_LAYER_III", 44_100),
    ("MP3", "MPEG_LAYER_III", 16_000),
    ("OGG", "VORBIS", 11_025),
    ("OGG", "OPUS", 48_000),
    ("OGG", "OPUS", 8_000),
]


@pytest.mark.parametrize(("container", "subtype", "rate_hz"), FORMATS)
def test_bytes_are_heard_the_same_on_systems_without_files_in_memory(
    monkeypatch, container, subtype, rate_hz
):
    data = encoded(tone(0.5, rate_hz), rate_hz, container, subtype)
    heard = load_audio(data)
    monkeypatch.setattr("amalia_mm.audio.io._HAS_MEMFD", False)
    monkeypatch.delattr("os.memfd_create", raising=False)
    assert torch.equal(load_audio(data), heard)


@pytest.mark.parametrize(("container", "subtype", "rate_hz"), FORMATS)
@pytest.mark.parametrize("as_file", [True, False], ids=["file", "bytes"])
def test_a_tone_comes_through_every_format(tmp_path, container, subtype, rate_hz, as_file):
    data = encoded(tone(1.5, rate_hz), rate_hz, container, subtype)
    source: Path | bytes = data
    if as_file:
        # An ending says nothing: only what is inside counts.
        source = tmp_path / "clip.raw"
        source.write_bytes(data)
    waveform = load_audio(source)
    assert waveform.dtype == torch.float32 and waveform.ndim == 1
    assert len(waveform) == pytest.approx(24_000, abs=600)
    assert fundamental_hz(waveform) == pytest.approx(440, abs=2)
    assert waveform.abs().max() == pytest.approx(0.5, abs=0.13)


def test_16_bits_at_16_khz_come_back_exactly(tmp_path):
    samples = torch.randint(-32768, 32767, (5000,)) / 32768.0
    for name in ("clip.wav", "clip.flac"):
        write_audio(tmp_path / name, samples)
        assert torch.equal(load_audio(tmp_path / name), samples)
    assert torch.equal(load_audio(encode_flac(samples)), samples)


def test_six_channels_are_averaged():
    channels = np.stack([tone() * gain for gain in (1.0, 0.5, 0.0, -0.5, 0.25, 0.25)], axis=1)
    torch.testing.assert_close(
        load_audio(encoded(channels, subtype="FLOAT")), torch.from_numpy(tone() * 0.25), atol=1e-6, rtol=0
    )


def test_resampling_is_soxr_s():
    """In blocks as in one piece: the same numbers as the library gives for the whole clip."""
    import soxr

    samples = tone(90.0, 22_050) + 0.1 * np.random.default_rng(0).standard_normal(90 * 22_050).astype(
        np.float32
    )
    expected = soxr.resample(samples, 22_050, 16_000)
    np.testing.assert_allclose(
        load_audio(encoded(samples, 22_050, subtype="FLOAT")).numpy(), expected, atol=1e-6, rtol=0
    )


def test_peaks_beyond_one_are_kept():
    assert load_audio(encoded(3.0 * tone(), subtype="FLOAT")).max() == pytest.approx(1.5, abs=1e-3)


@given(st.integers(1, 4000), st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]))
def test_the_length_is_the_duration(num_frames, rate_hz):
    data = encoded(np.zeros(num_frames, np.float32), rate_hz)
    expected = num_frames * 16_000 / rate_hz
    if expected >= 1:
        assert abs(len(load_audio(data)) - expected) <= 1


def test_header_and_samples_agree_on_the_duration(tmp_path):
    for name, container, subtype in (("a", "WAV", "PCM_16"), ("b", "FLAC", "PCM_16"), ("c", "OGG", "OPUS")):
        path = tmp_path / name
        path.write_bytes(encoded(tone(0.75, 48_000), 48_000, container, subtype))
        assert audio_seconds(path) == pytest.approx(0.75, abs=1e-6)


def refusal(source: Path | str | bytes, **options) -> str:
    with pytest.raises(InputError) as caught:
        load_audio(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path):
    message = refusal(tmp_path / "nada.wav")
    assert "nada.wav" in message and "No such file" in message
    assert "directory" in refusal(tmp_path)


def test_an_empty_file(tmp_path):
    path = tmp_path / "vazio.wav"
    path.touch()
    assert "vazio.wav" in refusal(path) and "0 bytes" in refusal(path)
    assert "0 bytes" in refusal(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"isto nao e audio\n" * 500,
        bytes(9000),
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
        b"RIFF",
        b"fLaC",
    ],
    ids=["text", "zeros", "picture", "four letters of wav", "four letters of flac"],
)
def test_what_is_not_audio(data):
    message = refusal(data, where="shard 3, record a-17")
    assert message.startswith("shard 3, record a-17: found ")
    assert "wanted" in message and "BytesIO" not in message


def test_other_kinds_of_audio_are_named():
    """libsndfile would open it, but would not see that its end is missing."""
    assert "AIFF" in refusal(encoded(tone(), container="AIFF"))


def test_no_sample():
    assert "0 samples" in refusal(encoded(np.zeros(0, np.float32)))
    assert "0 samples" in refusal(encoded(np.zeros(1, np.float32), 48_000))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers(value):
    samples = tone()
    samples[8000] = value
    message = refusal(encoded(samples, subtype="FLOAT"))
    assert "not a finite number" in message and "0.500 s" in message


@pytest.mark.parametrize("share", [0.999, 0.5, 0.1])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("FLAC", "PCM_16")],
)
def test_a_file_cut_short_names_both_numbers(container, subtype, share):
    """libsndfile alone takes the half of a WAV file for the whole."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float32)
    data = encoded(samples, container=container, subtype=subtype)
    message = refusal(data[: int(len(data) * share)])
    assert "the 40000 samples its header promises" in message
    held = int(message.split("found ")[1].split(" ")[0])
    assert share * 40_000 - 3 * 4_608 < held < 40_000 and "end is missing" in message


@pytest.mark.parametrize("share", [0.999, 0.5, 0.3])
@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("WAV", "IMA_ADPCM")])
def test_other_files_cut_short_are_refused(container, subtype, share):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000).astype(np.float32)
    data = encoded(noise, 48_000, container, subtype)
    assert len(load_audio(data)) > 60_000
    assert "end is missing" in refusal(data[: int(len(data) * share)])


def test_an_mp3_cut_in_half_names_both_numbers():
    data = encoded(tone(10.0), 16_000, "MP3", "MPEG_LAYER_III")
    assert "the 160000 samples its header promises" in refusal(data[: len(data) // 2])


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 26, 27, 28, 300])
def test_an_ogg_cut_at_the_edge_of_a_page_is_refused(lost):
    """Wherever the cut falls: in the data of the last page, in its lengths, in its header."""
    data = encoded(tone(3.0, 48_000), 48_000, "OGG", "VORBIS")
    page = data.rindex(b"OggS")
    assert "last page" in refusal(data[: page + lost])
    assert "last page" in refusal(data[:-lost])


def test_a_header_alone():
    message = refusal(encoded(tone())[:36])
    assert "no samples in 36 bytes" in message


def test_the_seconds_of_a_file_cut_short_are_not_believed(tmp_path):
    path = tmp_path / "meio.wav"
    path.write_bytes(encoded(tone())[:9000])
    with pytest.raises(InputError, match="16000 samples"):
        audio_seconds(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end(tmp_path, size):
    """A program that writes to a pipe cannot go back and fill in the length."""
    data = bytearray(encoded(tone()))
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = struct.pack("<I", size)
    path = tmp_path / "pipe.wav"
    path.write_bytes(data)
    assert len(load_audio(path)) == 16_000
    assert audio_seconds(path) == 1.0


def test_chunks_before_and_after_the_samples_are_no_truncation():
    data = encoded(tone())
    head, rest = data[:12], data[12:]
    extra = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    assert len(load_audio(head + extra + rest + extra)) == 16_000


def test_a_header_that_tells_two_sample_rates_is_refused():
    """A recording at 48 kHz whose header was changed to 16: heard as it says, speech is three times too slow."""
    data = bytearray(encoded(tone(1.0, 48_000), 48_000))
    data[24:28] = struct.pack("<I", 16_000)
    said = refusal(bytes(data))
    assert "sample rate: found 16000 Hz, and 96000 bytes a second, which are 48000 Hz" in said
    data[28:32] = struct.pack("<I", 0)
    assert len(load_audio(bytes(data))) == 48_000, "a second place left empty says nothing"


@pytest.mark.parametrize("rate_hz", [1, 4_000_000])
def test_a_rate_that_would_fill_the_memory(rate_hz):
    data = bytearray(encoded(tone()))
    data[24:28] = struct.pack("<I", rate_hz)
    assert f"sample rate: found {rate_hz}" in refusal(bytes(data))


def test_longer_than_allowed_is_refused_before_it_is_decoded(monkeypatch):
    data = encoded(tone(2.0))
    assert len(load_audio(data, max_seconds=2.0)) == 32_000
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("was decoded"))
    message = refusal(data, max_seconds=1.5)
    assert "duration" in message and "2.0 s" in message and "at most 1.5 s" in message


def three_hours(path: Path) -> Path:
    """A sparse file: a header that promises three hours of 8 kHz silence, and no block on the disk."""
    num_bytes = 3 * 3600 * 8000 * 2
    with path.open("wb") as file:
        file.write(encoded(np.zeros(1, np.float32), 8000)[:44])
        for at, value in ((4, 36 + num_bytes), (40, num_bytes)):
            file.seek(at)
            file.write(struct.pack("<I", value))
        file.truncate(44 + num_bytes)
    return path


def test_three_hours_are_refused_at_once_where_a_limit_is_set(tmp_path):
    path = three_hours(tmp_path / "longo.wav")
    assert audio_seconds(path) == 10_800
    assert "10800.0 s" in refusal(path, max_seconds=600)


@pytest.mark.soak
def test_three_hours_take_the_memory_of_the_result_and_little_more(tmp_path):
    import subprocess
    import sys

    small = tmp_path / "curto.wav"
    small.write_bytes(encoded(tone()))
    script = (
        "import resource, sys; from amalia_mm.audio.io import load_audio; load_audio(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "waveform = load_audio(sys.argv[2])\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "sys.stdout.write(f'{len(waveform)} {(after - before) * 1024}')"
    )
    command = [sys.executable, "-c", script, str(small), str(three_hours(tmp_path / "longo.wav"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    num_samples, num_bytes = map(int, done.stdout.split())
    assert num_samples == 3 * 3600 * 16_000
    assert num_bytes < 4 * num_samples + 64e6


def test_a_clip_too_loud_for_16_bits_is_scaled_and_not_cut(tmp_path):
    loud = torch.from_numpy(3.0 * tone())
    write_audio(tmp_path / "alto.wav", loud)
    torch.testing.assert_close(load_audio(tmp_path / "alto.wav"), loud / loud.max(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "waveform", "said"),
    [
        ("clip.mp3", torch.zeros(5), ".mp3"),
        ("clip.wav", torch.zeros(1, 5), r"\(1, 5\)"),
        ("clip.wav", torch.zeros(0), r"\(0,\)"),
        ("clip.wav", torch.tensor([0.0, float("nan")]), "1 of 2 samples"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, waveform, said):
    with pytest.raises(ValueError, match=said):
        write_audio(tmp_path / name, waveform)
    assert not list(tmp_path.iterdir())


def test_errors_travel_between_processes():
    import pickle

    with pytest.raises(InputError) as caught:
        load_audio(b"", where="a")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_all_real_recordings_decode(shared_data):
    """wav, flac, mp3 and ogg from eight makers; a WAV file of 44 bytes is a header alone, on purpose."""
    endings = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
    paths = sorted(p for p in (shared_data / "speech").rglob("*") if p.suffix in endings)
    assert len(paths) > 1000
    for path in [*paths[::20], *(path for path in paths if path.suffix == ".wav")]:
        assert len(load_audio(path)) / 16_000 == pytest.approx(audio_seconds(path), abs=0.08)
