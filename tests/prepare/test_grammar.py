"""The notation of templates on a lexicon of five words, and what holds for every shipped template."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.portuguese.normalise import spoken_form, words
from amalia_mm.prepare.grammar import (
    Grammar,
    Pattern,
    expand_choices,
    read_patterns,
    sample_texts,
    share_out,
)
from amalia_mm.prepare.lexicon import build_lexicon

LEXICON = build_lexicon(
    {
        "nouns": {"thing": {"m": "copo", "f": "chave", "mp": "óculos"}, "city": {"n": "Braga", "m": "Porto"}},
        "adjectives": {"look": "limpo, azul"},
    }
)


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar.load()


def texts(pattern: str) -> list[str | None]:
    return [found.text(i) for found in read_patterns(pattern, LEXICON) for i in range(found.size)]


def test_choices_may_be_empty_and_hold_slots() -> None:
    assert expand_choices("[a|b|] c [d|e]") == ["a c d", "a c e", "b c d", "b c e", " c d", " c e"]
    assert texts("vou [{ao city}|já].") == ["Vou a Braga.", "Vou ao Porto.", "Vou já."]


def test_words_agree_with_the_noun_they_name() -> None:
    assert texts("{o thing} {está/estão~thing} {look~thing}.") == [
        "O copo está limpo.", "A chave está limpa.", "Os óculos estão limpos.",
        "O copo está azul.", "A chave está azul.", "Os óculos estão azuis.",
    ]  # fmt: skip
    assert texts("{muito/muita/muitos/muitas~thing}") == ["Muito", "Muita", "Muitos"]


def test_the_same_slot_is_the_same_word_and_a_numbered_one_another() -> None:
    assert texts("{thing} {o thing}") == ["Copo o copo", "Chave a chave", "Óculos os óculos"]
    assert sorted(filter(None, texts("{city} {city.2}"))) == ["Braga Porto", "Porto Braga"]
    assert texts("{city} {city.2}").count(None) == 2


def test_every_turn_and_every_sentence_starts_with_a_capital() -> None:
    assert texts("há chá. há? || às oito") == ["Há chá. Há? || Às oito"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("{nothing}", "unknown class"), ("{um city}", "asks for the form 'um'"), ("{x~thing}", "unknown class")],
)
def test_a_mistake_in_a_template_names_it(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pattern(pattern, LEXICON)


@given(st.integers(0, 200), st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_shares_are_even_and_never_too_large(total: int, sizes: list[int]) -> None:
    shares = share_out(total, sizes)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    largest = max(shares)
    assert all(share >= largest - 1 for share, size in zip(shares, sizes, strict=True) if share < size)


def test_sampling_gives_all_there_is_and_nothing_twice() -> None:
    patterns = read_patterns("[olá|Olá], {o thing}[ {look~thing}|]", LEXICON)
    found = sample_texts(patterns, 100, random.Random(0))
    assert sorted(found) == sorted(
        {spoken_form(text) for text in texts("olá, {o thing}[ {look~thing}|]") if text}
    )
    assert all(spoken_form(text) == spoken for spoken, text in found.items())
    assert len(sample_texts(patterns, 4, random.Random(0))) == 4
    assert "olá a chave" not in sample_texts(patterns, 100, random.Random(0), taken={"olá a chave"})


def test_a_large_pattern_is_sampled_without_being_listed(grammar: Grammar) -> None:
    assert grammar.size("time/age") > 20_000
    assert len(grammar.sample(500, random.Random(0), ["time/age"])) == 500


def test_the_grammar_is_as_large_as_it_is_said_to_be(grammar: Grammar) -> None:
    assert len(grammar.templates) >= 60
    assert len({name.partition("/")[0] for name in grammar.templates}) >= 7
    assert len(grammar.heldout) == round(0.2 * len(grammar.templates))


def test_no_word_of_a_heldout_template_is_new(grammar: Grammar) -> None:
    seen = [name for name in grammar.templates if name not in grammar.heldout]
    for name in grammar.heldout:
        assert grammar.vocabulary([name]) <= grammar.vocabulary(seen), name


def test_the_vocabulary_is_that_of_the_sentences(grammar: Grammar) -> None:
    for name in ("world/capital", "home/where", "shopping/kilo", "transport/turn"):
        listed = {word for sentence in grammar.sentences(name) for word in words(sentence.text)}
        assert listed == grammar.vocabulary([name])


def test_sentences_come_lazily_in_one_order_and_once(grammar: Grammar) -> None:
    first = list(islice(grammar.sentences("health/comes"), 50))
    assert first == list(islice(grammar.sentences("health/comes"), 50))
    assert len({spoken_form(sentence.text) for sentence in first}) == 50
    assert {sentence.topic for sentence in first} == {"health"}


def test_sampling_is_even_over_the_templates_and_repeatable(grammar: Grammar) -> None:
    names = ["time/age", "home/where", "transport/get_off"]
    drawn = grammar.sample(300, random.Random(1), names)
    assert drawn == grammar.sample(300, random.Random(1), names)
    assert len({spoken_form(sentence.text) for sentence in drawn}) == 300
    counts = {name: sum(sentence.template == name for sentence in drawn) for name in names}
    assert counts["transport/get_off"] <= grammar.size("transport/get_off")
    assert abs(counts["time/age"] - counts["home/where"]) <= 60


UNCONTRACTED = re.compile(
    r"\b(em|de) (o|a|os|as|este|esta|estes|estas)\b|\bem uma? \w|\b(a|por) (o|os|a|as)\b", re.IGNORECASE
)
"""European spelling joins these: no, do, pelo, num, deste, ao, à."""

PROCLITIC_START = re.compile(r"(^|[.?!] )(Me|Te|Se|Lhe|Nos|Vos) ")
ENCLISIS_AFTER_ATTRACTOR = re.compile(
    r"\b(não|nunca|que|já|ainda|também|quem|quase)\s+\w+-(me|te|se|lhe)\b", re.IGNORECASE
)
GERUND_PROGRESSIVE = re.compile(r"\b(est|continu|and|fic)\w+ (?!quando)\w+ndo\b", re.IGNORECASE)


def test_every_template_is_written_in_european_portuguese(grammar: Grammar) -> None:
    for name in grammar.templates:
        for sentence in grammar.sample(150, random.Random(0), [name]):
            text = sentence.text
            assert re.fullmatch(r"[A-ZÀ-Ú].*[.?!]", text), text
            assert "  " not in text and " ," not in text and " ." not in text, text
            assert 2 <= len(words(text)) <= 13, text
            assert not any(char.isdigit() for char in text), text
            assert not UNCONTRACTED.search(text), text
            assert not PROCLITIC_START.search(text), text
            assert not ENCLISIS_AFTER_ATTRACTOR.search(text), text
            assert not GERUND_PROGRESSIVE.search(text), text
