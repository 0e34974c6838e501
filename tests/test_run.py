"""A model folder comes back as it went, and a damaged one says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ears import EARS
from safetensors.torch import load_file, save_file
from torch import Tensor

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.run import load_model, save_model, warm_start
from amalia_mm.text.checkpoint import save_hf
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer

DECODER = {
    "vocab_size": 320,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def _config() -> dict[str, Any]:
    return {
        "decoder": DECODER,
        "encoder": {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": EARS},
        "projector": {"class_path": "amalia_mm.fusion.projectors.CtcPosterior", "init_args": {"top_k": 3}},
    }


def _model() -> SpeechTextModel:
    config = DecoderConfig(**DECODER)  # type: ignore[arg-type]
    return SpeechTextModel(ConvTransformer(**EARS), CtcPosterior(8, config, top_k=3), Decoder(config))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tmp_path / "tokenizer"
    Tokenizer.train(["olá, bom dia a todos", "o comboio parte às oito e meia"], 320).save(tokenizer)
    torch.manual_seed(0)
    save_model(tmp_path / "model", _model(), config=_config(), tokenizer=tokenizer, card="# Cartão\n")
    return tmp_path / "model"


def test_a_model_comes_back_as_it_went(folder: Path) -> None:
    torch.manual_seed(0)
    original = _model().eval()
    loaded = load_model(folder)
    waveform, num_samples = torch.randn(1, 8000), torch.tensor([8000])
    for mine, theirs in zip(
        loaded.model.hear(waveform, num_samples).features,
        original.hear(waveform, num_samples).features,
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    ids = torch.tensor([[1, 7, 9]])
    torch.testing.assert_close(loaded.model.decoder(ids), original.decoder(ids), rtol=0, atol=0)
    assert not loaded.model.training
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("bom dia")) == "bom dia"


def test_a_context_that_is_stretched_comes_back_stretched(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["decoder"]["rope_scaling"] = {"rope_type": "yarn", "factor": 2.0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_model(folder).model.decoder.config.max_positions == 2 * 4096


def test_writing_again_replaces_the_folder_and_leaves_nothing_beside_it(folder: Path) -> None:
    save_model(folder, _model(), config=_config(), tokenizer=folder.parent / "tokenizer", card="# Novo\n")
    assert (folder / "README.md").read_text() == "# Novo\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model", "tokenizer"]


def test_a_folder_without_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.yaml: found no such file"):
        load_model(tmp_path)


def test_cut_weights_are_named(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        load_model(folder)


def test_a_checkpoint_of_another_shape_names_the_weight_and_both_shapes(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["decoder"]["intermediate_size"] = 32
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"mlp\.down_proj\.weight: found \(16, 24\); wanted \(16, 32\)"):
        load_model(folder)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("decoder", [1, 2]),
        ("decoder", {"hidden_size": 16}),
        ("decoder", {**DECODER, "hiden_size": 16}),
        ("decoder", {**DECODER, "rope_scaling": 3}),
        ("decoder", {**DECODER, "vocab_size": "many"}),
        ("decoder", {**DECODER, "vocab_size": 10**14}),
        ("encoder", "x"),
        ("encoder", {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": {"wide": 3}}),
    ],
)
def test_a_part_that_cannot_be_built_is_named(folder: Path, part: str, value: object) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {part: value}))
    with pytest.raises(InputError, match=rf"config\.yaml: {part}: found "):
        load_model(folder)


@pytest.mark.parametrize("content", [b"decoder: [", b"\xe9"])
def test_a_configuration_that_is_no_yaml_is_named(folder: Path, content: bytes) -> None:
    (folder / "config.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.yaml: found .*wanted YAML in UTF-8"):
        load_model(folder)


@pytest.mark.parametrize("change", [lambda value: value * float("nan"), lambda value: value.int()])
def test_weights_that_are_no_numbers_are_named(folder: Path, change: Callable[[Tensor], Tensor]) -> None:
    weights = load_file(folder / "weights.safetensors")
    weights["decoder.model.norm.weight"] = change(weights["decoder.model.norm.weight"])
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"decoder\.model\.norm\.weight: found .*wanted finite weights"):
        load_model(folder)


def test_a_tokenizer_with_more_entries_than_the_decoder_is_named(folder: Path) -> None:
    """It loaded, and ended in the middle of a conversation."""
    Tokenizer.train(["olá, bom dia a todos", "o comboio parte às oito e meia"], 330).save(
        folder / "tokenizer"
    )
    with pytest.raises(InputError, match="tokenizer: vocab_size: found 330 entries; wanted at most 320"):
        load_model(folder)


def test_the_weights_are_as_readable_as_the_rest(folder: Path) -> None:
    modes = {path.stat().st_mode for path in (folder / "weights.safetensors", folder / "config.yaml")}
    assert len(modes) == 1


def test_a_configuration_cannot_run_anything_but_encoders_and_projectors(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["encoder"] = {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="a subclass of AudioEncoder"):
        load_model(folder)


def test_warm_start_takes_whole_parts_from_each_folder(folder: Path) -> None:
    torch.manual_seed(1)
    model = _model()
    own_projector = {k: v.clone() for k, v in model.projector.state_dict().items()}  # type: ignore[union-attr]
    warm_start(model, {str(folder): ["decoder", "encoder"]})
    source = load_model(folder).model
    for name, value in source.decoder.state_dict().items():
        torch.testing.assert_close(model.decoder.state_dict()[name], value, rtol=0, atol=0)
    for name, value in own_projector.items():
        torch.testing.assert_close(model.projector.state_dict()[name], value, rtol=0, atol=0)  # type: ignore[union-attr]


def test_an_encoder_needs_a_projector(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["projector"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="found an encoder without one"):
        load_model(folder)


def test_what_is_left_out_cannot_be_started_from(folder: Path) -> None:
    tokenizer = folder.parent / "tokenizer"
    left_out = {"projector.head.weight", "projector.head.bias"}
    save_model(folder, _model(), config=_config(), tokenizer=tokenizer, card="", leave_out=left_out)
    warm_start(_model(), {str(folder): ["projector.blank"]})
    with pytest.raises(InputError, match=r"projector\.head\.bias: found no such weight"):
        warm_start(_model(), {str(folder): ["projector"]})


def test_warm_start_takes_what_is_inside_a_part(folder: Path) -> None:
    torch.manual_seed(1)
    model = _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    warm_start(model, {str(folder): ["projector.head", "encoder.layers.0"]})
    source = load_model(folder).model.state_dict()
    taken = {name for name in source if name.startswith(("projector.head.", "encoder.layers.0."))}
    assert taken and any(not torch.equal(before[name], source[name]) for name in taken)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, (source if name in taken else before)[name], rtol=0, atol=0)


def test_a_model_can_be_loaded_with_parts_of_others(folder: Path) -> None:
    torch.manual_seed(1)
    other = _model()
    save_model(folder.parent / "other", other, config=_config(), tokenizer=folder / "tokenizer", card="")
    mixed = load_model(folder, init_from={str(folder.parent / "other"): ["decoder"]}).model.state_dict()
    own = load_model(folder).model.state_dict()
    for name, value in mixed.items():
        wanted = other.state_dict() if name.startswith("decoder.") else own
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


def test_a_projector_without_its_encoder_is_kept_for_later_and_not_loaded(folder: Path) -> None:
    config = {name: value for name, value in _config().items() if name != "encoder"}
    model = _model()
    ears = {name for name in model.state_dict() if name.startswith("encoder.")}
    tokenizer = folder.parent / "tokenizer"
    save_model(folder, model, config=config, tokenizer=tokenizer, card="", leave_out=ears)
    loaded = load_model(folder).model
    assert loaded.encoder is None and loaded.projector is None
    torch.manual_seed(1)
    another = _model()
    warm_start(another, {str(folder): ["projector"]})
    for name, value in model.state_dict().items():
        if name.startswith("projector."):
            torch.testing.assert_close(another.state_dict()[name], value, rtol=0, atol=0)


def test_a_decoder_of_another_theta_is_not_started_from_unawares(folder: Path) -> None:
    """Shapes alone would let AMÁLIA's 32K weights run with EuroLLM's theta, and write nonsense without an error."""
    other = DecoderConfig.of({**DECODER, "rope_theta": 1e6, "dropout": 0.1})
    model = SpeechTextModel(None, None, Decoder(other))
    with pytest.raises(InputError, match=r"config\.yaml: rope_theta: found 10000.0; wanted 1000000.0"):
        warm_start(model, {str(folder): ["decoder"]})
    warm_start(model, {str(folder): ["decoder"]}, changed=["rope_theta"])
    norm = load_file(folder / "weights.safetensors")["decoder.model.norm.weight"]
    torch.testing.assert_close(model.decoder.model.norm.weight.data, norm, rtol=0, atol=0)


def test_a_hugging_face_folder_gives_the_decoder_and_nothing_else(folder: Path) -> None:
    torch.manual_seed(2)
    theirs, model = Decoder(DecoderConfig.of(DECODER)), _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoint = folder.parent / "hugging_face"
    save_hf(theirs, checkpoint)
    warm_start(model, {str(checkpoint): ["decoder"]})
    for name, value in model.state_dict().items():
        inside = name.removeprefix("decoder.")
        wanted = theirs.state_dict()[inside] if inside != name else before[name]
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)
    with pytest.raises(InputError, match=r"config\.yaml: found no such file; wanted a model folder"):
        warm_start(model, {str(checkpoint): ["projector"]})
    save_hf(Decoder(DecoderConfig.of({**DECODER, "num_hidden_layers": 3})), checkpoint)
    with pytest.raises(InputError, match=r"config\.json: num_hidden_layers: found 3; wanted 2"):
        warm_start(model, {str(checkpoint): ["decoder"]})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["decodr"], "a part of this model"),
        (["decoder.nothing"], "a part of this model"),
        (["decoder", "decoder"], "each part once"),
        (["projector", "projector.head"], "each part once"),
    ],
)
def test_warm_start_refuses_what_it_cannot_do(folder: Path, parts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        warm_start(_model(), {str(folder): parts})
