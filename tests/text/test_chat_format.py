"""Templates of real checkpoints: the ids are those of transformers' own rendering, or the folder is refused."""

from __future__ import annotations

import json
import pickle

import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import generate_merges

from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.text.chat import render, render_prompt
from amalia_mm.text.chat_format import TEMPLATE, ChatFormat
from amalia_mm.text.tokenizer import Tokenizer

PLAIN = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nSou o EuroLLM --- um assistente.<|im_end|>\n' }}"
    "{% endif %}" + PLAIN
)
EMPTY_SYSTEM = WITH_SYSTEM.replace("Sou o EuroLLM --- um assistente.", "")
TRIMMED = PLAIN.replace("message['content']", "(message['content'] | trim)")
CONVERSATIONS = [
    [Turn("user", "Olá mãe")],
    [Turn("system", "Fala português."), Turn("user", "  Quer pão? ")],
    [
        Turn("user", "\n\nlinhas\n"),
        Turn("assistant", " A mãe quer.\n"),
        Turn("user", "🙂 12"),
        Turn("assistant", ""),
    ],
]


def train(folder, texts, *symbols) -> sentencepiece.SentencePieceProcessor:
    folder.mkdir(exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        user_defined_symbols=["<|im_start|>", "<|im_end|>", *symbols],
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.fixture(scope="module")
def vocabulary(texts, tmp_path_factory):
    """SentencePiece's pieces, two line breaks in one of them, to make folders of as Hugging Face has them."""
    return train(tmp_path_factory.mktemp("pieces"), texts, "\n", "\n\n")


def hugging_face(folder, processor, template, spaces: str = "never") -> None:
    """A folder with a `tokenizer.json` as converters write it, and the settings of EuroLLM's instruct models."""
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.vocab_size())]
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    specials = [piece for piece, _ in pieces[:5]]
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=generate_merges(vocabulary, pieces, skip_tokens=specials),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if spaces == "legacy":
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence(steps)
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spaces, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(specials)
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"__type": "AddedToken", "content": "<s>", "special": True},
        "eos_token": "<|im_end|>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
        "clean_up_tokenization_spaces": False,
    }
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 4}))


def check_same(folder, turns) -> None:
    ours, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    for open_turn, make in ((False, render), (True, render_prompt)):
        wanted = theirs.apply_chat_template(messages, add_generation_prompt=open_turn)["input_ids"]
        assert make(turns, ours).ids == wanted


@pytest.mark.parametrize("spaces", ["never", "first", "always", "legacy"])
@pytest.mark.parametrize(
    "template", [PLAIN, "{{ bos_token }}" + PLAIN, WITH_SYSTEM, EMPTY_SYSTEM, TRIMMED, TEMPLATE]
)
def test_a_checkpoints_conversations_are_transformers(vocabulary, tmp_path, template, spaces):
    hugging_face(tmp_path, vocabulary, template, spaces)
    for turns in CONVERSATIONS:
        check_same(tmp_path, turns)


def test_a_model_file_alone_gives_the_same_conversations(texts, tmp_path):
    train(tmp_path, texts)
    fingerprints = set()
    for settings_of_llama in ({}, {"legacy": True}, {"add_prefix_space": False}):
        config = {"tokenizer_class": "LlamaTokenizer", "chat_template": WITH_SYSTEM, **settings_of_llama}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        for turns in CONVERSATIONS:
            check_same(tmp_path, turns)
        fingerprints.add(Tokenizer.load(tmp_path).fingerprint)
    assert len(fingerprints) == 3, "ids that are kept under it are other ids"
    with pytest.raises(ValueError, match=f"chat template or spaces of its own: copy {tmp_path}"):
        Tokenizer.load(tmp_path).save(tmp_path / "less")


def test_any_contents_are_rendered_the_same(vocabulary, tmp_path):
    hugging_face(tmp_path, vocabulary, WITH_SYSTEM, "first")
    ours, theirs = Tokenizer.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    content = st.lists(st.sampled_from(["mãe", " ", "\n", "12", "🙂", "a", "ção", "."]), max_size=8).map(
        "".join
    )

    @settings(deadline=None, max_examples=60)
    @given(st.lists(content, min_size=1, max_size=3))
    def same(contents):
        turns = [Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(contents)]
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        rendered = render(turns, ours)
        assert rendered.ids == theirs.apply_chat_template(messages)["input_ids"]
        given_ids = render_prompt(turns[:1], ours).ids
        if len(turns) > 1 and not contents[1].startswith("\n"):
            assert rendered.ids[: len(given_ids)] == given_ids
            assert rendered.has_loss.index(True) == len(given_ids)

    same()


def test_what_was_found_travels(vocabulary, tmp_path):
    hugging_face(tmp_path, vocabulary, WITH_SYSTEM, "first")
    loaded = Tokenizer.load(tmp_path)
    assert loaded.chat_format == ChatFormat(False, "Sou o EuroLLM --- um assistente.", False)
    assert loaded.stop_ids == (4, 2)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [4, 7]}))
    assert Tokenizer.load(tmp_path).stop_ids == (4, 2, 7)
    assert pickle.loads(pickle.dumps(loaded)).chat_format == loaded.chat_format
    hugging_face(tmp_path, vocabulary, None, "first")
    assert Tokenizer.load(tmp_path).chat_format == ChatFormat()
    assert Tokenizer.load(tmp_path).fingerprint != loaded.fingerprint, "its rows are other rows"
    (tmp_path / "chat_template.jinja").write_text(EMPTY_SYSTEM)
    assert Tokenizer.load(tmp_path).chat_format.system == ""


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (PLAIN.replace("<|im_start|>", "[INST]"), "INST"),
        (PLAIN.replace("'<|im_end|>'", "'<|im_end|>' + eos_token"), "eos|im_end"),
        ("{{ raise_exception('no system turns') }}" + PLAIN, "no system turns"),
        ("{% for m in %}", "TemplateSyntaxError"),
        (PLAIN.replace("message['content']", "message['content'] | upper"), "QUANTO"),
    ],
)
def test_other_templates_are_refused_with_what_they_write(vocabulary, tmp_path, template, found):
    hugging_face(tmp_path, vocabulary, template)
    with pytest.raises(
        InputError, match=f"tokenizer_config.json: chat_template: found .*({found})"
    ) as caught:
        Tokenizer.load(tmp_path)
    assert "remove the template" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_named(vocabulary, tmp_path):
    hugging_face(tmp_path, vocabulary, PLAIN)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "four"}')
    with pytest.raises(InputError, match=r"generation_config\.json: eos_token_id: found four"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(InputError, match=r"tokenizer_config\.json: found list; wanted a JSON object"):
        Tokenizer.load(tmp_path)
