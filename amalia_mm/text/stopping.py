"""Text that ends where a given string begins, however the string falls into tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import TextStream, Tokenizer


class StoppedStream:
    """Text out of tokens that arrive one by one, up to the first of some strings, which does not come out itself.

    Whole characters only, as `TextStream` gives them; the beginning of a stop string is held back until it is clear
    whether it is one.

    Args:
        tokenizer: Of the ids.
        stop_strings: None of them empty; there may be none.
    """

    def __init__(self, tokenizer: Tokenizer, stop_strings: Sequence[str] = ()) -> None:
        if not all(stop_strings):
            wanted, remedy = "strings of one character or more", "leave it out"
            raise InputError("stop_strings", found="an empty string", wanted=wanted, remedy=remedy)
        self._stream = TextStream(tokenizer)
        self._stop_strings = tuple(stop_strings)
        self._held = ""
        self.is_stopped = False
        """Whether one of the strings has come; nothing comes out any more."""

    def push(self, ids: Iterable[int]) -> str:
        """Take more ids and return the text that is now certain."""
        return self._release(self._stream.push(ids), is_last=False)

    def flush(self) -> str:
        """Return what was held back: no more ids come."""
        return self._release(self._stream.flush(), is_last=True)

    def _release(self, text: str, is_last: bool) -> str:
        if self.is_stopped:
            return ""
        text, self._held = self._held + text, ""
        starts = [start for stop in self._stop_strings if (start := text.find(stop)) >= 0]
        if starts:
            self.is_stopped = True
            return text[: min(starts)]
        if is_last:
            return text
        num_held = max((_overlap(text, stop) for stop in self._stop_strings), default=0)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text are the beginning of a string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
