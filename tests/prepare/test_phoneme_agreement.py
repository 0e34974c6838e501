"""Our sounds beside espeak-ng's: what counts as agreement, and that every difference has a rule or is shown."""

from __future__ import annotations

import pytest

from amalia_mm.commands.phonemes import lines
from amalia_mm.errors import InputError
from amalia_mm.prepare.espeak import Speaker
from amalia_mm.prepare.phoneme_agreement import RULES, compare, frequent_words, in_our_notation


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("kˈazɐ", "kˈazɐ"),
        ("puɾətuɡˈɑl", "puɾtuɡˈaɫ"),  # its coda r has a vowel after it, its dark l before it
        ("pɾˌimˈeɪɾʊ", "pɾimˈɐjɾu"),
        ("tˈeɪmpʊ", "tˈẽpu"),
        ("ˈoŋteɪŋ", "ˈõtɐ̃j̃"),
        ("nˈɐ̃ʊ̃", "nˈɐ̃w̃"),
        ("ˈɐ̃nʊʃ", "ˈɐnuʃ"),
    ],
)
def test_notation_is_no_disagreement(theirs, ours):
    assert in_our_notation(theirs) == ours


def test_a_difference_goes_to_its_rule_and_what_has_none_is_shown():
    theirs = {"casa": "kˈazɐ", "segundo": "sˌeɡˈũŋdʊ", "resultado": "ʁɨzuwtˈadʊ", "sol": "sˈɔp"}
    agreement = compare(theirs, theirs.__getitem__)
    assert (agreement.num_words, agreement.num_agreeing, agreement.num_explained) == (4, 1, 2)
    assert {name: len(found) for name, found in agreement.by_rule.items()} == {"unstressed e": 1, "coda l": 1}
    assert agreement.others == ["sol ˈsɔɫ / sɔp"]
    table = lines(agreement)
    assert table[0].startswith("4 words\t1 agree\t2 differ by rules alone\t1 otherwise")
    assert table[-1] == "1\tno rule\tsol ˈsɔɫ / sɔp"
    assert len(table) == 4


def test_rules_have_names_of_their_own_and_say_who_is_right():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert {rule.right for rule in RULES} <= {"ours", "espeak", "either"}


def test_words_come_by_frequency_and_of_a_table_from_its_last_column(tmp_path):
    (tmp_path / "a.txt").write_text("A casa azul. A casa, o mar 12 guarda-chuva.\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("id\ttrain\tmar mar azul\n", encoding="utf-8")
    assert frequent_words([tmp_path / "a.txt", tmp_path / "b.tsv"], 3) == ["mar", "azul", "casa"]
    with pytest.raises(InputError, match="found 3 words"):
        frequent_words([tmp_path / "a.txt", tmp_path / "b.tsv"], 4)
    with pytest.raises(InputError, match=r"c\.txt"):
        frequent_words([tmp_path / "c.txt"], 1)


def test_espeak_tells_its_sounds_from_a_process_of_its_own():
    with Speaker() as speaker:
        assert speaker.phonemes("casa") == "kˈazɐ"
        assert speaker.phonemes("bom dia, sol") == "bˈoŋ dˈiɐ sˈɔl"


def test_frequent_words_of_a_newspaper_agree_or_differ_by_a_rule(shared_data):
    chosen = frequent_words([shared_data / "text/bosque/bosque_pt-PT.tsv"], 400)
    with Speaker() as speaker:
        agreement = compare(chosen, speaker.phonemes)
    assert agreement.num_agreeing >= 0.65 * agreement.num_words
    assert len(agreement.others) <= 0.02 * agreement.num_words
