"""Subtitles are read by a parser of our own, written from the formats' definitions, and keep the rules of reading."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.subtitles import MAX_CUE_MS, MIN_CUE_MS, cues, srt, vtt
from amalia_mm.transcript import TimedText, Transcript, Word, as_json

SRT_TIMES = re.compile(r"(\d\d):([0-5]\d):([0-5]\d),(\d{3}) --> (\d\d):([0-5]\d):([0-5]\d),(\d{3})")
VTT_TIMES = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})")


def parsed(text, times, numbered):
    """Blocks parted by empty lines: a number in SubRip, a line of times, lines of text."""
    found = []
    for number, block in enumerate([b for b in re.split(r"\n{2,}", text.strip("\n")) if b], start=1):
        lines = block.split("\n")
        if numbered:
            assert lines.pop(0) == str(number)
        match = times.fullmatch(lines.pop(0))
        assert match, block
        begin, end = ([int(each) for each in match.groups()[at : at + 4]] for at in (0, 4))
        ms = [((h * 60 + m) * 60 + s) * 1000 + rest for h, m, s, rest in (begin, end)]
        assert lines and all(lines)
        found.append((*ms, lines))
    return found


def parsed_srt(text):
    return parsed(text, SRT_TIMES, numbered=True)


def parsed_vtt(text):
    header, _, body = text.partition("\n\n")
    assert header.strip() == "WEBVTT"
    found = parsed(body, VTT_TIMES, numbered=False)
    assert not any(
        "-->" in line or re.search(r"<|&(?!amp;|lt;|gt;)", line) for *_, lines in found for line in lines
    )
    unescaped = [
        [line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in lines]
        for *_, lines in found
    ]
    return [(start, end, lines) for (start, end, _), lines in zip(found, unescaped, strict=True)]


def transcript(words, channel=None, gap_s=0.05):
    """Words of 0.3 s one after the other; with None a pause of two seconds."""
    at, placed = 0.0, []
    for word in words:
        if word is None:
            at += 2.0
            continue
        placed.append(Word(word, at, at + 0.3, 0.9))
        at += 0.3 + gap_s
    text = " ".join(word.text for word in placed)
    segment = TimedText(text, placed[0].start_s, placed[-1].end_s, tuple(placed)) if placed else None
    return Transcript(text, at, (segment,) if segment else (), "letters", channel)


words_strategy = st.lists(
    st.one_of(st.none(), st.text("abçé.,!?<>&-", min_size=1, max_size=60)), min_size=0, max_size=60
)


@given(words_strategy, st.booleans(), st.sampled_from([-0.3, 0.0, 0.05, 1.0]))
def test_every_subtitle_keeps_the_rules_and_nothing_is_lost(words, has_words, gap_s):
    one = transcript(words, gap_s=gap_s)
    if not has_words:
        segments = tuple(TimedText(each.text, each.start_s, each.end_s) for each in one.segments)
        one = Transcript(one.text, one.duration_s, segments)
    from_srt, from_vtt = parsed_srt(srt([one])), parsed_vtt(vtt([one]))
    assert from_srt == from_vtt
    ended = 0
    for start, end, lines in from_srt:
        assert ended <= start < end
        assert len(lines) <= 2 and all(len(line) <= 42 for line in lines)
        ended = end
    shown = "".join("".join(lines) for *_, lines in from_srt).replace(" ", "")
    assert shown == one.text.replace(" ", "")


def test_a_cue_ends_with_its_sentence_and_at_a_pause():
    one = transcript(["Bom", "dia.", "Quero", "um", None, "café,", "por", "favor."])
    assert [" ".join(cue.lines) for cue in cues([one])] == ["Bom dia.", "Quero um", "café, por favor."]
    begins = [cue.start_ms for cue in cues([one])]
    assert begins == [0, 700, 3_400]


def test_a_long_sentence_has_lines_of_like_length_and_no_cue_stays_too_long():
    one = transcript(["palavras"] * 40)
    found = cues([one])
    assert all(cue.end_ms - cue.start_ms <= MAX_CUE_MS for cue in found)
    assert {len(line) for cue in found[:-1] for line in cue.lines} == {35}
    slow = transcript(["palavra"] * 8, gap_s=0.75)
    assert max(cue.end_ms - cue.start_ms for cue in cues([slow])) <= MAX_CUE_MS
    assert len(cues([slow])) == 2


def test_a_short_cue_stays_long_enough_to_be_read_unless_the_next_begins():
    first, second, third = cues([transcript(["Sim.", "Não.", None, "Ah."])])
    assert (first.start_ms, first.end_ms) == (0, 350)
    assert (second.start_ms, second.end_ms) == (350, 350 + MIN_CUE_MS)
    assert third.end_ms - third.start_ms == MIN_CUE_MS


def test_words_without_times_share_the_time_of_their_piece():
    [cue] = cues([Transcript("dois pães", 5, (TimedText("dois pães", 1.0, 3.0),))])
    assert (cue.start_ms, cue.end_ms, cue.lines) == (1_000, 3_000, ("dois pães",))


def test_hours_are_written_and_silence_is_an_empty_file():
    late = Transcript("fim", 40_000, (TimedText("fim", 36_000.5, 36_002.0),))
    assert srt([late]) == "1\n10:00:00,500 --> 10:00:02,000\nfim\n"
    assert vtt([late]) == "WEBVTT\n\n10:00:00.500 --> 10:00:02.000\nfim\n"
    assert srt([Transcript("", 3.0)]) == ""
    assert vtt([Transcript("", 3.0)]) == "WEBVTT\n"


def test_two_channels_take_turns_and_are_told_apart():
    left, right = transcript(["Bom", "dia."], "left"), transcript(["Olá,", "boa", "tarde."], "right")
    found = parsed_srt(srt([left, right]))
    assert [lines for *_, lines in found] == [["[left] Bom dia."], ["[right] Olá, boa tarde."]]
    assert found[0][1] <= found[1][0]


def test_json_says_what_is_missing():
    one = as_json(transcript(["Bom", "dia."]), "a.wav")
    assert one["words"][1] == {"text": "dia.", "start_s": 0.35, "end_s": 0.65, "confidence": 0.9}
    assert one["word_times"] == "letters" and "note" not in one and "channel" not in one
    none = as_json(Transcript("olá", 1.0, (TimedText("olá", 0.12345, 0.9),), None, "left"), "a.wav")
    assert none["segments"] == [{"start_s": 0.123, "end_s": 0.9, "text": "olá"}]
    assert (none["words"], none["word_times"], none["channel"]) == ([], None, "left")
    assert "no CTC head" in none["note"]


def test_the_parser_of_this_test_refuses_what_is_wrong():
    for wrong in (
        "2\n00:00:00,000 --> 00:00:01,000\na\n",
        "1\n00:00:00.000 --> 00:00:01.000\na\n",
        "1\n00:00:00,000 --> 00:00:01,000\n",
    ):
        with pytest.raises(AssertionError):
            parsed_srt(wrong)
