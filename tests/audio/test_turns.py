"""Turns begin with speech and end with a pause, told as sound comes."""

from __future__ import annotations

import pytest
import sound
import torch

from amalia_mm.audio.no_speech import NO_SPEECH, no_speech_clip
from amalia_mm.audio.turns import MARGIN_S, Turns

SECOND = 16_000


@pytest.fixture(scope="module")
def said():
    return sound.said("Preciso de ajuda para me levantar.", "O autocarro parte às oito.")


def told(waveform, step, pause_s=0.6):
    """Every event with the sample at which it was told."""
    turns, found, at = Turns(pause_s, 0.4, 0.1), [], 0
    for part in waveform.split(step):
        at += len(part)
        found += [(event, at) for event in turns.push(part)]
    return [*found, *((event, at) for event in turns.flush())]


@pytest.mark.parametrize("step", [160, 512, 1_600, 5_000])
def test_two_sentences_are_two_turns_however_the_sound_comes(said, step):
    one, other = said
    waveform = torch.cat([torch.zeros(SECOND), one, torch.zeros(SECOND), other, torch.zeros(SECOND)])
    found = told(waveform, step)
    assert [event.kind for event, _ in found] == ["begin", "end", "begin", "end"]
    places = [SECOND, SECOND + len(one), 2 * SECOND + len(one), 2 * SECOND + len(one) + len(other)]
    for (event, at), place in zip(found, places, strict=True):
        assert abs(event.sound_samples - place) < 0.25 * SECOND
        late = at - event.sound_samples
        if event.kind == "end":
            assert 0.6 * SECOND <= late < 0.7 * SECOND + step
            assert event.at_samples - event.sound_samples == MARGIN_S * SECOND
        else:
            assert late < 0.2 * SECOND + step
            assert event.sound_samples - event.at_samples == MARGIN_S * SECOND


def test_a_short_pause_does_not_end_a_turn(said):
    waveform = torch.cat([said[0], torch.zeros(SECOND // 2), said[1], torch.zeros(2 * SECOND)])
    assert len(told(waveform, 1_600, pause_s=1.2)) == 2
    assert len(told(waveform, 1_600, pause_s=0.3)) >= 4


def test_a_turn_that_is_cut_off_ends_with_the_sound(said):
    cut = said[0][: len(said[0]) // 2]
    (begin, _), (end, _) = told(cut, 1_600)
    assert (begin.kind, begin.at_samples, end.kind) == ("begin", 0, "end")
    assert 0.8 * len(cut) < end.at_samples <= len(cut)


def test_where_nobody_speaks_no_turn_begins():
    generator = torch.Generator().manual_seed(1)
    for kind in NO_SPEECH:
        assert told(no_speech_clip(kind, 4.0, generator), 1_600) == []


def test_quiet_speech_is_heard(said):
    assert len(told(0.03 * torch.cat([said[0], torch.zeros(SECOND)]), 1_600)) == 2
