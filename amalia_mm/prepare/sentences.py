"""Which sentences of a text a synthetic voice can say, and in which split a text belongs.

It knows no files and no voices.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from amalia_mm.data.schema import Split
from amalia_mm.portuguese.normalise import spoken_form

MIN_WORDS, MAX_WORDS = 2, 15
"""Shorter is no sentence; longer takes more than ten seconds to say."""
MAX_BYTES = 1150
"""Of a document: a tokenizer with byte fallback makes no more tokens of it, and the smallest recipe takes 1,200."""

_TEST_SHARE, _VAL_SHARE = 10, 5  # of 100
_WRAPPED_LINE = 60  # characters: a longer line without a final mark goes on in the next one
_END = re.compile(r"(?:[.!?…]+[»”\"')\]]*)(?=\s+[«“\"'(\[—–-]*\s*[^\W_a-zà-ÿ])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(«\"“])(?:[A-ZÀ-Ý]|[Ss]r|[Ss]ra|[Dd]r|[Dd]ra|[Pp]rof|[Ee]ng|[Aa]rq|[Aa]v|[Aa]rt|[Nn]|[Pp]ág|St|Exmo|Exma)"
    r"\.[ºª]?$"
)
_UNSPOKEN_MARKS = re.compile(r"[\s,;:.!?…«»“”\"'’‘()—–-]")
_SENTENCE_CUT, _WORD_CUT = re.compile(r"(?<=\n)|(?<=[.!?…] )"), re.compile(r"(?<=\s)")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzáàâãçéêíóôõúü")


def split_of(text: str) -> Split:
    """Return the split of a text: about 10 % test, 5 % val, the rest train.

    It follows from the words alone, so equal texts, however they are written, never stand on both sides.
    """
    digest = hashlib.sha256(spoken_form(text).encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 100
    if place < _TEST_SHARE:
        return "test"
    return "val" if place < _TEST_SHARE + _VAL_SHARE else "train"


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, in order, without the space around them.

    A sentence ends at `.`, `!`, `?` or `…` before a capital or a digit (abbreviations such as "Sr." apart),
    and at the end of a line, unless the line is long and has no final mark: such a line was wrapped.
    """
    lines: list[str] = []
    is_wrapped = False
    for line in (line.strip() for line in text.split("\n")):
        if is_wrapped and line:
            lines[-1] += f" {line}"
        else:
            lines.append(line)
        is_wrapped = len(line) >= _WRAPPED_LINE and line[-1] not in '.!?…:;»”")'
    return [sentence for line in lines for sentence in _split_line(line)]


def _split_line(line: str) -> Iterable[str]:
    start = 0
    for match in _END.finditer(line):
        if match[0] == "." and _ABBREVIATION.search(line[start : match.end()]):
            continue
        yield line[start : match.end()].strip()
        start = match.end()
    if line[start:].strip():
        yield line[start:].strip()


def document_pieces(text: str, max_bytes: int = MAX_BYTES) -> list[str]:
    """Return a text in pieces of at most `max_bytes` of UTF-8: all of it, cut at ends of lines and of sentences.

    A sentence that is longer than that is cut between words, and such a word wherever it must be.
    """
    if _num_bytes(text) <= max_bytes:
        return [text]
    pieces, room = [""], max_bytes
    for bit in _bits(text, max_bytes):
        if _num_bytes(bit) > room:
            pieces.append("")
            room = max_bytes
        pieces[-1] += bit
        room -= _num_bytes(bit)
    return [piece.strip() for piece in pieces if piece.strip()]


def _bits(text: str, max_bytes: int) -> Iterator[str]:
    """Yield sentences, or where one is longer than that words, or where one of these is, its characters."""
    for sentence in _SENTENCE_CUT.split(text):
        if _num_bytes(sentence) <= max_bytes:
            yield sentence
            continue
        for word in _WORD_CUT.split(sentence):
            yield from [word] if _num_bytes(word) <= max_bytes else word


def _num_bytes(text: str) -> int:
    return len(text.encode())


def why_unspoken(sentence: str) -> str | None:
    """Return why a synthetic voice does not say this sentence, None where it does."""
    num_words = len(spoken_form(sentence).split())
    if num_words < MIN_WORDS:
        return f"fewer than {MIN_WORDS} words"
    if num_words > MAX_WORDS:
        return f"more than {MAX_WORDS} words"
    letters = _UNSPOKEN_MARKS.sub("", sentence)
    if any(char.isdigit() for char in letters):
        return "digits"
    if not set(spoken_form(letters)) <= _LETTERS:
        return "symbols or letters that are not Portuguese"
    return None


def speakable(texts: Iterable[str]) -> tuple[dict[str, str], Counter[str]]:
    """Return the sentences that can be said, by their spoken form, and the others counted by reason."""
    spoken: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for text in texts:
        for sentence in split_sentences(text):
            reason = why_unspoken(sentence)
            form = spoken_form(sentence)
            if reason is None and form in spoken:
                reason = "repeated"
            if reason is None:
                spoken[form] = sentence
            else:
                left_out[reason] += 1
    return spoken, left_out
