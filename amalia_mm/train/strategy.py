"""FSDP2 through Lightning: parameters, gradients and optimiser states in slices over all processes.

The checkpoint is a folder with one file a process, and holds trained parameters only, as everywhere else.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from amalia_mm.errors import InputError

METADATA = "meta.pt"
"""What of a checkpoint is neither weights nor optimiser state; Lightning's name for it."""
_WRITING = ".writing"


class Sharded(ModelParallelStrategy):
    """Splits what `configure_model` shards over all processes; each process learns from batches of its own.

    Args:
        process_group_backend: nccl or gloo; None: what the device is used with.
    """

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(
            data_parallel_size=1,
            tensor_parallel_size=1,
            save_distributed_checkpoint=True,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        """Make the mesh: every process has another slice and other batches."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Move what is there to its place, after a look whether all of it can be trained.

        Raises:
            InputError: A parameter that is to be trained is not sharded: its gradients would stay each rank's own.
        """
        assert self.model is not None
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not isinstance(parameter, DTensor):
                module = type(self.lightning_module).__name__
                wanted, remedy = "a module that shards all its parameters, such as Language", "use ddp"
                found = f"{module}, whose {name} every process holds whole"
                raise InputError("trainer", field="strategy", found=found, wanted=wanted, remedy=remedy)
        super().setup(trainer)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return this process's slices of the trained parameters."""
        assert self.model is not None
        options = StateDictOptions(cpu_offload=True, ignore_frozen_params=True)
        return get_model_state_dict(self.model, options=options)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint folder; a run that is killed meanwhile still has the one before."""
        path = Path(self.broadcast(str(filepath)))
        fresh = path.with_name(path.name + _WRITING)
        if self.is_global_zero:
            shutil.rmtree(fresh, ignore_errors=True)
        self.barrier()
        super().save_checkpoint(checkpoint, fresh, storage_options)
        self.barrier()
        if self.is_global_zero:
            old = path.with_name(path.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            if path.exists():
                path.replace(old)
            fresh.replace(path)
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        self.barrier()

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load every process's slices of weights and optimiser states, and return the rest.

        Raises:
            InputError: The checkpoint was not written by a run with sharded weights.
        """
        path = Path(self.broadcast(str(checkpoint_path)))
        if not (path / METADATA).is_file():
            found, wanted = (
                f"{path}, the checkpoint of a run without shards",
                "a folder that a sharded run wrote",
            )
            remedy = "go on with the trainer it was begun with, or give its model folder as init_from"
            raise InputError("--ckpt_path", found=found, wanted=wanted, remedy=remedy)
        assert self.model is not None
        options = StateDictOptions(ignore_frozen_params=True, strict=False)
        weights = {"state_dict": get_model_state_dict(self.model, options=options)}
        _load(weights, path)
        set_model_state_dict(self.model, weights["state_dict"], options=options)
        for number, optimizer in enumerate(self.optimizers):
            state = {f"optimizer_{number}": get_optimizer_state_dict(self.model, optimizer)}
            _load(state, path)
            set_optimizer_state_dict(self.model, optimizer, optim_state_dict=state[f"optimizer_{number}"])
        return torch.load(path / METADATA, map_location="cpu", weights_only=True)


def _load(state: dict[str, Any], path: Path) -> None:
    """Fill a state with what is in a checkpoint; `InputError` where that is of another model, or damaged."""
    try:
        state_dict_loader.load(state, checkpoint_id=path)
    except CheckpointException as error:
        reason, _ = next(iter(error.failures.values()))
        remedy = "give the recipe that it comes from, or another checkpoint"
        raise InputError(path, found=reason, wanted="a checkpoint of this model", remedy=remedy) from error


def whole_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """Return the parameters of a model whose weights are sharded, put together on the CPU of the first rank.

    Every rank must call it; the others get nothing. None where nothing is sharded.
    """
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return None
    found = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}
