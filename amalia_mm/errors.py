"""The one error a user is meant to read: where, which field, what was found, what was wanted, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Bad input from outside the program (a file, a record, an option), told in one line.

    The command line prints `str(error)` without a traceback and exits with 2; inside the library it is a
    `ValueError` like any other.

    Args:
        where: The file, record or option that is wrong.
        field: The field inside it, or "" where the whole is meant.
        found: What was there. Long values are shortened when printed.
        wanted: What should have been there.
        remedy: What the user can do about it.
    """

    def __init__(
        self, where: str | Path, *, field: str = "", found: object, wanted: str, remedy: str
    ) -> None:
        self.where = str(where)
        self.field = field
        self.found = found
        self.wanted = wanted
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        found = " ".join(str(self.found).split())
        found = found if len(found) <= 200 else f"{found[:197]}..."
        place = f"{self.where}: {self.field}" if self.field else self.where
        return f"{place}: found {found}; wanted {self.wanted}; {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and data workers send errors by pickle.
        return (_rebuild, (self.where, self.field, str(self.found), self.wanted, self.remedy))


def _rebuild(where: str, field: str, found: str, wanted: str, remedy: str) -> InputError:
    return InputError(where, field=field, found=found, wanted=wanted, remedy=remedy)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Let a full disk, or a folder that must not be written, be told as an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            error.filename or folder,
            found=error.strerror or str(error),
            wanted="a folder with room and the right to write",
            remedy="free some space or choose another folder, and run the same again",
        ) from error
