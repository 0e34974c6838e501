"""Shards for a voice: clips at 24 kHz that hold what was recorded, lengths as the ears count them, nothing made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from corpora import SAID, write_jsonl

from amalia_mm.audio.geometry import AudioGeometry, LengthStage
from amalia_mm.audio.io import load_audio, own_rate_hz
from amalia_mm.cli import main
from amalia_mm.data.index import INDEX_NAME, ShardIndex, read_record
from amalia_mm.data.pipeline import to_example
from amalia_mm.data.shards import stats, verify
from amalia_mm.errors import InputError
from amalia_mm.prepare.corpus_plan import Wishes
from amalia_mm.prepare.corpus_shards import write_corpus
from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.plausible import Limits
from amalia_mm.prepare.voices import TRAIN_VOICES
from amalia_mm.text.tokenizer import Tokenizer

GEOMETRY = AudioGeometry(16_000, None, (LengthStage(160, 160),))


def recorded(folder: Path, *rates_hz: int, seconds: float = 1.5) -> Path:
    """A manifest of noise, which is as loud everywhere, recorded at each of some rates."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(0)
    rows = []
    for number, rate_hz in enumerate(rates_hz):
        noise = 0.1 * dice.standard_normal(round(seconds * rate_hz) + number)
        soundfile.write(folder / f"{number}.wav", noise.clip(-0.9, 0.9), rate_hz)
        rows.append({"audio": f"{number}.wav", "text": SAID[number % len(SAID)], "split": "train"})
    return write_jsonl(folder / "m.jsonl", rows)


