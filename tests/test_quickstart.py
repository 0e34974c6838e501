"""The main job: what is run again and what is not, and what an interruption keeps."""

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from amalia_mm import quickstart, quickstart_plan
from amalia_mm.child_process import Ended
from amalia_mm.errors import InputError
from amalia_mm.evaluate.stages import read_stages, wall_seconds
from amalia_mm.prepare import corpora
from amalia_mm.quickstart import read_record, run
from amalia_mm.quickstart_folder import LOCK, MARKER, taken_for_corpus
from amalia_mm.quickstart_plan import Options, how_to_go_on, plan
from amalia_mm.quickstart_stages import STAGES

NAMES = [
    *("00_corpus", "01_tokenizer", "02_pretrain", "09_speech", "19_voice_clips", "20_speaker"),
    *("21_acoustic", "04_sft", "10_hearing", "13_paths", "14_joint", "22_vocoder", "30_evaluate"),
]
BEGUN = [
    *("00_corpus", "01_tokenizer", "09_speech", "02_pretrain", "19_voice_clips", "20_speaker"),
    *("04_sft", "21_acoustic", "10_hearing", "13_paths", "22_vocoder", "14_joint", "30_evaluate"),
]
"""The order in which they begin where there is room for two, and the older one ends first."""
AFTER_HEARING = ["10_hearing", "14_joint", "30_evaluate"]


class FakeChildren:
    """Stands for the sub-commands: writes what a stage would, and remembers what was called, and beside what."""

    def __init__(self, monkeypatch, output):
        self.calls = []
        self.beside = {}
        self.environments = {}
        self.end = {}
        self.first_to_end = []
        self.output = output
        self.is_interrupted_at_once = False
        monkeypatch.setattr(quickstart, "Children", lambda: self)
        monkeypatch.setattr(quickstart, "run_child", self.show)
        monkeypatch.setattr(quickstart, "_num_cores", lambda: 2)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def __enter__(self):
        self.were_interrupted = self.is_interrupted_at_once
        self.was_told_to_end = False
        self.running = {}
        return self

    def __exit__(self, *_):
        assert not self.running, "a child was left behind"

    @property
    def names(self):
        return frozenset(self.running)

    def interrupt(self):
        self.was_told_to_end = True

    def show(self, command, *, keep_open, to_stdout, lets_signals_in):
        assert to_stdout and lets_signals_in and command[3:5] == ["evaluate", "--show"]
        return Ended(0, 0.1, 0.1, False)

    def start(self, name, command, *, keep_open, environment, lets_signals_in):
        assert lets_signals_in, "Ctrl-C would be a traceback while it begins"
        assert all(isinstance(number, int) for number in keep_open)
        command = list(command)[3:]
        assert name == self._name(command)
        self.calls.append((name, command))
        self.beside[name] = self.names
        self.environments[name] = environment
        folder = Path(command[command.index("--run_folder") + 1]) if "--run_folder" in command else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "last.ckpt").write_text("weights")
            (folder / "metrics.jsonl").write_text(
                '{"step": 6, "loss": 2.5}\n{"step": 6, "val_loss": 3.0}\n{"st'
            )
        self.running[name] = self.end.pop(name, Ended(0, 1.5, 0.25, False))
        if self.running[name].exit_code == 0:
            self.leave(name)

    def leave(self, name):
        """Put what the stage makes where it belongs."""
        for each in next(stage.leaves for stage in STAGES if stage.name == name):
            (self.output / each).parent.mkdir(parents=True, exist_ok=True)
            (self.output / each).touch()

    def wait(self):
        name = next((name for name in self.first_to_end if name in self.running), next(iter(self.running)))
        ended = self.running.pop(name)
        if self.was_told_to_end:
            ended = Ended(130, 1.0, 0.1, False)
        self.were_interrupted |= ended.was_interrupted
        return name, ended

    def _name(self, command):
        if command[0] == "corpus":
            return {"text": "00_corpus", "speech": "09_speech"}[command[command.index("--part") + 1]]
        words = {"tokenizer": "01_tokenizer", "prepare": "19_voice_clips", "evaluate": "30_evaluate"}
        word = words.get(command[0])
        return word or Path(command[command.index("-c") + 1]).parent.name

    @property
    def called(self):
        return [name for name, _ in self.calls]

    def again(self):
        self.calls = []


