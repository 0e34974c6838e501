"""A checkpoint fills an encoder whole and exactly, or says which file and field, what was found and what was wanted."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import batch_of, write_checkpoint

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.wav2vec import Hubert, WavLM
from amalia_mm.audio.wav2vec_bert import Wav2VecBert
from amalia_mm.audio.whisper import Whisper
from amalia_mm.errors import InputError

FEW = {"max_source_positions": 50}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    titles = {"whisper": "whisper 80", "hubert": "hubert base", "bert": "w2v-bert"}
    return {
        name: write_checkpoint(root / name, title, **(FEW if name == "whisper" else {}))
        for name, title in titles.items()
    }


@pytest.fixture
def whisper(written, tmp_path):
    """A copy of a Whisper folder, to be damaged."""
    return shutil.copytree(written["whisper"].folder, tmp_path / "whisper")


@pytest.fixture
def hubert(written, tmp_path):
    return shutil.copytree(written["hubert"].folder, tmp_path / "hubert")


def change(path, **values):
    content = json.loads(path.read_text())
    for name, value in values.items():
        content.pop(name, None) if value is None else content.update({name: value})
    path.write_text(json.dumps(content))


def rewrite(folder, do):
    path = folder / "model.safetensors"
    weights = load_file(path)
    do(weights)
    save_file(weights, path)


def test_a_folder_of_an_unknown_class_is_refused(whisper):
    change(whisper / "config.json", model_type="moonshine")
    with pytest.raises(
        InputError, match=r"config.json: model_type: found moonshine; wanted whisper"
    ) as caught:
        Whisper(str(whisper))
    assert "configs/encoder" in str(caught.value)


def test_weights_of_another_class_are_refused_naming_both(written):
    encoder = Hubert(str(written["hubert"].folder))
    with pytest.raises(InputError, match="model_type: found whisper; wanted hubert"):
        encoder.load_checkpoint(written["whisper"].folder)
    with pytest.raises(InputError, match=r"wanted weights of amalia_mm.audio.encoder.ConvTransformer"):
        ConvTransformer(width=8, num_layers=0, num_heads=1).load_checkpoint(written["whisper"].folder)


def test_a_mel_count_that_disagrees_inside_a_folder_is_refused(whisper):
    """Features of 80 bins for a model of 128 would fail in the middle of the first batch."""
    change(whisper / "preprocessor_config.json", feature_size=128)
    wanted = r"preprocessor_config.json: feature_size: found 128; wanted 80, as num_mel_bins in config.json"
    with pytest.raises(InputError, match=wanted):
        Whisper(str(whisper))


def test_a_mel_count_that_disagrees_with_the_runs_is_refused(written, tmp_path):
    encoder = Whisper(str(write_checkpoint(tmp_path, "whisper 128", **FEW).folder))
    with pytest.raises(
        InputError, match="num_mel_bins: found 80; wanted 128, as the run's configuration says"
    ):
        encoder.load_checkpoint(written["whisper"].folder)


def test_a_mel_count_that_disagrees_with_the_layers_is_refused(written):
    sizes = Wav2VecBert(str(written["bert"].folder)).architecture
    with pytest.raises(InputError, match=r"num_mel_bins: found 40 bins of 2 frames; wanted 160 together"):
        Wav2VecBert({**sizes, "num_mel_bins": 40})


@pytest.mark.parametrize(
    ("name", "mine", "theirs"),
    [("encoder_attention_heads", 2, 4), ("activation_function", "relu", "gelu"), ("encoder_layers", 1, 2)],
)
def test_weights_of_another_architecture_are_refused_though_they_fit(written, name, mine, theirs):
    """Two heads in place of four change no shape, and give wrong frames without any error."""
    folder = written["whisper"].folder
    encoder = Whisper({**Whisper(str(folder)).architecture, name: mine})
    with pytest.raises(
        InputError, match=rf"{name}: found {theirs}; wanted {mine}, as the run's configuration"
    ):
        encoder.load_checkpoint(folder)


def test_dropouts_are_the_runs_to_choose(written):
    folder = written["whisper"].folder
    encoder = Whisper({**Whisper(str(folder)).architecture, "dropout": 0.3})
    encoder.load_checkpoint(folder)
    assert encoder.backbone.dropout == 0.3


def test_a_waveform_that_is_normed_otherwise_is_refused(written, hubert):
    folder = written["hubert"].folder
    encoder = Hubert({**Hubert(str(folder)).architecture, "do_normalize": False})
    with pytest.raises(InputError, match="do_normalize: found True; wanted False"):
        encoder.load_checkpoint(folder)
    (hubert / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"do_normalize: found nothing; wanted .*preprocessor_config.json"):
        Hubert(str(hubert))
    # Where the run says it, a folder without a word on it does not disagree.
    encoder.load_checkpoint(hubert)
    change_to_newer = {"feature_extractor": {"do_normalize": True, "sampling_rate": 16_000}}
    (hubert / "processor_config.json").write_text(json.dumps(change_to_newer))
    assert Hubert(str(hubert)).architecture["do_normalize"] is True
    with pytest.raises(InputError, match="do_normalize"):
        encoder.load_checkpoint(hubert)


def test_another_sample_rate_is_refused(hubert):
    change(hubert / "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(InputError, match="sampling_rate: found 8000; wanted 16000"):
        Hubert(str(hubert))


@pytest.mark.parametrize(
    ("kind", "changes", "field"),
    [
        ("hubert", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
        ("hubert", {"auto_map": {"AutoModel": "code.Model"}}, "auto_map"),
        ("bert", {"add_adapter": True}, "add_adapter"),
        ("bert", {"position_embeddings_type": "rotary"}, "position_embeddings_type"),
        ("whisper", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_what_is_not_computed_here_is_refused(written, tmp_path, kind, changes, field):
    folder = shutil.copytree(written[kind].folder, tmp_path / "copy")
    change(folder / "config.json", **changes)
    with pytest.raises(InputError, match=rf"config.json: {field}: "):
        written[kind].kind(str(folder))


def test_a_key_that_is_mistyped_is_refused(written):
    sizes = Whisper(str(written["whisper"].folder)).architecture
    with pytest.raises(InputError, match=r"encoder_layer: found 3; .*encoder_layers"):
        Whisper({**sizes, "encoder_layer": 3})
    with pytest.raises(
        InputError, match=r"encoder\.config: found .*encoder_layers.*; wanted sizes of a whisper"
    ):
        Whisper({**sizes, "encoder_layers": "many"})


def test_the_content_of_a_config_json_is_taken_as_it_is(written):
    folder = written["whisper"].folder
    content = json.loads((folder / "config.json").read_text())
    assert Whisper(content).architecture == Whisper(str(folder)).architecture


@pytest.mark.parametrize(
    "name", ["model.encoder.conv1.weight", "model.encoder.layers.1.self_attn.q_proj.bias"]
)
def test_a_tensor_that_is_missing_is_named(whisper, name):
    encoder = Whisper(str(whisper))
    rewrite(whisper, lambda weights: weights.pop(name))
    with pytest.raises(
        InputError, match=rf"{name}: found 1 tensors missing; wanted every tensor of the encoder"
    ):
        encoder.load_checkpoint(whisper)


@pytest.mark.parametrize(
    "name", ["model.encoder.layers.2.fc1.weight", "model.encoders.fc1", "projector.weight"]
)
def test_a_tensor_without_a_place_is_named_though_a_whole_decoder_is_left_aside(whisper, name):
    encoder = Whisper(str(whisper))
    encoder.load_checkpoint(whisper)
    rewrite(whisper, lambda weights: weights.update({name: torch.zeros(2)}))
    with pytest.raises(
        InputError, match=rf"{name}: found a tensor without a place .*a Whisper encoder's tensors"
    ):
        encoder.load_checkpoint(whisper)


def test_a_tensor_of_another_shape_or_kind_is_named(whisper):
    name = "model.encoder.layer_norm.weight"
    encoder = Whisper(str(whisper))
    rewrite(whisper, lambda weights: weights.update({name: torch.zeros(31)}))
    with pytest.raises(InputError, match=rf"{name}: found \(31,\); wanted \(32,\)"):
        encoder.load_checkpoint(whisper)
    rewrite(whisper, lambda weights: weights.update({name: torch.zeros(32, dtype=torch.int8)}))
    with pytest.raises(InputError, match="numbers of type I8"):
        encoder.load_checkpoint(whisper)


def test_a_file_that_is_cut_short_is_named(whisper):
    encoder = Whisper(str(whisper))
    path = whisper / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model.safetensors: .*wanted a whole safetensors file"):
        encoder.load_checkpoint(whisper)
    (whisper / "config.json").write_text('{"model_type": "whis')
    with pytest.raises(InputError, match=r"config.json: .*JSON"):
        encoder.load_checkpoint(whisper)


def test_a_pickle_is_never_opened(whisper):
    encoder = Whisper(str(whisper))
    (whisper / "model.safetensors").unlink()
    (whisper / "pytorch_model.bin").write_bytes(pickle.dumps({"harmless": 1}))
    with pytest.raises(InputError, match=r"pytorch_model.bin: found a pickle.*; wanted safetensors"):
        encoder.load_checkpoint(whisper)


def test_neither_a_folder_nor_a_hub_id_that_can_be_had(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        Whisper(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nobody/nothing: found no such folder here, and from the Hub"):
        Whisper("nobody/nothing")
    with pytest.raises(InputError, match=r"config.json: found no such file"):
        Whisper(str(tmp_path))


@torch.no_grad()
def test_a_checkpoint_in_several_files_and_of_half_precision_is_read(written, tmp_path):
    """As the Hub keeps the large ones: float16, in parts with an index."""
    checkpoint = written["hubert"]
    half = checkpoint.model.to(torch.float16)
    half.save_pretrained(tmp_path, max_shard_size="40KB")
    checkpoint.extractor.save_pretrained(tmp_path)
    checkpoint.model.to(torch.float32)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    encoder = Hubert(str(tmp_path))
    encoder.load_checkpoint(tmp_path)
    assert encoder.dtype == torch.float32
    waveforms, num_samples, _ = batch_of([8000])
    torch.testing.assert_close(
        encoder.eval()(waveforms, num_samples)[0],
        checkpoint.encoder()(waveforms, num_samples)[0],
        atol=0.05,
        rtol=0.05,
    )
    for name, value in encoder.backbone.state_dict().items():
        torch.testing.assert_close(value, checkpoint.model.state_dict()[name].half().float(), rtol=0, atol=0)


def test_wavlm_is_not_hubert_though_the_tensors_have_their_names(written):
    with pytest.raises(InputError, match="model_type: found hubert; wanted wavlm"):
        WavLM(str(written["hubert"].folder))
