"""Every YAML is read by the real parser, and every model it describes can be built, on the meta device."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
import torch
import yaml

from amalia_mm.prepare.spoken import SPEECH_PRODUCTS, SPEECH_STAGING
from amalia_mm.prepare.synthetic import TEXT_PRODUCTS, TEXT_STAGING
from amalia_mm.prepare.voice_shards import VOICE_PRODUCTS, VOICE_STAGING
from amalia_mm.quickstart_stages import STAGES, needed
from amalia_mm.recipe_paths import read_recipe
from amalia_mm.text.ctc_vocabulary import CtcVocabulary
from amalia_mm.text.decoder import Decoder
from amalia_mm.train.cli import AmaliaCLI
from amalia_mm.train.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*/recipe.yaml"))
TRAINING = [path for path in RECIPES if "model" in yaml.safe_load(path.read_text(encoding="utf-8"))]
FRAGMENTS = sorted((ROOT / "configs").glob("*/*.yaml"))
RUN = "runs/quickstart/"
BESIDE = {
    "03_long_context": ("runs/long/", RUN),
    "05_dpo": ("runs/varieties/", "runs/varieties/"),
    "11_align": ("runs/ears/", RUN),
    "12_instruct": ("runs/ears/", RUN),
    "15_real_voices": ("runs/voices/", "runs/voices/"),
    "23_own_voice": (RUN, RUN),
}
"""Recipes that are no stage of the quickstart: where they write, and whose tokenizer and shards they read."""
OPTION = {
    "decoder": "--model.init_args.decoder",
    "encoder": "--model.init_args.encoder",
    "acoustic": "--model.init_args.acoustic",
    "vocoder": "--model.init_args.vocoder",
    "projector": "--model.init_args.projector",
    "speaker": "--model.init_args.speaker",
    "optim": "--model.init_args.optim",
    "data": "--data",
    "trainer": "--trainer",
}


def label(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(autouse=True)
def our_command_line(monkeypatch):
    """LightningCLI warns where the process has arguments of its own, as pytest has."""
    monkeypatch.setattr("sys.argv", ["amalia"])


class ReadOnly(AmaliaCLI):
    """Reads and checks everything, and makes nothing."""

    def instantiate_classes(self) -> None:
        pass


def cli(kind, recipe, *options):
    arguments = ["--config", str(recipe), *options]
    return kind(
        run=False,
        args=arguments,
        save_config_callback=RunFolder,
        trainer_defaults={"logger": False, "enable_progress_bar": False, "accelerator": "cpu", "devices": 1},
        parser_kwargs={"exit_on_error": False},
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
    )


class _UnreadListener:
    """The speaker encoder of recipe 20, as far as its size goes."""

    sha256 = ""

    def __init__(self, folder):
        assert folder == f"{RUN}20_speaker/model"
        with torch.device("meta"):
            self.embedder = cli(AmaliaCLI, ROOT / "recipes/20_speaker/recipe.yaml").model.build_speaker()


def build(module, monkeypatch):
    """Build the model of a LightningModule without weights; tokenizer and earlier models are not here."""
    nothing = {
        "Tokenizer": type("NoTokenizer", (), {"load": staticmethod(lambda folder: None)}),
        "check_vocabulary": lambda *_: None,
        "warm_start": lambda *_: None,
        "Listener": _UnreadListener,
    }
    for kind in type(module).__mro__:
        for name in nothing if kind.__module__.startswith("amalia_mm.train.") else ():
            if hasattr(sys.modules[kind.__module__], name):
                monkeypatch.setattr(sys.modules[kind.__module__], name, nothing[name])
    with torch.device("meta"):
        module.configure_model()
    parameters = list(module.parameters())
    assert parameters
    assert all(parameter.is_meta for parameter in parameters)
    return module.model


@pytest.mark.parametrize("recipe", TRAINING, ids=label)
def test_a_recipe_builds_its_model(recipe, monkeypatch):
    module = cli(AmaliaCLI, recipe).model
    build(module, monkeypatch)


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=label)
def test_a_fragment_fits_where_it_belongs(fragment, monkeypatch):
    kind = fragment.parent.name
    assert kind in OPTION, f"configs/{kind}/ is not a kind of fragment"
    options = [OPTION[kind], str(fragment)]
    if kind == "data":
        cli(ReadOnly, _recipe_for_data(fragment), *options)
    elif kind == "trainer":
        # A machine without eight GPUs cannot make such a trainer, but can read what it should be.
        cli(ReadOnly, ROOT / "recipes/14_joint/recipe.yaml", *options)
    elif kind == "speaker":
        build(cli(AmaliaCLI, ROOT / "recipes/20_speaker/recipe.yaml", *options).model, monkeypatch)
    elif kind == "decoder":
        config = cli(AmaliaCLI, ROOT / "recipes/02_pretrain/recipe.yaml", *options).model.decoder_config
        with torch.device("meta"):
            assert sum(p.numel() for p in Decoder(config).parameters()) > 0
    elif kind == "acoustic":
        module = cli(AmaliaCLI, ROOT / "recipes/21_acoustic/recipe.yaml", *options).model
        with torch.device("meta"):
            assert sum(p.numel() for p in module.build_acoustic().parameters()) > 0
    elif kind == "vocoder":
        build(cli(AmaliaCLI, ROOT / "recipes/22_vocoder/recipe.yaml", *options).model, monkeypatch)
    else:
        small = CtcVocabulary({"▁": 300, **{letter: 301 + place for place, letter in enumerate("abcdefgh")}})
        monkeypatch.setattr("amalia_mm.fusion.projectors.read_ctc_vocabulary", lambda path: small)
        monkeypatch.setattr(CtcVocabulary, "check", lambda *_: None)  # against a tokenizer that is not here
        # Only a projector with a CTC head has one to freeze.
        options += ["--model.init_args.freeze", "[]"]
        build(cli(AmaliaCLI, ROOT / "recipes/14_joint/recipe.yaml", *options).model, monkeypatch)


def _recipe_for_data(fragment):
    if "SpeakerData" in fragment.read_text(encoding="utf-8"):
        return ROOT / "recipes/20_speaker/recipe.yaml"
    speaks = "SpeechTextData" in fragment.read_text(encoding="utf-8")
    if "VoiceData" in fragment.read_text(encoding="utf-8"):
        return ROOT / "recipes/21_acoustic/recipe.yaml"
    if "WaveformData" in fragment.read_text(encoding="utf-8"):
        return ROOT / "recipes/22_vocoder/recipe.yaml"
    return ROOT / "recipes" / ("14_joint" if speaks else "02_pretrain") / "recipe.yaml"


@pytest.mark.parametrize("recipe", RECIPES, ids=label)
def test_a_recipe_is_short_and_explained(recipe):
    assert len(recipe.read_text(encoding="utf-8").splitlines()) <= 40
    readme = recipe.with_name("README.md")
    assert readme.is_file(), "a recipe's README says why, the command, and the expected curve"
    assert "amalia " in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", TRAINING, ids=label)
def test_a_recipe_reads_what_an_earlier_one_writes(recipe):
    content = read_recipe(recipe)
    home, run = BESIDE.get(recipe.parent.name, (RUN, RUN))
    assert content["run_folder"] == home + recipe.parent.name
    arguments = content["data"]["init_args"]
    if "tokenizer" in arguments:  # voices read phones
        own = recipe.with_name("tokenizer.yaml")  # letters instead of the quickstart's pieces
        tokenizer = read_recipe(own if own.is_file() else ROOT / "recipes/01_tokenizer/recipe.yaml")
        assert arguments["tokenizer"] == tokenizer["output"].replace(RUN, run)
        assert content["model"]["init_args"]["decoder"]["vocab_size"] == tokenizer["vocab_size"]
    for folder in (*arguments["shards"], *arguments.get("val_shards", ())):
        assert folder.startswith((run + "shards/", home))
    if recipe.parent.name in BESIDE:
        return
    stage = next(stage for stage in STAGES if stage.name == recipe.parent.name)
    assert needed(stage) >= {"00_corpus", *(("01_tokenizer",) if "tokenizer" in arguments else ())}
    made_by = {product: other.name for other in STAGES for product in other.owns}
    for folder in (*arguments["shards"], *arguments.get("val_shards", ())):
        assert made_by[folder.removeprefix(RUN)] in needed(stage), f"{folder} may not be there yet"
    encoder = content["model"]["init_args"].get("speaker_encoder")
    assert encoder is None or Path(encoder).parent.name in needed(stage)
    for folder, parts in (content["model"]["init_args"].get("init_from") or {}).items():
        source = folder.removeprefix(RUN).removesuffix("/model")
        assert source in needed(stage), f"the quickstart may run it before {source} is finished"
        assert {part.partition(".")[0] for part in parts} <= {"encoder", "projector", "decoder"}


def test_the_quickstart_clears_what_the_corpus_writes():
    stages = {stage.name: stage for stage in STAGES}
    assert {*TEXT_PRODUCTS, TEXT_STAGING} == set(stages["00_corpus"].owns)
    assert {*SPEECH_PRODUCTS, SPEECH_STAGING} == set(stages["09_speech"].owns)
    assert {*VOICE_PRODUCTS, VOICE_STAGING} == set(stages["19_voice_clips"].owns)


def test_every_recipe_is_a_stage_of_the_quickstart_or_not_its_business():
    staged = {stage.name for stage in STAGES if stage.has_recipe}
    assert staged <= {path.parent.name for path in RECIPES}


@pytest.mark.parametrize("recipe", TRAINING, ids=label)
def test_every_argument_a_recipe_can_reach_has_a_place_in_the_documentation(recipe):
    import importlib

    room, _, name = read_recipe(recipe)["model"]["class_path"].rpartition(".")
    kind = getattr(importlib.import_module(room), name)
    documented = inspect.getdoc(kind) or ""
    for argument in inspect.signature(kind).parameters:
        assert f"{argument}:" in documented, f"{name}: no word about {argument}"
