"""What went wrong, in one line: the command line's answer to an exception that a user can do something about.

It knows the ways in which files, packages and disks fail, and nothing of models.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence

from amalia_mm.errors import InputError

EXTRA_OF = {
    "lightning": "train",
    "jsonargparse": "train",
    "webdataset": "train",
    "tensorboard": "train",
    "torchmetrics": "train",
    "espeakng_loader": "train",
    "pyarrow": "corpora",
    "cryptography": "voice",
    "platformdirs": "voice",
    "perth": "voice",
    "c2pa": "voice",
    "gradio": "demo",
    "fastapi": "serve",
    "uvicorn": "serve",
    "multipart": "serve",
    "websockets": "serve",
    "datatrove": "archive",
    "trafilatura": "archive",
    "lxml_html_clean": "archive",
    "warcio": "archive",
    "whisper": "dev",
}
"""Module -> the extra of pyproject.toml that brings it."""

# Writers below Python lose the error number and leave only words of it.
_FULL_IN_OTHER_WORDS = (
    "No space left on device",
    "StorageFull",
    "PytorchStreamWriter failed",
    "file write failed",
)
_FREE_SPACE = "free some space and run the same command again: what is finished is kept"


_WRONG_SHAPE = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\) from checkpoint, "
    r"the shape in current model is torch\.Size\((.*?)\)"
)


def explain(error: BaseException, words: Sequence[str] = ()) -> str | None:
    """Return one line that says what is wrong and what to do, or None where it looks like a bug.

    Args:
        error: What was raised.
        words: The command line, for what the error does not say itself.
    """
    own = _input_error(error)
    if own is not None:
        return str(own)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("amalia_mm"):
        return _missing_module(error.name.split(".")[0])
    if isinstance(error, OSError):
        return _system_error(error)
    if "Error(s) in loading state_dict" in str(error) or "loaded state dict" in str(error):
        return _other_model(error, words)
    if any(words in str(error) for words in _FULL_IN_OTHER_WORDS):
        return f"the disk is full, or a file can no longer be written ({_first_line(error)}); {_FREE_SPACE}"
    if isinstance(error, MemoryError):
        return "found too little memory; make the batch or the file smaller, or close other programs"
    return None


def _input_error(error: BaseException | None) -> InputError | None:
    """Return what a user should read: the error, or the one for which a library raised its own."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def _missing_module(module: str) -> str:
    extra = EXTRA_OF.get(module)
    package = f"'amalia-mm[{extra}]'" if extra else "amalia-mm"
    return (
        f"found no module {module}; wanted it for this command; install it with "
        f"`pip install {package}` (in a checkout `make setup` installs everything)"
    )


def _system_error(error: OSError) -> str:
    where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where or 'the run folder'}: found a full disk; wanted room to write; {_FREE_SPACE}"
    reasons = {
        errno.ENOENT: ("no such file or folder", "check the path"),
        errno.EACCES: ("no permission", "change the file's permissions, or choose another place"),
        errno.EROFS: ("a read-only disk", "choose another place"),
        errno.EISDIR: ("a folder", "give a file"),
        errno.ENOTDIR: ("a file", "give a folder"),
    }
    # Libraries raise some of these without a number and a name.
    found, remedy = reasons.get(error.errno or 0, (_first_line(error), "check the path and the disk"))
    return f"{where}: found {found}; {remedy}" if where else f"found {found}; {remedy}"


def _other_model(error: BaseException, words: Sequence[str]) -> str:
    where = words[words.index("--ckpt_path") + 1] if "--ckpt_path" in words[:-1] else "the checkpoint"
    remedy = "give the recipe that it comes from, or another checkpoint"
    shape = _WRONG_SHAPE.search(" ".join(str(error).split()))
    if shape is not None:
        return str(InputError(where, field=shape[1], found=shape[2], wanted=shape[3], remedy=remedy))
    return str(InputError(where, found=_last_line(error), wanted="a checkpoint of this model", remedy=remedy))


def _last_line(error: BaseException) -> str:
    return [line.strip() for line in str(error).splitlines() if line.strip()][-1]


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :200
    ]