@pytest.fixture
def children(monkeypatch, tmp_path):
    monkeypatch.setattr("amalia_mm.quickstart.own_commit", lambda: "1a2b3c")
    return FakeChildren(monkeypatch, tmp_path / "run")


@pytest.fixture
def options(tmp_path):
    return Options(output=tmp_path / "run")


def test_what_makes_the_corpus_decides_it_and_all_that_follows(monkeypatch, tmp_path):
    before = plan(Options())
    package = tmp_path / "package"
    (package / "prepare").mkdir(parents=True)
    (package / "train").mkdir()
    monkeypatch.setattr(quickstart_plan, "__file__", str(package / "quickstart_plan.py"))
    (package / "prepare" / "espeak.py").write_text("VOICES = 1")
    few = plan(Options())
    assert all(a.fingerprint != b.fingerprint for a, b in zip(before, few, strict=True))
    for path in ("train/loop.py", "cli.py", "prepare/notes~"):
        (package / path).write_text("decides nothing of the corpus")
    assert [job.fingerprint for job in plan(Options())] == [job.fingerprint for job in few]
    (package / "prepare" / "espeak.py").write_text("VOICES = 2")
    assert all(a.fingerprint != b.fingerprint for a, b in zip(plan(Options()), few, strict=True))


def test_every_stage_is_a_sub_command_on_its_own_recipe(options):
    jobs = plan(options)
    assert [job.stage.name for job in jobs] == NAMES
    for job in jobs:
        if job.stage.has_recipe:
            recipe = Path(job.command[job.command.index("-c") + 1])
            assert recipe.parts[-2:] == (job.stage.name, "recipe.yaml")
            assert recipe.is_file()
        assert str(options.output) in " ".join(job.command), f"{job.stage.name} writes somewhere else"
        assert "runs/quickstart" not in " ".join(job.command)


def test_the_recipes_run_as_they_are_where_they_say():
    for job in plan(Options()):
        if job.stage.command[0] == "fit":
            assert "--trainer.max_steps" not in job.command, (
                "the quickstart adds nothing of its own to a recipe"
            )
            assert "--model.init_args.decoder.hidden_size" not in job.command


def test_a_finished_run_has_nothing_left_to_do(children, options):
    assert run(options) == 0
    assert children.called == BEGUN
    record = read_record(options.output / "14_joint")
    assert (record.name, record.seconds, record.peak_rss_gb) == ("14_joint", 1.5, 0.25)
    assert (record.steps, record.final_loss) == (6, 2.5)
    children.again()
    assert run(options) == 0
    assert children.called == []


@pytest.fixture
def recipes(tmp_path, monkeypatch, root):
    """Recipes and fragments of our own, which may be changed."""
    for name in ("recipes", "configs"):
        shutil.copytree(root / name, tmp_path / name)
    monkeypatch.setattr(quickstart_plan, "recipes_folder", lambda: tmp_path / "recipes")
    return tmp_path


def test_a_changed_fragment_runs_its_stage_and_those_after_it_again(children, options, recipes, capsys):
    run(options)
    children.again()
    fragment = recipes / "configs" / "optim" / "tiny_encoder.yaml"
    fragment.write_text(fragment.read_text() + "beta1: 0.8\n")
    run(options)
    assert children.called == AFTER_HEARING
    assert "mudaram" in capsys.readouterr().err
    assert not any("--ckpt_path" in command for _, command in children.calls), "that is another recipe's"


def test_a_comment_in_a_recipe_changes_nothing(children, options, recipes):
    run(options)
    children.again()
    recipe = recipes / "recipes" / "02_pretrain" / "recipe.yaml"
    recipe.write_text("# read me\n" + recipe.read_text())
    run(options)
    assert children.called == []


def test_ctrl_c_between_two_children_says_how_to_go_on_too(children, options, capsys):
    children.is_interrupted_at_once = True
    assert run(options) == 130
    assert children.called == []
    assert "amalia quickstart --output" in capsys.readouterr().err


