"""The whole of it at its smallest, from a wheel: what a person gets who installs the package.

One run serves all these tests; they stand in the order in which a person would do these things.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jiwer
import pytest
import torch

from amalia_mm.model_config import read_config
from amalia_mm.portuguese.normalise import words
from amalia_mm.run import load_model, read_weights

pytestmark = pytest.mark.long
STAGES = [
    *("00_corpus", "01_tokenizer", "02_pretrain", "09_speech", "19_voice_clips", "20_speaker"),
    *("21_acoustic", "04_sft", "10_hearing", "13_paths", "14_joint", "22_vocoder", "30_evaluate"),
]
STRUCK = [name for name in STAGES if name not in ("20_speaker", "22_vocoder")]
"""By Ctrl-C; those that are left out are trained as 21_acoustic is."""
MAKERS = {"00_corpus": "texto: ", "09_speech": "voz: ", "19_voice_clips": "voz: "}
"""Stages that show a bar, and how it begins."""
FIGURES = {
    *(
        "wer",
        "wer_templates",
        "wer_ctc",
        "wer_alone",
        "spoken_qa_direct",
        "wer_frozen",
        "vocabulary",
        "cer",
        "spoken_qa_exact",
        "text_qa_exact",
    ),
    *("ptpt_preference", "total_seconds", "peak_rss_gb", "stages", "commit"),
    *("voice_wer", "voice_wer_reference", "voice_first_audio_s", "voice_real_time"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory, root):
    """The package as a wheel installs it, in a folder of its own."""
    source = tmp_path_factory.mktemp("source")
    for name in ("amalia_mm", "recipes", "configs"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "--no-build-isolation", "-w", wheels, source], check=True)
    subprocess.run([*pip, "install", *options, "--target", site, *wheels.glob("*.whl")], check=True)
    return site


@pytest.fixture(scope="module")
def environment(site):
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ["PYTHONPATH"]])}


def amalia(environment, home, *words, **options):
    command = [sys.executable, "-m", "amalia_mm.cli", *map(str, words)]
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=600, **options
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory, environment):
    """A folder in which `amalia quickstart --smoke` has been run."""
    home = tmp_path_factory.mktemp("home")
    done = amalia(environment, home, "quickstart", "--smoke", "--output", "runs/quickstart")
    assert done.returncode == 0, done.stderr[-4000:]
    (home / "stdout").write_text(done.stdout)
    (home / "stderr").write_text(done.stderr)
    return home


def test_the_installed_package_is_what_ran(home, environment, site):
    assert f"in {site / 'amalia_mm'}" in amalia(environment, home, "doctor").stdout
    assert (site / "amalia_mm/recipes/14_joint/recipe.yaml").is_file()
    assert (site / "amalia_mm/configs/decoder/amalia_9b.yaml").is_file()


def test_what_was_never_trained_is_not_kept_and_the_joint_stage_has_both(home):
    def parts(stage):
        weights = read_weights(home / "runs/quickstart" / stage / "model")
        return {name.partition(".")[0]: 0 for name in weights}.keys(), weights

    kept, paths = parts("13_paths")
    assert kept == {"decoder", "projector"}
    assert parts("10_hearing")[0] == {"encoder", "projector"}
    assert parts("14_joint")[0] == {"encoder", "projector", "decoder"}
    init_from = read_config(home / "runs/quickstart/14_joint/model")["init_from"]
    there = {str(home / folder): names for folder, names in init_from.items()}
    began = load_model(home / "runs/quickstart/14_joint/model", init_from=there).model
    torch.testing.assert_close(began.projector.blank, paths["projector.blank"], rtol=0, atol=0)
    assert json.loads((home / "runs/quickstart/report.json").read_text())["wer_frozen"] is not None


def test_it_tells_each_stage_and_ends_with_the_table_and_the_report(home):
    said = (home / "stderr").read_text()
    for number, name in enumerate(STAGES, start=1):
        assert f"[{number}/{len(STAGES)}] {name} · " in said
    assert "Traceback" not in said
    table = (home / "stdout").read_text().splitlines()
    assert table[0].startswith("medida")
    assert table[-1] == "runs/quickstart/report.html"
    assert len(table) > 10


def test_every_stage_says_what_it_took(home):
    run = home / "runs/quickstart"
    for name in STAGES:
        record = json.loads((run / name / "stage.json").read_text())
        assert record["name"] == name
        assert record["seconds"] > 0
        assert 0 < record["peak_rss_gb"] < 6
        assert (record["final_loss"] is not None) == (
            name[:2] in ("02", "04", "10", "13", "14", "20", "21", "22")
        )
    report = json.loads((run / "report.json").read_text())
    assert report.keys() >= FIGURES
    assert [stage["name"] for stage in report["stages"]] == sorted(STAGES)
    assert report["voice_wer"] is not None and report["counts"]["voice_wer"]["total"] > 0
    assert (run / "report.html").stat().st_size > 10_000


def test_it_runs_once_and_then_has_nothing_to_do(home, environment):
    start = time.monotonic()
    done = amalia(environment, home, "quickstart", "--smoke", "--output", "runs/quickstart")
    assert done.returncode == 0
    assert done.stderr.count("já feito") == len(STAGES)
    assert done.stdout == (home / "stdout").read_text()
    assert time.monotonic() - start < 30


def test_its_word_error_rate_comes_out_again_from_what_is_transcribed(home, environment):
    run = home / "runs/quickstart"
    rows = [json.loads(line) for line in (run / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["task"] == "transcribe" and row["heldout"] == "seen_template"]
    done = amalia(environment, home, "transcribe", *(run / row["audio"] for row in rows))
    assert done.returncode == 0, done.stderr
    found = [line.partition("\t")[2] for line in done.stdout.splitlines()]
    pairs = [
        (" ".join(words(row["text"])), " ".join(words(text))) for row, text in zip(rows, found, strict=True)
    ]
    report = json.loads((run / "report.json").read_text())
    wer = jiwer.wer([said for said, _ in pairs], [heard for _, heard in pairs])
    assert report["wer"] == pytest.approx(wer, abs=1e-4)


def test_what_it_leaves_transcribes_answers_and_chats(home, environment):
    examples = sorted((home / "runs/quickstart/examples").glob("*.wav"))
    assert "pergunta.wav" in [path.name for path in examples]
    done = amalia(environment, home, "transcribe", *examples)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [str(path) for path in examples]
    done = amalia(environment, home, "ask", "runs/quickstart/examples/pergunta.wav")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    done = amalia(environment, home, "chat", input="Olá\n")
    assert done.returncode == 0, done.stderr
    folders = list((home / "runs/quickstart/shards").iterdir())
    done = amalia(environment, home, "shards", "verify", *folders)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("\t0 bad[\t\n]", done.stdout)) == len(folders) == 15
    done = amalia(environment, home, "say", "Bom dia.", "--output", "bom_dia.wav")
    assert done.returncode == 0, done.stderr
    assert (home / "bom_dia.wav").stat().st_size > 1000


def interrupted(environment, home, is_time, number):
    """Start the quickstart, send it a signal when `is_time`, and give back its exit code and words."""
    command = [sys.executable, "-m", "amalia_mm.cli", "quickstart", "--smoke", "--output", "runs/quickstart"]
    log = home / "interrupted"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=stderr, stderr=stderr)
        deadline = time.monotonic() + 120
        while not is_time(log.read_text(errors="replace")):
            assert process.poll() is None, f"it ended before that: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"not in {log.read_text()[-2000:]}"
            time.sleep(0.02)
        process.send_signal(number)
        process.wait(timeout=60)
    return process.returncode, log.read_text(errors="replace")


def trains(run, name):
    """Whether a stage has made a step."""
    metrics = run / name / "metrics.jsonl"
    return metrics.is_file() and metrics.read_text() != ""


@pytest.mark.parametrize("name", STRUCK)
def test_ctrl_c_in_every_stage_is_one_line_and_loses_nothing_finished(home, environment, name, tmp_path):
    copy = tmp_path / "home"
    shutil.copytree(home / "runs", copy / "runs")
    run = copy / "runs/quickstart"
    shutil.rmtree(run / name)

    def is_at_work(said):
        # Some stages are struck at work, the others while they begin.
        return trains(run, name) if name == "10_hearing" else MAKERS.get(name, f"{name} · ") in said

    code, said = interrupted(environment, copy, is_at_work, signal.SIGINT)
    assert code == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].strip() == "amalia quickstart --output runs/quickstart --smoke"
    for other in STAGES:
        is_finished = (run / other / "stage.json").is_file()
        # What takes a second may be done when the signal reaches it, and is finished then.
        assert is_finished == (other != name) or (other == name and name in MAKERS)
    if name == "10_hearing":
        assert (run / name / "last.ckpt").is_file()


def test_after_kill_9_the_stage_goes_on_from_its_checkpoint(home, environment, tmp_path):
    copy = tmp_path / "home"
    shutil.copytree(home / "runs", copy / "runs")
    run = copy / "runs/quickstart"
    shutil.rmtree(run / "04_sft")
    code, _ = interrupted(environment, copy, lambda said: trains(run, "04_sft"), signal.SIGKILL)
    assert code == -signal.SIGKILL
    done = amalia(environment, copy, "quickstart", "--smoke", "--output", "runs/quickstart")
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"continua de {Path('runs/quickstart/04_sft/last.ckpt')}" in done.stderr
    lines = map(json.loads, (run / "04_sft/metrics.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 11))
