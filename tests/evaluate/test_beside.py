"""A function in a process of its own: its errors are ours, and it does not stay behind."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from amalia_mm.errors import InputError
from amalia_mm.evaluate.beside import Beside


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def write_pid(path: Path) -> None:
    path.write_text(str(os.getpid()))


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
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def many(number: int) -> list[int]:
    return list(range(number))


def test_what_it_returns_comes_here_however_much_it_is():
    with Beside(many, 1_000_000) as job:
        assert job.wait() == list(range(1_000_000))
        assert job.wait()[-1] == 999_999


def wait_and_answer(path: Path) -> str:
    write_pid(path)
    time.sleep(1)
    path.with_suffix(".answering").touch()
    return "too late"


def test_whose_parent_is_killed_ends_without_a_word(tmp_path):
    path = tmp_path / "pid"
    script = tmp_path / "parent.py"
    script.write_text(
        "import pathlib, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_beside import Beside, wait_and_answer\n"
        "if __name__ == '__main__':\n"
        f"    with Beside(wait_and_answer, pathlib.Path({str(path)!r})) as job: job.wait()\n"
    )
    with (tmp_path / "said").open("w+") as said:
        parent = subprocess.Popen([sys.executable, str(script)], stderr=said)
        try:
            wait_until(lambda: path.exists() and path.read_text() != "")
        finally:
            parent.kill()
            parent.wait()
        wait_until(path.with_suffix(".answering").exists)
        wait_until(lambda: not psutil.pid_exists(int(path.read_text())))
        said.seek(0)
        assert said.read() == ""


def test_its_error_is_raised_here():
    with Beside(fail) as job, pytest.raises(InputError, match="no room"):
        job.wait()


def test_a_death_without_a_word_is_told():
    with Beside(die) as job:
        for _ in range(2):  # and told again to whoever asks again
            with pytest.raises(InputError, match="its process ended with 9"):
                job.wait()


def test_it_does_not_outlive_a_failure_here(tmp_path):
    path = tmp_path / "pid"

    def fail_once_it_runs() -> None:
        wait_until(lambda: path.exists() and path.read_text() != "")
        raise KeyError

    with pytest.raises(KeyError), Beside(write_pid_and_sleep, path):
        fail_once_it_runs()
    assert not psutil.pid_exists(int(path.read_text()))


def test_a_failure_is_found_without_waiting_for_it():
    def check(job: Beside) -> None:
        for _ in range(600):
            job.check()
            time.sleep(0.05)

    with Beside(fail) as job, pytest.raises(InputError, match="no room"):
        check(job)


def test_who_is_done_can_be_checked_and_waited_for_again(tmp_path):
    with Beside(write_pid, tmp_path / "pid") as job:
        job.wait()
        job.check()
        job.wait()
