"""A model that leaves: transformers must read the same numbers and the same conversations from what is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import pytest
import torch
import yaml
from command_line import complaint
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.export import export
from amalia_mm.lora import LoraConfig, add_lora
from amalia_mm.run import load_model, save_model
from amalia_mm.text.chat import render, render_prompt
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer

TURNS = [
    Turn("system", "Fala  português."),
    Turn("user", " Quanto é\n2 + 2?\n"),
    Turn("assistant", "4."),
    Turn("user", "E 3 + 3? 🙂"),
]
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nSou um assistente.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def conversation(turns):
    return [{"role": turn.role, "content": turn.text} for turn in turns]


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train(["A mãe quer pão.", "O irmão traz café na cozinha.", "Quanto é 2 + 2?"] * 3, 330).save(
        folder
    )
    return folder


@pytest.fixture
def run(tmp_path, tokenizer_folder):
    """A run of two stages, as training leaves them: the second one started from the first."""
    config = DecoderConfig(330, 32, 48, 2, 4, 2, rope_theta=5e5, tie_word_embeddings=True)
    decoder = torch.nn.Module()
    decoder.decoder = Decoder(config)
    for stage, init_from in (
        ("02_pretrain", {}),
        ("04_sft", {str(tmp_path / "02_pretrain/model"): ["decoder"]}),
    ):
        save_model(
            tmp_path / stage / "model",
            decoder,
            config={"decoder": asdict(config), "init_from": init_from},
            tokenizer=tokenizer_folder,
            card=f"# {stage} model\n\n- `shards/{stage}` (weight 1.0): contos, licence CC BY 4.0\n",
        )
    return tmp_path


@pytest.fixture
def checkpoint(tmp_path, tokenizer_folder):
    """A folder as the Hub has them, made by transformers: bf16, untied, grouped queries, several files."""
    folder = tmp_path / "EuroLLM"
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        **sizes, vocab_size=330, num_key_value_heads=2, rope_theta=1e6, max_position_embeddings=64,
        rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=4, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    shutil.copy(tokenizer_folder / "tokenizer.json", folder)
    settings = json.loads((tokenizer_folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    (folder / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": 4, "max_length": 64}')
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# EuroLLM\n")
    return folder


def test_transformers_computes_the_same_and_reads_the_same(run):
    exported = export(run, "hf")
    assert exported.folder == run / "04_sft" / "model_hf"
    ours = load_model(run / "04_sft" / "model")
    theirs = AutoModelForCausalLM.from_pretrained(exported.folder).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(exported.folder)
    for turns in (TURNS, TURNS[1:], TURNS[1:3], TURNS[:1]):
        for open_turn, make in ((False, render), (True, render_prompt)):
            ids = their_tokenizer.apply_chat_template(conversation(turns), add_generation_prompt=open_turn)
            assert make(turns, ours.tokenizer).ids == ids["input_ids"]
    ids = torch.tensor([render_prompt(TURNS, ours.tokenizer).ids])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours.model.decoder(ids), rtol=1e-5, atol=1e-5)
    assert theirs.generation_config.eos_token_id == theirs.config.eos_token_id == [4, 2]
    assert their_tokenizer("A mãe").input_ids == [1, *ours.tokenizer.encode("A mãe")], (
        "texts begin with a bos"
    )


def test_the_card_tells_the_sources_of_every_stage_and_how_to_load(run):
    card = (export(run, "hf").folder / "README.md").read_text()
    assert card.startswith("---\nlanguage:\n- pt\n")
    assert "`shards/04_sft` (weight 1.0): contos, licence CC BY 4.0" in card
    assert "Before that: decoder of" in card
    assert "`shards/02_pretrain` (weight 1.0): contos, licence CC BY 4.0" in card
    assert "apply_chat_template" in card
    shutil.rmtree(run / "02_pretrain")
    again = export(run, "hf", run / "again").folder
    assert "No card was found there." in (again / "README.md").read_text()


def test_the_card_tells_the_licence_of_the_checkpoint_it_began_with(run, checkpoint):
    """It stands in the front matter of the Hub's cards, which was left out."""
    path = run / "02_pretrain" / "model" / "config.yaml"
    config = yaml.safe_load(path.read_text()) | {"init_from": {str(checkpoint): ["decoder"]}}
    path.write_text(yaml.safe_dump(config))
    card = (export(run, "hf").folder / "README.md").read_text()
    assert card.count("license: apache-2.0") == 1
    assert card.index(f"Before that: decoder of `{checkpoint}`") < card.index("license: apache-2.0")


