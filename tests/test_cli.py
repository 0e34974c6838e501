"""The command line as a person meets it: results on stdout, and one clear line for what is wrong."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_recipe
from command_line import child, complaint

from amalia_mm import cli
from amalia_mm.errors import InputError
from amalia_mm.quickstart_folder import mark
from amalia_mm.quickstart_plan import Options
from amalia_mm.terminal import path_column

# --- the command itself ---


def test_help_takes_less_than_a_second_and_imports_nothing_heavy():
    def took_s():
        start = time.perf_counter()
        assert child("--help").returncode == 0
        return time.perf_counter() - start

    assert min(took_s() for _ in range(3)) < 1.0
    loaded = "import sys, amalia_mm.cli as c; c.build_parser(); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "lightning", "transformers", "yaml", "psutil"} & set(done.stdout.split())
    assert not heavy


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["transcrib"], "invalid choice: 'transcrib'"),
        (["transcribe"], "the following arguments are required: audio"),
        (["shards", "stat", "x"], "invalid choice: 'stat'"),
        (["quickstart", "--seed", "many"], "argument --seed: invalid int value: 'many'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, says, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_a_file_that_looks_like_an_option_is_told_how_it_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-a.wav").write_bytes(b"")
    for words in (["transcribe", "-a.wav"], ["transcribe", "-a.wav", "b.wav"]):
        with pytest.raises(SystemExit):
            cli.main(words)
        assert "goes behind --: -- -a.wav" in capsys.readouterr().err
    assert cli.build_parser().parse_args(["transcribe", "--ctc", "--", "-a.wav"]).audio == [Path("-a.wav")]
    with pytest.raises(SystemExit):
        cli.main(["transcribe", "-b.wav"])
    assert "goes behind" not in capsys.readouterr().err


def test_debug_shows_the_traceback_wherever_it_stands():
    for words in (["--debug", "shards", "stats", "gone"], ["shards", "stats", "gone", "--debug"]):
        with pytest.raises(InputError):
            cli.main(words)


def test_a_bug_is_one_line_and_its_traceback_is_kept(amalia, monkeypatch, tmp_path):
    def bug(options):
        raise ZeroDivisionError("seven\nlines")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cli, "_doctor", bug)
    code, out, err = amalia("doctor")
    assert (code, out) == (1, "")
    assert "ZeroDivisionError: seven lines" in complaint(err)
    (kept,) = tmp_path.iterdir()
    assert str(kept) in err
    assert "in bug" in kept.read_text()


def test_ctrl_c_is_one_line_and_130(amalia, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_doctor", interrupted)
    code, _, err = amalia("doctor")
    assert code == 130
    assert "interrupted" in complaint(err)


def test_ctrl_c_that_a_library_turned_into_its_own_error_is_still_ctrl_c(amalia, monkeypatch):
    def imported(options):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("the core could not be imported") from error

    monkeypatch.setattr(cli, "_doctor", imported)
    code, _, err = amalia("doctor")
    assert code == 130
    assert "interrupted" in complaint(err)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_a_room_is_imported_is_one_line_too(root, tmp_path):
    recipe = root / "recipes/02_pretrain/recipe.yaml"
    options = ["fit", "-c", str(recipe), "--run_folder", str(tmp_path)]
    command = [sys.executable, "-m", "amalia_mm.cli", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "before the first checkpoint" in complaint(err)


def test_a_reader_that_goes_away_is_no_error(toy_data):
    command = f"{sys.executable} -m amalia_mm.cli shards show {toy_data}/shards/text $(seq 0 149) | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=50)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_full_disk_behind_stdout_is_one_line(toy_data):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "amalia_mm.cli", "shards", "show", str(toy_data / "shards/text")]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=50)
    assert done.returncode == 2
    assert "stdout: found No space left on device" in complaint(done.stderr)


def test_a_missing_extra_says_which(amalia, monkeypatch):
    monkeypatch.setitem(sys.modules, "amalia_mm.train.cli", None)
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "amalia_mm.train.cli")
    code, _, err = amalia("fit", "-c", "recipes/02_pretrain/recipe.yaml")
    assert code == 2
    assert "pip install 'amalia-mm[train]'" in complaint(err)


def test_doctor_is_content_here(amalia):
    code, out, _ = amalia("doctor")
    assert code == 0
    assert "torchaudio" in out
    assert "extra train" in out


# --- shards ---


def test_recordings_become_shards_that_are_checked_counted_and_shown(amalia, speech, tmp_path, toy_data):
    rows = [{"audio": f"{n}.wav", "text": f"frase {n}", "lang": "pt-PT", "split": "train"} for n in (0, 1)]
    rows.append({"audio": "gone.wav", "text": None})
    rows.append({"audio": "0.wav", "text": "de outra parte", "split": "test", "id": "again"})
    manifest = speech / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = amalia("shards", "write", manifest, "--output", tmp_path / "shards", "--split", "train")
    assert code == 0, err
    assert out.split("\t")[1] == "2 records"
    assert "no text (null): 1 rows" in err
    assert amalia("shards", "verify", tmp_path / "shards")[1].endswith(
        "2 records\t0 bad\t2 clips at 16000 Hz\n"
    )
    stats = json.loads(amalia("shards", "stats", tmp_path / "shards")[1])
    assert stats["num_records"] == 2
    assert stats["audio_s"] > 1
    _, out, _ = amalia("shards", "show", tmp_path / "shards", "1", "--audio", tmp_path / "clips")
    assert json.loads(out)["text"] == "frase 1"
    assert len(list((tmp_path / "clips").iterdir())) == 1
    code, out, _ = amalia("shards", "index", tmp_path / "shards", "--tokenizer", toy_data / "tokenizer")
    assert code == 0
    assert "tokens" in out
    code, _, err = amalia("shards", "tokenize", tmp_path / "shards", "--tokenizer", toy_data / "tokenizer")
    assert code == 2 and "found a clip; wanted text alone" in complaint(err)


def test_text_is_tokenised_once(amalia, tmp_path, toy_data):
    shutil.copytree(toy_data / "shards/text", tmp_path / "text")
    words = "shards", "tokenize", tmp_path / "text", "--tokenizer", toy_data / "tokenizer"
    code, out, err = amalia(*words)
    assert code == 0, err
    assert out.split("\t")[1] == "150 records" and out.endswith(" tokens\n")
    (ids,) = (tmp_path / "text").glob("tokens-*.ids")
    assert ids.stat().st_size == 4 * int(out.split("\t")[2].split()[0])


def test_a_shard_cut_in_half_is_one_line(amalia, toy_data, tmp_path):
    shutil.copytree(toy_data / "shards/speech", tmp_path / "shards")
    (tar,) = (tmp_path / "shards").glob("*.tar")
    os.truncate(tar, tar.stat().st_size // 2)
    for action in ("verify", "stats", "show"):
        code, _, err = amalia("shards", action, tmp_path / "shards")
        assert code == 2
        assert tar.name in complaint(err)


def test_tars_without_an_index_say_how_to_index_them(amalia, toy_data, tmp_path):
    shutil.copytree(toy_data / "shards/chat", tmp_path / "shards")
    (tmp_path / "shards/index.json").unlink()
    assert "amalia shards index" in complaint(amalia("shards", "stats", tmp_path / "shards")[2])
    assert amalia("shards", "index", tmp_path / "shards")[0] == 0
    assert amalia("shards", "stats", tmp_path / "shards")[0] == 0


def test_a_record_that_is_not_there_is_one_line(amalia, toy_data):
    assert "150" in complaint(amalia("shards", "show", toy_data / "shards/text", "150")[2])


# --- preparing and training ---


def test_text_that_is_not_utf_8_names_the_byte(amalia, tmp_path):
    path = tmp_path / "old.txt"
    path.write_bytes("amanhã\n".encode("latin-1"))
    code, _, err = amalia("corpus", "--smoke", "--output", tmp_path / "run", "--text", path)
    assert code == 2
    assert "byte 5" in complaint(err)
    assert not (tmp_path / "run" / "shards").exists()


@pytest.mark.parametrize(
    ("part", "option"),
    [
        ("speech", ("--text", "t.txt")),
        ("speech", ("--words", "330")),
        ("speech", ("--smoke",)),
    ],
)
def test_an_option_that_a_part_of_the_corpus_does_not_take_is_refused(amalia, tmp_path, part, option):
    code, _, err = amalia("corpus", "--part", part, "--output", tmp_path / "run", *option)
    assert code == 2
    assert f"{option[0]}: found" in err and f"with --part {part}" in err
    assert not (tmp_path / "run").exists()


def test_a_bad_manifest_is_told_before_the_text_is_written(amalia, tmp_path):
    code, _, err = amalia(
        "corpus", "--output", tmp_path / "run", "--smoke", "--speech", tmp_path / "gone.jsonl"
    )
    assert code == 2
    assert "gone.jsonl" in err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"quickstart.json", ".quickstart.lock"}


@pytest.mark.parametrize("command", [("quickstart",), ("corpus",), ("corpus", "--part", "text")])
def test_a_folder_of_the_users_recordings_is_never_taken_for_a_run(amalia, tmp_path, command):
    """Their names are those that a run has; once all of it was removed without a word."""
    (tmp_path / "audio").mkdir()
    mine = [tmp_path / name for name in ("audio/eu.wav", "train.jsonl", "test.jsonl")]
    for path in mine:
        path.write_text("mine")
    code, _, err = amalia(*command, "--smoke", "--output", tmp_path)
    assert code == 2
    assert "holds audio, test.jsonl, train.jsonl and no quickstart.json" in complaint(err)
    assert all(path.read_text() == "mine" for path in mine)


def test_the_corpus_of_a_run_is_not_changed_beneath_it(amalia, tmp_path):
    mark(Options(output=tmp_path / "run"))
    code, _, err = amalia("corpus", "--part", "text", "--smoke", "--output", tmp_path / "run")
    assert code == 2
    assert "found a run made with {'smoke': False" in complaint(err)
    assert not (tmp_path / "run/shards").exists()


def test_a_name_that_would_break_the_columns_is_written_as_in_python():
    assert path_column(Path("a\tb\nc.wav")) == r"a\tb\nc.wav"


@pytest.mark.parametrize("arguments", [("doctor",), ("--help",)])
def test_a_terminal_without_our_letters_loses_no_answer(arguments):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "amalia_mm.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and done.stdout


@pytest.mark.parametrize(("closed", "code"), [(">&-", 2), ("2>&-", 0), ("<&-", 0)])
def test_a_closed_stream_is_told_or_done_without(toy_data, closed, code):
    command = f"{sys.executable} -m amalia_mm.cli shards show {toy_data}/shards/text {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=50)
    assert done.returncode == code, done.stderr
    assert ("stdout closed" in done.stderr) == (code == 2)
    assert bool(done.stdout) == (code == 0)


def test_a_tokenizer_is_trained_from_options_or_a_recipe(amalia, toy_data, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"shards: [{toy_data}/shards/text]\nvocab_size: 320\noutput: {tmp_path}/a\n")
    assert amalia("tokenizer", "-c", recipe)[0] == 0
    options = ("--shards", toy_data / "shards/text", "--vocab-size", "320", "--output", tmp_path / "b")
    assert amalia("tokenizer", *options)[0] == 0
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()
    recipe.write_text("vocabulary: 320\n")
    assert "vocabulary: found" in complaint(amalia("tokenizer", "-c", recipe)[2])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--model.init_args.decoder.hiden_size", "64"), "hiden_size"),
        (("--model.init_args.optim.lr", "fast"), "lr"),
        (("--trainer.max_steps", "0"), "max_steps"),
        (("--trainer.precision", "bf16-true"), "bf16-mixed"),
        (("--model.init_args.decoder.vocab_size", "321"), "vocab_size"),
        (("--model.init_args.freeze", '["^no_such_part"]'), "no_such_part"),
        (("--model.init_args.init_from", '{"runs/gone": ["decoder"]}'), "runs/gone"),
        (("--data.init_args.tokenizer", "runs/gone"), "runs/gone"),
        (("--data.init_args.shards", '{"runs/gone": 1.0}'), "runs/gone"),
        (("--ckpt_path", "gone.ckpt"), "gone.ckpt"),
        (("--ckpt_path", "https://somewhere/last.ckpt"), "no such checkpoint"),
    ],
)
def test_a_wrong_value_fails_before_any_work_in_one_line(
    amalia, toy_data, tmp_path, options, says, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["amalia"])
    recipe = toy_recipe.write(toy_recipe.language(toy_data, tmp_path / "run", 2), tmp_path / "recipe.yaml")
    code, _, err = amalia("fit", "-c", recipe, *options)
    assert code == 2, err
    line = complaint(err)
    assert says in line
    assert len(line) < 600
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_an_unknown_key_in_a_recipe_is_named(amalia, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["amalia"])
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 2)
    recipe["model"]["init_args"]["warmup"] = 3
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "recipe.yaml"))
    assert code == 2
    assert "warmup" in complaint(err)


def test_a_checkpoint_of_another_shape_is_one_line(amalia, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["amalia"])
    recipe = toy_recipe.language(toy_data, tmp_path / "a", 2)
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    assert amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "a.yaml"))[0] == 0
    recipe = toy_recipe.language(toy_data, tmp_path / "b", 2)
    recipe["model"]["init_args"]["decoder"] = {**toy_recipe.DECODER, "intermediate_size": 50}
    options = ("--ckpt_path", tmp_path / "a" / "last.ckpt")
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "b.yaml"), *options)
    assert code == 2
    assert "last.ckpt" in complaint(err)
    assert "mlp" in err


@pytest.mark.parametrize("victim", ["metrics.jsonl", "last.ckpt", "model"])
def test_a_full_disk_in_training_is_one_line_and_keeps_what_is_finished(
    amalia, toy_data, tmp_path, monkeypatch, victim
):
    monkeypatch.setattr("sys.argv", ["amalia"])
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "run" / victim))

    def no_room(*_, **__):
        raise full

    import amalia_mm.train.run_folder as run_folder

    target = {
        "metrics.jsonl": (run_folder.RunFolder, "_append"),
        "last.ckpt": (torch, "save"),
        "model": (run_folder, "save_model"),
    }[victim]
    monkeypatch.setattr(*target, no_room)
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 2)
    recipe["checkpoint"] = {"every_n_train_steps": 1}
    code, _, err = amalia("fit", "-c", toy_recipe.write(recipe, tmp_path / "recipe.yaml"))
    assert code == 2
    assert "found a full disk" in complaint(err)
    assert victim in err
    if victim == "model":
        assert (tmp_path / "run/last.ckpt").is_file()


# --- measuring ---


@pytest.mark.parametrize(
    "words", [("--data", "there"), ("--model", "there"), ("--data", "there", "--model", "there")]
)
def test_a_run_is_measured_by_its_own_model_on_its_own_data(amalia, tmp_path, words):
    code, out, err = amalia("evaluate", tmp_path, *words)
    assert (code, out) == (2, "")
    assert "leave one of them out" in complaint(err)


def test_a_model_is_not_measured_without_data(amalia, model):
    code, out, err = amalia("evaluate", "--model", model)
    assert (code, out) == (2, "")
    assert "--data" in complaint(err)


def test_the_figures_of_an_earlier_evaluation_are_shown_again(amalia, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"wer": 0.029, "ptpt_preference": 0.9}))
    code, out, _ = amalia("evaluate", "--show", tmp_path)
    assert code == 0
    assert "2,9" in out
    assert "não" in out, "90 % is less than was to be reached"
    assert out.endswith(f"{tmp_path / 'report.html'}\n")
    assert "amalia evaluate" in complaint(amalia("evaluate", "--show", tmp_path / "gone")[2])


def test_text_is_read_out_and_what_has_no_reading_is_told(amalia):
    code, out, err = amalia("spoken", "Às 16h30, 12,50 € 😀")
    assert (code, out) == (0, "Às dezasseis e trinta, doze euros e cinquenta cêntimos\n")
    assert err == "amalia: left out, without a reading: 😀 (1)\n"
