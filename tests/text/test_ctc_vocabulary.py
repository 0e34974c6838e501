"""A CTC vocabulary writes every spoken form, exactly, with as few classes as it can, and as far as it is written."""

from __future__ import annotations

import pickle
from itertools import product

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.ctc_vocabulary import make_ctc_vocabulary
from amalia_mm.text.ctc_vocabulary import CtcClasses, CtcVocabulary, pieces, read_ctc_vocabulary
from amalia_mm.text.ctc_vocabulary import write_ctc_vocabulary as write
from amalia_mm.text.tokenizer import EOS, IM_END, IM_START, SPACE, Tokenizer

TEXTS = [
    "bom dia, está frio em Lisboa",
    "chama-se Ana e não come pão às 12,5",
    "então a senhora já comeu a sopa?",
]
WORDS = {word: 1 + place for text in TEXTS for place, word in enumerate(spoken_form(text).split())}


def _byte_level(folder):
    """A tokenizer of GPT-2's kind, with the special tokens of ChatML."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>", "<s>", EOS, IM_START, IM_END]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([spoken_form(text) for text in TEXTS] * 5, trainer)
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Tokenizers that write a space as SentencePiece does, and as GPT-2 does."""
    return {
        "marks": Tokenizer.train(TEXTS * 5, 380),
        "bytes": _byte_level(tmp_path_factory.mktemp("bytes") / "tokenizer"),
    }


@pytest.fixture(scope="module")
def vocabularies(kinds):
    return {name: make_ctc_vocabulary(tokenizer, WORDS, 200) for name, tokenizer in kinds.items()}


KIND = st.sampled_from(["marks", "bytes"])
PORTUGUESE = st.text("abcdefghijlmnopqrstuvxzáàâãçéêíóôõú -0123456789.,º%€", max_size=40)


@given(KIND, st.one_of(PORTUGUESE, st.text(max_size=20)))
def test_what_is_written_is_read_back(vocabularies, kind, text):
    """Whatever is said, in whatever script; the first word like any other."""
    spoken = spoken_form(text)
    vocabulary = vocabularies[kind]
    classes = vocabulary.encode(spoken)
    assert vocabulary.decode(classes) == spoken
    assert not classes or vocabulary.entries[classes[0]].startswith(SPACE)
    assert all(0 <= each < 200 for each in classes)


@given(KIND, st.lists(st.sampled_from(sorted(WORDS)), max_size=6))
def test_a_word_is_written_alike_wherever_it_stands(vocabularies, kind, words):
    vocabulary = vocabularies[kind]
    assert vocabulary.encode(" ".join(words)) == [each for word in words for each in vocabulary.encode(word)]


@given(KIND, PORTUGUESE)
def test_the_decoder_reads_the_same_from_its_tokens(kinds, vocabularies, kind, text):
    """The map leads to the tokens that write so: SentencePiece's and GPT-2's decoders agree with ours."""
    spoken, vocabulary = spoken_form(text), vocabularies[kind]
    tokens = [vocabulary.token_ids[each] for each in vocabulary.encode(spoken)]
    assert kinds[kind].decode(tokens).removeprefix(" ") == spoken


@pytest.fixture(scope="module")
def small():
    entries = [SPACE, "a", "b", "c", "▁a", "ab", "bc", "abc", "▁ab", "<0xC3>", "<0xA3>"]
    return CtcVocabulary({entry: 50 - place for place, entry in enumerate(entries)})


@given(st.text("abc", min_size=1, max_size=9))
def test_as_few_classes_as_can_be(small, word):
    """Against all ways to write it, tried one by one."""
    found = [small.entries[each] for each in small.encode(word)]
    assert "".join(found) == SPACE + word

    def fewest(rest):
        if not rest:
            return 0
        return 1 + min(fewest(rest[len(entry) :]) for entry in small.tokens if rest.startswith(entry))

    assert len(found) == fewest(SPACE + word)


