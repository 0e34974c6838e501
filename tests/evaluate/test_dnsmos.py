"""Opinions are those of the authors' own pipeline, and of the numbers that others have found for known clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from amalia_mm.audio.io import load_audio
from amalia_mm.errors import InputError
from amalia_mm.evaluate import dnsmos
from amalia_mm.evaluate.dnsmos import SEGMENT_SAMPLES, Dnsmos, mean_opinion, segments


@pytest.fixture(scope="module")
def judge(shared_data: Path) -> Dnsmos:
    return Dnsmos(shared_data / "weights/dnsmos/DNSMOS")


@pytest.fixture(scope="module")
def speech(shared_data: Path) -> torch.Tensor:
    """10.4 s of it."""
    return load_audio(shared_data / "speech/english/jfk/jfk.flac")[: int(10.4 * 16_000)]


def reference(waveform: np.ndarray, folder: Path) -> list[float]:
    """The authors' `dnsmos_local.py`, as it is written there."""
    import librosa
    import onnxruntime

    p835, p808 = (
        onnxruntime.InferenceSession(str(folder / name)) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    )
    fs, input_length, audio = 16_000, 9.01, waveform
    len_samples = int(input_length * fs)
    while len(audio) < len_samples:
        audio = np.append(audio, audio)
    num_hops = int(np.floor(len(audio) / fs) - input_length) + 1
    found = []
    for idx in range(num_hops):
        segment = audio[int(idx * fs) : int((idx + input_length) * fs)]
        if len(segment) < len_samples:
            continue
        mel = librosa.feature.melspectrogram(y=segment[:-160], sr=fs, n_fft=321, hop_length=160, n_mels=120)
        mel = ((librosa.power_to_db(mel, ref=np.max) + 40) / 40).T.astype("float32")[np.newaxis]
        mos = p808.run(None, {"input_1": mel})[0][0][0]
        raw = p835.run(None, {"input_1": segment.astype("float32")[np.newaxis]})[0][0]
        sig = np.poly1d([-0.08397278, 1.22083953, 0.0052439])(raw[0])
        bak = np.poly1d([-0.13166888, 1.60915514, -0.39604546])(raw[1])
        ovr = np.poly1d([-0.06766283, 1.11546468, 0.04602535])(raw[2])
        found.append([sig, bak, ovr, mos])
    return [float(value) for value in np.mean(found, axis=0)]


@pytest.mark.parametrize("seconds", [3.0, 9.01, 10.4], ids=str)
def test_opinions_are_those_of_the_authors_pipeline(judge, speech, shared_data, seconds):
    clip = speech[: round(seconds * 16_000)]
    opinion = judge(clip)
    expected = reference(clip.numpy(), shared_data / "weights/dnsmos/DNSMOS")
    assert [opinion.sig, opinion.bak, opinion.ovr, opinion.p808] == pytest.approx(expected, abs=2e-3)


def test_raw_opinions_are_those_that_were_found_before(shared_data, speech, monkeypatch):
    """Without the fit to listeners' scale, as written in the README beside the weights."""
    as_it_is = np.polynomial.Polynomial((0.0, 1.0))
    for name in ("_SIG", "_BAK", "_OVR"):
        monkeypatch.setattr(dnsmos, name, as_it_is)
    judge = Dnsmos(shared_data / "weights/dnsmos/DNSMOS")
    opinion = judge(speech[:SEGMENT_SAMPLES])
    assert [opinion.sig, opinion.bak, opinion.ovr] == pytest.approx([3.88, 2.71, 2.90], abs=0.15)
    noise = judge(0.1 * torch.randn(SEGMENT_SAMPLES))
    assert max(noise.sig, noise.bak, noise.ovr) < 1.3


def test_noise_lowers_every_opinion(judge, speech):
    clean, noisy = judge(speech[:80_000]), judge(speech[:80_000] + 0.05 * torch.randn(80_000))
    assert noisy.ovr < clean.ovr - 0.3
    assert noisy.bak < clean.bak - 0.3
    assert noisy.p808 < clean.p808


def test_stretches_begin_every_second_and_a_short_clip_is_repeated():
    short = segments(np.arange(100_000, dtype=np.float32))
    assert len(short) == 3, "12.5 s, said twice"
    assert len(short[0]) == SEGMENT_SAMPLES
    assert short[0][100_000] == 0.0
    long = segments(np.arange(12 * 16_000 + 5, dtype=np.float32))
    assert [int(one[0]) for one in long] == [0, 16_000, 32_000]
    assert {len(one) for one in long} == {SEGMENT_SAMPLES}


def test_the_mean_counts_every_clip_once():
    opinions = [dnsmos.Opinion(1, 2, 3, 4), dnsmos.Opinion(3, 4, 5, 2)]
    assert mean_opinion(opinions) == dnsmos.Opinion(2, 3, 4, 3)


def test_a_folder_without_networks_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Dnsmos(tmp_path)
    (tmp_path / "sig_bak_ovr.onnx").write_bytes(b"not a network")
    with pytest.raises(InputError, match="a network of DNSMOS"):
        Dnsmos(tmp_path)


@pytest.mark.parametrize("shape", [(0,), (1, 16_000)], ids=str)
def test_what_is_no_waveform_is_refused(judge, shape):
    with pytest.raises(ValueError, match="waveform of shape"):
        judge(torch.zeros(shape))
