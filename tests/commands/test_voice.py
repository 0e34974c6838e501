"""`amalia voice`: what a technician types, what is asked, and what is never on the command line."""

from __future__ import annotations

import argparse
import io
import os
import signal
import subprocess
import sys

import pytest
from voices import CLIPS, WORDS, bank_of, consent, enrol

from amalia_mm.cli import build_parser, main
from amalia_mm.voice.consent import Use


@pytest.fixture
def bank(tmp_path, monkeypatch):
    """A bank that the variable names, with Ana's voice in it, agreed to for longer than these tests will be run."""
    from datetime import date

    monkeypatch.setenv("AMALIA_BANK", str(tmp_path / "bank"))
    monkeypatch.setenv("AMALIA_PASSPHRASE", WORDS)
    bank = bank_of(tmp_path)
    enrol(bank, consent=consent(until=date(2199, 12, 31)), today=date(2027, 3, 1))
    return bank


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_new_machine_has_an_empty_bank(tmp_path, capsys):
    assert main(["voice", "list", "--bank", str(tmp_path / "none")]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"0 in {tmp_path / 'none'}\n"
    assert not (tmp_path / "none").exists()


def test_list_shows_what_is_there_without_a_passphrase(bank, capsys, monkeypatch):
    monkeypatch.delenv("AMALIA_PASSPHRASE")
    enrol(bank, "rui")
    voice_id = bank.revoke("rui", "Rui")
    bank.path("velho").write_bytes(b"RIFF")
    assert main(["voice", "list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:2] == ["ana", "2027-03-01"]
    assert rows[1] == ["rui", "2027-03-01", voice_id, "revoked"]
    assert rows[2][0] == "velho"
    assert "another kind of file" in rows[2][-1]


def test_show_says_what_was_agreed_to_and_whether_it_may_speak(bank, capsys):
    assert main(["voice", "show", "ana"]) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert rows["person"] == "Ana Sousa"
    assert rows["agreed to"] == "speech"
    assert rows["until"] == "2199-12-31"
    assert rows["decides later"] == "Rui Sousa"
    assert rows["recordings"] == "2, 0.0 minutes"
    assert rows["may speak"] in ("yes", "no")
    bank.revoke("ana", "Ana")
    assert main(["voice", "show", "ana"]) == 0
    assert "may speak\tno\n" in capsys.readouterr().out


def test_export_says_what_it_left_out(bank, tmp_path, capsys):
    assert main(["voice", "export", "ana", "--to", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'out'}\t5 files\n"
    assert "without the speaker data" in shown.err
    assert "not encrypted" in shown.err
    assert (tmp_path / "out" / "clips" / "00000.flac").read_bytes() == CLIPS[0].audio


def test_a_voice_is_silenced_when_it_is_meant(bank, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Keyboard("no\n"))
    assert main(["voice", "revoke", "ana", "--by", "Ana"]) == 1
    assert "nothing was changed" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Keyboard("sim\n"))
    assert main(["voice", "revoke", "ana", "--by", "Ana"]) == 0
    assert capsys.readouterr().out.endswith("\trevoked\n")
    assert [pack.is_revoked for pack in bank.packs()] == [True]


def test_a_script_says_yes_beforehand(bank, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert main(["voice", "delete", "ana"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert main(["voice", "delete", "ana", "--yes"]) == 0
    assert f"{bank.path('ana')}\tremoved" in capsys.readouterr().out
    assert main(["voice", "delete", "ana", "--yes"]) == 2
    assert "no such voice" in capsys.readouterr().err


def test_the_passphrase_is_no_option(bank, capsys):
    """Other users of a machine see what commands are given."""
    actions = (
        build_parser()._subparsers._group_actions[0].choices["voice"]._subparsers._group_actions[0].choices
    )
    shown = {
        option
        for action in actions.values()
        for option, known in action._option_string_actions.items()
        if known.help != argparse.SUPPRESS
    }
    assert {option for option in shown if "pass" in option or "key" in option} == {"--passphrase-file"}
    for words in (["voice", "show", "ana"], ["voice", "enrol", "x"], ["say", "Olá."]):
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--passphrase", "segredo123"])
        told = capsys.readouterr().err
        assert "never given on the command line" in told and "segredo123" not in told


def test_the_passphrase_of_a_file_for_its_owner_alone(bank, tmp_path, capsys):
    file = tmp_path / "passphrase.txt"
    file.write_text(f"{WORDS}\n", encoding="utf-8")
    file.chmod(0o600)
    command = ["voice", "show", "ana", "--passphrase-file", str(file)]
    os.environ.pop("AMALIA_PASSPHRASE")
    assert main(command) == 0
    file.chmod(0o644)
    assert main(command) == 2
    assert f"found mode 644; wanted a file for its owner alone; chmod 600 {file}" in capsys.readouterr().err
    file.chmod(0o600)
    file.write_text("")
    assert main(command) == 2
    assert main([*command[:-1], str(tmp_path / "gone")]) == 2
    assert "--passphrase-file: found No such file" in capsys.readouterr().err


def test_the_passphrase_is_asked_for_at_a_keyboard_and_not_shown(bank, capsys, monkeypatch):
    monkeypatch.delenv("AMALIA_PASSPHRASE")
    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr("amalia_mm.commands.voice.getpass", lambda prompt: WORDS)
    assert main(["voice", "show", "ana"]) == 0
    monkeypatch.setattr("amalia_mm.commands.voice.getpass", lambda prompt: "nenhuma destas palavras")
    assert main(["voice", "show", "ana"]) == 2
    shown = capsys.readouterr()
    assert "a passphrase that does not open it" in shown.err
    assert WORDS not in shown.out + shown.err
    assert "nenhuma destas" not in shown.err
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["voice", "show", "ana"]) == 2
    assert "wanted a keyboard, --passphrase-file or $AMALIA_PASSPHRASE" in capsys.readouterr().err


def test_a_new_passphrase_is_typed_twice(monkeypatch):
    from argparse import Namespace

    from amalia_mm.commands.voice import read_passphrase
    from amalia_mm.errors import InputError

    monkeypatch.delenv("AMALIA_PASSPHRASE", raising=False)
    monkeypatch.setattr(sys, "stdin", Keyboard())
    typed = iter(["quatro palavras", "quatro palavras", "quatro palavras", "quatro palavra"])
    monkeypatch.setattr("amalia_mm.commands.voice.getpass", lambda prompt: next(typed))
    assert read_passphrase(Namespace(passphrase_file=None), is_new=True).text == "quatro palavras"
    with pytest.raises(InputError, match="found two that differ"):
        read_passphrase(Namespace(passphrase_file=None), is_new=True)


def test_use_words_are_those_of_the_record():
    assert {use.value for use in Use} == {"speech", "training", "export"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "nada"], "no such voice"),
        (["export", "nada", "--to", "new"], "no such voice"),
        (["export", "ana", "--to", "there"], "something there"),
        (["show", "cut"], "cut.voice"),
    ],
)
def test_what_is_cheap_to_find_out_comes_before_the_passphrase(
    bank, words, told, monkeypatch, tmp_path, capsys
):
    """A passphrase was typed blind, only to be told of a misspelt name."""
    monkeypatch.delenv("AMALIA_PASSPHRASE")
    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr("amalia_mm.commands.voice.getpass", lambda prompt: 1 / 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    bank.path("cut").write_bytes(bank.path("ana").read_bytes()[:100])
    assert main(["voice", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_passphrase_file_may_begin_with_a_mark(bank, tmp_path):
    """Windows' editor writes one, and the passphrase was then a wrong one."""
    file = tmp_path / "passphrase.txt"
    file.write_bytes(b"\xef\xbb\xbf" + WORDS.encode() + b"\r\n")
    file.chmod(0o600)
    assert main(["voice", "show", "ana", "--passphrase-file", str(file)]) == 0


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGHUP"])
def test_a_log_out_leaves_nothing_of_an_export(bank, tmp_path, ending):
    """Half of a person's recordings lay in the clear, in a folder that no command knew of."""
    code = (
        "import os, signal, sys\n"
        f"signal.signal(signal.{ending}, signal.SIG_DFL)\n"  # under nohup it is ignored, and stays so
        "from amalia_mm import cli\n"
        "real, calls = os.fsync, []\n"
        "def fsync(descriptor):\n"
        "    calls.append(descriptor)\n"
        "    if len(calls) == 3:\n"
        f"        os.kill(os.getpid(), signal.{ending})\n"
        "    real(descriptor)\n"
        "os.fsync = fsync\n"
        "sys.exit(cli.main())\n"
    )
    command = [sys.executable, "-c", code, "voice", "export", "ana", "--to", str(tmp_path / "out")]
    ended = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert ended.returncode == 128 + getattr(signal, ending), ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]
    assert main(["voice", "export", "ana", "--to", str(tmp_path / "out")]) == 0
