"""A Ctrl-C that a library caught is not lost."""

import os
import signal
from contextlib import suppress

import pytest

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
