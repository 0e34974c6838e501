"""What every test shares: no network, fixed seeds, one thread, the optional real data, a limit of time."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ("toy_data", "command_line")
TESTS = Path(__file__).parent
LIMIT_S = 60.0

# Children inherit the guard through PYTHONPATH; this process takes it now, before anything else is imported.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(TESTS / "network_guard"), os.environ.get("PYTHONPATH", "")])
)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("AMALIA_MODEL", None)
sys.path.insert(0, str(TESTS / "network_guard"))
sys.modules.pop("sitecustomize", None)
import sitecustomize  # noqa: E402, F401
from hypothesis import settings  # noqa: E402

# A deadline measures the machine, not the code; derandomised, a run fails for what changed and not by luck.
settings.register_profile("house", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("house")


def pytest_configure() -> None:
    """A shell that runs the tests in the background has Ctrl-C ignored by them and by all their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors are slower on many threads, and sums may change with their number."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text, speech and weights beside the checkout; the test is skipped without it."""
    folder = TESTS.parents[1] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the optional real data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return TESTS.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    may_be_long = any(item.get_closest_marker(marker) for marker in ("long", "benchmark", "soak"))
    if report.passed and call.duration > LIMIT_S and not may_be_long:
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} took {call.duration:.0f} s in its {call.when}; the limit is {LIMIT_S:.0f} s"
        )
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember which modules were collected, before `-m` takes tests away: a house test counts them."""
    config.collected_modules = {item.path for item in items}
