"""A run that trains low-rank changes: a small checkpoint, a whole model folder, and the same steps after a stop."""

from __future__ import annotations

import pytest
import torch
import toy_recipe

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig
from amalia_mm.run import load_model, read_weights
from amalia_mm.train.cli import main
from amalia_mm.train.language import Language
from amalia_mm.train.optim import OptimConfig

LORA = {
    "modules": [r"self_attn\.[qv]_proj$", r"\.1\.mlp\.down_proj$"],
    "rank": 2,
    "alpha": 4.0,
    "dropout": 0.1,
}
CHANGED = {
    *(f"decoder.model.layers.{layer}.self_attn.{name}_proj.weight" for layer in (0, 1) for name in "qv"),
    "decoder.model.layers.1.mlp.down_proj.weight",
}


@pytest.fixture(scope="module")
def pretrained(toy_data, tmp_path_factory):
    """A model folder of two steps."""
    run = tmp_path_factory.mktemp("pretrained")
    main(["fit", "-c", str(toy_recipe.write(recipe(toy_data, run / "run", 2), run / "recipe.yaml"))])
    return run / "run/model"


def recipe(data, run, max_steps, init_from=None):
    settings = toy_recipe.language(data, run, max_steps)
    settings["data"]["init_args"]["num_workers"] = 0
    if init_from is not None:
        settings["model"]["init_args"] |= {"lora": LORA, "init_from": {str(init_from): ["decoder"]}}
        settings["model"]["init_args"]["optim"] = {**toy_recipe.OPTIM, "lr": 0.02}
    return settings


def losses(run):
    return {line["step"]: line["loss"] for line in toy_recipe.figures(run) if "loss" in line}


def test_the_checkpoint_holds_the_changes_and_the_model_folder_the_whole(toy_data, pretrained, tmp_path):
    path = toy_recipe.write(recipe(toy_data, tmp_path / "run", 8, pretrained), tmp_path / "recipe.yaml")
    main(["fit", "-c", str(path)])
    checkpoint = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
    changes = {name.rpartition(".")[0] + ".weight" for name in checkpoint["state_dict"]}
    assert changes == {f"model.{name}" for name in CHANGED}
    assert {name.rpartition(".")[2] for name in checkpoint["state_dict"]} == {"lora_a", "lora_b"}
    assert len(checkpoint["optimizer_states"][0]["state"]) == 2 * len(CHANGED)

    before, after = read_weights(pretrained), read_weights(tmp_path / "run/model")
    assert before.keys() == after.keys()
    assert {name for name, value in before.items() if not torch.equal(value, after[name])} == CHANGED
    load_model(tmp_path / "run/model")

    # Stopped after step 5, it goes on as if it had not been: dropout of the changes and all.
    resumed = tmp_path / "resumed"
    main(
        ["fit", "-c", str(path), "--ckpt_path", str(tmp_path / "run/last.ckpt"), "--run_folder", str(resumed)]
    )
    assert checkpoint["global_step"] == 5
    assert losses(resumed) == {step: loss for step, loss in losses(tmp_path / "run").items() if step > 5}
    assert torch.equal(
        *(torch.cat([v.flatten() for v in w.values()]) for w in (after, read_weights(resumed / "model")))
    )


def test_the_folder_gives_the_logits_of_the_run(toy_data, pretrained, tmp_path):
    from amalia_mm.run import save_model

    module = Language(
        decoder=load_model(pretrained).model.decoder.config,
        optim=OptimConfig(lr=1e-3),
        tokenizer=str(toy_data / "tokenizer"),
        init_from={str(pretrained): ["decoder"]},
        lora=LoraConfig(**LORA),
    )
    module.configure_model()
    assert module.model is not None
    for name, parameter in module.model.eval().named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.randint(0, 320, (2, 30))
    logits = module.model.decoder(ids)
    folder = tmp_path / "model"
    config = {"decoder": toy_recipe.DECODER}
    save_model(folder, module.model, config=config, tokenizer=toy_data / "tokenizer", card="")
    assert (load_model(folder).model.decoder(ids) - logits).abs().max() <= 1e-5
    assert torch.equal(module.model.decoder(ids), logits), "the run's own model is left as it is"


@pytest.mark.parametrize(
    ("init_from", "modules", "found"),
    [
        ({}, ["q_proj$"], "model: lora: found no init_from that gives the decoder"),
        (None, ["lm_head$"], r"lora: modules: found 'lm_head\$'"),
    ],
)
def test_changes_that_would_change_nothing_that_was_learned_are_refused(
    toy_data, pretrained, init_from, modules, found
):
    module = Language(
        decoder=load_model(pretrained).model.decoder.config,
        optim=OptimConfig(lr=1e-3),
        tokenizer=str(toy_data / "tokenizer"),
        init_from={str(pretrained): ["decoder"]} if init_from is None else init_from,
        lora=LoraConfig(modules),
    )
    with pytest.raises(InputError, match=found):
        module.configure_model()