def test_stages_that_need_nothing_of_each_other_run_side_by_side(children, options):
    decoder = ("02_pretrain", "04_sft", "13_paths")
    # As they end where there is nothing else to do: hearing and the acoustic model take longest.
    order = ["01_tokenizer", "09_speech", "02_pretrain", "19_voice_clips", "20_speaker", "04_sft"]
    children.first_to_end = [*order, "21_acoustic", "13_paths", "10_hearing"]
    assert run(options) == 0
    assert children.beside["09_speech"] == {"01_tokenizer"}
    assert children.beside["02_pretrain"] == {"09_speech"}
    assert children.beside["19_voice_clips"] == {"02_pretrain"}
    assert children.beside["20_speaker"] == {"19_voice_clips"}, "the voice has the longest way to go"
    assert children.beside["04_sft"] == {"20_speaker"}
    assert children.beside["21_acoustic"] == {"04_sft"}
    assert children.beside["10_hearing"] == {"21_acoustic"}
    assert children.beside["13_paths"] == {"10_hearing"}
    assert children.beside["22_vocoder"] == {"10_hearing"}
    assert children.beside["14_joint"] == {"22_vocoder"}
    assert children.beside["30_evaluate"] == children.beside["00_corpus"] == set()
    shared = [name for name in NAMES if name not in ("00_corpus", "30_evaluate")]
    assert {children.environments[name]["OMP_NUM_THREADS"] for name in shared} == {"1"}
    assert "OMP_NUM_THREADS" not in children.environments["30_evaluate"]
    lines = {name: children.environments[name]["TQDM_POSITION"] for name in (*decoder, "10_hearing")}
    beside = {name: children.environments[name]["TQDM_POSITION"] for name in ("21_acoustic", "13_paths")}
    assert lines["04_sft"] != beside["21_acoustic"] != lines["10_hearing"] != beside["13_paths"]


def test_one_core_does_one_thing_at_a_time(children, options, monkeypatch):
    monkeypatch.setattr(quickstart, "_num_cores", lambda: 1)
    assert run(options) == 0
    assert not any(children.beside.values())
    assert children.called == NAMES


def test_a_stage_that_fails_stops_the_one_beside_it(children, options):
    children.first_to_end = ["01_tokenizer", "09_speech", "02_pretrain", "19_voice_clips", "04_sft"]
    children.end["04_sft"] = Ended(3, 1.0, 0.1, False)
    assert run(options) == 3
    assert children.was_told_to_end
    assert read_record(options.output / "20_speaker") is None
    children.again()
    children.first_to_end = []
    assert run(options) == 0
    assert children.called == ["20_speaker", "04_sft", *BEGUN[7:]]
    assert dict(children.calls)["20_speaker"][-2:] == [
        "--ckpt_path",
        str(options.output / "20_speaker" / "last.ckpt"),
    ]


def test_a_changed_text_recipe_leaves_the_hearing_as_it_is(children, options, recipes):
    run(options)
    children.again()
    recipe = recipes / "recipes" / "04_sft" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: ", "max_steps: 1"))
    run(options)
    assert children.called == ["04_sft", "13_paths", "14_joint", "30_evaluate"]


def test_the_time_of_stages_side_by_side_counts_once(children, options):
    run(options)
    for unfinished in options.output.glob("*/metrics.jsonl"):
        unfinished.unlink()
    stages = read_stages(options.output)
    assert sum(stage.seconds for stage in stages) == pytest.approx(1.5 * len(NAMES))
    assert wall_seconds(stages) < 2.0, "all of them ended within this test, and each says it took 1.5 s"


