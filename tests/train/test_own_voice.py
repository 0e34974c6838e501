"""A model of many voices learns one person's: what changes, what stays, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import own_voice
import pytest
import safetensors.torch
import torch
import toy_recipe
import yaml
from torch.nn.functional import normalize

from amalia_mm.audio.io import encode_flac
from amalia_mm.cli import main
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.run import read_weights
from amalia_mm.speaking import SpeechModel, acoustic_folder, encoder_folder
from amalia_mm.train import voice_hearing
from amalia_mm.train.acoustic import Acoustic
from amalia_mm.train.adapt import Recipe, adapt
from amalia_mm.train.optim import OptimConfig
from amalia_mm.voice.acoustic import AcousticModel, Phones
from amalia_mm.voice.adapters import with_adapters
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice_folder import load_voice_part


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return own_voice.save_run(tmp_path_factory.mktemp("run"))


def learned(run, way="lora", clips=None, **options):
    clips = own_voice.recordings() if clips is None else clips
    recipe = own_voice.recipe(way, **options)
    return adapt(recipe, acoustic_folder(run), encoder_folder(run), clips, progress=False)


def base_weights(run):
    weights = read_weights(acoustic_folder(run))
    return {name.removeprefix("acoustic."): value for name, value in weights.items()}


def test_the_vector_alone_begins_as_the_middle_of_the_clips_and_is_all_that_is_learned(run):
    clips = own_voice.recordings()
    embedder, _ = load_voice_part(encoder_folder(run), "speaker", own_voice.SpeakerEncoder)
    waveforms = torch.stack([own_voice.sound(number) for number in range(len(clips))])
    waveforms *= 10 ** (-23 / 20) / waveforms.square().mean(1, keepdim=True).sqrt()
    with torch.no_grad():
        vectors = embedder.embed(waveforms, torch.full((len(clips),), waveforms.shape[1]))
    middle = normalize(vectors.mean(0), dim=0).numpy()
    begun = learned(run, "embedding", max_steps=1, optim={**own_voice.OPTIM, "lr": 1e-9})
    np.testing.assert_allclose(begun.embedding, middle, atol=2e-4)  # FLAC has 16 bits
    ended = learned(run, "embedding", max_steps=4)
    assert begun.adapters is None and ended.adapters is None
    assert 0.5 < float(ended.embedding @ middle) < 0.9999
    assert float(np.linalg.norm(ended.embedding)) == pytest.approx(1.0, abs=1e-5)


def test_low_rank_changes_are_small_and_what_they_change_stays_as_it_was(run):
    before = base_weights(run)
    data = learned(run)
    changed = safetensors.torch.load(data.adapters)
    names = {name for name in changed if name != "lora_scale"}
    assert names and all(name.rpartition(".")[2] in ("lora_a", "lora_b") for name in names)
    assert all(".expand." in name or ".contract." in name for name in names)
    assert float(changed["lora_scale"]) == pytest.approx(1.5)
    assert any(changed[name].any() for name in names if name.endswith("lora_b")), "something was learned"
    after = base_weights(run)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_recordings_of_one_sentence_are_each_heard_by_themselves(run, monkeypatch):
    """What is remembered of a clip is found by its place, and four sentences are said four times here."""
    heard = []
    measure = voice_hearing.pitch_hz
    monkeypatch.setattr(
        voice_hearing, "pitch_hz", lambda clip, *rates: heard.append(clip) or measure(clip, *rates)
    )
    clips = own_voice.recordings()
    assert len({clip.text for clip in clips}) < len(clips)
    learned(run, "lora", clips, max_steps=8)
    assert len(heard) == len(clips), "in eight steps of four each is heard, and none twice"


def test_all_of_it_may_change_and_one_run_is_like_another(run):
    data, again = learned(run, "full"), learned(run, "full")
    changed = safetensors.torch.load(data.adapters)
    assert set(base_weights(run)) - set(changed) <= {"speakers.weight", "nothing"}
    assert data.adapters == again.adapters and np.array_equal(data.embedding, again.embedding)
    assert learned(run, "lora").adapters == learned(run, "lora").adapters


def test_a_change_of_nothing_says_what_the_base_says_bit_for_bit(run):
    module = Acoustic(
        lambda: AcousticModel(**own_voice.FRAMES, **own_voice.SIZES, num_speakers=1),
        OptimConfig(lr=1e-3),
        speaker_encoder=str(encoder_folder(run)),
        init_from={str(acoustic_folder(run)): ["acoustic"]},
        own_voice=True,
        lora=LoraConfig(**own_voice.LORA),
    )
    module.configure_model()
    base, _ = load_voice_part(acoustic_folder(run), "acoustic", AcousticModel)
    phones = Phones(torch.tensor([[5, 9, 3, 1]]), torch.zeros(1, 4).bool(), torch.zeros(1, 4).bool())
    speaker = normalize(torch.arange(6.0), dim=0)[None]
    both = [each.eval().speak(phones, speaker)[0] for each in (base, module.model.acoustic)]
    assert torch.equal(*both)
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    assert all(".lora_" in name or name == "model.acoustic.speakers.weight" for name in trained)
    assert "model.acoustic.speakers.weight" in trained


def test_a_voice_out_of_its_adapters_is_the_base_with_the_products_added_by_hand(run):
    data, model = learned(run), SpeechModel(run)
    changed = safetensors.torch.load(data.adapters)
    by_hand = base_weights(run)
    for name in [name for name in changed if name.endswith(".lora_a")]:
        product = changed[name.replace("lora_a", "lora_b")].double() @ changed[name].double()
        weight = name.replace("lora_a", "weight")
        by_hand[weight] = (by_hand[weight].double() + 1.5 * product).float()
    own = with_adapters(model.acoustic, data.adapters).state_dict()
    assert own.keys() == by_hand.keys()
    for name, value in by_hand.items():
        torch.testing.assert_close(own[name], value, atol=1e-6, rtol=1e-5)
    text = "Bom dia, está tudo bem?"
    before = model.voiced(torch.from_numpy(data.embedding)).say(text)
    assert not torch.equal(model.own(data).say(text), before)
    assert torch.equal(model.voiced(torch.from_numpy(data.embedding)).say(text), before), (
        "the base is the base"
    )


def test_another_base_is_refused_by_its_hash(run, tmp_path):
    data = learned(run)
    other = own_voice.save_run(tmp_path)
    sizes = {**own_voice.FRAMES, **own_voice.SIZES, "num_speakers": 2, "width": 24}
    sha256 = SpeechModel(run).config["speaker_encoder_sha256"]
    notes = {"speaker_encoder": "20_speaker", "speaker_encoder_sha256": sha256}
    own_voice.save_part(other / "21_acoustic", "acoustic", AcousticModel, sizes, **notes)
    with pytest.raises(InputError, match="acoustic model"):
        SpeechModel(other).own(data)
    told = {"speaker_encoder": data.made_for["speaker_encoder"]}
    SpeechModel(other).own(type(data)(data.embedding, None, told))  # nobody learned it: it is the encoder's
    with pytest.raises(InputError, match="adapters"):
        with_adapters(SpeechModel(other).acoustic, data.adapters)


def test_an_encoder_that_the_base_never_heard_is_refused(run, tmp_path):
    own_voice.save_part(
        tmp_path / "e", "speaker", own_voice.SpeakerEncoder, {**own_voice.ENCODER, "width": 24}
    )
    with pytest.raises(InputError, match="speaker encoder"):
        adapt(own_voice.recipe(), acoustic_folder(run), tmp_path / "e/model", own_voice.recordings())


def test_too_little_speech_and_recordings_that_cannot_be_what_is_said_are_told(run):
    with pytest.raises(InputError, match=r"14\.0 s of speech in 7 recordings.*30 s or more"):
        learned(run, clips=own_voice.recordings(7))
    short = Clip(
        "Uma frase muito mais comprida do que o som em que é dita.", encode_flac(own_voice.sound(0, 0.1))
    )
    with pytest.raises(InputError, match="Uma frase muito mais comprida.*frames for"):
        learned(run, clips=[*own_voice.recordings(), short])
    with pytest.raises(InputError, match="silence"):
        learned(run, clips=[*own_voice.recordings(), Clip("Bom dia.", encode_flac(torch.zeros(32_000)))])
    long = Clip("Bom dia.", encode_flac(own_voice.sound(0, 20.0)))
    with pytest.raises(InputError, match="cut the recording"):
        learned(run, clips=[*own_voice.recordings(), long])


def test_a_recipe_of_another_stage_is_none_for_this(run):
    with pytest.raises(InputError, match="23_own_voice"):
        Recipe.of({"model": {"init_args": {}}, "data": {}}, "recipe.yaml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"speaker_encoder": None}, "speaker_encoder"),
        ({"init_from": {}}, "own_voice"),
        ({"freeze": [r"speakers"]}, "speakers"),
    ],
)
def test_what_no_voice_can_be_learned_with_is_refused(run, changes, told):
    given = {
        "speaker_encoder": str(encoder_folder(run)),
        "init_from": {str(acoustic_folder(run)): ["acoustic"]},
        "own_voice": True,
        **changes,
    }
    sizes = {**own_voice.FRAMES, **own_voice.SIZES, "num_speakers": 1}
    with pytest.raises(InputError, match=told):
        Acoustic(lambda: AcousticModel(**sizes), OptimConfig(lr=1e-3), **given).configure_model()


@pytest.fixture
def recipe(run, tmp_path):
    """Six steps on the shards of two speakers, of whom one is learned."""
    with ShardWriter(tmp_path / "shards") as writer:
        for number in range(24):
            fixed = {"version": 1, "variety": "pt-PT", "source": "t", "licence": "CC0", "task": "transcribe"}
            text = own_voice.TEXTS[number % len(own_voice.TEXTS)]
            record = {**fixed, "id": f"r{number}", "split": "train", "text": text}
            writer.write(
                record | {"speaker": ("ana", "rui")[number % 2]}, encode_flac(own_voice.sound(number))
            )
    made = toy_recipe.acoustic(tmp_path, tmp_path / "23_own_voice", 6, val_check_interval=3)
    sizes = {**own_voice.FRAMES, **own_voice.SIZES, "num_speakers": 1}
    made["model"]["init_args"] |= {
        "acoustic": {"class_path": "amalia_mm.voice.acoustic.AcousticModel", "init_args": sizes},
        "optim": {
            "lr": 0.1,
            "warmup_steps": 1,
            "schedule": "wsd",
            "decay_fraction": 0.0,
        },  # the same rate of all steps
        "speaker_encoder": str(encoder_folder(run)),
        "init_from": {str(acoustic_folder(run)): ["acoustic"]},
        "own_voice": True,
        "lora": own_voice.LORA,
    }
    shards = str(tmp_path / "shards")
    made["data"]["init_args"] |= {
        "shards": {shards: 1.0},
        "val_shards": [shards],
        "speaker": "rui",
        "speech_s": 9,
    }
    made["checkpoint"]["every_n_train_steps"] = 3
    return toy_recipe.write(made, tmp_path / "recipe.yaml")


def test_a_run_that_was_stopped_ends_as_one_that_was_not_and_say_speaks_with_it(
    run, recipe, tmp_path, capsys
):
    assert main(["fit", "-c", str(recipe)]) == 0
    whole = tmp_path / "23_own_voice"
    half = ["--run_folder", str(tmp_path / "half")]
    assert main(["fit", "-c", str(recipe), *half, "--trainer.max_steps", "3"]) == 0
    assert main(["fit", "-c", str(recipe), *half, "--ckpt_path", str(tmp_path / "half/last.ckpt")]) == 0
    found, wanted = read_weights(tmp_path / "half/model"), read_weights(whole / "model")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    base, apart = base_weights(run), {n for n in wanted if ".lora_" in n}
    assert apart, "low-rank changes stay apart in the folder"
    for name in wanted.keys() - apart - {"acoustic.speakers.weight"}:
        assert torch.equal(wanted[name], base[name.removeprefix("acoustic.")])

    config = yaml.safe_load((whole / "model/config.yaml").read_text())
    assert config["speakers"] == ["rui"] and config["lora"]["rank"] == 2
    said = tmp_path / "said.wav"
    options = ["--model", str(run), "--acoustic", str(whole), "--output", str(said)]
    assert main(["say", "Bom dia.", *options, "--bank", str(tmp_path / "bank")]) == 0
    assert said.stat().st_size > 2000
    model = SpeechModel(run, acoustic=whole)
    assert model.learned().say("Bom dia.").isfinite().all()
    checkpoint = torch.load(whole / "last.ckpt", weights_only=True)
    assert len(checkpoint["state_dict"]) == len(apart) + 1, "a checkpoint has what is learned alone"


def test_everybodys_clips_are_no_one_persons(recipe, capsys):
    assert main(["fit", "-c", str(recipe), "--data.init_args.speaker", "null"]) == 2
    assert "data.speaker" in capsys.readouterr().err


def test_less_speech_than_asked_for_is_told(recipe, caplog):
    with caplog.at_level(logging.WARNING):
        options = ["--data.init_args.speech_s", "90", "--trainer.max_steps", "1"]
        assert main(["fit", "-c", str(recipe), *options]) == 0
    assert "24 s of speech in 12 clips, where 90 s were asked for" in caplog.text
