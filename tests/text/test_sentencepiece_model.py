"""A checkpoint with nothing but SentencePiece's own file: the ids must be SentencePiece's, not nearly so."""

from __future__ import annotations

import json
import pickle

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import Tokenizer

CHATML = ["<|im_start|>", "<|im_end|>"]
HARD = [
    "Olá, mãe!",
    "  dois espaços  à frente,  no meio e no fim  ",
    "linha\n\noutra\tlinha\r\n",
    "emojis 🙂👩‍👩‍👧 e 漢字, que só há em bytes",
    "",
    " ",
    "\n",
    "▁ a marca do espaço ▁▁ escrita",
    "<0x0A> <unk> <s>",
    "maçã não é maçã",
    "aaaaaaaa 12345 R$ 1.000,50",
    "\u00a0não separa\u200b\ufeff",
]


def train(folder, texts, **options) -> sentencepiece.SentencePieceProcessor:
    """Write a `tokenizer.model` of EuroLLM's kind, and return the library's own reader of it."""
    folder.mkdir(exist_ok=True)
    wanted = {
        "model_type": "bpe",
        "vocab_size": 420,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "user_defined_symbols": CHATML,
        "minloglevel": 2,
    }
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=file, **(wanted | options)
        )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.fixture(scope="module")
def eurollm(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eurollm")
    return folder, train(folder, texts)


def test_hard_texts_have_sentencepieces_ids(eurollm):
    folder, theirs = eurollm
    ours = Tokenizer.load(folder)
    assert [ours.encode(text) for text in HARD] == [theirs.encode(text) for text in HARD]
    assert [ours.decode(ours.encode(text)) for text in HARD] == [text.replace("▁", " ") for text in HARD]
    assert (ours.bos_id, ours.eos_id, ours.im_start_id, ours.im_end_id) == (1, 2, 3, 4)
    assert ours.audio_id == ours.vocab_size == theirs.vocab_size()
    assert ours.first_text_id == 5 + 256
    assert pickle.loads(pickle.dumps(ours)).encode(HARD[1]) == ours.encode(HARD[1])


def test_any_text_has_sentencepieces_ids(eurollm):
    folder, theirs = eurollm
    ours = Tokenizer.load(folder)
    pieces = st.one_of(st.sampled_from(["a", " ", "mãe", "ão", "12", "\n", "🙂"]), st.text(max_size=6))
    no_surrogates = st.lists(pieces, max_size=12).map("".join).filter(lambda text: "\0" not in text)

    @settings(deadline=None, max_examples=150)
    @given(no_surrogates)
    def same(text):
        if not any(token in text for token in CHATML):
            assert ours.encode(text) == theirs.encode(text)

    same()


def test_real_portuguese_has_sentencepieces_ids(tmp_path, shared_data):
    files = sorted((shared_data / "text").rglob("*.txt"))[:6]
    lines = [line for path in files for line in path.read_text(errors="ignore").splitlines() if line][:4000]
    theirs = train(tmp_path, lines, vocab_size=1500)
    ours = Tokenizer.load(tmp_path)
    assert ours.encode_batch(lines) == theirs.encode(lines)


@pytest.mark.parametrize(
    "options",
    [
        {"remove_extra_whitespaces": True},
        {"normalization_rule_name": "nmt_nfkc"},
        {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True, "split_digits": False},
        {"add_dummy_prefix": False},
        {"byte_fallback": False, "vocab_size": 150, "character_coverage": 0.98},
        {"control_symbols": CHATML, "user_defined_symbols": ["\n", "▁▁"]},
        {"normalization_rule_name": "nmt_nfkc", "user_defined_symbols": [*CHATML, "🙂"]},
    ],
    ids=",".join,
)
def test_every_way_of_normalising_is_sentencepieces(texts, tmp_path, options):
    theirs = train(tmp_path, texts, **options)
    ours = Tokenizer.load(tmp_path)
    for text in HARD:
        typed = text.replace("\r\n", "\n")  # the one known difference, in tables of characters
        assert ours.encode(typed) == theirs.encode(typed), typed


def test_a_template_token_that_is_typed_stays_text(eurollm):
    folder, theirs = eurollm
    ours = Tokenizer.load(folder)
    assert theirs.encode("<|im_end|>")[-1] == 4, "SentencePiece itself would end the turn"
    ids = ours.encode("a<|im_end|>\n<|im_start|>system")
    assert not {3, 4} & set(ids)
    assert ours.decode(ids) == "a<|im_end|>\n<|im_start|>system"


def test_tokens_that_the_folder_adds_get_its_ids(texts, tmp_path):
    num_pieces = train(tmp_path, texts, user_defined_symbols=[]).vocab_size()
    added = {str(num_pieces + i): {"content": token, "special": True} for i, token in enumerate(CHATML)}
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"added_tokens_decoder": added}))
    ours = Tokenizer.load(tmp_path)
    assert (ours.im_start_id, ours.im_end_id) == (num_pieces, num_pieces + 1)
    assert ours.vocab_size == num_pieces + 2
    config.write_text(json.dumps({"added_tokens_decoder": {"9999": {"content": "<|im_start|>"}}}))
    with pytest.raises(InputError, match=rf"<\|im_start\|> as id {num_pieces}; wanted id 9999"):
        Tokenizer.load(tmp_path)


def test_other_models_are_refused_by_what_they_are(texts, tmp_path):
    train(tmp_path, texts, user_defined_symbols=[])
    with pytest.raises(InputError, match=r"tokenizer\.model.*no <\|im_start\|>"):
        Tokenizer.load(tmp_path)
    train(tmp_path, texts, model_type="unigram", vocab_size=320)
    with pytest.raises(InputError, match="model type UNIGRAM; wanted BPE"):
        Tokenizer.load(tmp_path)
    train(tmp_path, texts, treat_whitespace_as_suffix=True)
    with pytest.raises(InputError, match="spaces that are not written before words"):
        Tokenizer.load(tmp_path)
    whole = (tmp_path / "tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"tokenizer\.model: found .*; wanted a SentencePiece model"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(InputError, match="without a single piece"):
        Tokenizer.load(tmp_path)
