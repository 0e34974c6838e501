"""When a recording is played in place of synthesis: exactly that text, however it is typed."""

from __future__ import annotations

import pytest
from voices import RATE_HZ, recording

from amalia_mm.voice.phrases import Clip, Phrases, phrase_key


@pytest.mark.parametrize(
    ("banked", "typed"),
    [
        ("Bom dia!", "bom  dia"),
        ("Bom dia!", "«BOM DIA...»"),
        ("Olá, mãe.", "olá mãe"),
        ("Olá, mãe.", "Ola\u0301 – ma\u0303e"),
        ("Copo d'água, por favor", "copo d’água por favor"),
        ("Dá-me água.", "dá-me água!"),
        ("Estás cansado?", "estás cansado ?"),
        ("São 12,50 € (doze e meio)", "são 12,50 € doze e meio"),
    ],
)
def test_case_marks_and_spaces_do_not_matter(banked, typed):
    clip = Clip(banked, b"")
    assert Phrases([clip]).replay(typed) is clip


@pytest.mark.parametrize(
    ("banked", "typed"),
    [
        ("Bom dia", "Bom dia, mãe"),
        ("Bom dia, mãe", "Bom dia"),
        ("Olá, avó", "Olá, avô"),
        ("Dá-me", "dá me"),
        ("São 12,50", "São 1250"),
        ("São 25 %", "São 25"),
        ("2 + 2", "2 2"),
        ("Bom dia", "Bom dia 😀"),
        ("Estás cansado?", "Estás cansado."),
        ("Ficou económico", "Ficou econômico"),
    ],
)
def test_what_is_said_otherwise_is_not_replayed(banked, typed):
    assert Phrases([Clip(banked, b"")]).replay(typed) is None


@pytest.mark.parametrize("text", ["", " ", "...", "?!", "—"])
def test_marks_alone_are_no_phrase(text):
    assert phrase_key(text) == ""
    assert Phrases([Clip(text, b"")]).replay(text) is None


def test_of_two_recordings_of_a_phrase_the_first_is_played():
    """Voices change with the disease: the earlier recording is the one to hear."""
    first, second = Clip("Sim.", b"1"), Clip("sim", b"2")
    assert Phrases([first, second]).replay("Sim!") is first


def test_a_recording_is_played_as_it_is():
    clip = Clip("Sim", recording(1))
    samples, rate_hz = clip.samples()
    assert (rate_hz, samples.shape, str(samples.dtype)) == (RATE_HZ, (RATE_HZ // 5,), "float32")
    assert clip.audio not in repr(clip).encode()
