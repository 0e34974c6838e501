"""The decoder's own answers as records: the clip and what is known of it kept, nothing cut learned from, resumable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import toy_recipe
from safetensors.torch import load_file, save_file

from amalia_mm.assistant import Assistant
from amalia_mm.batch import Turn
from amalia_mm.cli import main
from amalia_mm.data.shards import ShardIndex, ShardWriter, read_record
from amalia_mm.errors import InputError
from amalia_mm.fusion.responder import Written
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.prepare import distil
from amalia_mm.prepare.distil import DistilOptions, write_distilled
from amalia_mm.run import save_model
from amalia_mm.text.chat import INSTRUCTIONS
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.sampling import Sampling
from amalia_mm.text.tokenizer import Tokenizer

OPTIONS = DistilOptions(max_new_tokens=6)


@pytest.fixture(scope="module")
def model(toy_data, tmp_path_factory) -> Path:
    """A decoder of random weights that says something, and often comes to an end."""
    torch.manual_seed(0)
    sizes = {**toy_recipe.DECODER, "initializer_range": 0.5, "dropout": 0.0, "tie_word_embeddings": False}
    decoder = Decoder(DecoderConfig(**sizes))
    tokenizer = Tokenizer.load(toy_data / "tokenizer")
    assert decoder.lm_head is not None
    with torch.no_grad():
        decoder.lm_head.weight[6:262] = 0.0  # single bytes
        decoder.lm_head.weight[tokenizer.im_end_id] *= 4
    folder = tmp_path_factory.mktemp("distil") / "model"
    whole = SpeechTextModel(None, None, decoder)
    save_model(folder, whole, config={"decoder": sizes}, tokenizer=toy_data / "tokenizer", card="")
    return folder


def records(folder: Path):
    index = ShardIndex.load(folder)
    return [read_record(index, number) for number in range(len(index))]


def test_a_record_keeps_its_clip_and_has_the_decoders_own_answer(toy_data, model, tmp_path, monkeypatch):
    shards, output = toy_data / "shards/speech", tmp_path / "out"
    monkeypatch.setattr(distil, "BLOCK_RECORDS", 16)
    made = write_distilled(model, shards, output, OPTIONS, batch_size=3)
    before = {record.id: (record, audio) for record, audio in records(shards)}
    found = records(output)
    assert 5 < len(found) < len(before)
    assert made["written"] == {"continue": len(found)}
    assert sum(made["left_out"].values()) == len(before) - len(found) and made["left_out"][distil.CUT] > 5
    assistant = Assistant.load(model, "cpu")
    for record, audio in found:
        old, clip = before[record.id.removesuffix("-continue")]
        assert audio == clip
        kept = ("variety", "speaker", "source", "licence", "split", "seconds")
        assert all(getattr(record, name) == getattr(old, name) for name in kept)
        assert (record.spoken, record.written) == (old.spoken, old.text)
        assert record.turns[0] == Turn("user", "Continua.", has_audio=True)
        # Greedy, so it is what a conversation gives, in whatever batch.
        asked = [Turn("user", f"{old.text}\nContinua.")]
        assert assistant.write_batch([asked], 1, Sampling(6)) == [Written(record.turns[1].text)]
    assert json.loads((output / distil.SUMMARY).read_text())["written"] == made["written"]
    assert not list(tmp_path.glob("*.answers.jsonl"))


def test_an_interrupted_run_goes_on_and_gives_what_it_would_have_given(
    toy_data, model, tmp_path, monkeypatch
):
    shards = toy_data / "shards/speech"
    options = DistilOptions(max_new_tokens=6, temperature=0.8, seed=3, paraphrases=True)
    monkeypatch.setattr(distil, "BLOCK_RECORDS", 16)
    write_distilled(model, shards, tmp_path / "whole", options)
    answered, calls = distil._answered, []

    def dies(*arguments):
        calls.append(arguments[3])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answered(*arguments)

    monkeypatch.setattr(distil, "_answered", dies)
    with pytest.raises(KeyboardInterrupt):
        write_distilled(model, shards, tmp_path / "parts", options)
    kept = tmp_path / "parts.answers.jsonl"
    kept.write_text(kept.read_text() + '[{"number": 3')  # the power went while it was writing
    with pytest.raises(InputError, match="delete it, or give the same model"):
        write_distilled(model, shards, tmp_path / "parts", OPTIONS)
    write_distilled(model, shards, tmp_path / "parts", options, batch_size=5)
    assert calls == [0, 1, 2, 2, 3]
    whole, parts = records(tmp_path / "whole"), records(tmp_path / "parts")
    assert parts == whole and len(whole) > 10
    assert len({record.turns[0].text for record, _ in whole}) == len(INSTRUCTIONS["continue"])


def test_answers_that_teach_the_wrong_thing_are_left_out_and_counted(toy_data, model, tmp_path, monkeypatch):
    replies = iter(
        [Written("O autocarro parte."), Written("O ônibus parte."), Written(" "), Written("O", True)]
    )
    monkeypatch.setattr(Assistant, "write_batch", lambda self, asked, *_: [next(replies) for _ in asked])
    speech = records(toy_data / "shards/speech")
    with ShardWriter(tmp_path / "in") as writer:
        for record, audio in speech[:4]:
            writer.write(record, audio)
        silent = speech[4][0].to_json() | {"text": ""}
        writer.write({name: value for name, value in silent.items() if name != "spoken"}, speech[4][1])
    options = DistilOptions(variety_check=True)
    made = write_distilled(model, tmp_path / "in", tmp_path / "out", options)
    assert (made["records"], made["written"]) == (5, {"continue": 1})
    assert made["left_out"] == {distil.SILENT: 1, distil.BRAZILIAN: 1, distil.EMPTY: 1, distil.CUT: 1}


def test_the_command_asks_for_several_tasks_and_refuses_what_it_cannot_do(toy_data, model, tmp_path, capsys):
    shards = str(toy_data / "shards/speech")
    command = ["prepare", "distil", "--model", str(model), "--shards", shards, "--max-new-tokens", "6"]
    assert main([*command, "--output", str(tmp_path / "a"), "--tasks", "continue,transcribe,summarise"]) == 0
    tasks = ShardIndex.load(tmp_path / "a").coded["task"].counts()
    assert set(tasks) == {"continue", "transcribe", "summarise"} and tasks["transcribe"] == 60
    assert "60 transcribe" in capsys.readouterr().err
    again = [*command, "--output", str(tmp_path / "a")]
    unknown = [*command, "--output", str(tmp_path / "b"), "--tasks", "continue,sing"]
    text = ["prepare", "distil", "--model", str(model), "--shards", str(toy_data / "shards/chat")]
    for wrong, said in (
        (again, "a new or empty folder"),
        (unknown, "found 'sing'"),
        ([*text, "--output", str(tmp_path / "b")], "records of task transcribe"),
    ):
        assert main(wrong) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_answers_of_a_model_that_was_trained_anew_meanwhile_are_not_mixed(
    toy_data, model, tmp_path, monkeypatch
):
    same_place = tmp_path / "model"
    shutil.copytree(model, same_place)
    monkeypatch.setattr(distil, "BLOCK_RECORDS", 16)
    answered, calls = distil._answered, []

    def dies(*arguments):
        calls.append(arguments[3])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answered(*arguments)

    monkeypatch.setattr(distil, "_answered", dies)
    with pytest.raises(KeyboardInterrupt):
        write_distilled(same_place, toy_data / "shards/speech", tmp_path / "out", OPTIONS)
    (same_place / "README.md").write_text("another card")
    weights = load_file(same_place / "weights.safetensors")
    first = next(name for name in sorted(weights) if weights[name].ndim == 2)
    save_file(weights | {first: weights[first] + 0.5}, same_place / "weights.safetensors")
    with pytest.raises(InputError, match="delete it, or give the same model"):
        write_distilled(same_place, toy_data / "shards/speech", tmp_path / "out", OPTIONS)
    shutil.copy(model / "weights.safetensors", same_place)
    write_distilled(same_place, toy_data / "shards/speech", tmp_path / "out", OPTIONS)
    assert calls[:3] == [0, 1, 1]
