"""Weights of a real size are read without a second copy of them in memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("checkpoint_memory.py")


@pytest.mark.soak
@pytest.mark.parametrize("way", ["load_hf", "load_hf_into"])
def test_loading_1_7b_takes_little_more_than_its_weights(
    large_checkpoint: Path, way: str, record_property: Callable[[str, object], None]
) -> None:
    done = subprocess.run(
        [sys.executable, CHILD, way, large_checkpoint], capture_output=True, text=True, check=True
    )
    weights, peak = map(int, done.stdout.split())
    assert weights == 2 * 1_656_850_432
    record_property("peak_over_weights", peak / weights)
    assert peak <= 1.15 * weights


@pytest.fixture(scope="module")
def large_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of EuroLLM-1.7B's shape with random weights, written by transformers in two files."""
    folder = tmp_path_factory.mktemp("large")
    subprocess.run([sys.executable, CHILD, "write", folder], check=True, stderr=subprocess.DEVNULL)
    assert len(list(folder.glob("model-*.safetensors"))) == 2
    yield folder
    shutil.rmtree(folder)
