"""Text before and after a model learned to hear beside a frozen decoder: everything the assistant does, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy_recipe

from amalia_mm.assistant import Assistant
from amalia_mm.batch import Turn
from amalia_mm.run import read_weights
from amalia_mm.text.sampling import Sampling
from amalia_mm.train.cli import main

TALKS = [[Turn("user", "bom dia a ana")], [Turn("system", "sê breve"), Turn("user", "o comboio parte hoje")]]
TEXTS = ["o comboio parte cedo", "está frio hoje", "a ana chama-se ana"]


@pytest.fixture(scope="module")
def run(toy_data, tmp_path_factory) -> Path:
    """What the recipes 04_sft, 11_align and 12_instruct do, at toy size, each a few steps long."""
    run = tmp_path_factory.mktemp("skills")
    decoder = {**toy_recipe.DECODER, "initializer_range": 0.2, "dropout": 0.0}
    text = toy_recipe.language(toy_data, run / "sft", 3)
    text["model"]["init_args"]["decoder"] = decoder
    align = toy_recipe.understanding(toy_data, run / "align", 3)
    align["model"]["init_args"] |= {
        "init_from": {str(run / "sft/model"): ["decoder"]},
        "freeze": [r"^decoder\."],
        "projector": {"class_path": "amalia_mm.fusion.projectors.StackMLP", "init_args": {"stack": 2}},
        "distillation": {"unread": []},
        "ctc_weight": 0.0,
        "decoder": decoder,
    }
    instruct = toy_recipe.understanding(toy_data, run / "instruct", 12)
    instruct["model"]["init_args"] |= align["model"]["init_args"] | {
        "init_from": {str(run / "align/model"): ["decoder", "encoder", "projector"]},
        "freeze": [r"^encoder\."],
        "lora": {"modules": [r"self_attn\.[qv]_proj$"], "rank": 4},
        "optim": {"lr": 2e-2, "warmup_steps": 1},
    }
    for name, recipe in (("sft", text), ("align", align), ("instruct", instruct)):
        recipe["data"]["init_args"]["num_workers"] = 0
        main(["fit", "-c", str(toy_recipe.write(recipe, run / f"{name}.yaml"))])
    return run


@torch.no_grad()
def test_text_is_what_it_was_bit_for_bit_after_learning_to_hear(run):
    before, after = (Assistant.load(run / name / "model", "cpu") for name in ("sft", "instruct"))
    ids = torch.randint(0, 320, (3, 40), generator=torch.Generator().manual_seed(0))
    heard = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(1))
    rules = Sampling(max_new_tokens=24, temperature=0.9, seed=3)
    wanted = before.model.decoder(ids), before.log_likelihood(TEXTS), before.write_batch(TALKS, 2, rules)
    for _ in range(2):  # and again once something was heard, and the gate was open
        assert after.log_likelihood(TEXTS) == wanted[1]
        assert after.write_batch(TALKS, 2, rules) == wanted[2]
        assert ["".join(after.reply(talk, sampling=rules)) for talk in TALKS] == [
            "".join(before.reply(talk, sampling=rules)) for talk in TALKS
        ]
        assert torch.equal(after.model.decoder(ids), wanted[0])
        after.transcribe([heard], vad=False)


def test_what_is_heard_does_change(run):
    align, instruct = (read_weights(run / name / "model") for name in ("align", "instruct"))
    changes = [name for name in instruct if name.endswith("lora_b")]
    assert changes and all(instruct[name].abs().max() > 1e-3 for name in changes)
    moved = {name for name, value in align.items() if not torch.equal(value, instruct[name])}
    assert moved and all(name.startswith("projector.") for name in moved)
