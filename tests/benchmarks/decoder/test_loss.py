"""The output layer at a vocabulary of 128,000 and its loss, beside cross-entropy over whole logits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from paired import __file__ as paired_file
from paired import paired
from torch.nn import functional as F

from amalia_mm.train.losses import token_nll

pytestmark = pytest.mark.benchmark

VOCABULARY, TOKENS, WIDTH = 128_000, 4096, 512


class _Sides:
    """Both ways from states and matrix to a loss and both gradients, in float32."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.hidden = torch.randn(1, TOKENS, WIDTH, requires_grad=True)
        self.weight = (0.02 * torch.randn(VOCABULARY, WIDTH)).requires_grad_()
        self.labels = torch.randint(0, VOCABULARY, (1, TOKENS))

    def ours(self) -> None:
        self.hidden.grad = self.weight.grad = None
        token_nll(self.hidden, self.weight, self.labels).sum.backward()

    def whole_logits(self) -> None:
        self.hidden.grad = self.weight.grad = None
        F.cross_entropy(F.linear(self.hidden[0], self.weight), self.labels[0], reduction="sum").backward()


def _extra_gb(is_ours: bool) -> float:
    """Return how far a process grows at most above what states and matrix take, gradients included.

    To be called in a process of its own: memory that an earlier measurement gave back would be taken for none.
    """
    sides = _Sides()
    with torch.no_grad():
        sides.weight.sum()  # everything that is given is in memory
    process, most, is_done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not is_done.is_set():
            most[0] = max(most[0], process.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        sides.ours() if is_ours else sides.whole_logits()
    finally:
        is_done.set()
        watcher.join()
    return (most[0] - before) / 2**30


def _in_a_process_of_its_own(is_ours: bool) -> float:
    source = f"import test_loss; print(test_loss._extra_gb({is_ours}))"
    folders = [str(Path(__file__).parent), str(Path(paired_file).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def test_extra_memory_at_128k(bench) -> None:
    ours, peer = _in_a_process_of_its_own(True), _in_a_process_of_its_own(False)
    bench.row(
        "ce128k_memory",
        f"loss and backward, {TOKENS} tokens of width {WIDTH}, 128,000 entries, beside cross-entropy over whole logits",
        ours=ours,
        peer=peer,
        unit="GB",
        ratio=ours / peer,
        op="<=",
        must=0.17,
    )


def test_speed_at_128k(bench) -> None:
    sides = _Sides()
    times = paired(sides.ours, sides.whole_logits, num_pairs=3, num_warmups=0)
    bench.row(
        "ce128k_speed",
        f"loss and backward, {TOKENS} tokens of width {WIDTH}, 128,000 entries, beside cross-entropy over whole logits",
        ours=TOKENS / times.ours_median_s,
        peer=TOKENS / times.peer_median_s,
        unit="tokens/s",
        ratio=times.ratio,
        op=">=",
        must=0.9,
    )
