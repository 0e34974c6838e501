"""Low-rank changes to a decoder over two processes: off, gated, trained and merged as on one."""

from __future__ import annotations

from pathlib import Path

import torch
from forked import Forked, finish

CHILD = Path(__file__).with_name("sharded_lora.py")


def test_two_processes_change_a_decoder_as_one_does(tmp_path: Path) -> None:
    outputs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    finish([Forked(CHILD, rank, tmp_path / "store", output) for rank, output in enumerate(outputs)])
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
