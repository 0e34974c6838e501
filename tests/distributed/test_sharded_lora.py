"""Low-rank changes to a decoder over two processes: off, gated, trained and merged as on one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

CHILD = Path(__file__).with_name("sharded_lora.py")


def test_two_processes_change_a_decoder_as_one_does(tmp_path: Path) -> None:
    outputs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    children = [
        subprocess.Popen(
            [sys.executable, str(CHILD), str(rank), str(tmp_path / "store"), str(output)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    for child in children:
        _, errors = child.communicate(timeout=55)
        assert child.returncode == 0, errors[-3000:]
    drawn = []
    for output in outputs:
        found = torch.load(output, weights_only=True)
        whole, parts = found["whole"], found["parts"]
        torch.testing.assert_close(parts["reference"], whole["reference"])
        torch.testing.assert_close(parts["logits"], whole["logits"])
        assert torch.equal(parts["logits"][1], whole["logits"][1])
        assert not torch.allclose(whole["logits"][0], whole["reference"][0], atol=1e-3)
        assert parts["gradients"].keys() == whole["gradients"].keys()
        assert all(name.endswith(("lora_a", "lora_b")) for name in parts["gradients"])
        for kind in ("gradients", "merged"):
            torch.testing.assert_close(parts[kind], whole[kind])
        assert found["drawn"]["a"].std() > 0 and not found["drawn"]["b"].any()
        drawn.append(found["drawn"]["a"])
    assert torch.equal(*drawn)
