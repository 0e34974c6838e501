"""A written conversation: streamed, stopped by Ctrl-C without losing what was said."""

import io

import pytest

from amalia_mm.batch import Turn
from amalia_mm.commands import chat as terminal_chat
from amalia_mm.errors import InputError


class Parrot:
    """Answers with the last turn, and remembers every conversation that it saw."""

    def __init__(self, stop_in=None, context=100):
        self.seen = []
        self.stop_in = stop_in
        self.context = context

    def reply(self, turns):
        self.seen.append(list(turns))
        if len(turns) > self.context:
            raise InputError("conversation", found="too many tokens", wanted="fewer", remedy="start anew")
        for number, letter in enumerate(turns[-1].text):
            if len(self.seen) == self.stop_in and number == 2:
                raise KeyboardInterrupt
            yield letter


def talk(monkeypatch, capsys, parrot, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    terminal_chat.chat(parrot)
    return capsys.readouterr()


def test_each_line_is_answered_and_the_conversation_grows(monkeypatch, capsys):
    parrot = Parrot()
    out, err = talk(monkeypatch, capsys, parrot, "olá\n\nadeus\n")
    assert out == "olá\nadeus\n"
    assert err == ""
    assert parrot.seen[1] == [Turn("user", "olá"), Turn("assistant", "olá"), Turn("user", "adeus")]


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(monkeypatch, capsys):
    parrot = Parrot(stop_in=1)
    out, err = talk(monkeypatch, capsys, parrot, "bom dia\nadeus\n")
    assert out == "bo\nadeus\n"
    assert "interrompida" in err
    assert parrot.seen[1][1] == Turn("assistant", "bo")


def test_a_conversation_that_no_longer_fits_begins_anew_and_says_so(monkeypatch, capsys):
    parrot = Parrot(context=2)
    out, err = talk(monkeypatch, capsys, parrot, "um\ndois\n")
    assert out == "um\ndois\n"
    assert "recomeça" in err
    assert parrot.seen[-1] == [Turn("user", "dois")]


def test_one_message_that_does_not_fit_is_an_error(monkeypatch, capsys):
    with pytest.raises(InputError, match="too many tokens"):
        talk(monkeypatch, capsys, Parrot(context=0), "um\n")


def test_a_new_conversation_and_the_end(monkeypatch, capsys):
    parrot = Parrot()
    out, _ = talk(monkeypatch, capsys, parrot, "um\n/nova\ndois\n/sair\ntrês\n")
    assert out == "um\ndois\n"
    assert parrot.seen == [[Turn("user", "um")], [Turn("user", "dois")]]


def test_bytes_that_are_not_utf8_do_not_end_the_conversation(monkeypatch, capsys):
    parrot = Parrot()
    talk(monkeypatch, capsys, parrot, "ol\udce1\nadeus\n")
    assert parrot.seen[0] == [Turn("user", "ol\ufffd")]
    assert len(parrot.seen) == 2
