"""The sounds of a text as Lisbon says them: what the voice models are given.

`utterance` reads a whole text, with what words do to each other: homographs by their neighbours, the coda s, breaks;
`word_ipa` reads one word. Numbers and abbreviations become words in `spoken.py`, and how a word sounds alone is told
by `pronunciation.py`.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from amalia_mm.errors import InputError
from amalia_mm.portuguese import foreign
from amalia_mm.portuguese.homographs import is_homograph, reading
from amalia_mm.portuguese.phonemes import BREAKS, Phone, ipa, sampa
from amalia_mm.portuguese.pronunciation import CLITICS, pronounced, spelt_sounds
from amalia_mm.portuguese.sounds import VOICED_LETTERS, VOWEL_LETTERS, phones, without_stress
from amalia_mm.portuguese.spoken import read_out

_log = logging.getLogger(__name__)

_FUTURE_ENDINGS = frozenset("ei ás á emos eis ão ia ias íamos íeis iam".split())
_TOKEN = re.compile(
    r"(?P<word>[^\W\d_]+(?:['’‘ʼ-][^\W\d_]+)*)|(?P<number>\d+(?:[.,]\d+)*)|(?P<break>[.,;:!?…()–—\n]+| -+ )|(?P<other>\S)"
)
_APOSTROPHES = str.maketrans("", "", "'’‘ʼ")
_UNSAID = frozenset("\"'«»“”„‘’`´[]{}*_-¿¡/\\|~^<>=+")
_SHOUTED_WORDS = 3
_SHOUTED_SHARE = 0.8


@dataclass(frozen=True)
class _Word:
    """One written word of a text, or a break."""

    text: str
    is_break: bool = False


def utterance(text: str) -> tuple[Phone, ...]:
    """Return the sounds of a text, breaks among them; the last phone is always a break.

    Commas, colons, brackets and dashes are ","; full stops and ends of lines "."; of several marks in a row the
    strongest stays. A character that cannot be read is left out with a warning that counts it.

    Raises:
        InputError: The text has nothing that can be said.
    """
    words = _tokens(unicodedata.normalize("NFC", text))
    if all(word.is_break for word in words):
        raise InputError(
            "the text",
            found=repr(text[:60]),
            wanted="something that can be said: at least one letter or digit",
            remedy="write it in words",
        )
    found: list[str] = []
    is_start: list[bool] = []
    for i, word in enumerate(words):
        if word.is_break:
            found.append(word.text)
            is_start.append(False)
            continue
        for starts, letters in _parts(words, i):
            found.append(letters)
            is_start.append(starts)
    return tuple(_joined(found, is_start))


def word_ipa(word: str, pos: str | None = None) -> str:
    """Return the IPA of one word: "casa" is ˈkazɐ. Of a phrase, each word's with sandhi, without breaks.

    Args:
        word: In any case; letters that are no Portuguese word are named, as acronyms are.
        pos: "V" for the verb of a pair like "jogo", another part of speech for the noun; None for the likelier.

    Raises:
        InputError: There is nothing that can be said.
    """
    lower = word.lower()
    if pos is not None and is_homograph(lower):
        return ipa(phones(spelt_sounds(reading(lower, pos=pos))))
    return ipa([phone for phone in utterance(word) if phone.symbol not in BREAKS])


def word_sampa(word: str, pos: str | None = None) -> str:
    """Return the SAMPA of one word, as `word_ipa` does its IPA."""
    lower = word.lower()
    if pos is not None and is_homograph(lower):
        return sampa(phones(spelt_sounds(reading(lower, pos=pos))))
    return sampa([phone for phone in utterance(word) if phone.symbol not in BREAKS])


def _tokens(text: str) -> list[_Word]:
    words: list[_Word] = []
    unread: Counter[str] = Counter()
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "word":
            readable = foreign.plain_letters(match[0].lower().translate(_APOSTROPHES).replace("-", ""))
            strange = [letter for letter in readable if letter not in foreign.ALPHABET]
            if strange:
                unread.update(strange)
            if len(strange) < len(readable):
                words.append(_Word(match[0]))
        elif kind == "number":
            words.extend(_Word(word) for word in read_out(match[0]).split())
        elif kind == "break":
            mark = _strongest(match[0])
            if words and words[-1].is_break:
                mark = _strongest(words.pop().text + mark)
            if words:
                words.append(_Word(mark, is_break=True))
        elif match[0] not in _UNSAID:
            unread[match[0]] += 1
    if unread:
        _log.warning(
            "%d characters are not read: %s", sum(unread.values()), " ".join(map(repr, sorted(unread)))
        )
    if words and not words[-1].is_break:
        words.append(_Word(".", is_break=True))
    return words if not _is_shouted(words) else [replace(word, text=word.text.lower()) for word in words]


def _strongest(marks: str) -> str:
    for mark in "?!":
        if mark in marks:
            return mark
    return "." if any(mark in ".…\n" for mark in marks) else ","


def _is_shouted(words: Sequence[_Word]) -> bool:
    capitals = [word.text.isupper() for word in words if len(word.text) > 1 and not word.is_break]
    return sum(capitals) >= _SHOUTED_WORDS and sum(capitals) > _SHOUTED_SHARE * len(capitals)


def _parts(words: Sequence[_Word], i: int) -> Iterator[tuple[bool, str]]:
    """Yield the sounds of the i-th word, in pieces where it has a hyphen; whether each piece starts a word."""
    text = words[i].text.translate(_APOSTROPHES)
    before = None if i == 0 or words[i - 1].is_break else words[i - 1].text
    is_acronym = len(text) > 1 and text.isupper() and "-" not in text and not foreign.is_read_as_word(text)
    if is_acronym or (len(text) == 1 and text.isupper() and before is not None):
        yield from ((True, letters) for letters in _spelled(text.lower()))
        return
    after = None if words[i + 1].is_break else words[i + 1].text.lower()
    pieces = [_readable(piece) for piece in text.lower().split("-")]
    if len(pieces) == 1 and is_homograph(pieces[0]):
        yield True, spelt_sounds(reading(pieces[0], before and before.lower(), after))
        return
    is_split_future = len(pieces) == 3 and pieces[1] in CLITICS and pieces[2] in _FUTURE_ENDINGS
    for j, piece in enumerate(pieces):
        if not piece:
            continue
        if j and piece in CLITICS:
            yield False, pronounced(piece)
        elif is_split_future:
            yield j == 0, pronounced(piece) if j else without_stress(pronounced(piece))
        elif j == 0 and len(pieces) > 1 and pieces[1] in CLITICS and is_homograph(piece):
            yield True, spelt_sounds(reading(piece, pos="V"))
        elif _has_vowel(piece) and (len(piece) > 1 or piece in "aeoàéóáê"):
            yield True, pronounced(piece)
        else:
            yield from ((True, letters) for letters in _spelled(piece))


def _readable(piece: str) -> str:
    if foreign.ALPHABET.issuperset(piece):
        return piece
    return "".join(letter for letter in foreign.plain_letters(piece) if letter in foreign.ALPHABET)


def _has_vowel(piece: str) -> bool:
    return not foreign.VOWELS.isdisjoint(piece)


def _spelled(letters: str) -> Iterator[str]:
    for letter in letters:
        plain = foreign.plain_letters(letter)
        name = foreign.LETTERS.get(unicodedata.normalize("NFKD", plain)[:1])
        if name is not None:
            yield spelt_sounds(name)


def _joined(found: Sequence[str], is_start: Sequence[bool]) -> Iterator[Phone]:
    """Yield the phones of words and breaks, the last ʃ of each word made z or ʒ by what follows it."""
    for i, letters in enumerate(found):
        if letters in BREAKS:
            yield Phone(letters)
            continue
        if letters[-1] == "ʃ" and i + 1 < len(found):
            following = found[i + 1][0]
            if following in VOWEL_LETTERS:
                letters = f"{letters[:-1]}z"
            elif following in VOICED_LETTERS:
                letters = f"{letters[:-1]}ʒ"
        word = phones(letters)
        if not is_start[i]:
            word = (replace(word[0], word_start=False), *word[1:])
        yield from word
