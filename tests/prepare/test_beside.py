"""A function in a process of its own: its errors are ours, and it does not stay behind."""

import os
import time
from pathlib import Path

import psutil
import pytest

from amalia_mm.errors import InputError
from amalia_mm.prepare.beside import Beside, is_orphan


def write_pid(path: Path) -> None:
    path.write_text(f"{os.getpid()} {is_orphan()}")


def write_pid_and_sleep(path: Path) -> None:
    write_pid(path)
    time.sleep(60)


def fail() -> None:
    raise InputError("disk", found="no room", wanted="room", remedy="free some")


def die() -> None:
    os._exit(9)


def test_it_runs_in_another_process(tmp_path):
    with Beside(write_pid, tmp_path / "pid") as job:
        job.wait()
    pid, orphan = (tmp_path / "pid").read_text().split()
    assert int(pid) != os.getpid()
    assert orphan == "False"


def test_its_error_is_raised_here():
    with Beside(fail) as job, pytest.raises(InputError, match="no room"):
        job.wait()


def test_a_death_without_a_word_is_told():
    with Beside(die) as job, pytest.raises(RuntimeError, match="died with 9"):
        job.wait()


def test_it_does_not_outlive_a_failure_here(tmp_path):
    path = tmp_path / "pid"

    def fail_once_it_runs() -> None:
        end = time.monotonic() + 30
        while not (path.exists() and path.read_text()):
            assert time.monotonic() < end
            time.sleep(0.05)
        raise KeyError

    with pytest.raises(KeyError), Beside(write_pid_and_sleep, path):
        fail_once_it_runs()
    assert not psutil.pid_exists(int(path.read_text().split()[0]))


def test_here_nobody_is_an_orphan():
    assert not is_orphan()
