"""`amalia transcribe` in its formats: what a program reads, what a player shows, and where the files go."""

from __future__ import annotations

import json

import pytest
import torch
from command_line import complaint
from sound import in_turns

from amalia_mm.assistant import Assistant
from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.transcript import TimedText, Transcript, Word


@pytest.fixture
def said(monkeypatch):
    """A model that hears the same everywhere; a list of how it was asked."""
    asked = []

    def timed(self, audios, **options):
        asked.append(options)
        words = (Word("Bom", 0.25, 0.5, 0.75), Word("dia.", 0.5, 1.0, None))
        one = Transcript("Bom dia.", 2.0, (TimedText("Bom dia.", 0.2, 1.1, words),), "tokens")
        if options.get("channels") == "split":
            sides = [Transcript(one.text, 2.0, one.segments, "tokens", side) for side in ("left", "right")]
            return sides * len(audios)
        return [one] * len(audios)

    monkeypatch.setattr(Assistant, "transcribe_timed", timed)
    return asked


def test_json_has_the_times_of_pieces_and_words(amalia, model, speech, said):
    code, out, err = amalia("transcribe", "--model", model, "--format", "json", speech / "0.wav")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["file"] == str(speech / "0.wav")
    assert found["segments"] == [{"start_s": 0.2, "end_s": 1.1, "text": "Bom dia."}]
    assert found["words"][0] == {"text": "Bom", "start_s": 0.25, "end_s": 0.5, "confidence": 0.75}
    assert found["words"][1]["confidence"] is None
    paths = [speech / "0.wav", speech / "1.wav"]
    code, out, _ = amalia("transcribe", "--model", model, "--format", "json", *paths)
    assert [json.loads(line)["file"] for line in out.splitlines()] == [str(path) for path in paths]


def test_a_recording_in_which_nobody_speaks_is_told(amalia, model, tmp_path):
    """An empty line looks as if the command had failed."""
    write_audio(tmp_path / "silence.wav", torch.zeros(32_000))
    for words in ((), ("--format", "srt"), ("--format", "json")):
        code, _, err = amalia("transcribe", "--model", model, *words, tmp_path / "silence.wav")
        assert code == 0 and "silence.wav: não se ouviu ninguém a falar" in err


def test_subtitles_go_to_stdout_or_to_a_folder(amalia, model, speech, said, tmp_path):
    command = ("transcribe", "--model", model, "--format")
    assert amalia(*command, "srt", speech / "0.wav")[1] == "1\n00:00:00,250 --> 00:00:01,250\nBom dia.\n"
    assert amalia(*command, "vtt", speech / "0.wav")[1].startswith("WEBVTT\n\n00:00:00.250 -->")
    folder = tmp_path / "legendas"
    code, out, _ = amalia(*command, "srt", "--output", folder, speech / "0.wav", speech / "1.wav")
    assert code == 0
    assert out.splitlines() == [str(folder / "0.srt"), str(folder / "1.srt")]
    assert all(path.read_text().startswith("1\n") for path in folder.iterdir())
    code, out, err = amalia(*command, "srt", speech / "0.wav", speech / "1.wav")
    assert (code, out) == (2, "")
    assert "--format: found srt of 2 recordings on stdout" in complaint(err)


def test_two_recordings_never_share_a_file(amalia, model, speech, said, tmp_path):
    write_audio(tmp_path / "0.flac", load_audio(speech / "0.wav"))
    code, _, err = amalia(
        "transcribe", "--model", model, "--output", tmp_path / "out", speech / "0.wav", tmp_path / "0.flac"
    )
    assert code == 2
    assert "found two recordings for" in complaint(err)
    assert not (tmp_path / "out").exists()


def test_how_it_is_heard_reaches_the_model(amalia, model, speech, said):
    command = ("transcribe", "--model", model, "--format", "json", speech / "0.wav")
    for words, wanted in (
        ((), {"channels": None}),
        (("--beams", "3"), {"num_beams": 3, "channels": None}),
        (("--ctc",), {"num_beams": None, "channels": None}),
        (("--channels", "left"), {"channels": "left"}),
    ):
        assert amalia(*command, *words)[0] == 0
        assert said[-1] == {"progress": False} | wanted


