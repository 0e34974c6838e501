"""What a voice says is counted as it is written down, group by group, beside the clips it could have been."""

from __future__ import annotations

import json

import pytest
import torch
from voice_run import FRAMES, save_voice

from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.evaluate.dnsmos import Opinion
from amalia_mm.evaluate.round_trip import evaluate_round_trip, lines, sentences
from amalia_mm.speaking import SpeechModel

TEXTS = {"a": "Bom dia a todos.", "b": "Até logo.", "c": "A Ana foi ao mercado."}


@pytest.fixture
def run(tmp_path):
    rows = []
    (tmp_path / "audio").mkdir()
    for number, (name, text) in enumerate(TEXTS.items()):
        write_audio(tmp_path / f"audio/{name}.flac", 0.1 * torch.randn(16_000 + number))
        group = "seen_template" if name != "c" else "heldout_template"
        rows.append(
            {"id": name, "audio": f"audio/{name}.flac", "text": text, "task": "transcribe", "heldout": group}
        )
    rows.append(
        {
            "id": "q",
            "audio": "audio/a.flac",
            "text": "Que horas são?",
            "task": "answer",
            "heldout": "seen_template",
        }
    )
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return save_voice(tmp_path)


class Ears:
    """Write what they are told to, and keep what they were given."""

    def __init__(self, *written):
        self.written, self.heard = list(written), []

    def transcribe(self, clips):
        self.heard.append(clips)
        return self.written[len(self.heard) - 1]


def test_errors_are_counted_group_by_group_for_both(run, tmp_path):
    ears = Ears(
        ["bom dia", "até logo", "a ana foi ao"], ["bom dia a todos", "até já", "a ana foi ao mercado"]
    )
    figures = evaluate_round_trip(
        SpeechModel(run), ears, sentences(run, 9), tmp_path / "out", speakers=["pt", "ana"]
    )
    seen, held = (figures["said"][group] for group in ("seen_template", "heldout_template"))
    assert (seen["sentences"], seen["word_errors"], seen["words"]) == (2, 2, 6)
    assert (held["sentences"], held["word_errors"], held["words"]) == (1, 1, 5)
    assert figures["reference"]["seen_template"]["word_errors"] == 1
    assert figures["reference"]["heldout_template"]["word_errors"] == 0
    assert json.loads((tmp_path / "out/round_trip.json").read_text()) == json.loads(json.dumps(figures))
    assert any("33,3 %" in line for line in lines(figures))


def test_the_reference_is_the_corpus_and_what_was_said_lies_beside_the_figures(run, tmp_path):
    ears = Ears([""] * 3, [""] * 3)
    evaluate_round_trip(SpeechModel(run), ears, sentences(run, 9), tmp_path / "out", speakers=["pt"])
    said, reference = ears.heard
    for name, own, clip in zip(TEXTS, said, reference, strict=True):
        assert torch.equal(clip, load_audio(run / f"audio/{name}.flac"))
        assert len(load_audio(tmp_path / f"out/{name}.flac")) == len(own)


def test_voices_take_turns(run, tmp_path):
    model = SpeechModel(run)
    ears = Ears([""] * 3, [""] * 3)
    evaluate_round_trip(model, ears, sentences(run, 9), tmp_path / "out", speakers=["pt", "ana"])
    for number, (text, name) in enumerate(zip(TEXTS.values(), ("pt", "ana", "pt"), strict=True)):
        assert torch.equal(ears.heard[0][number], model.learned(name).say(text))


def test_the_speech_that_a_voice_was_learned_from_is_judged_beside(run, tmp_path, monkeypatch):
    """A judge that likes length tells whose clips it was given."""

    class Judge:
        def __init__(self, folder):
            pass

        def __call__(self, clip):
            return Opinion(*[float(len(clip))] * 4)

    monkeypatch.setattr("amalia_mm.evaluate.round_trip.Dnsmos", Judge)

    def opinions(**given):
        ears = Ears([""] * 3, [""] * 3)
        rows, output = sentences(run, 9), tmp_path / "out"
        return evaluate_round_trip(
            SpeechModel(run), ears, rows, output, speakers=["pt"], dnsmos=tmp_path, **given
        )

    plain, beside = opinions(), opinions(own_speech=[torch.zeros(100), torch.zeros(300)])
    clips = [load_audio(run / f"audio/{name}.flac") for name in TEXTS]
    assert beside["reference"]["dnsmos"]["ovr"] == pytest.approx(sum(map(len, clips)) / 3)
    assert "own_speech" not in plain
    assert beside["own_speech"] == {"clips": 2, "dnsmos": dict.fromkeys(("sig", "bak", "ovr", "p808"), 200.0)}
    assert beside["said"]["dnsmos"] == plain["said"]["dnsmos"]


def test_some_of_each_group_are_taken(run):
    assert [row["id"] for row in sentences(run, 1)] == ["a", "c"]


def test_a_run_without_sentences_or_a_speaker_that_is_none_is_told(run, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    (tmp_path / "none/test.jsonl").write_text("")
    with pytest.raises(InputError, match="no sentence"):
        sentences(tmp_path / "none", 3)
    given = ["evaluate", "--says", str(run), "--output", str(tmp_path / "out")]
    assert main([*given, "--sentences", "0"]) == 2
    assert "--sentences" in capsys.readouterr().err
    assert main([*given, "--speakers", ","]) == 2
    assert "--speakers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_frames_of_the_run_are_those_of_its_vocoder(run):
    assert SpeechModel(run).learned().sample_rate_hz == FRAMES["sample_rate_hz"]
