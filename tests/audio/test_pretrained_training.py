"""A pretrained encoder in a run: begun from its folder, kept, changed a little or trained, and whole in the model's."""

from __future__ import annotations

import shutil

import pytest
import torch
import toy_recipe
import yaml
from safetensors.torch import load_file
from tiny_checkpoints import batch_of, write_checkpoint

from amalia_mm.audio.whisper import Whisper
from amalia_mm.errors import InputError
from amalia_mm.run import load_model, read_config, read_weights
from amalia_mm.train.cli import main

WHISPER = "amalia_mm.audio.whisper.Whisper"
LORA = {"modules": [r"self_attn\.[qv]_proj$"], "rank": 2, "alpha": 4.0}
FEW = {"max_source_positions": 150}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("source") / "whisper", "whisper 80", **FEW)


def recipe(data, run, source, **changes):
    """A joint run of two steps over speech and text, the encoder given as a folder."""
    content = toy_recipe.understanding(data, run, 2)
    content["data"]["init_args"]["num_workers"] = 0
    encoder = {"class_path": WHISPER, "init_args": {"config": str(source), "window": "trimmed"}}
    content["model"]["init_args"] |= {"encoder": encoder, "init_from": {str(source): ["encoder"]}} | changes
    return content


def fit(content, path):
    main(["fit", "-c", str(toy_recipe.write(content, path))])


def backbone(folder):
    """The encoder's weights in a model folder, named as in the checkpoint."""
    prefix = "encoder.backbone."
    weights = read_weights(folder)
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def original(source):
    prefix, weights = "model.encoder.", load_file(source / "model.safetensors")
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def test_frozen_it_comes_whole_into_a_model_folder_that_needs_no_other(toy_data, tmp_path, source):
    copy = shutil.copytree(source.folder, tmp_path / "whisper")
    fit(recipe(toy_data, tmp_path / "run", copy, freeze=[r"^encoder\."]), tmp_path / "recipe.yaml")
    folder = tmp_path / "run/model"
    before, after = original(copy), backbone(folder)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    spec = read_config(folder)["encoder"]["init_args"]
    assert spec["config"]["d_model"] == 32 and spec["window"] == "trimmed"
    shutil.rmtree(copy)
    loaded = load_model(folder).model
    waveforms, num_samples, _ = batch_of([16_000, 9_000])
    found = loaded.hear(waveforms, num_samples)
    wanted, num_frames = source.encoder(window="trimmed")(waveforms, num_samples)
    torch.testing.assert_close(found.features, wanted, rtol=0, atol=0)
    assert found.num_frames.tolist() == num_frames.tolist() == [50, 28]
    assert loaded.geometry is not None and loaded.geometry.longest_samples == 48_000


def test_low_rank_changes_are_merged_into_the_model_folder(toy_data, tmp_path, source):
    """They act on every clip, so nothing needs to keep them apart; the decoder's, which are gated, stay so."""
    content = recipe(toy_data, tmp_path / "run", source.folder)
    content["model"]["init_args"]["encoder"]["init_args"]["lora"] = LORA
    content["model"]["init_args"]["optim"] = {**toy_recipe.OPTIM, "lr": 0.05, "warmup_steps": 1}
    content["checkpoint"] = {"every_n_train_steps": 2}
    fit(content, tmp_path / "recipe.yaml")
    folder = tmp_path / "run/model"
    assert not any("lora" in name for name in read_weights(folder))
    assert read_config(folder)["encoder"]["init_args"]["lora"] is None
    before, after = original(source.folder), backbone(folder)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {
        f"layers.{layer}.self_attn.{which}_proj.weight" for layer in range(2) for which in ("q", "v")
    }
    for name in changed:
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-5) <= LORA["rank"]
    # What was trained is what the folder computes: the checkpoint of the run has the changes apart.
    state = torch.load(tmp_path / "run/last.ckpt", weights_only=True)["state_dict"]
    name = "layers.0.self_attn.q_proj"
    a, b = (state[f"model.encoder.backbone.{name}.lora_{which}"] for which in "ab")
    torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + 2.0 * b @ a)
    assert load_model(folder).model.encoder is not None