def test_changed_text_of_the_users_runs_everything_again(children, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text("Olá.\n")
    options = Options(output=tmp_path / "run", text=(text,))
    run(options)
    assert ["--text", str(text)] == children.calls[0][1][-2:]
    children.again()
    run(options)
    assert children.called == []
    text.write_text("Olá, adeus.\n")
    run(options)
    assert children.called == BEGUN


def test_an_interrupted_stage_goes_on_from_its_checkpoint(children, options, capsys):
    children.end["10_hearing"] = Ended(130, 2.0, 0.5, True)
    assert run(options) == 130
    assert children.called == BEGUN[:10], "what ran beside it is waited for, and nothing begins"
    assert f"amalia quickstart --output {options.output}" in capsys.readouterr().err
    assert read_record(options.output / "10_hearing") is None
    children.again()
    assert run(options) == 0
    assert children.called == ["10_hearing", *BEGUN[10:]]
    assert children.calls[0][1][-2:] == ["--ckpt_path", str(options.output / "10_hearing" / "last.ckpt")]
    record = read_record(options.output / "10_hearing")
    assert record.seconds == 3.5, "the time of both attempts"
    assert record.peak_rss_gb == 0.5


def test_a_stage_that_ended_in_spite_of_ctrl_c_is_finished(children, options):
    children.end["04_sft"] = Ended(0, 1.0, 0.1, True)
    assert run(options) == 130
    children.again()
    assert run(options) == 0
    assert children.called == BEGUN[8:]


def test_a_failed_child_gives_its_exit_code_and_the_stage_stays_open(children, options):
    children.end["01_tokenizer"] = Ended(2, 1.0, 0.1, False)
    assert run(options) == 2
    children.again()
    assert run(options) == 0
    assert children.called == BEGUN[1:]


def test_a_killed_child_is_named(children, options, capsys):
    children.end["02_pretrain"] = Ended(-9, 1.0, 0.1, False)
    assert run(options) == 137
    assert "02_pretrain was killed by signal 9" in capsys.readouterr().err


def test_fresh_starts_over_and_removes_only_what_is_ours(children, options):
    run(options)
    (options.output / "notes.txt").write_text("mine")
    (options.output / "tokenizer").unlink()
    (options.output / "tokenizer").mkdir()
    children.again()
    run(Options(output=options.output, fresh=True))
    assert children.called == BEGUN
    assert (options.output / "notes.txt").read_text() == "mine"
    assert not (options.output / "tokenizer").is_dir()


def test_somebody_elses_folder_is_left_alone(children, options):
    options.output.mkdir()
    (options.output / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        run(options)
    assert children.called == []


def test_what_single_commands_wrote_there_is_taken_up(children, options):
    with taken_for_corpus(options, None):
        (options.output / "shards").mkdir(parents=True)
    assert run(options) == 0


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("10_hearing/model/weights.safetensors", AFTER_HEARING),
        ("14_joint/model/weights.safetensors", ["14_joint", "30_evaluate"]),
        # The same arguments give the same corpus, byte for byte.
        ("shards/documents-train", ["00_corpus"]),
    ],
)
def test_a_stage_whose_product_is_gone_is_done_again_and_what_was_built_on_it(children, options, lost, again):
    run(options)
    (options.output / lost).unlink()
    children.again()
    assert run(options) == 0
    assert children.called == again


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xe9"])
def test_a_broken_marker_is_named(children, options, content):
    run(options)
    (options.output / MARKER).write_bytes(content)
    with pytest.raises(InputError, match=r"quickstart\.json: found .*; wanted the marker of a quickstart"):
        run(options)


@pytest.mark.parametrize("content", [b"\xe9", b'{"name": "a", "fingerprint": "b", "seconds": "x"}'])
def test_a_strange_record_is_no_record(children, options, content):
    run(options)
    (options.output / "30_evaluate" / "stage.json").write_bytes(content)
    children.again()
    assert run(options) == 0
    assert children.called == ["30_evaluate"]


