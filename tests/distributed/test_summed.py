"""The mean over a global step is one mean, however the step is split over processes and micro-batches.

Four micro-batches of 7, 1, 3 and 13 labelled points: a mean of means would weigh the single point like thirteen.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from forked import Forked

CHILD = Path(__file__).with_name("uneven_counts.py")


def _run(tmp_path: Path, num_devices: int, accumulate: int) -> dict[str, list[float]]:
    output = tmp_path / f"{num_devices}x{accumulate}.json"
    # The second process is started by Lightning here, as on a machine without torchrun.
    Forked(CHILD, output, num_devices, accumulate).finish(timeout_s=100)
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """The gradient of the mean over all 24 points, by hand."""
    spec = importlib.util.spec_from_file_location("uneven_counts", CHILD)
    assert spec is not None and spec.loader is not None
    child = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(child)
    points = torch.cat(child.micro_batches())
    weight, bias = torch.full((3,), 0.5), torch.zeros(())
    error = points @ weight + bias - points.prod(1)
    return [*(2 * (error[:, None] * points).mean(0)).tolist(), float(2 * error.mean())]


@pytest.mark.parametrize(("num_devices", "accumulate"), [(1, 1), (1, 4), (2, 2)])
def test_gradient_is_that_of_one_mean(
    tmp_path: Path, expected: list[float], num_devices: int, accumulate: int
) -> None:
    result = _run(tmp_path, num_devices, accumulate)
    assert result["gradients"][0] == pytest.approx(expected, rel=1e-5)
