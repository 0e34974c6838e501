"""The sounds of a text as Lisbon says them: what the voice models are given.

`utterance` reads a whole text, with what words do to each other: homographs by their neighbours, the coda s, breaks;
`word_ipa` reads one word. Numbers, abbreviations and acronyms become words in `spoken.py`, and how a word sounds alone
is told by `pronunciation.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from amalia_mm.errors import InputError
from amalia_mm.portuguese.phonology.foreign import in_our_letters, is_one_word
from amalia_mm.portuguese.phonology.homographs import Beside, is_homograph, reading
from amalia_mm.portuguese.phonology.phonemes import BREAKS, Phone, ipa, sampa
from amalia_mm.portuguese.phonology.pronunciation import (
    CLITICS,
    LETTER_NAMES,
    can_be_said,
    pronounced,
    spelt_sounds,
)
from amalia_mm.portuguese.phonology.sounds import VOICED_LETTERS, VOWEL_LETTERS, phones, without_stress
from amalia_mm.portuguese.reading.spelled import letter
from amalia_mm.portuguese.spoken import spoken

_FUTURE_ENDINGS = frozenset(["ei", "ás", "á", "emos", "eis", "ão", "ia", "ias", "íamos", "íeis", "iam"])
_TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|(?:[.,;:!?…()–—\n]|(?<![^\W_])-+)+")
_APOSTROPHES = str.maketrans("", "", "'’")


def utterance(text: str) -> tuple[Phone, ...]:
    """Return the sounds of a written text, breaks among them; the first is a sound and the last a break.

    Commas, semicolons, colons, brackets and dashes are ","; full stops, "…" and line ends "."; of several marks in a
    row the strongest stays. What has no reading is left out with a warning, by `spoken`.

    Raises:
        InputError: The text has nothing that can be said, or markup.
    """
    tokens = _tokens(spoken(text))
    found: list[str] = []
    is_start: list[bool] = []
    for i, token in enumerate(tokens):
        pieces = [(False, token)] if token in BREAKS else _pieces(tokens, i)
        for starts, letters in pieces:
            found.append(letters)
            is_start.append(starts)
    if all(letters in BREAKS for letters in found):
        raise InputError(
            "text", found=f"nothing that can be said in {text[:100]}", wanted="words", remedy="write a word"
        )
    return tuple(_joined(found, is_start))


def word_ipa(word: str, pos: str | None = None) -> str:
    """Return the IPA of one word: "casa" is ˈkazɐ. Of a phrase, that of its words as they sound together.

    Args:
        word: As it is written; an acronym or a number is said as `spoken` says it.
        pos: "V" for the verb of a pair like "jogo", another part of speech for the noun; None for the likelier.

    Raises:
        InputError: There is nothing that can be said.
    """
    return ipa(_phones_of(word, pos))


def word_sampa(word: str, pos: str | None = None) -> str:
    """Return the SAMPA of one word, as `word_ipa` does its IPA."""
    return sampa(_phones_of(word, pos))


def _phones_of(word: str, pos: str | None) -> tuple[Phone, ...]:
    if pos is not None and is_homograph(word.lower()):
        marks = reading(word.lower(), pos=pos)
        return phones(pronounced(marks) if marks == word.lower() else spelt_sounds(marks))
    return tuple(phone for phone in utterance(word) if phone.symbol not in BREAKS)


def _tokens(read: str) -> list[str]:
    """Return the words of a spoken text in small letters, and one break wherever there are marks between two."""
    tokens: list[str] = []
    for match in _TOKEN.finditer(read):
        token = match[0]
        if token[0].isalpha():
            tokens.append(token.lower().translate(_APOSTROPHES))
        elif tokens:
            before = tokens.pop() if tokens[-1] in BREAKS else ""
            tokens.append(_strongest(before + token))
    return tokens if tokens and tokens[-1] in BREAKS else [*tokens, "."]


def _strongest(marks: str) -> str:
    for mark in "?!":
        if mark in marks:
            return mark
    return "." if any(mark in ".…\n" for mark in marks) else ","


def _pieces(tokens: Sequence[str], i: int) -> Iterator[tuple[bool, str]]:
    """Yield the sounds of the i-th word, in pieces where it has hyphens; and whether a piece starts a word."""
    pieces = [in_our_letters(piece) for piece in tokens[i].split("-")]
    if len(pieces) == 1:
        word = pieces[0]
        if is_homograph(word):
            marks = reading(word, _beside(tokens, i))
            yield True, pronounced(word) if marks == word else spelt_sounds(marks)
        else:
            yield from _whole(word)
        return
    if all(piece in LETTER_NAMES for piece in pieces):
        yield from ((True, spelt_sounds(LETTER_NAMES[piece])) for piece in pieces)
        return
    if is_one_word(pieces):
        yield from _whole("".join(pieces))
        return
    is_split_future = len(pieces) == 3 and pieces[1] in CLITICS and pieces[2] in _FUTURE_ENDINGS
    for j, piece in enumerate(pieces):
        if j and piece in CLITICS:
            yield False, pronounced(piece)
        elif is_split_future:
            yield j == 0, pronounced(piece) if j else without_stress(pronounced(piece))
        elif j == 0 and pieces[1] in CLITICS and is_homograph(piece):
            yield True, spelt_sounds(reading(piece, pos="V"))
        else:
            yield from _whole(piece)


def _beside(tokens: Sequence[str], i: int) -> Beside:
    """Return the two words on either side of the i-th, as far as its phrase goes."""
    before, after = _word_at(tokens, i - 1), _word_at(tokens, i + 1)
    before_that = _word_at(tokens, i - 2) if before else None
    return Beside(before, after, before_that, _word_at(tokens, i + 2) if after else None)


def _word_at(tokens: Sequence[str], i: int) -> str | None:
    return tokens[i] if 0 <= i < len(tokens) and tokens[i] not in BREAKS else None


def _whole(word: str) -> Iterator[tuple[bool, str]]:
    if can_be_said(word):
        yield True, pronounced(word)
    else:
        for char in word:
            yield True, spelt_sounds(LETTER_NAMES[letter("c" if char == "ç" else char)])


def _joined(found: Sequence[str], is_start: Sequence[bool]) -> Iterator[Phone]:
    """Yield the phones of words and breaks; the last ʃ of a word is z before a vowel and ʒ before what is voiced."""
    for i, letters in enumerate(found):
        if letters in BREAKS:
            yield Phone(letters)
            continue
        if letters[-1] == "ʃ":
            following = found[i + 1][0]
            if following in VOWEL_LETTERS:
                letters = f"{letters[:-1]}z"
            elif following in VOICED_LETTERS:
                letters = f"{letters[:-1]}ʒ"
        word = phones(letters)
        yield word[0] if is_start[i] else replace(word[0], word_start=False)
        yield from word[1:]
