"""The tensors of one or several safetensors files, read one at a time into memory that is already there.

Names, shapes and types stand in the headers: all is checked before the first value is read. Values are mapped from
the file and copied once, whole or only the slice that this rank holds, so that no second copy ever exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from amalia_mm.errors import InputError

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class _Place:
    """Where a tensor is."""

    path: Path
    file: Any
    shape: tuple[int, ...]
    kind: str


class SafetensorsFiles:
    """Open files, to be used in a `with` statement; a tensor that is in two of them raises `InputError`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self._stack = ExitStack()
        self._places: dict[str, _Place] = {}

    def __enter__(self) -> SafetensorsFiles:
        try:
            for path in self._paths:
                self._open(path)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places.clear()
        self._stack.close()

    def _open(self, path: Path) -> None:
        _refuse_pickle(path)
        try:
            file = self._stack.enter_context(safe_open(path, framework="pt"))
            for name in file.keys():  # noqa: SIM118 (the file is not a mapping)
                if name in self._places:
                    _fail(path, name, f"also in {self._places[name].path.name}", "each tensor once")
                described = file.get_slice(name)
                shape = tuple(described.get_shape())
                self._places[name] = _Place(path, file, shape, described.get_dtype())
        except OSError as error:
            # safetensors says "no such file" of one that it may not read.
            found = "no permission to read it" if path.exists() else "no such file"
            remedy = "change its permissions" if path.exists() else "copy the folder again, whole"
            raise InputError(path, found=found, wanted="safetensors", remedy=remedy) from error
        except SafetensorError as error:
            remedy = "copy the file again"
            raise InputError(path, found=error, wanted="a whole safetensors file", remedy=remedy) from error

    @property
    def names(self) -> set[str]:
        """The names of all tensors."""
        return set(self._places)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors by name."""
        return {name: place.shape for name, place in self._places.items()}

    def path_of(self, name: str) -> Path:
        """Return the file that a tensor is in."""
        return self._places[name].path

    def check(
        self,
        wanted: Mapping[str, tuple[int, ...]],
        allowed: Iterable[str],
        where: Path,
        part: str = "decoder",
        kind: str = "a Llama decoder",
    ) -> None:
        """Raise `InputError` for the first tensor that is unknown, missing, misshapen or no floating-point number.

        Args:
            wanted: Name -> shape of what must be there.
            allowed: Names of what may be there besides.
            where: What is named where a tensor is missing.
            part: What the tensors are of, for the message.
            kind: What that is more exactly.
        """
        for name in sorted(self.names - wanted.keys() - set(allowed)):
            found = f"a tensor without a place in the {part}"
            _fail(self.path_of(name), name, found, f"{kind}'s tensors")
        missing = sorted(wanted.keys() - self.names)
        if missing:
            _fail(where, missing[0], f"{len(missing)} tensors missing", f"every tensor of the {part}")
        for name, shape in wanted.items():
            found = self._places[name]
            if found.shape != shape:
                _fail(found.path, name, found.shape, f"{shape}, as the configuration says")
            if found.kind not in _FLOATS:
                _fail(found.path, name, f"numbers of type {found.kind}", "one of " + ", ".join(_FLOATS))

    @torch.no_grad()
    def copy_into(self, name: str, target: Tensor) -> None:
        """Copy a tensor into one of the same shape, in the target's type; of a sharded one, this rank's part only."""
        place = self._places[name]
        if not hasattr(target, "device_mesh"):
            target.copy_(place.file.get_tensor(name))
            return
        own, part = own_part(target)
        if own.numel():
            own.copy_(place.file.get_slice(name)[part])

    def is_equal(self, name: str, other: str) -> bool:
        """Return whether two tensors have the same values."""
        first, second = self._places[name], self._places[other]
        return torch.equal(first.file.get_tensor(name), second.file.get_tensor(other))


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that the folder's index names, or the only one."""
    index = folder / INDEX_NAME
    if index.is_file():
        names = sorted(set(_weight_map(index).values()))
        if (folder / WEIGHTS_NAME).exists() and WEIGHTS_NAME not in names:
            # A checkpoint written over another one. transformers would read the one, we the other.
            raise InputError(
                folder,
                found=f"{WEIGHTS_NAME} and, in {INDEX_NAME}, {names[0]}",
                wanted="the weights once",
                remedy="remove what is not of this checkpoint",
            )
        return [folder / name for name in names]
    if not (folder / WEIGHTS_NAME).exists():
        for pattern in ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt"):
            for path in sorted(folder.glob(pattern)):
                fail_pickle(path)
        part = next(iter(sorted(folder.glob("model-*.safetensors"))), None)
        if part is not None:
            raise InputError(
                index,
                found=f"no such file, but {part.name}",
                wanted="the list of the parts",
                remedy="copy the folder again, whole",
            )
    return [folder / WEIGHTS_NAME]


def _weight_map(index: Path) -> dict[str, str]:
    """Return tensor name -> file name; names that lead out of the folder raise `InputError`."""
    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(index, found=error, wanted="JSON in UTF-8", remedy="copy the file again") from error
    found = content.get("weight_map") if isinstance(content, dict) else None
    if not (isinstance(found, dict) and found):
        remedy = "copy the folder again"
        raise InputError(index, field="weight_map", found=repr(found), wanted="a mapping", remedy=remedy)
    for name, file in found.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            remedy = "copy the folder again"
            raise InputError(index, field=name, found=repr(file), wanted="a .safetensors file", remedy=remedy)
    return found


def check_index(files: SafetensorsFiles, folder: Path) -> None:
    """Raise `InputError` for a tensor that the folder's index names and its file does not hold."""
    index = folder / INDEX_NAME
    for name, file in _weight_map(index).items() if index.is_file() else ():
        found = files.path_of(name).name if name in files.names else None
        if found != file:
            shown, remedy = f"it in {found}" if found else "it in no file", "copy the folder again, whole"
            raise InputError(index, field=name, found=shown, wanted=f"it in {file}", remedy=remedy)


def own_part(sharded: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
    """Return this rank's part of a sharded tensor, and where in the whole it is."""
    # Imported late: it takes seconds, and only training on several devices needs it.
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    assert isinstance(sharded, DTensor)
    shape, offset = compute_local_shape_and_global_offset(
        sharded.shape, sharded.device_mesh, sharded.placements
    )
    part = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
    return sharded.to_local(), part


def _refuse_pickle(path: Path) -> None:
    """Raise `InputError` for a file that runs code when it is read, whatever its name says."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return  # what may not be read is named where it is opened
    # After its size, a safetensors file goes on with JSON; zip archives of `torch.save` and plain pickles do not.
    if start[8:9] != b"{" and (start.startswith(b"PK\x03\x04") or start[:1] == b"\x80"):
        fail_pickle(path)


def fail_pickle(path: Path) -> NoReturn:
    """Raise the `InputError` for a pickle: it would run whatever its author wrote in it."""
    raise InputError(
        path,
        found="a pickle, which runs code when it is read",
        wanted="safetensors",
        remedy="ask for the weights as safetensors, or convert them where you trust them",
    )


def _fail(where: Path, name: str, found: object, wanted: str) -> NoReturn:
    raise InputError(
        where, field=name, found=found, wanted=wanted, remedy="check the folder or copy it again"
    )
