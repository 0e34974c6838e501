"""Reading out against pairs written by hand, and what must hold for any text: real, random, long, unreadable."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.portuguese.spoken import reading, spoken

PAIRS = [
    line.split("\t")
    for line in Path(__file__).with_name("spoken_pairs.tsv").read_text(encoding="utf-8").splitlines()[1:]
]
LETTERS = r"A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ"
READ = re.compile(rf"(?:[{LETTERS} .,?!;:…—«»“”\"()]|(?<=[{LETTERS}])['’-](?=[{LETTERS}]))+")
"""What may come out: letters, spaces, punctuation, and hyphens and apostrophes inside words."""

WRITTEN = [
    *("1", "2", "21", "1.º", "2.ª", "100", "2024", "1.234", "1 234", "12,50", "0", "007", "-5", "16h30", "9h", "€"),
    *("km/h", "kg", "m²", "°C", "Sr.", "D.", "Av.", "n.º", "etc.", "p.", "PSD", "NATO", "IV", "século", "XX", "A", "e"),
    *("casas", "livros", "pessoas", "Lisboa", "de", "às", "a@b.pt", "www.x.pt", "912 345 678", "1000-001", "%"),
    *(".", ",", ";", "?", "!", "…", "...", "-", "--", "—", "(", ")", "«", "»", "'", "’", '"', "/", "&", "+", "=", "#"),
    *("12/03/2024", "_", "*", "~", "^", "½", "²", "º", "ª", "😀", "α", "мир", "\n", "\n\n", "|", "[", "]"),
    *("1/2", "3-2", "G-3", "$", "d'água"),
]  # fmt: skip


def unspaced(text: str) -> str:
    """A text without what plain sentences may lose: spaces, the kind of dash, ellipsis and bracket."""
    text = (
        re.sub(r"--|[—–]", "—", text)
        .replace("...", "…")
        .replace("..", "…")
        .replace("[", "(")
        .replace("]", ")")
    )
    return re.sub(r"\s+|—$", "", text)


def read_or_none(text: str) -> str | None:
    try:
        return reading(text).text
    except InputError:
        return None


@pytest.mark.parametrize(
    ("rule", "written", "said"), PAIRS, ids=[f"{rule}: {written}" for rule, written, _ in PAIRS]
)
def test_it_is_read_as_a_portuguese_person_reads_it(rule: str, written: str, said: str) -> None:
    assert reading(written).text == said, rule


def test_there_are_enough_pairs_of_enough_rules() -> None:
    assert len(PAIRS) >= 150
    assert len({rule for rule, _, _ in PAIRS}) >= 25


@pytest.mark.parametrize("said", [said for _, _, said in PAIRS])
def test_what_was_read_is_read_the_same_again(said: str) -> None:
    assert reading(said).text == said


@given(st.lists(st.tuples(st.sampled_from(WRITTEN), st.sampled_from(["", " "])), max_size=12))
def test_whatever_is_put_together_is_read_as_words_once_and_for_all(parts: list[tuple[str, str]]) -> None:
    said = read_or_none("".join(f"{word}{gap}" for word, gap in parts))
    if said is not None:
        assert READ.fullmatch(said), said
        assert read_or_none(said) == said


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    said = read_or_none(text)
    if said is not None:
        assert READ.fullmatch(said), said
        assert read_or_none(said) == said


def real_lines(shared_data: Path) -> Iterator[tuple[str, str]]:
    """Lines of newspapers, novels, laws and orders to a house, with where they are from."""
    folder = shared_data / "text"
    table = (folder / "bosque" / "bosque_pt-PT.tsv").read_text(encoding="utf-8").splitlines()[1:]
    yield from (("bosque", line.split("\t")[2]) for line in table[::6])
    for line in (
        (folder / "ha_intents" / "pt-PT_utterances.jsonl").read_text(encoding="utf-8").splitlines()[::3]
    ):
        yield from (("ha_intents", json.loads(line)[field]) for field in ("text", "response"))
    for name, pattern, step in (("eltec", "*.txt", 100), ("legislacao", "*/*.md", 100)):
        for path in sorted((folder / name).glob(pattern)):
            lines = path.read_text(encoding="utf-8").splitlines()
            yield from ((name, line) for line in lines[::step])


def test_real_lines_are_read_as_words_once_and_for_all(shared_data: Path) -> None:
    num_read = 0
    for source, line in real_lines(shared_data):
        said = read_or_none(line)
        if said is None:
            assert not re.search(rf"[{LETTERS}\d]", line.replace("<", "")), (source, line)
            continue
        num_read += 1
        assert READ.fullmatch(said), (source, line, said)
        assert reading(said).text == said, (source, line)
    assert num_read > 1300


def test_plain_sentences_come_back_as_they_are(shared_data: Path) -> None:
    shortened = re.compile(r"[\d@&%€$/*_#=+<>|'’\"]|\b\w{1,6}\.\s|[A-ZÀ-Ý]{2}|\betc|\b[b-df-zB-DF-ZA]\b")
    plain = [
        line
        for source, line in real_lines(shared_data)
        if source in ("bosque", "ha_intents") and line and not shortened.search(line)
    ]
    assert len(plain) > 300
    for line in plain:
        assert unspaced(reading(line).text) == unspaced(line)


def seconds(text: str) -> float:
    begin = time.process_time()
    reading(text)
    return time.process_time() - begin


def assert_linear(piece: str, size: int) -> None:
    """Ten times the text takes less than twenty times the time; the better of two, for the machine's sake."""
    short, long = (("Olá " + piece * (size // len(piece) + 1))[:size] for size in (size, 10 * size))
    fastest = [min(seconds(text) for _ in range(2)) for text in (short, long)]
    assert fastest[1] < max(20 * fastest[0], 0.02), fastest


@pytest.mark.parametrize(
    "piece",
    [
        "1 ", "1.", "1,", "1-", "1/", "111 ", "a.", "a@", "a-", "A", "A.", "IV", "(", "«", "'", "<", "<a ", "😀", "*",
        "_",         "e ", "h", "1h", "—", "\n", "à 1 ", "XV e ", "www.a", "$1", "km/h", "2.ª a ",
    ],
)  # fmt: skip
def test_nothing_written_over_and_over_takes_more_than_its_share(piece: str) -> None:
    assert_linear(piece, 400)


def test_fifty_thousand_characters_take_ten_times_the_time_of_five_thousand() -> None:
    sentence = "No dia 12/03/2024, às 16h30, o Sr. Silva pagou 12,50 € à EDP e seguiu para Lisboa. "
    assert_linear(sentence, 5_000)


def test_emoji_are_left_out_and_counted() -> None:
    found = reading("Olá 😀 mundo 👨‍👩‍👧 🇵🇹 😀 :-)")
    assert found.text == "Olá mundo"
    assert found.left_out == {"😀": 2, "👨‍👩‍👧": 1, "🇵🇹": 1, ":-)": 1}


def test_a_warning_tells_what_is_left_out() -> None:
    with pytest.warns(UserWarning, match=r"left out, without a reading: 😀 \(1\), Привет \(1\)"):
        assert spoken("Olá 😀 Привет, Ana.") == "Olá, Ana."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert spoken("Olá, Ana.") == "Olá, Ana."


@pytest.mark.parametrize(
    ("text", "names"),
    [("", "an empty text"), (" \n", "an empty text"), ("😀😀", "😀😀"), ("?!…", "?!…"), ("мир", "мир")],
)
def test_text_with_nothing_to_say_is_refused_by_name(text: str, names: str) -> None:
    with pytest.raises(InputError, match="wanted words") as error:
        spoken(text)
    assert names in str(error.value)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("<speak>Olá</speak>", "<speak>"), ('Olá <break time="3s"/> Ana', '<break time="3s"/>'), ("Olá</b>", "</b>"),
        ("a <!-- b -->", "<!--"), ("<?xml version='1.0'?>", "<?x"), ("<prosody rate='slow'>x", "<prosody rate='slow'>"),
    ],
)  # fmt: skip
def test_markup_is_refused_and_the_tag_is_named(text: str, tag: str) -> None:
    with pytest.raises(InputError, match="plain text") as error:
        spoken(text)
    assert tag in str(error.value)


def test_signs_of_smaller_and_greater_are_no_markup() -> None:
    assert spoken("3 < 5 e 7 > 2") == "três menor que cinco e sete maior que dois"


def test_lists_and_paragraphs_keep_their_pauses() -> None:
    assert (
        spoken("# Compras\n\n- pão\n- leite\n\n**Total**: 3 €") == "Compras. — pão — leite. Total: três euros"
    )
    assert spoken("a) o Estado;\nb) as autarquias") == "á, o Estado; bê, as autarquias"


def test_foreign_words_stay() -> None:
    assert (
        spoken("O software é open source, vraiment très bien.")
        == "O software é open source, vraiment très bien."
    )
