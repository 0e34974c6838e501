"""The guards of conftest.py: a guard that does not guard is worse than none."""

import socket
import subprocess
import sys
import urllib.request

import pytest


def test_no_connection_leaves_the_machine():
    with pytest.raises(OSError, match="may not reach the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(OSError, match="may not reach the network"):
        urllib.request.urlopen("http://example.invalid/", timeout=1)


def test_a_child_process_is_guarded_too():
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert child.returncode == 1
    assert "may not reach the network" in child.stderr


def test_the_loopback_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()[:2]):
        pass
    left, right = socket.socketpair()
    left.close()
    right.close()


def test_a_slow_test_fails(tmp_path, root):
    (tmp_path / "conftest.py").write_text(
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('ours', {str(root / 'tests' / 'conftest.py')!r})\n"
        "ours = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(ours)\n"
        "ours.LIMIT_S = 0.3\n"
        "pytest_runtest_makereport = ours.pytest_runtest_makereport\n"
    )
    (tmp_path / "test_speed.py").write_text(
        "import time, pytest\n"
        "def test_slow(): time.sleep(0.5)\n"
        "@pytest.mark.long\n"
        "def test_long(): time.sleep(0.5)\n"
        "def test_quick(): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "1 failed, 2 passed" in child.stdout
    assert "test_slow took" in child.stdout
