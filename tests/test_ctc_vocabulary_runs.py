"""From shards to a model that hears in classes of its own: the whole way of a CTC vocabulary on the command line."""

from __future__ import annotations

import json

import pytest
import torch
import toy_recipe
import yaml
from command_line import complaint

from amalia_mm.assistant import Assistant
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.run import load_model
from amalia_mm.text.ctc_vocabulary import read_ctc_vocabulary
from amalia_mm.text.letters import NUM_LETTERS

SIZE = 172


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Lightning looks at the command line of the process."""
    monkeypatch.setattr("sys.argv", ["amalia"])


def _recipe(make, data, run, path, init_from=None, **data_changes):
    recipe = make(data, run, 2, val_check_interval=2)
    recipe["model"]["init_args"] |= {"init_from": init_from or {}}
    recipe["model"]["init_args"]["projector"] = {
        "class_path": "amalia_mm.fusion.projectors.CtcPosterior",
        "init_args": {"top_k": 4, "vocabulary": str(path)},
    }
    letters = {"letters_after": 1, "num_letters": NUM_LETTERS, "layer_kernel": 3}
    encoder = toy_recipe.ENCODER
    recipe["model"]["init_args"]["encoder"] = {**encoder, "init_args": encoder["init_args"] | letters}
    speech = str(data / "shards/speech")
    recipe["data"]["init_args"] |= {"num_workers": 0, "shards": {speech: 1.0}, **data_changes}
    return toy_recipe.write(recipe, run.with_suffix(".yaml"))


def test_a_vocabulary_goes_with_the_model_and_its_file_may_go(amalia, toy_data, tmp_path):
    path, shards = tmp_path / "ctc.json", toy_data / "shards/speech"
    words = ("--tokenizer", toy_data / "tokenizer", "--shards", shards, "--size", SIZE, "--output", path)
    made = amalia("ctc-vocabulary", *words)
    assert made[0] == 0, made
    tokens = dict(read_ctc_vocabulary(path).tokens)

    hearing = _recipe(toy_recipe.hearing, toy_data, tmp_path / "hearing", path)
    code, _, err = amalia("fit", "-c", hearing)
    assert code == 0, err
    first, second = toy_recipe.figures(tmp_path / "hearing")[:2]
    assert 0 < second["tokens"] < 100 and 0 < first["letters"] < 100

    heard = tmp_path / "hearing/model"
    paths = _recipe(
        toy_recipe.understanding,
        toy_data,
        tmp_path / "paths",
        path,
        {str(heard): ["encoder", "projector.head"]},
        paths={"substitute": 0.1, "max_blanks": 1, "max_silence": 20},
        augment=None,
        max_audio_tokens=2000,
    )
    code, _, err = amalia("fit", "-c", paths, "--model.init_args.ctc_weight", "0")
    assert code == 0, err
    joint = _recipe(
        toy_recipe.understanding,
        toy_data,
        tmp_path / "joint",
        path,
        {
            str(heard): ["encoder", "projector.head"],
            str(tmp_path / "paths/model"): ["decoder", "projector.blank"],
        },
    )
    code, _, err = amalia("fit", "-c", joint)
    assert code == 0, err
    assert 0 < toy_recipe.figures(tmp_path / "joint")[0]["ctc"] < 100

    path.unlink()
    for run in ("hearing", "joint"):
        config = yaml.safe_load((tmp_path / run / "model/config.yaml").read_text(encoding="utf-8"))
        assert config["projector"]["init_args"]["vocabulary"] == tokens
    loaded = load_model(tmp_path / "joint/model")
    assert isinstance(loaded.model.projector, CtcPosterior)
    assert loaded.model.projector.head.out_features == SIZE + 1
    assistant = Assistant(loaded)
    noise = 0.1 * torch.randn(12_000)
    joint_text, decoder_text, ctc_text = assistant.transcribe_three_ways([noise], vad=False)
    assert all(isinstance(text, str) for text in (*joint_text, *decoder_text))
    assert spoken_form(ctc_text[0]) == ctc_text[0] or "\ufffd" in ctc_text[0]
    assert assistant.ctc_classes.blank == SIZE
    code, _, err = amalia("export", tmp_path / "joint", "--to", "folder", "--output", tmp_path / "whole")
    assert code == 0, err
    assert load_model(tmp_path / "whole").config["projector"]["init_args"]["vocabulary"] == tokens


def test_a_head_of_other_classes_and_another_tokenizers_are_told(amalia, toy_data, tmp_path):
    path, shards = tmp_path / "ctc.json", toy_data / "shards/speech"
    words = ("--tokenizer", toy_data / "tokenizer", "--shards", shards, "--size", SIZE, "--output", path)
    made = amalia("ctc-vocabulary", *words)
    assert made[0] == 0, made
    hearing = _recipe(toy_recipe.hearing, toy_data, tmp_path / "hearing", path)
    assert amalia("fit", "-c", hearing)[0] == 0
    content = json.loads(path.read_text(encoding="utf-8"))
    known = content["tokens"]
    free = next(token for token in range(300, 320) if token not in known.values())
    swapped = next(entry for entry, token in known.items() if token > 300)
    path.write_text(json.dumps({"tokens": known | {swapped: free}}), encoding="utf-8")
    code, _, err = amalia("fit", "-c", hearing, "--run_folder", tmp_path / "other")
    assert code == 2 and f"found token {free} as '{swapped}'" in complaint(err)

    path.write_text(
        json.dumps({"tokens": {e: t for e, t in known.items() if e != swapped}}), encoding="utf-8"
    )
    again = _recipe(
        toy_recipe.hearing,
        toy_data,
        tmp_path / "again",
        path,
        {str(tmp_path / "hearing/model"): ["projector.head"]},
    )
    code, _, err = amalia("fit", "-c", again)
    assert code == 2
    assert f"found a CTC vocabulary of {SIZE} tokens; wanted a CTC vocabulary of {SIZE - 1}" in complaint(err)

    path.unlink()
    code, _, err = amalia("fit", "-c", hearing, "--run_folder", tmp_path / "other")
    assert code == 2 and "ctc.json: found no such file; wanted a CTC vocabulary" in complaint(err)


def test_a_rate_that_does_not_divide_is_one_line_before_any_work(amalia, toy_data, tmp_path):
    recipe = toy_recipe.understanding(toy_data, tmp_path / "run", 2)
    recipe["model"]["init_args"] |= {"ctc_weight": 0.0}
    recipe["model"]["init_args"]["projector"] = {
        "class_path": "amalia_mm.fusion.projectors.StackMLP",
        "init_args": {"tokens_per_s": 10.0},
    }
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "a.yaml"))
    assert code == 2
    told = complaint(err)
    assert "tokens_per_s" in told and "found 10 for 25 frames a second" in told and "12.5" in told
    assert not (tmp_path / "run/model").exists()
