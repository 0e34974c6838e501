"""One of two child processes of test_sharded_training.py: a new decoder in slices, then `amalia fit`, run after run.

python sharded_runs.py OUTPUT WORDS.json, with the variables that torchrun sets. WORDS.json holds the words of each run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.sharded_start import new_sharded
from amalia_mm.train.cli import main as fit

CONFIG = DecoderConfig(101, 16, 24, 2, 4, 2, dtype="bfloat16")
"""A vocabulary that two processes cannot split evenly."""


def new_decoder() -> dict[str, object]:
    """Return what this rank holds of a new decoder, and whether all of it together is what one process draws."""
    torch.manual_seed(7)
    sharded = new_sharded(CONFIG, init_device_mesh("cpu", (dist.get_world_size(),)), torch.device("cpu"))
    after = torch.rand(1).item()
    torch.manual_seed(7)
    whole = Decoder(CONFIG)
    is_same, local_bytes = True, 0
    for name, parameter in sharded.named_parameters():
        assert isinstance(parameter, DTensor), name
        local = parameter.to_local()
        local_bytes += local.numel() * local.element_size()
        is_same = is_same and torch.equal(parameter.full_tensor(), whole.get_parameter(name))
    whole_bytes = sum(value.numel() * value.element_size() for value in whole.parameters())
    result: dict[str, object] = {"is_same": is_same, "local_bytes": local_bytes, "whole_bytes": whole_bytes}
    return {**result, "is_same_afterwards": after == torch.rand(1).item()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    Path(f"{sys.argv[1]}.{dist.get_rank()}").write_text(json.dumps(new_decoder()))
    for words in json.loads(Path(sys.argv[2]).read_text()):
        fit(words)
    dist.destroy_process_group()
