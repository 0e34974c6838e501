"""What a vocoder loses of real clips, beside Griffin-Lim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from corpora import write_jsonl, write_tone
from torch import Tensor, nn

from amalia_mm.audio.io import load_audio
from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.evaluate.copying import clips_of, copies, evaluate_copies, lines
from amalia_mm.evaluate.dnsmos import Dnsmos
from amalia_mm.run import save_model
from amalia_mm.voice.griffin_lim import GriffinLim
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.source import SourceTrack
from amalia_mm.voice.vocoder import Vocoder, Vocos
from amalia_mm.voice_folder import load_vocoder

SIZES = {"sample_rate_hz": 16_000, "num_mels": 20, "fft_samples": 256, "hop_samples": 64}
SIZES |= {"width": 16, "inner_width": 24, "num_layers": 1}


class Perfect(Vocoder):
    """Remembers what it is asked for."""

    def __init__(self, mel: VoiceMel, waveform: Tensor) -> None:
        super().__init__(mel)
        self.waveform = waveform

    def forward(self, mel: Tensor, track: SourceTrack | None = None) -> Tensor:
        return self.waveform[None]


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A stage folder with a small vocoder, untrained."""
    model = nn.Module()
    model.vocoder = Vocos(**SIZES)
    spec = {"class_path": "amalia_mm.voice.vocoder.Vocos", "init_args": SIZES}
    save_model(tmp_path / "22/model", model, config={"vocoder": spec}, tokenizer=None, card="")
    return tmp_path / "22"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in range(4):
        write_tone(tmp_path / f"clips/t{number}.flac", 200 + 50 * number, seconds=1.3)
    write_tone(tmp_path / "clips/short.flac", 200, seconds=0.3)
    return tmp_path / "clips"


def test_a_perfect_copy_has_no_distance():
    mel = VoiceMel(16_000, 20, 256, 64)
    waveform = 0.1 * torch.randn(64 * 100 + 17)
    same, other = copies({"same": Perfect(mel, waveform[:6400]), "other": GriffinLim.of(mel)}, waveform)
    assert same.distance == 0.0
    assert other.distance > 0.05
    assert other.waveform.shape == (6400,)


def test_a_vocoder_comes_back_from_its_folder(stage):
    vocoder = load_vocoder(stage)
    assert isinstance(vocoder, Vocos)
    assert not vocoder.training
    assert vocoder.sample_rate_hz == 16_000
    again = load_vocoder(stage / "model")
    assert all(torch.equal(a, b) for a, b in zip(vocoder.parameters(), again.parameters(), strict=True))
    config = stage / "model/config.yaml"
    config.write_text(yaml.safe_dump({"format": 1, "speaker": {}}))
    with pytest.raises(InputError, match="vocoder"):
        load_vocoder(stage)


def test_the_command_measures_both_and_keeps_the_sounds(stage, clips, tmp_path, capsys):
    command = ["evaluate", "--vocoder", str(stage), "--copied", str(clips), "--output", str(tmp_path / "out")]
    assert main([*command, "--clips", "3"]) == 0
    told = capsys.readouterr().out
    figures = json.loads((tmp_path / "out/copies.json").read_text())["sources"][0]
    assert figures["clips"] == 3
    assert figures["griffin_lim"]["log_mel"] < figures["vocoder"]["log_mel"], "it has learned nothing yet"
    assert f"log-mel {figures['vocoder']['log_mel']:.3f}" in told
    assert len(list((tmp_path / "out/1-clips").glob("*.flac"))) == 9
    assert not list((tmp_path / "out/1-clips").glob("*short*"))


def test_opinions_are_of_the_sounds_before_they_are_marked(stage, shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr("amalia_mm.evaluate.copying.mark", lambda waveform, rate_hz: waveform)
    weights = shared_data / "weights/dnsmos/DNSMOS"
    source = shared_data / "speech/gcompris_ptPT/intro.jsonl"
    figures = evaluate_copies(stage, [source], tmp_path / "out", dnsmos=weights, num_clips=1)
    row = figures["sources"][0]
    for name in ("real", "vocoder", "griffin_lim"):
        (sound,) = (tmp_path / "out/1-intro").glob(f"*.{name}.flac")
        opinion = Dnsmos(weights)(load_audio(sound))
        assert row[name]["ovr"] == pytest.approx(opinion.ovr, abs=0.05)
        assert row[name]["p808"] == pytest.approx(opinion.p808, abs=0.05)
    assert row["vocoder"]["p808"] < row["real"]["p808"] - 0.3, "it has learned nothing yet"
    assert any(f"ovr {row['vocoder']['ovr'] - row['real']['ovr']:+.2f}" in line for line in lines(figures))


def test_rows_of_another_split_are_left_out(clips):
    rows = [
        {"audio": "t0.flac"},
        {"audio": "t1.flac", "split": "test"},
        {"audio": "t2.flac", "split": "train"},
    ]
    manifest = write_jsonl(clips / "rows.jsonl", rows)
    assert [path.name for path in clips_of(manifest)] == ["t0.flac", "t1.flac"]
    assert [path.name for path in clips_of(manifest, "train")] == ["t0.flac", "t2.flac"]


def test_nothing_to_copy_is_told(clips, stage, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recording"):
        clips_of(tmp_path / "empty")
    (clips / "bad.jsonl").write_text('{"text": "bom dia"}\n')
    with pytest.raises(InputError, match="audio"):
        clips_of(clips / "bad.jsonl")
    assert main(["evaluate", "--vocoder", str(stage)]) == 2
    assert "--copied" in capsys.readouterr().err
    # A second folder would be taken for a run, and nothing of it be measured.
    assert main(["evaluate", "--vocoder", str(stage), "--copied", str(clips), str(clips)]) == 2
    assert "its own --copied" in capsys.readouterr().err
    assert main(["evaluate", "--vocoder", str(stage), "--copied", str(clips), "--min-s", "60"]) == 2
    assert "5 shorter clips" in capsys.readouterr().err
