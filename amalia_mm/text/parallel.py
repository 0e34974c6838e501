"""The decoder over several devices: each holds a part of every weight and gathers one block at a time (FSDP2)."""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from amalia_mm.text.decoder import Decoder

METHODS = ("hidden", "logits", "at_output", "embed_expected", "embed")
"""What is called from outside beside `forward`: each gathers what it needs first."""


def shard(decoder: Decoder, mesh: DeviceMesh, compute_dtype: torch.dtype | None = None) -> None:
    """Lay the decoder out over a mesh, in place: every block for itself, embeddings, last norm and head together.

    Its parameters become DTensors of which a rank holds its part. A large decoder is never whole on any rank:

        with torch.device("meta"):
            decoder = Decoder(config)
        shard(decoder, mesh)
        decoder.to_empty(device="cuda")
        load_hf_into(decoder, folder)

    Gradients are averaged over the ranks (Zhao et al. 2023, arXiv 2304.11277). Freeze and add low-rank changes
    before. The head's weight is used through `logits` and `at_output`, never taken from outside.

    Args:
        decoder: On any device, meta included.
        mesh: One dimension: the ranks that share the weights; two: replicas of such groups.
        compute_dtype: What blocks are gathered and computed in, with gradients summed in float32; None: in the
            decoder's own type.
    """
    reduce_dtype = torch.float32 if compute_dtype is not None else None
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=reduce_dtype)
    for block in decoder.model.layers:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(decoder, mesh=mesh, mp_policy=policy)
    for name in METHODS:
        register_fsdp_forward_method(decoder, name)
