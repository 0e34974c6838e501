"""Every failure that a user can mend is one line that says what to do."""

import errno
import os

import pytest
from safetensors import SafetensorError

from amalia_mm.errors import InputError
from amalia_mm.failures import EXTRA_OF, explain


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            InputError("a.wav", found="0 samples", wanted="audio", remedy="record again"),
            "a.wav: found 0 samples",
        ),
        (ModuleNotFoundError("No module named 'gradio'", name="gradio.blocks"), "amalia-mm[demo]"),
        (ModuleNotFoundError("No module named 'soxr'", name="soxr"), "pip install amalia-mm`"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x/last.ckpt"),
            "runs/x/last.ckpt: found a full disk",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "b.txt"), "b.txt: found no such file"),
        (PermissionError(errno.EACCES, "Permission denied", "c"), "c: found no permission"),
        (
            RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: file write failed"),
            "disk is full",
        ),
        (SafetensorError('IoError(Os { code: 28, kind: StorageFull, message: "No space" })'), "disk is full"),
        (FileNotFoundError("Checkpoint file not found: a.ckpt"), "a.ckpt"),
        (MemoryError(), "too little memory"),
        (
            ValueError("loaded state dict has a different number of parameter groups"),
            "a checkpoint of this model",
        ),
    ],
)
def test_one_line_with_a_remedy(error, says):
    line = explain(error)
    assert says in line
    assert "\n" not in line


def test_what_a_library_raises_for_our_error_is_ours():
    """jsonargparse wraps what a constructor says in lines about unions and subtypes."""
    own = InputError("decoder", field="hidden_size", found=0, wanted="at least 1", remedy="correct it")
    wrapped = ValueError("Does not validate against any of the Union subtypes")
    wrapped.__cause__ = ValueError("again")
    wrapped.__cause__.__cause__ = own
    assert explain(wrapped) == str(own)


def test_a_bug_is_not_explained_away():
    assert explain(ValueError("3 placeholders, 4 audio tokens")) is None
    assert explain(ModuleNotFoundError("No module named 'amalia_mm.gone'", name="amalia_mm.gone")) is None


def test_the_table_of_extras_names_extras_that_exist(root):
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRA_OF.values()) <= set(project["optional-dependencies"])