def test_from_hugging_face_to_ours_and_back_is_bit_identical(checkpoint, tmp_path):
    ours = export(checkpoint, "folder", tmp_path / "ours").folder
    back = export(ours, "hf", tmp_path / "back").folder
    weights = {k: v for path in checkpoint.glob("*.safetensors") for k, v in load_file(path).items()}
    returned = {k: v for path in back.glob("*.safetensors") for k, v in load_file(path).items()}
    assert len(list(checkpoint.glob("*.safetensors"))) > 1
    assert weights.keys() == returned.keys()
    assert all(torch.equal(weights[name], returned[name]) for name in weights)
    assert {value.dtype for value in returned.values()} == {torch.bfloat16}
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "README.md"):
        assert (back / name).read_bytes() == (checkpoint / name).read_bytes(), name
    theirs, again = (LlamaConfig.from_pretrained(folder).to_dict() for folder in (checkpoint, back))
    differing = {name for name in theirs if theirs[name] != again.get(name)}
    assert not differing - {"architectures", "transformers_version", "use_cache"}
    chat = AutoTokenizer.from_pretrained(back).apply_chat_template(conversation(TURNS[1:]))["input_ids"]
    assert render(TURNS[1:], load_model(ours).tokenizer).ids == chat
    assert load_model(ours).tokenizer.chat_format.system == "Sou um assistente."


def test_a_base_model_that_learned_turns_here_ends_them_in_transformers_too(run, checkpoint):
    """A base model's own generation_config.json ends documents alone: replies went on past their end."""
    folder = run / "04_sft" / "model"
    base = '{"bos_token_id": 1, "eos_token_id": 2, "temperature": 0.7, "do_sample": true}'
    (folder / "tokenizer" / "generation_config.json").write_text(base)
    theirs = AutoModelForCausalLM.from_pretrained(export(folder, "hf").folder)
    assert theirs.generation_config.eos_token_id == theirs.config.eos_token_id == [4, 2]
    assert theirs.generation_config.temperature == 0.7
    (checkpoint / "generation_config.json").write_text(base)
    converted = AutoModelForCausalLM.from_pretrained(export(checkpoint, "hf").folder)
    assert converted.generation_config.eos_token_id == converted.config.eos_token_id == 2, "no turns learned"


