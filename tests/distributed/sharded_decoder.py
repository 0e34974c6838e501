"""A child process of test_sharded.py: one of two ranks, with its part of a decoder loaded from each folder.

python sharded_decoder.py RANK STORE FOLDER ...
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from amalia_mm import safetensors_files
from amalia_mm.errors import InputError
from amalia_mm.run import warm_start
from amalia_mm.text.checkpoint import load_hf_into
from amalia_mm.text.decoder import Decoder
from amalia_mm.text.hf_config import read_decoder_config
from amalia_mm.text.parallel import shard


def _full(value: Tensor | None) -> Tensor:
    assert isinstance(value, DTensor)
    return value.full_tensor()


class Recorded:
    """A safetensors file that counts the values it was asked for."""

    num_values = 0

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> Recorded:
        self.file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def keys(self) -> list[str]:
        """Return the names."""
        return self.file.keys()

    def get_tensor(self, name: str) -> Tensor:
        """Return a whole tensor."""
        return self._counted(self.file.get_tensor(name))

    def get_slice(self, name: str) -> Any:
        """Return what has the shape of a tensor, and its values when it is asked for a part."""
        slices = self.file.get_slice(name)

        class Slice:
            get_shape, get_dtype = slices.get_shape, slices.get_dtype

            def __getitem__(_, part: tuple[slice, ...]) -> Tensor:  # noqa: N805
                return self._counted(slices[part])

        return Slice()

    def _counted(self, value: Tensor) -> Tensor:
        Recorded.num_values += value.numel()
        return value


def loaded(folder: Path, mesh: DeviceMesh) -> dict[str, object]:
    """Return this rank's parts, and what the whole decoder makes of given ids."""
    config = read_decoder_config(folder)
    with torch.device("meta"):
        decoder = Decoder(config)
    shard(decoder, mesh)
    decoder.to_empty(device="cpu")
    Recorded.num_values = 0
    load_hf_into(decoder, folder)
    ids = torch.load(folder / "ids.pt", weights_only=True)
    found: dict[str, object] = {
        "num_values": Recorded.num_values,
        "parts": {name: value.to_local() for name, value in decoder.named_parameters()},
        "logits": decoder(ids).detach(),
    }
    mixed = decoder.embed_expected(ids.unsqueeze(-1), torch.ones(*ids.shape, 1))
    found["mixed"] = mixed.detach()
    decoder.logits(decoder.hidden(mixed)).square().mean().backward()
    found["gradients"] = {name: _full(value.grad) for name, value in decoder.named_parameters()}
    half = Decoder(replace(config, dtype="bfloat16", rope_theta=1e6))
    shard(half, mesh)
    try:
        load_hf_into(half, folder, changed=["dtype"])
    except InputError as error:
        found["refused"] = str(error)
    load_hf_into(half, folder, changed=["dtype", "rope_theta"])
    part = nn.ModuleDict({"decoder": Decoder(config)})
    shard(part["decoder"], mesh)  # type: ignore[arg-type]
    warm_start(part, {str(folder / "ours"): ["decoder"]})
    found["started"] = _full(part.get_parameter("decoder.model.embed_tokens.weight")).detach()
    return found | {"half": _full(half.model.embed_tokens.weight).detach()}


def main(rank: int, store: Path, folders: list[Path]) -> None:
    """Write what was found in each folder beside its files."""
    init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    safetensors_files.safe_open = lambda *args, **options: Recorded(safe_open(*args, **options))  # type: ignore[assignment]
    for folder in folders:
        torch.save(loaded(folder, mesh), folder / f"{rank}.pt")
    destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), [Path(folder) for folder in sys.argv[3:]])