def test_two_runs_do_not_work_in_one_folder(children, options, monkeypatch):
    monkeypatch.setattr("amalia_mm.quickstart_folder.LOCK_PATIENCE_S", 0.3)
    run(options)
    with (options.output / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another quickstart at work"):
            run(options)


def test_a_half_written_record_is_no_record(children, options):
    run(options)
    (options.output / "30_evaluate" / "stage.json").write_text('{"name": "30_ev')
    children.again()
    assert run(options) == 0
    assert children.called == ["30_evaluate"]


def test_other_options_do_not_remove_a_finished_run(children, options):
    run(options)
    children.again()
    with pytest.raises(InputError, match=r"'seed': 0.*choose another --output, or start over .* --fresh"):
        run(replace(options, seed=1))
    with pytest.raises(InputError, match="'smoke': True"):
        run(replace(options, smoke=True))
    assert children.called == []
    assert run(options) == 0
    assert children.called == [], "nothing was removed"
    assert run(replace(options, seed=1, fresh=True)) == 0
    assert children.called == BEGUN


def test_what_is_outdated_is_gone_before_it_is_made_again(children, options, recipes):
    run(options)
    fragment = recipes / "configs" / "optim" / "tiny_encoder.yaml"
    fragment.write_text(fragment.read_text() + "beta1: 0.8\n")
    (options.output / "report.json").write_text("{}")
    children.end["10_hearing"] = Ended(2, 1.0, 0.1, False)
    assert run(options) == 2
    assert not (options.output / "14_joint").exists(), "an old model beside a new encoder"
    assert not (options.output / "report.json").exists()
    assert read_record(options.output / "04_sft") is not None


def test_where_things_lie_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("Olá.\n")
    near = plan(Options(output=Path("run"), text=(Path("x.txt"),)))
    far = plan(Options(output=tmp_path / "run", text=(tmp_path / "x.txt",)))
    assert [job.fingerprint for job in near] == [job.fingerprint for job in far]


def test_text_is_read_whatever_the_case_of_its_ending(tmp_path):
    (tmp_path / "mine").mkdir()
    text = tmp_path / "mine" / "A.TXT"
    text.write_text("Olá.\n")
    before = plan(Options(text=(tmp_path / "mine",)))
    text.write_text("Adeus.\n")
    assert before[0].fingerprint != plan(Options(text=(tmp_path / "mine",)))[0].fingerprint


def test_another_recording_under_the_same_name_is_noticed(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"one")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"audio": "a.wav", "text": "um"}\nnot json\n{"audio": "gone.wav"}\n')
    before = plan(Options(speech=(manifest,)))
    (tmp_path / "a.wav").write_bytes(b"another")
    after = plan(Options(speech=(manifest,)))
    changed = {a.stage.name for a, b in zip(after, before, strict=True) if a.fingerprint != b.fingerprint}
    listens = {"09_speech", "10_hearing", "14_joint", "20_speaker", "21_acoustic", "30_evaluate"}
    assert changed == listens, "the text is as it was"


def test_the_endings_that_count_are_those_that_are_read():
    assert set(quickstart_plan.TEXT_SUFFIXES) == set(corpora.TEXT_SUFFIXES)


def test_missing_input_is_told_before_any_work(children, tmp_path):
    with pytest.raises(InputError, match=r"--speech: found no such file: .*gone\.jsonl"):
        run(Options(output=tmp_path / "run", speech=(tmp_path / "gone.jsonl",)))
    assert children.called == []


def test_a_seed_reaches_the_corpus_and_every_training():
    for job in plan(Options(seed=7)):
        if job.stage.name == "00_corpus" or job.stage.command[0] == "fit":
            assert "7" in job.command


def test_fewer_words_are_another_corpus():
    few = plan(Options(words=330))
    assert few[0].command[-2:] == ("--words", "330")
    assert few[0].fingerprint != plan(Options())[0].fingerprint
    assert how_to_go_on(Options(words=330)) == "amalia quickstart --words 330"


def test_weights_that_foretell_opinions_decide_the_figures_alone(children, options, tmp_path):
    run(options)
    children.again()
    with pytest.raises(InputError, match="--dnsmos: found no such file"):
        run(replace(options, dnsmos=tmp_path / "dnsmos"))
    (tmp_path / "dnsmos").mkdir()
    heard = replace(options, dnsmos=tmp_path / "dnsmos")
    assert run(heard) == 0
    assert children.called == ["30_evaluate"]
    command = children.calls[0][1]
    assert command[command.index("--dnsmos") + 1] == str(tmp_path / "dnsmos")
    assert (
        command[command.index("--command") + 1] == f"{how_to_go_on(options)} --dnsmos {tmp_path / 'dnsmos'}"
    )
    (tmp_path / "dnsmos").rename(tmp_path / "elsewhere")
    children.again()
    assert run(replace(options, dnsmos=tmp_path / "elsewhere")) == 0
    assert children.called == [], "where they lie decides nothing"


def test_the_way_to_go_on_is_a_command_line_that_works_in_a_shell(tmp_path):
    options = Options(output=tmp_path / "a b", smoke=True, seed=3, text=(Path("x y.txt"),))
    assert how_to_go_on(options) == (
        f"amalia quickstart --output '{tmp_path / 'a b'}' --smoke --seed 3 --text 'x y.txt'"
    )
