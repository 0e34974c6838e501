"""Ends of one run become one model, and models that are no ends of one run do not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.cli import main
from amalia_mm.evaluate.ears import Ears
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.model_config import CONFIG
from amalia_mm.run import read_weights, save_model
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer

SIZES = {"vocab_size": 350, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1}
ENCODER = {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 24}


def write_ears(folder: Path, seed: int, **changed: float) -> Path:
    """A folder as `10_hearing` leaves it: an encoder and a CTC head."""
    torch.manual_seed(seed)
    encoder = partial(ConvTransformer, **(ENCODER | changed))()
    projector = CtcPosterior(encoder.width, DecoderConfig(**SIZES))
    tokenizer = folder.with_name("tokenizer")
    if not tokenizer.exists():
        Tokenizer.train(["bom dia", "está frio"] * 3, SIZES["vocab_size"]).save(tokenizer)
    config = {
        "encoder": {
            "class_path": "amalia_mm.audio.encoder.ConvTransformer",
            "init_args": ENCODER | changed,
        },
        "projector": {"class_path": "amalia_mm.fusion.projectors.CtcPosterior", "init_args": {}},
        "decoder_sizes": SIZES,
    }
    ears = torch.nn.ModuleDict({"encoder": encoder, "projector": projector})
    save_model(folder, ears, config=config, tokenizer=tokenizer, card="", leave_out={"projector.blank"})
    return folder


def test_the_mean_is_the_mean_and_hears(tmp_path, capsys):
    folders = [write_ears(tmp_path / name, seed) for seed, name in enumerate("abc")]
    out = tmp_path / "mean"
    assert main(["average", *map(str, folders), "--output", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    each, mean = [read_weights(folder) for folder in folders], read_weights(out)
    assert mean.keys() == each[0].keys()
    for name, value in mean.items():
        torch.testing.assert_close(value, sum(weights[name] for weights in each) / 3)
    (log_probs,) = Ears.load(out).log_probs([0.1 * torch.randn(16_000)])
    assert torch.isfinite(log_probs).all()
    made_by = yaml.safe_load((out / CONFIG).read_text())["made_by"]
    assert list(made_by["mean_of"]) == [str(folder) for folder in folders]


def test_a_model_with_itself_is_itself_whatever_it_was_trained_with(tmp_path):
    one, other = (write_ears(tmp_path / str(dropout), 0, dropout=dropout) for dropout in (0.0, 0.1))
    assert main(["average", str(one), str(other), "--output", str(tmp_path / "mean")]) == 0
    mean = read_weights(tmp_path / "mean")
    assert all(torch.equal(value, mean[name]) for name, value in read_weights(one).items())


def test_an_option_that_an_older_folder_does_not_know_yet_has_its_default(tmp_path, capsys):
    one, other = write_ears(tmp_path / "a", 0), write_ears(tmp_path / "b", 1, left_blocks=4)
    assert main(["average", str(one), str(other), "--output", str(tmp_path / "mean")]) == 0
    another = write_ears(tmp_path / "c", 1, left_blocks=2)
    assert main(["average", str(one), str(another), "--output", str(tmp_path / "none")]) == 2
    assert "encoder.left_blocks: found 2; wanted 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "wanted"), [({"num_heads": 4}, "encoder.num_heads"), ({"width": 32}, "width")]
)
def test_models_of_two_kinds_are_refused(tmp_path, capsys, changed, wanted):
    """Other heads have weights of the same shapes: they would be averaged, and hear nothing."""
    one, other = write_ears(tmp_path / "a", 0), write_ears(tmp_path / "b", 0, **changed)
    assert main(["average", str(one), str(other), "--output", str(tmp_path / "mean")]) == 2
    assert wanted in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_one_model_or_a_folder_that_is_there_is_refused(tmp_path, capsys):
    one = str(write_ears(tmp_path / "a", 0))
    assert main(["average", one, "--output", str(tmp_path / "mean")]) == 2
    assert "two or more" in capsys.readouterr().err
    assert main(["average", one, one, "--output", one]) == 2
    assert "a new folder" in capsys.readouterr().err