def test_a_hub_id_becomes_a_folder_here_and_not_in_the_cache(amalia, checkpoint, tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(checkpoint, cache / "snapshots" / "0123abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    code, out, _ = amalia("export", "someone/tiny", "--to", "folder")
    assert (code, out) == (0, "tiny_folder\n")
    assert "license: apache-2.0" in (tmp_path / "tiny_folder" / "README.md").read_text()
    assert load_model(tmp_path / "tiny_folder").config["made_by"]["from"] == "someone/tiny"
    code, _, err = amalia("export", "someone/else", "--to", "folder")
    assert code == 2
    assert "someone/else: found no such folder here, and from the Hub " in complaint(err)


def test_a_sentencepiece_checkpoint_keeps_its_own_file(checkpoint, tmp_path):
    import sentencepiece

    (checkpoint / "tokenizer.json").unlink()
    texts = [f"A mãe quer {number} pães e o irmão traz café." for number in range(300)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(checkpoint / "tokenizer"), model_type="bpe", vocab_size=330,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        user_defined_symbols=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    (checkpoint / "tokenizer_config.json").write_text(
        json.dumps({**settings, "tokenizer_class": "LlamaTokenizer"})
    )
    back = export(export(checkpoint, "folder", tmp_path / "ours").folder, "hf", tmp_path / "back").folder
    assert (back / "tokenizer.model").read_bytes() == (checkpoint / "tokenizer.model").read_bytes()
    chat = AutoTokenizer.from_pretrained(back).apply_chat_template(conversation(TURNS))["input_ids"]
    assert render(TURNS, load_model(tmp_path / "ours").tokenizer).ids == chat


def test_a_model_folder_stands_alone_and_what_hears_still_hears(amalia, model, tmp_path):
    code, out, err = amalia("export", model, "--to", "folder", "--output", tmp_path / "copy")
    assert (code, out, err) == (0, f"{tmp_path / 'copy'}\n", "")
    before, after = load_model(model), load_model(tmp_path / "copy")
    assert before.model.state_dict().keys() == after.model.state_dict().keys()
    waveform, num_samples = torch.randn(1, 8000), torch.tensor([8000])
    heard = [loaded.model.hear(waveform, num_samples).features for loaded in (before, after)]
    torch.testing.assert_close(*heard, rtol=0, atol=0)
    config = yaml.safe_load((tmp_path / "copy" / "config.yaml").read_text())
    assert config == yaml.safe_load((model / "config.yaml").read_text())


def test_what_has_no_place_in_the_format_is_said(amalia, model, tmp_path):
    code, out, err = amalia("export", model, "--to", "hf", "--output", tmp_path / "hf")
    assert (code, out) == (0, f"{tmp_path / 'hf'}\n")
    assert "ficam de fora: encoder, projector" in err
    assert "encoder and projector" in (tmp_path / "hf" / "README.md").read_text()


def test_low_rank_changes_that_act_on_sound_alone_are_left_out_and_said(model, tmp_path):
    loaded = load_model(model)
    changes = LoraConfig(modules=["q_proj"], rank=2, alpha=4)
    add_lora(loaded.model.decoder.model, changes)
    config = {**loaded.config, "lora": asdict(changes)}
    save_model(tmp_path / "changed", loaded.model, config=config, tokenizer=model / "tokenizer", card="")
    exported = export(tmp_path / "changed", "hf", tmp_path / "hf")
    assert exported.left_out == ("encoder", "projector", "lora")
    theirs = load_file(exported.folder / "model.safetensors")
    assert not [name for name in theirs if "lora" in name]
    ours = load_model(model).model.decoder.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_what_cannot_be_written_is_refused_before_any_work(amalia, run, tmp_path):
    code, _, err = amalia("export", run, "--to", "gguf")
    assert code == 2
    assert "convert_hf_to_gguf.py of llama.cpp" in complaint(err)
    code, _, err = amalia("export", run, "--to", "onnx")
    assert "--to: found onnx; wanted hf or folder or gguf" in complaint(err)
    code, _, err = amalia("export", tmp_path / "nothing", "--to", "hf")
    assert "no such folder" in complaint(err)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    code, _, err = amalia("export", run, "--to", "hf", "--output", tmp_path / "mine")
    assert code == 2
    assert "mine, which is not empty" in complaint(err)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_checkpoints_that_are_not_whole_are_refused_and_others_shown_the_way(amalia, checkpoint, tmp_path):
    code, _, err = amalia("chat", "--model", checkpoint)
    assert code == 2
    assert f"amalia export {checkpoint} --to folder" in complaint(err)
    Tokenizer.train(["A mãe quer pão.", "O irmão traz café na cozinha."], 340).save(checkpoint)
    code, _, err = amalia("export", checkpoint, "--to", "hf", "--output", tmp_path / "hf")
    assert code == 2
    assert "vocab_size: found 340 entries; wanted at most 330" in complaint(err)


def test_an_export_that_fails_leaves_nothing_behind_that_looks_whole(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "amalia_mm.export.copy_tokenizer", lambda *_: (_ for _ in ()).throw(OSError(28, "No space"))
    )
    with pytest.raises(InputError, match="No space"):
        export(run, "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()
