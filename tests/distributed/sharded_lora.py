"""A child process of test_sharded_lora.py: one of two ranks, with low-rank changes to a decoder in parts and whole.

python sharded_lora.py RANK STORE OUTPUT
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from amalia_mm.lora import LoraConfig, LoraLinear, add_lora, gate_lora, lora_off, merged_weights
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.parallel import shard


def _whole(value: Tensor | None) -> Tensor:
    assert value is not None
    return value.full_tensor() if isinstance(value, DTensor) else value


def _found(decoder: Decoder, ids: Tensor, gate: Tensor) -> dict[str, object]:
    """Return what the decoder makes with the changes off, and with the gate, and the gradients of these."""
    gate_lora(decoder, True)
    with lora_off(decoder):
        reference = decoder(ids)
    gate_lora(decoder, gate)
    logits = decoder(ids)
    logits.square().mean().backward()
    trained = {name: p for name, p in decoder.named_parameters() if p.requires_grad}
    state = {name: _whole(value).detach() for name, value in decoder.state_dict().items()}
    return {
        "reference": reference,
        "logits": logits.detach(),
        "gradients": {name: _whole(p.grad) for name, p in trained.items()},
        "merged": merged_weights(decoder, state),
    }


def main(rank: int, store: Path, output: Path) -> None:
    """Write what one process and two make of the same decoder."""
    init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    whole = Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, initializer_range=0.3, tie_word_embeddings=True))
    whole.requires_grad_(False)
    add_lora(whole.model, LoraConfig(["[qv]_proj$", "down_proj$"], rank=3))
    for module in whole.modules():
        if isinstance(module, LoraLinear):
            nn.init.normal_(module.lora_b, std=0.1)
    ids = torch.randint(61, (3, 9))
    gate = torch.tensor([True, False, True])
    parts = copy.deepcopy(whole)
    mesh = init_device_mesh("cpu", (2,))
    shard(parts, mesh)
    found = {"whole": _found(whole, ids, gate), "parts": _found(parts, ids, gate)}
    torch.save(found, output)
    destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
