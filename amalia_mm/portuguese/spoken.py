"""Written text as a European Portuguese reader says it: words and punctuation, nothing else.

`spoken("D. Afonso I, 1.º rei, morreu em 1185.")` is "Dom Afonso Primeiro, primeiro rei, morreu em mil cento e oitenta
e cinco." The rules stand in the files beside this one, the most particular first; here they are tried, place by place
from left to right, so that reading takes time in proportion to the text. Text that is words already comes back as it
is, but for its spaces and dashes; a word in capitals becomes small.

What no rule reads (emoji, other scripts) is left out and told.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from amalia_mm.errors import InputError
from amalia_mm.portuguese.reading import (
    abbreviations,
    addresses,
    clock,
    codes,
    dates,
    fractions,
    messages,
    money,
    quantities,
    roman,
    spelled,
    symbols,
)
from amalia_mm.portuguese.reading.cleaning import PUNCTUATION, cleaned, tidied
from amalia_mm.portuguese.reading.rules import LETTER, Rule
from amalia_mm.portuguese.tables import words_of

_AT_DIGITS: tuple[Rule, ...] = (
    *dates.RULES,
    *(*codes.RULES[:1], *clock.RULES, *money.RULES, *codes.RULES[1:]),
    *quantities.RULES,
)
_AT_LETTERS: tuple[Rule, ...] = (
    *(codes.IBAN, money.SIGN_FIRST, dates.WEEK, *messages.RULES),
    *(*addresses.RULES, *abbreviations.RULES),
    *(*roman.RULES, quantities.UNIT_ALONE, *spelled.RULES),
)
_AT_SIGNS: tuple[Rule, ...] = (
    messages.OTHER_GENDER,
    *(codes.COUNTRY_CODE, money.SIGN_FIRST, quantities.SIGN, *fractions.ALONE),
    *(quantities.UNIT_ALONE, *symbols.RULES),
)
_PLAIN = re.compile(r"[A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]{2,}(?=[ ,;!?»”]|$)|[aeoàéó](?= [a-zß-öø-ÿ])| +")
_NOT_PLAIN = words_of("vs Vs etc Etc séc Séc km kg cm mm dto Dto esq Esq") | messages.SHORT
_WORD = re.compile(rf"[{LETTER}]+(?:['’-][a-zß-öø-ÿ][{LETTER}]*)*")
_OTHER_WORD = re.compile(r"[^\W\d_]+")
_KEPT = frozenset(PUNCTUATION + "'’-–—")
_NEEDS_NO_SPACE = frozenset(" '’-(«“\"")
_MOST_PASSES = 6
"""What is read may give its neighbour a reading ("Sr.1" is no title, "Sr. um" is), so text is read until it stays."""

_LATIN = re.compile(f"[{LETTER}]")


@dataclass(frozen=True)
class Reading:
    """A text as it is read, and how often each sign without a reading was left out of it."""

    text: str
    left_out: Mapping[str, int]

    @property
    def told(self) -> str:
        """What was left out, in a line for a person; empty where nothing was."""
        signs = ", ".join(f"{sign} ({count})" for sign, count in self.left_out.items())
        return f"left out, without a reading: {signs}" if signs else ""


def spoken(text: str) -> str:
    """Return written text as words and punctuation, as a Portuguese person reads it; a warning tells what is left out.

    Raises:
        InputError: Nothing in the text can be read, or there is markup in it.
    """
    found = reading(text)
    if found.told:
        warnings.warn(found.told, stacklevel=2)
    return found.text


def reading(text: str) -> Reading:
    """Return the text as it is read, with a count of what was left out; as `spoken`, without a warning."""
    left_out: list[str] = []
    read, before = _read_once(cleaned(text, left_out), left_out), ""
    for _ in range(_MOST_PASSES):
        if read == before:
            break
        read, before = _read_once(read, left_out), read
    if not _LATIN.search(read):
        found = "an empty text" if not text.strip() else f"nothing that can be said in {text.strip()[:100]}"
        raise InputError(
            "text", found=found, wanted="words, numbers or signs that have a reading", remedy="write a word"
        )
    return Reading(read, Counter(left_out))


def _read_once(text: str, left_out: list[str]) -> str:
    return tidied("".join(_pieces(text, left_out)))


def _pieces(text: str, left_out: list[str]) -> Iterator[str]:
    """Yield what is said for each piece of the text, from left to right."""
    place = 0
    while place < len(text):
        plain = _PLAIN.match(text, place)
        if plain and plain[0] not in _NOT_PLAIN:
            yield plain[0]
            place = plain.end()
            continue
        said, end = _said_at(text, place)
        if said is not None:
            before, after = text[place - 1 : place], text[end : end + 1]
            yield f"{'' if before in _NEEDS_NO_SPACE else ' '}{said}{' ' if after not in _KEPT else ''}"
        else:
            kept, end = _kept_at(text, place, left_out)
            yield kept
        place = end


def _said_at(text: str, place: int) -> tuple[str | None, int]:
    """Return what the first rule that applies says, and where its match ends; None where none applies."""
    char = text[place]
    rules = _AT_DIGITS if char.isdecimal() else _AT_LETTERS if _LATIN.match(char) else _AT_SIGNS
    for rule in rules:
        found = rule.pattern.match(text, place)
        if found and found.end() > place:
            said = rule.say(found)
            if said is not None:
                return said, found.end()
    return None, place


def _kept_at(text: str, place: int, left_out: list[str]) -> tuple[str, int]:
    """Return a word or mark as it is, or a space for what is left out; and where it ends."""
    word = _WORD.match(text, place)
    if word:
        return word[0], word.end()
    char = text[place]
    if char in "-'’" and (text[place - 1 : place].isdecimal() or text[place + 1 : place + 2].isdecimal()):
        return " ", place + 1  # Expo-98, Expo'98, 4-em-linha
    if char in _KEPT or char == " ":
        return char, place + 1
    other = _OTHER_WORD.match(text, place)
    sign = other[0] if other else char
    left_out.append(sign)
    return " ", place + len(sign)