def test_how_a_word_begins_does_not_hang_on_how_it_goes_on(small):
    """Where a class ends, what is before it is written as it is alone: beginnings can be compared."""
    for word in map("".join, product("abc", repeat=6)):
        classes = small.encode(word)
        for num in range(1, len(classes)):
            begun = small.decode(classes[:num])
            if begun:
                assert small.encode(begun) == classes[:num], word


def test_classes_are_numbered_bytes_first_and_then_as_their_tokens(small):
    assert small.entries[:2] == ("<0xA3>", "<0xC3>")
    assert small.num_bytes == 2
    assert list(small.token_ids[2:]) == sorted(small.token_ids[2:])
    turned = CtcVocabulary(dict(reversed(small.tokens.items())))
    assert turned.entries == small.entries and turned.encode("abcã") == small.encode("abcã")
    assert small.encode("ã") == [small.entries.index(entry) for entry in (SPACE, "<0xC3>", "<0xA3>")]


def test_what_cannot_be_written_is_told(small):
    with pytest.raises(InputError, match="found 'é' in 'abé'"):
        small.encode("abé")
    with pytest.raises(InputError, match="found 'z'"):
        small.encode("az")


def test_bytes_that_are_no_character_are_seen(small):
    assert small.decode([1, 3]).startswith("\ufffd")


@pytest.mark.parametrize("kind", ["marks", "bytes"])
def test_it_fits_its_tokenizer_and_no_other(kinds, vocabularies, kind):
    vocabulary = vocabularies[kind]
    vocabulary.check(kinds[kind], "tokenizer")
    other = kinds["bytes" if kind == "marks" else "marks"]
    with pytest.raises(InputError, match="^folder: ctc_vocabulary: found token .*; wanted"):
        vocabulary.check(other, "folder")
    moved = CtcVocabulary({**vocabulary.tokens, SPACE: max(vocabulary.token_ids) + 1})
    with pytest.raises(InputError, match=f"as '▁'; wanted token {vocabulary.tokens[SPACE]}"):
        moved.check(kinds[kind], "folder")


def test_entries_of_bytes_are_read_as_what_they_write(kinds):
    found, entries = pieces(kinds["bytes"]), kinds["bytes"].token
    accented = next(entry for entry in found if entry.startswith("▁") and "ã" in entry)
    assert entries(found[accented]) == accented.replace("▁", "Ġ").replace("ã", "Ã£")
    assert entries(found["<0xC3>"]) == "Ã" and entries(found[SPACE]) == "Ġ"
    assert found["\n"] != found[SPACE]
    alone = [entry for entry in found if entry.startswith("<0x")]
    assert len(alone) == 128, "the first 128 bytes are characters"


def test_a_file_keeps_it(small, tmp_path):
    write(tmp_path / "v.json", small, {"shards": ["a"]})
    found = read_ctc_vocabulary(tmp_path / "v.json")
    assert found == small and found.entries == small.entries
    assert [path.name for path in tmp_path.iterdir()] == ["v.json"]


def test_workers_get_it_by_pickle(small):
    small.encode("abc")
    assert pickle.loads(pickle.dumps(small)).encode("abcab") == small.encode("abcab")


def test_classes_are_the_decoders_tokens_where_there_is_no_vocabulary(kinds, vocabularies):
    tokenizer, vocabulary = kinds["marks"], vocabularies["marks"]
    own, fewer = CtcClasses(tokenizer), CtcClasses(tokenizer, vocabulary)
    assert (own.blank, fewer.blank) == (380, 200)
    assert own.encode("bom dia") == tokenizer.encode("bom dia")
    assert own.decode(own.encode("bom dia")) == fewer.decode(fewer.encode("bom dia")) == "bom dia"
    assert own.entries("x") == [tokenizer.token(number) for number in range(380)]
    assert fewer.entries("x") == [fewer.entry(number) for number in range(200)]
    assert own.first_text == tokenizer.first_text_id
    bytes_below = [fewer.entry(number).startswith("<0x") for number in range(200)]
    assert all(bytes_below[: fewer.first_text]) and not any(bytes_below[fewer.first_text :])