def test_low_rank_changes_of_encoder_and_decoder_go_their_own_ways(toy_data, tmp_path, source):
    text = toy_recipe.language(toy_data, tmp_path / "text", 1)
    text["data"]["init_args"]["num_workers"] = 0
    fit(text, tmp_path / "text.yaml")
    start = {str(source.folder): ["encoder"], str(tmp_path / "text/model"): ["decoder"]}
    content = recipe(toy_data, tmp_path / "run", source.folder, lora=LORA, init_from=start)
    content["model"]["init_args"]["encoder"]["init_args"]["lora"] = LORA
    fit(content, tmp_path / "recipe.yaml")
    names = {name for name in read_weights(tmp_path / "run/model") if "lora" in name}
    assert names and all(name.startswith("decoder.") for name in names)
    assert load_model(tmp_path / "run/model").model.encoder is not None
    # A later run starts from the merged weights, and changes them anew.
    again = {str(tmp_path / "run/model"): ["encoder", "projector"], str(tmp_path / "text/model"): ["decoder"]}
    content["model"]["init_args"]["init_from"] = again
    content["run_folder"] = str(tmp_path / "again")
    fit(content, tmp_path / "again.yaml")
    assert load_model(tmp_path / "again/model").model.encoder is not None


def test_trained_whole_at_a_rate_of_its_own(toy_data, tmp_path, source):
    """AdamW's first step is the rate itself, whatever the gradient: so the rate can be read from the weights."""
    content = recipe(toy_data, tmp_path / "run", source.folder)
    content["trainer"]["max_steps"] = 1
    optim = {"lr": 0.01, "warmup_steps": 1, "weight_decay": 0.0, "lr_scales": {r"^model\.encoder\.": 0.1}}
    content["model"]["init_args"]["optim"] = optim
    fit(content, tmp_path / "recipe.yaml")
    before, after = original(source.folder), backbone(tmp_path / "run/model")
    moved = {name: float((after[name] - value).abs().max()) for name, value in before.items()}
    assert max(moved.values()) == pytest.approx(0.001, rel=0.01)
    assert sum(value > 0 for value in moved.values()) == len(moved)


def test_trained_from_nothing_it_keeps_its_positions(toy_data, tmp_path, source):
    content = recipe(toy_data, tmp_path / "run", source.folder, init_from={})
    fit(content, tmp_path / "recipe.yaml")
    assert load_model(tmp_path / "run/model").model.encoder is not None
    assert "embed_positions.weight" in backbone(tmp_path / "run/model")


def test_low_rank_changes_to_an_encoder_that_came_from_nowhere_are_refused(toy_data, tmp_path, source):
    content = recipe(toy_data, tmp_path / "run", source.folder, init_from={})
    content["model"]["init_args"]["encoder"]["init_args"]["lora"] = LORA
    with pytest.raises(
        InputError, match="encoder: lora: found no init_from; wanted an encoder that has learned"
    ):
        fit(content, tmp_path / "recipe.yaml")


def test_a_checkpoint_of_another_architecture_stops_a_run_before_it_begins(toy_data, tmp_path, source):
    content = recipe(toy_data, tmp_path / "run", source.folder)
    sizes = Whisper(str(source.folder)).architecture
    content["model"]["init_args"]["encoder"]["init_args"]["config"] = {**sizes, "encoder_attention_heads": 2}
    with pytest.raises(InputError, match="encoder_attention_heads: found 4; wanted 2"):
        fit(content, tmp_path / "recipe.yaml")
    content["model"]["init_args"]["encoder"] = toy_recipe.ENCODER
    with pytest.raises(
        InputError, match="found a Hugging Face checkpoint; wanted weights of .*ConvTransformer"
    ):
        fit(content, tmp_path / "recipe.yaml")


def test_a_model_folder_of_another_encoder_is_refused_naming_both(toy_data, tmp_path, source):
    fit(recipe(toy_data, tmp_path / "run", source.folder, freeze=[r"^encoder\."]), tmp_path / "recipe.yaml")
    folder = tmp_path / "run/model"
    content = recipe(toy_data, tmp_path / "next", source.folder, init_from={str(folder): ["encoder"]})
    spec = read_config(folder)
    spec["encoder"]["init_args"]["config"]["encoder_attention_heads"] = 2
    (folder / "config.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(InputError, match=r"config.yaml: encoder_attention_heads: found 2; wanted 4"):
        fit(content, tmp_path / "next.yaml")
    content["model"]["init_args"]["encoder"] = toy_recipe.ENCODER
    with pytest.raises(
        InputError, match=rf"encoder: found {WHISPER}; wanted amalia_mm.audio.encoder.ConvTransf"
    ):
        fit(content, tmp_path / "next.yaml")


def test_clips_beyond_the_window_are_set_apart_with_their_reason(toy_data, tmp_path, source):
    """They were called shorter than one audio token."""
    short = write_checkpoint(tmp_path / "short", "whisper 80", max_source_positions=50).folder
    content = recipe(toy_data, tmp_path / "run", short)
    with pytest.raises(InputError) as caught:
        fit(content, tmp_path / "recipe.yaml")
    assert "a clip longer than the encoder's window" in str(caught.value)
