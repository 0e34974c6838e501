"""What one person changes of an acoustic model, apart from it: small enough to lie in a voice pack, as safetensors.

Low-rank changes of linear maps, or whole weights in place of the model's own; the vector that says who speaks is none
of them. It knows tensors by name; not how they were learned, nor where they are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig, LoraLinear, add_lora, is_change, merge_lora
from amalia_mm.voice.acoustic import AcousticModel

_SCALE = "lora_scale"
_TABLE = "speakers.weight"
_WHERE = "adapters"
_WANTED = "those of this acoustic model"
_REMEDY = "give --model the run that the voice was enrolled with, or enrol it again"


def pack_adapters(
    base: Mapping[str, Tensor], own: Mapping[str, Tensor], lora: LoraConfig | None
) -> bytes | None:
    """Return what a person's acoustic model has otherwise than its base; None where that is nothing.

    Args:
        base: The weights of the base, by name.
        own: Those of the person, low-rank changes apart.
        lora: How these are scaled.
    """
    changed = {
        name: value.detach().cpu().contiguous()
        for name, value in own.items()
        if name != _TABLE and (name not in base or not torch.equal(value.cpu(), base[name].cpu()))
    }
    if not changed:
        return None
    if lora is not None:
        changed[_SCALE] = torch.tensor(lora.alpha / lora.rank, dtype=torch.float64)
    return safetensors.torch.save(changed)


def with_adapters(acoustic: AcousticModel, adapters: bytes) -> AcousticModel:
    """Return another acoustic model with a person's changes in it; the one that is given stays as it is.

    Raises:
        InputError: They are of a model of other parts or sizes, or no finite numbers.
    """
    try:
        changes = safetensors.torch.load(adapters)
    except safetensors.SafetensorError as error:
        raise InputError(_WHERE, found=error, wanted="safetensors", remedy=_REMEDY) from error
    scale = changes.pop(_SCALE, None)
    own = copy.deepcopy(acoustic)
    names = [name.removesuffix(".lora_a") for name in changes if name.endswith(".lora_a")]
    if names:
        _add(own, names, changes, 1.0 if scale is None else float(scale))
    weights = own.state_dict()
    for name, value in changes.items():
        shape = tuple(weights[name].shape) if name in weights else "no such parameter"
        if shape != tuple(value.shape) or not value.isfinite().all():
            found = f"{tuple(value.shape)} for {shape}" if shape != tuple(value.shape) else "not finite"
            raise InputError(_WHERE, field=name, found=found, wanted=_WANTED, remedy=_REMEDY)
    missing = [name for name in weights if is_change(name) and name not in changes]
    if missing:
        raise InputError(_WHERE, field=missing[0], found="nothing", wanted=_WANTED, remedy=_REMEDY)
    own.load_state_dict({**weights, **changes})
    merge_lora(own)
    return own.eval().requires_grad_(False)


def _add(own: AcousticModel, names: list[str], changes: Mapping[str, Tensor], scale: float) -> None:
    """Put low-rank maps in place of those that were changed."""
    rank = changes[f"{names[0]}.lora_a"].shape[0]
    own.requires_grad_(False)
    add_lora(own, LoraConfig([f"^{name.replace('.', '[.]')}$" for name in names], rank, scale * rank))
    for module in own.modules():
        if isinstance(module, LoraLinear):
            module.scale = scale
