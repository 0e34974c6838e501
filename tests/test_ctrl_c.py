"""A Ctrl-C that a library caught is not lost, and one that comes too late stops nothing."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from amalia_mm.child_process import Children
from amalia_mm.cli import main
from amalia_mm.ctrl_c import CtrlC, ctrl_c
from amalia_mm.train.callbacks import GracefulStop


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def press_in_vain() -> None:
    with suppress(KeyboardInterrupt):
        press()


@pytest.fixture(autouse=True)
def pythons_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_is_a_keyboard_interrupt_as_ever():
    with pytest.raises(KeyboardInterrupt), CtrlC():
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_asks_gets_it_again():
    lost = CtrlC()
    with lost:
        press_in_vain()
        with pytest.raises(KeyboardInterrupt):
            lost.raise_again()
    with lost:
        lost.raise_again()  # another command of the same process: nothing was pressed


def test_training_does_not_begin_after_a_lost_one():
    stop = GracefulStop()
    with ctrl_c:
        press_in_vain()
        with pytest.raises(KeyboardInterrupt):
            stop.on_fit_start(None, None)
    with ctrl_c:
        pass


def test_another_ones_handler_is_left_alone():
    def theirs(*_):
        return None

    signal.signal(signal.SIGINT, theirs)
    with CtrlC():
        assert signal.getsignal(signal.SIGINT) is theirs


class PressesWhenCollected:
    def __del__(self):
        press()


def test_one_that_strikes_where_an_exception_is_only_printed_is_raised_a_moment_later(capsys):
    def work():
        with CtrlC():
            PressesWhenCollected()
            time.sleep(20)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - begun < 10, "it waited for what it was to end"
    assert capsys.readouterr().err == "", "no traceback of an exception that was ignored"


def test_other_exceptions_that_are_only_printed_are_printed(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class FailsWhenCollected:
        def __del__(self):
            raise OSError("no disk")

    with CtrlC():
        FailsWhenCollected()
    assert [each.exc_type for each in told] == [OSError]


@pytest.mark.parametrize("words", [["spoken", "21"], ["spoken", "--none"]])
def test_one_that_comes_while_the_process_ends_is_no_traceback(words):
    # What is finalised at the interpreter's end was struck there: "Exception ignored in atexit callback".
    code = (
        "import os, signal, sys, weakref\n"
        "from amalia_mm.cli import main\n"
        "class Kept: pass\n"
        "kept = Kept()\n"
        "weakref.finalize(kept, os.kill, os.getpid(), signal.SIGINT)\n"
        f"sys.argv = ['amalia', *{words!r}]\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == (2 if "--none" in words else 0)
    assert "KeyboardInterrupt" not in done.stderr


def test_a_command_that_another_program_calls_leaves_ctrl_c_to_it(capsys):
    assert main(["spoken", "21"]) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_comes_while_the_interpreter_begins_waits_until_it_can_be_told(tmp_path, capfd):
    begun = tmp_path / "begun"
    code = (
        "import pathlib, sys, time\n"
        f"pathlib.Path({str(begun)!r}).touch()\n"
        "time.sleep(1.0)  # what is imported on a busy machine\n"
        "from amalia_mm.cli import main\n"
        "sys.argv = ['amalia', 'spoken', '21']\n"
        "sys.exit(main())\n"
    )
    with Children() as children:
        children.start("begins", [sys.executable, "-c", code], lets_signals_in=True)
        end = time.monotonic() + 30
        while not begun.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        children.interrupt()
        assert children.wait()[1].exit_code == 130
    said = capfd.readouterr().err
    assert "interrupted" in said and "Traceback" not in said
