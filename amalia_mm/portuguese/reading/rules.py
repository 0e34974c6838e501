"""A reading rule, and what it may look at around the place where it applies.

A rule is a pattern and what is said for it. It sees the text around a match through a window of fixed width, so that
reading takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from amalia_mm.portuguese.numbers import cardinal
from amalia_mm.portuguese.reading.gender import is_feminine

LETTER = "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ"
"""What stands between brackets for any letter of the Latin script; ª and º are signs here."""

_WINDOW = 60
_WORD = re.compile(rf"[{LETTER}]+(?:['’-][{LETTER}]+)*")
_BEFORE = re.compile(rf"([{LETTER}\d.ºª'’-]+)[ («“\"]*$")


class Rule(NamedTuple):
    """What is said where a pattern matches; `say` returns None where the rule does not apply after all."""

    pattern: re.Pattern[str]
    say: Callable[[re.Match[str]], str | None]


def left_of(found: re.Match[str]) -> str:
    """Return the text before a match, as far as a rule may see."""
    return found.string[max(0, found.start() - _WINDOW) : found.start()]


def right_of(found: re.Match[str]) -> str:
    """Return the text after a match, as far as a rule may see."""
    return found.string[found.end() : found.end() + _WINDOW]


def word_before(found: re.Match[str]) -> str:
    """Return the word, with its case and signs, that stands right before a match, or ""."""
    before = _BEFORE.search(left_of(found))
    return before[1] if before else ""


def words_before(found: re.Match[str], num: int) -> list[str]:
    """Return up to `num` words before a match, in lower case; none are seen beyond the end of a sentence."""
    return [word.lower() for word in _WORD.findall(re.split(r"[.!?…]\s", left_of(found))[-1])[-num:]]


def word_after(found: re.Match[str]) -> str:
    """Return the word, with its case, that stands right after a match and a space, or ""."""
    after = re.match(rf" ({_WORD.pattern})", right_of(found))
    return after[1] if after else ""


def count_of(number: int, noun: str) -> str:
    """Return how many there are of a noun with a regular plural: "uma hora", "dois minutos"."""
    return f"{cardinal(number, is_feminine(noun))} {noun if number == 1 else noun + 's'}"


def any_of(spellings: list[str]) -> str:
    """Return a pattern that matches the longest of the spellings that stands at a place."""
    return "|".join(re.escape(each) for each in sorted(spellings, key=len, reverse=True))
