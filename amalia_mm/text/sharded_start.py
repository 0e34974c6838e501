"""A new decoder in slices: the random weights of one process, of which every rank keeps its own part."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from amalia_mm.lora import LoraConfig, LoraLinear, add_lora
from amalia_mm.safetensors_files import own_part
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.norm import RMSNorm
from amalia_mm.text.parallel import shard


def new_sharded(
    config: DecoderConfig, mesh: DeviceMesh, device: torch.device, lora: LoraConfig | None = None
) -> Decoder:
    """Return a decoder with the random weights that `Decoder(config)` would have, each rank holding its slices.

    No rank ever holds more than its slices and one parameter. The random numbers are those of one process that
    started from the same seed, so that a run does not depend on how many processes it has.

    Args:
        config: The sizes.
        mesh: The ranks, in one dimension.
        device: Where this rank's slices go.
        lora: Low-rank changes to the layers, drawn as those of one process; all else is frozen then.
    """
    with torch.device("meta"):
        decoder = Decoder(config)
        if lora is not None:
            decoder.requires_grad_(False)
            add_lora(decoder.model, lora)
    shard(decoder, mesh)
    decoder.to_empty(device=device)
    drawn = [module for module in decoder.modules() if isinstance(module, (nn.Linear, nn.Embedding))]
    for module in drawn:
        _draw_as_constructed(module)
    with torch.no_grad():
        for module in drawn:
            whole = torch.empty(module.weight.shape, dtype=module.weight.dtype)
            keep_own_part(nn.init.normal_(whole, std=config.initializer_range), module.weight)
        for module in decoder.modules():
            if isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)
            elif isinstance(module, LoraLinear):
                keep_own_part(module.draw_a(torch.empty(module.lora_a.shape)), module.lora_a)
                nn.init.zeros_(module.lora_b)
    return decoder


def without_lora(decoder: Decoder) -> Decoder:
    """Return a decoder that holds the same frozen parameters but for low-rank changes: what checkpoints know of it."""
    with torch.device("meta"):
        plain = Decoder(decoder.config).requires_grad_(False)  # what is assigned takes this over
    own = decoder.state_dict(keep_vars=True)
    plain.load_state_dict({name: own[name] for name in plain.state_dict()}, assign=True)
    return plain


@torch.no_grad()
def keep_own_part(whole: Tensor, parameter: Tensor) -> None:
    """Copy a whole tensor, the same on every rank, into this rank's slice of a sharded parameter."""
    own, part = own_part(parameter)
    own.copy_(whole[part])


def _draw_as_constructed(module: nn.Linear | nn.Embedding) -> None:
    """Use up the random numbers that torch draws for a layer before the decoder draws its own."""
    rows, width = module.weight.shape
    if isinstance(module, nn.Linear):
        nn.Linear(width, rows, bias=False, dtype=module.weight.dtype)
    else:
        nn.Embedding(rows, width, dtype=module.weight.dtype)
