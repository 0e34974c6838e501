"""Low-rank changes that act on what is heard: of text alone the decoder makes what it made before, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import toy_recipe
import yaml

from amalia_mm.batch import IGNORE, SpeechTextBatch, TextBatch, Turn
from amalia_mm.fusion.responder import Responder
from amalia_mm.lora import LoraLinear, gate_lora
from amalia_mm.run import load_model, read_weights
from amalia_mm.text.generate import Sampling
from amalia_mm.train.cli import main
from amalia_mm.train.low_rank import audio_gate

LORA = {"modules": [r"self_attn\.[qv]_proj$"], "rank": 2, "alpha": 4.0, "dropout": 0.1}


@pytest.fixture(scope="module")
def folders(toy_data, tmp_path_factory):
    """A decoder of two steps, and the model that learned to hear with changes to it."""
    run = tmp_path_factory.mktemp("gated")
    text = toy_recipe.language(toy_data, run / "text", 2)
    text["data"]["init_args"]["num_workers"] = 0
    main(["fit", "-c", str(toy_recipe.write(text, run / "text.yaml"))])
    heard = toy_recipe.understanding(toy_data, run / "heard", 3)
    heard["data"]["init_args"]["num_workers"] = 0
    heard["model"]["init_args"] |= {"lora": LORA, "init_from": {str(run / "text/model"): ["decoder"]}}
    main(["fit", "-c", str(toy_recipe.write(heard, run / "heard.yaml"))])
    return run / "text/model", run / "heard/model"


def changed(folder):
    """The model, with changes that three small steps could not make large enough to see."""
    loaded = load_model(folder)
    for module in loaded.model.modules():
        if isinstance(module, LoraLinear):
            torch.nn.init.normal_(module.lora_b, std=0.5)
    return loaded


def test_the_folder_keeps_the_changes_apart_and_the_decoder_as_it_was(folders):
    before, after = read_weights(folders[0]), read_weights(folders[1])
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {name.rpartition(".")[2] for name in after if "lora" in name} == {"lora_a", "lora_b"}
    assert any(after[name].any() for name in after if name.endswith("lora_b")), "they learned"
    assert yaml.safe_load((folders[1] / "config.yaml").read_text())["lora"] == LORA
    assert any(name.startswith("encoder.") for name in after)


@torch.no_grad()
def test_a_model_that_hears_nothing_writes_what_it_wrote_before(folders):
    before, after = load_model(folders[0]), changed(folders[1])
    ids = torch.randint(0, 320, (2, 20))
    assert torch.equal(after.model.decoder(ids), before.model.decoder(ids))
    talk = [[Turn("user", "bom dia a ana")]]
    wrote = [Responder(one.model, one.tokenizer).write(talk, [], [Sampling(12)]) for one in (before, after)]
    assert wrote[0] == wrote[1]
    assert after.model.decoder.model.layers[0].self_attn.q_proj.lora_b.any()
    gate_lora(after.model.decoder, True)
    assert not torch.equal(after.model.decoder(ids), before.model.decoder(ids))


@torch.no_grad()
def test_a_conversation_opens_the_gate_where_something_is_heard(folders):
    loaded = changed(folders[1])
    responder = Responder(loaded.model, loaded.tokenizer)
    gates = [module for module in loaded.model.modules() if isinstance(module, LoraLinear)]
    silence, heard, read = torch.zeros(16_000), [Turn("user", "", has_audio=True)], [Turn("user", "bom dia")]
    for talk, waveforms, gate in (([heard], [silence], True), ([read], [], False)):
        responder.write(talk, waveforms, [Sampling(4)])
        assert all(module.gate is gate for module in gates)
    with pytest.raises(ValueError, match="written apart"):
        responder.write([heard, read], [silence], [Sampling(4)] * 2)
    # Read beside something that is heard, it is still what it is alone.
    alone = responder.prompts([read], [])
    text_alone = loaded.model.decoder.hidden(alone.embeddings, documents=alone.documents)[:, -1]
    both = responder.prompts([heard, read], [silence])
    hidden = loaded.model.decoder.hidden(both.embeddings, documents=both.documents)[:, -1]
    torch.testing.assert_close(hidden[1:], text_alone, atol=1e-5, rtol=1e-5)
    responder.log_likelihood(["bom dia"])
    assert all(module.gate is False for module in gates)


def test_the_gate_is_open_in_documents_in_which_something_is_heard():
    documents = torch.tensor([[1, 1, 1, 2, 2, 0], [1, 1, 2, 2, 2, 2]])
    is_audio = torch.tensor([[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]]).bool()
    nothing = torch.zeros(0, dtype=torch.long)
    text = TextBatch(documents, torch.full_like(documents, IGNORE), documents, documents)
    batch = SpeechTextBatch(text, is_audio, nothing, nothing, nothing)
    wanted = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]]).bool()
    assert torch.equal(audio_gate(batch), wanted)
    assert not audio_gate(replace(batch, is_audio=torch.zeros_like(is_audio))).any()
