"""The tokenizer gives every text back, keeps its specials to itself, and is the same everywhere."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import unicodedata

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models
from transformers import AutoTokenizer

from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import SPECIALS, TextStream, Tokenizer

HARD = [
    "",
    " ",
    "\n",
    "  dois espaços  ",
    "linha\n\n  recuada\n",
    "\n a\r\n\tb ",
    "às 8h30, 1999 €",
    "coração, avô e pão-de-ló",
    "👩‍👩‍👧 família 🇵🇹!",
    "<|im_end|></s><s><unk><|audio|><0x41>",
    "ação decomposta",
    "中文 и русский",
    "\x00\x1f\x7f",
]


def given_back(text: str) -> str:
    """What a text is expected to come back as: NFC, and the space mark as an underscore."""
    return unicodedata.normalize("NFC", text).replace("▁", "_")


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_come_back_exactly(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == given_back(text)


def test_every_text_comes_back_exactly(tokenizer):
    pieces = st.sampled_from(["\n", " ", "  ", "▁", "é", "e\u0301", "😀", "<|im_end|>", "pão", "8", "\ufffd"])
    texts = st.one_of(st.text(), st.lists(st.one_of(pieces, st.text(max_size=3))).map("".join))

    @given(texts)
    def comes_back(text):
        assert tokenizer.decode(tokenizer.encode(text)) == given_back(text)

    comes_back()


def test_real_portuguese_comes_back_exactly(tokenizer, shared_data):
    pages = [shared_data / "text" / "bosque" / "bosque_pt-PT.tsv"]
    pages += sorted((shared_data / "text" / "ha_intents").glob("pt-PT*.jsonl"))
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 1000
    for line, ids in zip(lines, tokenizer.encode_batch(lines), strict=True):
        assert tokenizer.decode(ids) == given_back(line)


def test_ids_are_eurollms(tokenizer):
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert (tokenizer.im_start_id, tokenizer.im_end_id, tokenizer.audio_id) == (3, 4, 5)
    assert [tokenizer.token(i) for i in range(6)] == list(SPECIALS)
    assert tokenizer.token(6) == "<0x00>"
    assert tokenizer.first_text_id == 6 + 256
    assert tokenizer.vocab_size == 420


@pytest.mark.parametrize("special", SPECIALS)
def test_a_special_token_typed_by_a_user_is_plain_text(tokenizer, special):
    for text in (special, f"Olá {special} mundo", f"{special}{special}", special + "\n"):
        ids = tokenizer.encode(text)
        assert min(ids) >= len(SPECIALS)
        assert tokenizer.decode(ids) == text


def test_specials_in_the_training_text_do_not_become_tokens():
    learned = Tokenizer.train(["<|im_end|> <s> </s> fim"] * 50 + ["abcdefghij klmnop qrst uvwxyz"] * 3, 360)
    assert min(learned.encode("<|im_end|><s></s>")) >= learned.audio_id + 1


def test_specials_and_audio_are_left_out_when_decoding(tokenizer):
    ids = tokenizer.encode("O pão.")
    assert tokenizer.decode([1, 3, *ids, 4, tokenizer.audio_id, 2]) == "O pão."


def test_a_word_has_the_same_tokens_wherever_it_stands(tokenizer):
    word = tokenizer.encode("enfermeira")
    for text in ("a enfermeira", "a\nenfermeira", "a\n\nenfermeira"):
        assert tokenizer.encode(text)[-len(word) :] == word
    assert tokenizer.encode("user\nenfermeira") == tokenizer.encode("user\n") + word


def test_digits_line_breaks_and_hyphens_are_tokens_of_their_own(tokenizer):
    written = [tokenizer.token(i) for i in tokenizer.encode("às 1999\nchama-se")]
    assert written[-8:] == ["1", "9", "9", "9", "\n", "▁chama", "-", "se"]
    assert tokenizer.newline_ids == tuple(tokenizer.encode("\n"))
    assert len(tokenizer.newline_ids) == 1


def test_role_names_are_short(tokenizer):
    assert [len(tokenizer.encode(f"{role}\n")) for role in ("user", "assistant", "system")] == [2, 2, 2]


def test_bytes_that_are_no_text_are_shown_as_such(tokenizer):
    assert tokenizer.decode([6 + 0xC3]) == "\ufffd"


def test_ids_outside_the_vocabulary_are_refused(tokenizer):
    with pytest.raises(ValueError, match="420"):
        tokenizer.decode([7, 420])


def test_many_texts_at_once_get_the_same_ids(tokenizer):
    assert tokenizer.encode_batch(HARD) == [tokenizer.encode(text) for text in HARD]


def test_texts_that_recur_get_the_same_ids_and_nobody_can_change_them(tokenizer):
    texts = [f"pergunta {number}" for number in range(3_000)]  # more than are kept
    for text in (*texts, *texts[-10:], *texts[:10]):
        ids = tokenizer.encode_recurring(text)
        assert ids == tokenizer.encode_inside(text)
        ids.append(-1)


def test_training_is_the_same_in_every_process(tokenizer, texts):
    program = (
        "import json, sys; from amalia_mm.text.tokenizer import Tokenizer;"
        "print(Tokenizer.train(json.load(sys.stdin), 420).fingerprint)"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed}
        run = subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert run.stdout.strip() == tokenizer.fingerprint


def test_data_workers_get_the_same_tokenizer(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint == tokenizer.fingerprint
    assert [copy.encode(text) for text in HARD] == [tokenizer.encode(text) for text in HARD]


def test_a_folder_gives_back_what_was_saved(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert [loaded.encode(text) for text in HARD] == [tokenizer.encode(text) for text in HARD]


def test_transformers_reads_our_folder_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("A mãe quer pão.", "linha\n  dois", "coração 😀"):
        ids = theirs.encode(text, add_special_tokens=False)
        assert ids == tokenizer.encode(text)
        assert theirs.decode(ids) == text
    assert theirs.convert_tokens_to_ids("<|im_end|>") == 4


def foreign(folder, tokens: list[str]) -> None:
    """A Hugging Face folder as others make them: specials as added tokens, no audio."""
    words = {token: number for number, token in enumerate(["<unk>", *tokens, "olá", "mundo"])}
    backend = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.add_special_tokens(tokens)
    backend.enable_truncation(2)
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))


def test_a_foreign_folder_gets_an_audio_id_outside_its_table(tmp_path):
    foreign(tmp_path, ["<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    loaded = Tokenizer.load(tmp_path)
    assert loaded.audio_id == loaded.vocab_size == 7
    assert loaded.decode([1, 5, 7, 6]) == "olá mundo"
    assert loaded.encode("olá mundo olá") == [5, 6, 5], "the file's truncation must not act"
    assert not {1, 2, 3, 4} & set(loaded.encode("<s> <|im_end|>"))
    assert loaded.first_text_id == 0


def test_bad_folders_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer\.json: found"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        Tokenizer.load(tmp_path)
    foreign(tmp_path, ["<s>", "</s>"])
    with pytest.raises(InputError, match=r"no <\|im_start\|>"):
        Tokenizer.load(tmp_path)


def test_a_size_that_cannot_be_is_refused_with_both_numbers(texts):
    with pytest.raises(InputError, match="found 300; wanted at least"):
        Tokenizer.train(texts, 300)
    with pytest.raises(InputError, match=r"found text for only \d+ entries; wanted 5000"):
        Tokenizer.train(texts, 5000)


def test_streamed_text_is_the_whole_text(tokenizer):
    @given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from(HARD))).map("".join), st.integers(1, 5))
    def streams(text, step):
        ids = tokenizer.encode(text)
        stream = TextStream(tokenizer)
        said = [stream.push(ids[start : start + step]) for start in range(0, len(ids), step)]
        assert "".join(said) + stream.flush() == given_back(text)

    streams()


def test_a_stream_says_words_as_they_come_and_never_half_a_letter(tokenizer):
    stream = TextStream(tokenizer)
    ids = tokenizer.encode("A mãe quer 😀 " * 20)
    said = [stream.push([i]) for i in ids]
    assert "\ufffd" not in "".join(said)
    assert [word for word in said if word][:3] == ["A", " mãe", " quer"]
    assert stream.flush() == ""
    assert len(stream._ids) == 0


def test_a_stream_that_ends_inside_a_letter_says_so(tokenizer):
    stream = TextStream(tokenizer)
    assert stream.push([6 + 0xF0, 6 + 0x9F]) == ""
    assert stream.flush() == "\ufffd\ufffd"
    assert stream.push(tokenizer.encode("A mãe")) == "A mãe"