def share_above_8_khz(waveform: torch.Tensor, rate_hz: int) -> float:
    power = torch.fft.rfft(waveform).abs().square()
    return float(power[8_000 * len(waveform) // rate_hz :].sum() / power.sum())


def test_shards_of_24_khz_hold_the_upper_third_and_lengths_of_16_khz(tmp_path, capsys):
    manifest = recorded(tmp_path / "m", 24_000, 48_000)
    shards = tmp_path / "s"
    assert main(["shards", "write", str(manifest), "--output", str(shards), "--rate-hz", "24000"]) == 0
    assert "\t24000 Hz\t0 left out" in capsys.readouterr().out
    index, tokenizer = ShardIndex.load(shards), Tokenizer.train(SAID, 320)
    assert index.rate_hz.tolist() == [24_000, 24_000]
    for number in range(2):
        record, flac = read_record(index, number)
        assert flac is not None and own_rate_hz(flac) == 24_000
        clip = load_audio(flac, sample_rate_hz=24_000)
        assert len(clip) == pytest.approx(36_000, abs=1)
        assert share_above_8_khz(clip, 24_000) == pytest.approx(1 / 3, abs=0.05)
        assert record.seconds == pytest.approx(len(clip) / 24_000, abs=1e-3)
        # The ears hear the same record at 16 kHz, and as many samples as the index says.
        heard = to_example(record, flac, where="here", tokenizer=tokenizer, geometry=GEOMETRY).waveform
        assert heard is not None and len(heard) == index.num_samples[number]
        assert len(heard) == pytest.approx(24_000, abs=2)
    assert stats(shards).rates_hz == {"24000": 2}
    assert stats(shards).audio_s == pytest.approx(3.0, abs=1e-3)
    assert main(["shards", "verify", str(shards)]) == 0
    assert "0 bad\t2 clips at 24000 Hz" in capsys.readouterr().out


def test_the_default_is_what_ears_hear_of_a_recording_of_any_rate(tmp_path):
    manifest = recorded(tmp_path / "m", 8_000, 48_000)
    assert main(["shards", "write", str(manifest), "--output", str(tmp_path / "s")]) == 0
    assert stats(tmp_path / "s").rates_hz == {"16000": 2}


def test_a_recording_of_a_lower_rate_is_left_out_and_both_rates_are_named(tmp_path, capsys, caplog):
    manifest = recorded(tmp_path / "m", *[24_000] * 10, 16_000)
    shards = tmp_path / "s"
    assert main(["shards", "write", str(manifest), "--output", str(shards), "--rate-hz", "24000"]) == 0
    assert "10 records" in capsys.readouterr().out
    assert "rate_hz: found 16000 Hz; wanted 24000 Hz or more, for clips of 24000 Hz" in caplog.text
    low = recorded(tmp_path / "low", 16_000)
    assert main(["shards", "write", str(low), "--output", str(tmp_path / "t"), "--rate-hz", "24000"]) == 2
    told = capsys.readouterr().err
    assert "found 1 of 1 recordings not usable, this one: 16000 Hz" in told
    assert not list((tmp_path / "t").glob("*"))


@pytest.mark.parametrize("rate_hz", ["8000", "0", "-24000", "96000"])
def test_a_rate_that_no_shard_can_have_is_refused(tmp_path, capsys, rate_hz):
    manifest = recorded(tmp_path / "m", 24_000)
    command = ["shards", "write", str(manifest), "--output", str(tmp_path / "s"), "--rate-hz", rate_hz]
    assert main(command) == 2
    assert f"found {rate_hz} Hz; wanted 16000 Hz" in capsys.readouterr().err
    with pytest.raises(InputError, match=f"found {rate_hz} Hz"):
        Limits(rate_hz=int(rate_hz))


def test_changed_copies_have_the_rate_of_the_clip(tmp_path):
    manifest = recorded(tmp_path / "m", 24_000)
    command = ["shards", "write", str(manifest), "--output", str(tmp_path / "s"), "--rate-hz", "24000"]
    assert main([*command, "--copies", "1"]) == 0
    index = ShardIndex.load(tmp_path / "s")
    assert index.rate_hz.tolist() == [24_000, 24_000]
    record, flac = read_record(index, 1)
    assert flac is not None and record.seconds == pytest.approx(
        len(load_audio(flac, sample_rate_hz=24_000)) / 24_000, abs=1e-3
    )


def test_a_corpus_of_24_khz_quarantines_what_was_recorded_at_less(tmp_path):
    manifest, out = recorded(tmp_path / "m", 24_000, 16_000, 44_100), tmp_path / "out"
    wishes = Wishes(limits=Limits(rate_hz=24_000))
    summary = write_corpus(manifest, out, layout="manifest", wishes=wishes, progress=False)
    assert (summary["rate_hz"], summary["clips"]) == (24_000, 2)
    (row,) = map(json.loads, (out / "quarantine.jsonl").read_text("utf-8").splitlines())
    assert (row["id"], row["reason"]) == ("1", "recorded_rate")
    assert (row["value"], row["limit"]) == ("16000 Hz", "24000 Hz or more, for clips of 24000 Hz")
    assert verify(out / "train").rates_hz == {"24000": 2} and verify(out / "train").bad == ()
    index = ShardIndex.load(out / "train")
    for number in range(2):
        flac = read_record(index, number)[1] or b""
        assert share_above_8_khz(load_audio(flac, sample_rate_hz=24_000), 24_000) > 0.28


def test_an_index_of_before_rates_were_noted_is_read_and_says_so(tmp_path):
    manifest = recorded(tmp_path / "m", 24_000)
    assert main(["shards", "write", str(manifest), "--output", str(tmp_path / "s")]) == 0
    path = tmp_path / "s" / INDEX_NAME
    content = json.loads(path.read_text("utf-8"))
    del content["shards"][0]["records"]["rate_hz"]
    path.write_text(json.dumps(content), "utf-8")
    assert stats(tmp_path / "s").rates_hz == {"unknown": 1}
    assert verify(tmp_path / "s").rates_hz == {"16000": 1}


def test_the_synthesiser_says_nothing_at_a_rate_beyond_its_own():
    with Speaker() as speaker:
        own = speaker.speak(Utterance("Bom dia.", TRAIN_VOICES[0], rate_hz=22_050))
        heard = speaker.speak(Utterance("Bom dia.", TRAIN_VOICES[0]))
        assert len(own) == pytest.approx(len(heard) * 22_050 / 16_000, abs=2)
        with pytest.raises(InputError, match=r"found 22050 Hz, its own rate; wanted 24000 Hz or more"):
            speaker.speak(Utterance("Bom dia.", TRAIN_VOICES[0], rate_hz=24_000))
