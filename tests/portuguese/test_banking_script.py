"""What is read out to bank a voice: enough of it, European, each sentence once, and every sound of the language."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise

import pytest

from amalia_mm.errors import InputError
from amalia_mm.portuguese.banking_script import (
    Prompt,
    coverage,
    load_script,
    next_session,
    pairs,
    parse_script,
    recorded,
    sessions,
)
from amalia_mm.portuguese.contrast import find_markers, load_contrasts, markers
from amalia_mm.portuguese.g2p import utterance
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.portuguese.phonology.phonemes import BREAKS, SYMBOLS

SCRIPT = load_script()


def sounds(text):
    return [phone.symbol for phone in utterance(text)]


def test_there_are_enough_sentences_of_a_breath_each_and_none_twice():
    assert len(SCRIPT) >= 150
    assert len({spoken_form(prompt.text) for prompt in SCRIPT}) == len(SCRIPT)
    assert [prompt.number for prompt in SCRIPT] == [f"{n:03d}" for n in range(1, len(SCRIPT) + 1)]
    for prompt in SCRIPT:
        assert 5 <= len(prompt.text.split()) <= 14, prompt
        assert prompt.text[-1] in ".?!", prompt
        assert not re.search(r"\d|[A-Z]{2}", prompt.text), f"{prompt}: how is it read?"


def test_sessions_are_short_and_questions_and_exclamations_are_among_them():
    by_session = sessions(SCRIPT)
    assert list(by_session) == list(range(1, len(by_session) + 1))
    assert {len(prompts) for prompts in by_session.values()} <= {8, 9, 10, 11, 12}
    ends = Counter(prompt.text[-1] for prompt in SCRIPT)
    assert ends["?"] >= 15
    assert ends["!"] >= 15


def test_every_sentence_is_european():
    brazilian = markers(load_contrasts(), "brazilian", ("S", "B"))
    assert "geladeira" in brazilian
    assert {p.text: find_markers(p.text, brazilian) for p in SCRIPT if find_markers(p.text, brazilian)} == {}


def test_every_sound_occurs_more_than_once():
    heard = Counter(sound for prompt in SCRIPT for sound in sounds(prompt.text))
    assert {sound: heard[sound] for sound in SYMBOLS[1:] if heard[sound] < 3} == {}


def test_frequent_pairs_of_other_peoples_sentences_occur(shared_data):
    lines = (shared_data / "text" / "piper_prompts" / "pt-PT.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert len(texts) > 100
    found = coverage([p.text for p in SCRIPT], texts, sounds, SYMBOLS[1:], BREAKS)
    assert found.missing_sounds == ()
    assert len(found.missing_pairs) <= 0.05 * len(found.frequent)
    assert found.share >= 0.95


def letters(text):
    return list(text)


def test_pairs_are_counted_as_they_follow_and_a_break_is_silence():
    assert pairs(["ab,ba"], letters, (",",)) == Counter(
        {("#", "a"): 1, ("a", "b"): 1, ("b", "#"): 1, ("#", "b"): 1, ("b", "a"): 1, ("a", "#"): 1}
    )
    text = "abracadabra"
    assert sum(pairs([text], letters, ()).values()) == len(list(pairwise(text))) + 2


def test_coverage_by_hand():
    # The reference has ab twice, bc and cd once, and three edges each way.
    found = coverage(["ab"], ["ab", "ab", "bcd"], letters, "abcd", (), frequent_share=0.4)
    assert found.sounds == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert found.missing_sounds == ("c", "d")
    assert found.num_pairs == 3
    assert set(found.frequent) == {("#", "a"), ("a", "b")}
    assert found.missing_pairs == ()
    assert found.share == pytest.approx(6 / 10)  # six of the ten: #a ab b#, twice


FEW = (
    Prompt("1", 1, "Bom dia a todos."),
    Prompt("2", 1, "Até logo, então."),
    Prompt("3", 2, "Quem está aí?"),
)


def test_a_session_goes_on_where_it_was_left(tmp_path):
    assert recorded(tmp_path / "new", FEW) == {}
    assert next_session(FEW, set()) == FEW[:2]
    (tmp_path / "1.wav").write_bytes(b"RIFF")
    (tmp_path / "2.flac").write_bytes(b"")  # the recorder was killed before it wrote
    (tmp_path / "notes.txt").write_text("amanhã")
    done = recorded(tmp_path, FEW)
    assert done == {"1": tmp_path / "1.wav"}
    assert next_session(FEW, done) == FEW[1:2]
    (tmp_path / "2.flac").write_bytes(b"fLaC")
    assert next_session(FEW, recorded(tmp_path, FEW)) == FEW[2:]
    (tmp_path / "3.wav").write_bytes(b"RIFF")
    assert next_session(FEW, recorded(tmp_path, FEW)) == ()
    (tmp_path / "1.wav").unlink()  # not good enough
    assert next_session(FEW, recorded(tmp_path, FEW)) == FEW[:1]


def test_two_recordings_of_a_sentence_are_no_progress(tmp_path):
    for name in ("1.wav", "1.flac"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"1\.wav and 1\.flac"):
        recorded(tmp_path, FEW)
    with pytest.raises(InputError, match="found a file"):
        recorded(tmp_path / "1.wav", FEW)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "header"),
        ("number\tsession\ttext\n1\tum\tOlá.", "script.tsv:2"),
        ("number\tsession\ttext\n1\t1\tOlá.\n1\t1\tAdeus.", "script.tsv:3"),
        ("number\tsession\ttext\n1\t1\t ", "script.tsv:2"),
    ],
)
def test_a_script_with_a_fault_names_the_line(text, match):
    with pytest.raises(InputError, match=match):
        parse_script(text, "script.tsv")
