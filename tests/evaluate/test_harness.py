"""From a run folder to report.json and report.html, random models: keys, counts, the page."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest
import yaml
from sound import in_turns, said

from amalia_mm.audio.vad import Segment
from amalia_mm.errors import InputError
from amalia_mm.evaluate.harness import _parts_before_joint, evaluate, evaluate_run
from amalia_mm.evaluate.items import read_pairs, read_questions, read_spoken
from amalia_mm.evaluate.stages import Stage, peak_rss_gb, read_stages, wall_seconds
from amalia_mm.evaluate.table import table
from amalia_mm.fusion import pieces as pieces_module

REQUIRED = {
    *(
        "wer",
        "wer_templates",
        "wer_ctc",
        "wer_alone",
        "wer_alone_templates",
        "spoken_qa_direct",
        "wer_frozen",
        "vocabulary",
        "cer",
        "spoken_qa_exact",
        "text_qa_exact",
    ),
    *("ptpt_preference", "total_seconds", "peak_rss_gb", "stages", "commit"),
    *(
        "wer_by_source",
        "text_qa_context",
        "text_qa_arithmetic",
        "no_speech_words",
        "no_speech_words_without_vad",
        "music_words",
        "music_words_without_vad",
    ),
    *("data_wait_fraction", "counts"),
}


@pytest.fixture(scope="module")
def finished(run):
    with pytest.MonkeyPatch.context() as patch:
        # Noise is no speech; here it has to be heard, but for the clips that test just that.
        patch.setattr(
            pieces_module.speech_detection,
            "find_speech",
            lambda recording, **_: (
                [Segment(0, recording.num_samples)]
                if recording.num_samples % 100 == 0 and recording.num_samples < 30_000
                else []
            ),
        )
        return evaluate_run(run, command="make quickstart"), run


def test_every_key_is_there_with_its_counts(finished):
    report, run = finished
    assert set(report) >= REQUIRED
    assert json.loads((run / "report.json").read_text(encoding="utf-8")) == report
    counts = report["counts"]
    assert counts["wer"]["total"] == 5 + 7 + 5  # clips 0, 1, 4: seen templates, built-in
    assert counts["wer_templates"]["total"] == 3 + 2  # clips 2 and 3
    assert report["wer"] == round(counts["wer"]["errors"] / counts["wer"]["total"], 4)
    assert counts["wer_frozen"]["total"] == counts["wer"]["total"]
    assert counts["spoken_qa_exact"]["total"] == 2
    assert counts["text_qa_exact"]["total"] == counts["text_qa_exact_before_joint"]["total"] == 1
    assert (counts["no_speech"]["total"], counts["music"]["total"]) == (20, 10)
    assert counts["ptpt_preference"]["total"] == 2
    assert counts["ptpt_preference_in_vocabulary"]["total"] == 1
    assert report["vocabulary"] == 3


def test_a_tie_in_preference_counts_half(finished):
    report, _ = finished
    assert report["preference_by_contrast"]["empate"] == {"hits": 0.5, "total": 1}


def test_the_users_own_recordings_are_scored_apart(finished):
    report, _ = finished
    assert set(report["wer_by_source"]) == set(report["cer_by_source"]) == {"minha gravação", "synthetic"}
    assert report["counts_by_source"]["minha gravação"]["clips"] == 1
    assert report["counts_by_source"]["synthetic"]["clips"] == 5
    assert set(report["wer_by_voice"]) == {"voz0", "voz1"}


def test_stages_tell_their_seconds_steps_and_losses(finished):
    report, _ = finished
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert list(stages) == ["00_data", "04_sft", "10_hearing", "13_paths", "14_joint", "30_evaluate"]
    assert stages["10_hearing"] == {
        "name": "10_hearing",
        "seconds": 12.5,
        "steps": 30,
        "final_loss": round(4.0 / 30, 4),
        "peak_rss_gb": 1.25,
        "wait_fraction": 0.02,
        "commit": "older",
    }
    assert set(report["commit"].split()) == {stages["30_evaluate"]["commit"], "older"}
    assert report["data_wait_fraction"] == 0.02
    assert stages["00_data"]["steps"] is None
    assert report["total_seconds"] == pytest.approx(62.5 + stages["30_evaluate"]["seconds"])
    assert report["peak_rss_gb"] >= 1.25


def test_the_page_needs_nothing_from_anywhere(finished):
    _, run = finished
    page = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://", page)
    sources = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"@import|url\(", page)


def test_the_page_shows_what_the_issue_asks_for(finished):
    _, run = finished
    page = (run / "report.html").read_text(encoding="utf-8")
    assert '<html lang="pt-PT">' in page
    assert page.count("data:image/svg+xml;base64,") == 4 + 1  # four trained stages, one chart of voices
    assert page.count("data:image/png;base64,") == 3
    assert page.count("<audio") == 3 + 2
    for heading in (
        "Resultados",
        "Curvas de perda",
        "Palavras mais trocadas",
        "Ouvir e ver",
        "Amostras",
        "Etapas",
    ):
        assert heading in page
    assert "make quickstart" in page
    assert "Tenho &lt;sede&gt; &amp; fome." in page
    assert "&lt;não é uma etiqueta&gt;" in page


def test_a_model_is_measured_on_any_folder_with_test_data(run, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(run / "text_test.jsonl", data)
    report = evaluate(run / "04_sft" / "model", data, tmp_path / "out")
    assert report["wer"] is None
    assert report["text_qa_exact"] is not None
    assert report["skipped"] == [
        f"test.jsonl: não existe em {data}",
        f"pairs.jsonl: não existe em {data}",
        "fala: o modelo só lê",
    ]
    assert "Não medido" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="found none of test.jsonl, text_test.jsonl, pairs.jsonl"):
        evaluate(run / "04_sft" / "model", tmp_path, tmp_path / "out")


def test_figures_are_kept_whatever_becomes_of_the_pictures(run, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("amalia_mm.evaluate.harness.draw", fail)
    with pytest.raises(RuntimeError, match="no font"):
        evaluate(run / "14_joint/model", run, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["counts"]["wer"]["total"] == 17


def test_the_time_of_an_evaluation_begins_where_it_is_said(run, tmp_path):
    report = evaluate(run / "04_sft" / "model", run, tmp_path, began_s=time.time() - 1000)
    assert 1000 <= report["stages"][-1]["seconds"] < 1100


def test_a_model_by_itself_has_no_time_of_all_stages(run, finished, tmp_path):
    alone = evaluate(run / "04_sft" / "model", run, tmp_path)
    assert alone["total_seconds"] is None
    assert "todas as etapas" not in table(alone) + (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "todas as etapas" in table(finished[0])


def test_a_clip_of_two_speakers_is_not_measured_as_one(run, tmp_path):
    in_turns(tmp_path / "a.wav", *said("Bom dia a todos.", "O comboio parte cedo."))
    row = {"audio": "a.wav", "text": "Bom dia a todos.", "voice": "Ana", "source": "minha"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError, match="two speakers.*keep one of them in the file"):
        evaluate(run / "14_joint" / "model", tmp_path, tmp_path / "out")


def test_what_became_of_the_users_own_data_is_told(run, tmp_path):
    assert evaluate(run / "04_sft" / "model", run, tmp_path)["own_data"] == []
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(run / "text_test.jsonl", data)
    left_out = {"digits": 2, "repeated": 0}
    text = {
        "documents": {"train": 5, "test": 1},
        "conversations": {"train": 0},
        "sentences_spoken": {"train": 3},
        "notes": {"an empty text": 1},
        "sentences_left_out": left_out,
    }
    speech = {"recordings": 7, "hours": {"train": 0.5}, "notes": {"no text (null)": 2}, "bad": ["x"]}
    both = {"speakers_in_training_and_test": ["Ana"], "without_a_speaker": {"train": 3, "test": 2}}
    (data / "corpus.json").write_text(json.dumps({"text": {"own": text}}), encoding="utf-8")
    (data / "speech.json").write_text(json.dumps({"own": speech | both}), encoding="utf-8")
    report = evaluate(run / "04_sft" / "model", data, tmp_path / "out")
    assert report["own_data"] == [
        "Texto: 6 documentos, 0 conversas; 3 frases ditas por vozes sintéticas; notas: texto vazio: 1"
        "; frases que não são ditas: com algarismos: 2",
        "Gravações: 7 (treino 0,5 h); notas: sem texto (null): 2; 1 não puderam ser usadas",
        "Pessoas ouvidas no treino e no teste: 1; o WER delas não é de voz nova",
        "Gravações de teste sem o nome de quem fala: 2; "
        "não se sabe se essas vozes também foram ouvidas no treino",
    ]
    assert "com algarismos: 2" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_an_earlier_evaluation_is_not_counted_as_a_stage_of_the_next(finished, tmp_path):
    _, run = finished
    copy = tmp_path / "run"
    (copy / "30_evaluate").mkdir(parents=True)
    (copy / "30_evaluate" / "stage.json").write_text('{"name": "30_evaluate", "seconds": 1000}')
    shutil.copytree(run / "04_sft", copy / "04_sft")
    shutil.copy(run / "text_test.jsonl", copy)
    report = evaluate_run(copy)
    assert report["total_seconds"] < 1000
    assert [stage["name"] for stage in report["stages"]] == ["04_sft", "30_evaluate"]


@pytest.mark.parametrize(
    ("reader", "line", "message"),
    [
        (read_spoken, '{"audio": "no.wav", "text": "olá"}', r":1: audio: found .*no.wav; wanted an"),
        (read_spoken, '{"audio": "rows.jsonl"}', "text: found None; wanted text"),
        (read_spoken, '{"audio": "rows.jsonl", "text": "olá", "task": "answer"}', "answer: found None"),
        (read_spoken, '{"audio": "rows.jsonl", "text": "a", "heldout": "?"}', "heldout: found '.'; wanted"),
        (read_questions, '{"question": "Qual?", "answer": " ", "kind": "known"}', "answer: found ' '"),
        (read_pairs, '{"european": "a"', "wanted a JSON object in one line"),
        (read_pairs, "[1]", "wanted a JSON object in one line"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_with_its_line(tmp_path, reader, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        reader(path)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"european": "à'.encode("latin-1"))
    with pytest.raises(InputError, match="wanted UTF-8 text"):
        read_pairs(path)


def test_a_stage_without_its_seconds_is_named(tmp_path):
    (tmp_path / "02_pretrain").mkdir()
    (tmp_path / "02_pretrain" / "stage.json").write_text("{}")
    with pytest.raises(InputError, match=r"stage\.json: seconds: found None"):
        read_stages(tmp_path)


def _stage(name, peak_gb, *spans):
    return Stage(name, sum(b - a for a, b in spans), peak_gb, None, None, None, (), (), spans)


def test_memory_adds_up_only_where_stages_ran_at_once():
    stages = [_stage("02", 1.0, (0, 10)), _stage("04", 1.0, (10, 30)), _stage("10", 1.5, (0, 25))]
    assert peak_rss_gb(stages) == 2.5, "02 and 04 never ran at once"
    assert peak_rss_gb([_stage("14", 2.0)]) == 2.0, "one that kept no times"
    assert peak_rss_gb([]) is None


def test_time_counts_once_and_pauses_not_at_all():
    stages = [_stage("02", 1.0, (0, 10), (50, 60)), _stage("10", 1.0, (5, 25))]
    assert wall_seconds(stages) == 35
    by_hand = Stage("11", 7.0, None, None, None, None, (), ())
    assert wall_seconds([*stages, by_hand]) == 42


def test_a_joint_stage_is_compared_with_what_it_began_with_wherever_that_is(run, tmp_path):
    copy = tmp_path / "moved"
    shutil.copytree(run, copy)
    model = copy / "14_joint" / "model"
    assert _parts_before_joint(model) == {
        str(copy / "10_hearing/model"): ["encoder", "projector.head"],
        str(copy / "13_paths/model"): ["decoder", "projector.blank"],
    }
    config = yaml.safe_load((model / "config.yaml").read_text())
    config["init_from"] = {
        str(run / "10_hearing/model"): ["encoder", "projector.head"],
        "/elsewhere/then/13_paths/model": ["decoder", "projector.blank"],
    }
    (model / "config.yaml").write_text(yaml.safe_dump(config))
    assert _parts_before_joint(model) == {
        str(run / "10_hearing/model"): ["encoder", "projector.head"],
        str(copy / "13_paths/model"): ["decoder", "projector.blank"],
    }, "another run's stage is not taken for its own"
    shutil.rmtree(copy / "13_paths")
    assert _parts_before_joint(model) is None
    assert _parts_before_joint(copy / "04_sft" / "model") is None