def test_the_real_words_are_those_of_the_text(amalia, model, speech):
    text = amalia("transcribe", "--model", model, speech / "0.wav")[1].strip()
    code, out, err = amalia("transcribe", "--model", model, "--format", "json", speech / "0.wav")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["word_times"] == "tokens"
    assert " ".join(found["text"].split()) == text
    assert " ".join(word["text"] for word in found["words"]) == text
    duration_s = len(load_audio(speech / "0.wav")) / 16_000
    assert found["duration_s"] == pytest.approx(duration_s, abs=1e-3)
    ended = 0.0
    for word in found["words"]:
        assert ended <= word["start_s"] <= word["end_s"] <= duration_s + 1e-3
        assert word["confidence"] is None or 0 <= word["confidence"] <= 1
        ended = word["end_s"]


def test_a_model_without_word_times_says_so(amalia, model, speech, monkeypatch):
    monkeypatch.setattr(Assistant, "word_source", None)
    monkeypatch.setattr("amalia_mm.fusion.word_times.WordTimes.source", None)
    code, out, err = amalia("transcribe", "--model", model, "--format", "json", speech / "0.wav")
    assert code == 0
    assert "não das palavras" in err
    assert "no CTC head" in json.loads(out)["note"]


@pytest.fixture
def conversation(tmp_path, speech):
    """Two who speak in turns, each in a channel."""
    one, other = (load_audio(speech / f"{number}.wav") for number in (0, 1))
    return in_turns(tmp_path / "conversa.wav", one, other)


def test_two_speakers_are_refused_or_split(amalia, model, conversation, speech):
    code, out, err = amalia("transcribe", "--model", model, conversation)
    assert (code, out) == (2, "")
    assert "two speakers" in complaint(err) and "--channels split" in err
    code, out, _ = amalia("transcribe", "--model", model, "--channels", "split", conversation)
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == ["left", "right"]
    for line, side in zip(out.splitlines(), ("left", "right"), strict=True):
        assert (
            amalia("transcribe", "--model", model, "--channels", side, conversation)[1].strip()
            == line.split("\t")[1]
        )
    assert amalia("transcribe", "--model", model, "--channels", "mix", conversation)[0] == 0
    code, out, _ = amalia(
        "transcribe", "--model", model, "--channels", "split", "--format", "json", conversation
    )
    both = [json.loads(line) for line in out.splitlines()]
    assert [each["channel"] for each in both] == ["left", "right"]
    assert both[0]["segments"][0]["end_s"] < both[1]["segments"][0]["start_s"] + 0.5
    code, _, err = amalia("transcribe", "--model", model, "--channels", "split", speech / "0.wav")
    assert code == 2
    assert "found 1; wanted 2 to split" in complaint(err)


def test_who_is_told_of_two_speakers_can_do_as_it_says(amalia, model, conversation):
    """A remedy that the command at hand does not have is none."""
    for command in (["ask"], ["transcribe", "--live", "--speed", "1000"]):
        code, _, err = amalia(*command, "--model", model, conversation)
        assert code == 2
        assert "choose --channels left or right for one of them, or mix; `amalia transcribe" in complaint(err)
        for side in ("left", "mix"):
            assert amalia(*command, "--model", model, "--channels", side, conversation)[0] == 0


def test_an_option_that_would_change_nothing_is_refused(amalia, model, speech):
    for words, told in (
        (("transcribe", "--speed", "2"), "--speed: found 2 without --live"),
        (("transcribe", "--live", "--speed", "nan"), "--speed: found nan"),
        (("ask", "--instruction", " "), "--instruction: found no words"),
    ):
        code, out, err = amalia(words[0], "--model", model, *words[1:], speech / "0.wav")
        assert (code, out) == (2, "")
        assert told in complaint(err)
