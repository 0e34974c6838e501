"""The classes of a CTC head: the decoder's own tokens, or fewer of them, which are enough to write what is said.

A head over 128,000 tokens is larger than many encoders, and of its logits nearly all are of tokens that are never
heard: a spoken form is in lower case, without signs. It knows nothing of audio.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from amalia_mm.errors import InputError, writing
from amalia_mm.text.tokenizer import SPACE, Tokenizer, marked_entries

_UNKNOWN = "<unk>"
_WHERE = "ctc_vocabulary"


def byte_entry(byte: int) -> str:
    """Return how a single byte is written as an entry."""
    return f"<0x{byte:02X}>"


_BYTE_OF_ENTRY = {byte_entry(byte): byte for byte in range(256)}


@dataclass(frozen=True)
class CtcVocabulary:
    """Some tokens of a decoder, of which any spoken form can be written.

    A text is written with as few classes as it can be; each of its words begins with its space, the first one too.
    How its beginning is written does not depend on what follows, which a search over beginnings asks for.

    Args:
        tokens: What each class writes (`▁` is a space, `<0xC3>` a byte) -> the decoder's token. The order of the
            mapping says nothing: classes are numbered bytes first, then as their tokens are.
    """

    tokens: Mapping[str, int]

    def __post_init__(self) -> None:
        wrong = [entry for entry in self.tokens if SPACE in entry[1:] or not entry]
        if SPACE not in self.tokens or wrong:
            found = f"the entry {wrong[0]!r}" if wrong else f"no entry {SPACE}"
            wanted = f"{SPACE} alone, and elsewhere only at the start of an entry"
            raise _error(found, wanted)
        if len(set(self.tokens.values())) < len(self.tokens) or min(self.tokens.values()) < 0:
            found = f"{len(self.tokens)} entries for {len(set(self.tokens.values()))} tokens"
            raise _error(found, "another token, from 0 on, for each")

    @cached_property
    def entries(self) -> tuple[str, ...]:
        """What each class writes."""
        return tuple(sorted(self.tokens, key=lambda entry: (entry not in _BYTE_OF_ENTRY, self.tokens[entry])))

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The decoder's token of each class."""
        return tuple(self.tokens[entry] for entry in self.entries)

    @property
    def num_bytes(self) -> int:
        """How many classes are single bytes: the first ones."""
        return sum(entry in _BYTE_OF_ENTRY for entry in self.tokens)

    def encode(self, text: str) -> list[int]:
        """Return the classes of a spoken form.

        Raises:
            InputError: A character is no class, and its bytes are none either.
        """
        if not text:
            return []
        encoding = self._segmenter.encode(SPACE + text.replace(" ", SPACE), add_special_tokens=False)
        classes = encoding.ids
        if len(self.tokens) in classes:
            character = encoding.tokens[classes.index(len(self.tokens))]
            raise _error(f"{character!r} in {text!r}", "a class for it, or for each of its bytes")
        return classes

    def decode(self, classes: Iterable[int]) -> str:
        """Return the text of classes, no space before the first word; bytes that are not UTF-8 become U+FFFD."""
        written = b"".join(self._written[each] for each in classes)
        return written.decode("utf-8", errors="replace").removeprefix(" ")

    def check(self, tokenizer: Tokenizer, where: str) -> None:
        """Raise `InputError` where a class is not that token of the tokenizer."""
        found = pieces(tokenizer)
        for entry, token in self.tokens.items():
            if found.get(entry) != token:
                other = f"token {token} as {entry!r}"
                wanted = f"token {found[entry]}" if entry in found else "an entry that the tokenizer has"
                raise InputError(where, field=_WHERE, found=other, wanted=wanted, remedy=_REMEDY)

    @cached_property
    def _segmenter(self) -> tokenizers.Tokenizer:
        # All pieces weigh the same, so the best way through a text has the fewest of them.
        scores = [(entry, -1.0) for entry in (*self.entries, _UNKNOWN)]
        return tokenizers.Tokenizer(models.Unigram(scores, unk_id=len(self.tokens), byte_fallback=True))

    @cached_property
    def _written(self) -> list[bytes]:
        return [
            bytes([_BYTE_OF_ENTRY[entry]])
            if entry in _BYTE_OF_ENTRY
            else entry.replace(SPACE, " ").encode("utf-8")
            for entry in self.entries
        ]


_REMEDY = "make it anew for this tokenizer: amalia ctc-vocabulary"


@dataclass(frozen=True)
class CtcClasses:
    """What the classes of a CTC head write; the blank is one more, and the last.

    Args:
        tokenizer: The decoder's.
        vocabulary: The head's own; None: the classes are all of the decoder's tokens.
    """

    tokenizer: Tokenizer
    vocabulary: CtcVocabulary | None = None

    @property
    def blank(self) -> int:
        """The number of the blank, which is that of the classes."""
        return self.tokenizer.vocab_size if self.vocabulary is None else len(self.vocabulary.tokens)

    @property
    def first_text(self) -> int:
        """Special tokens and single bytes lie below this class, text from here on."""
        return self.tokenizer.first_text_id if self.vocabulary is None else self.vocabulary.num_bytes

    def encode(self, text: str) -> list[int]:
        """Return the classes of a spoken form; `InputError` where a vocabulary cannot write it."""
        return (self.vocabulary or self.tokenizer).encode(text)

    def decode(self, classes: Sequence[int]) -> str:
        """Return the text of classes, no space before the first word."""
        return (self.vocabulary or self.tokenizer).decode(classes)

    def entry(self, number: int) -> str:
        """Return what one class writes, `▁` for a space."""
        return self.tokenizer.token(number) if self.vocabulary is None else self.vocabulary.entries[number]

    def entries(self, remedy: str) -> list[str]:
        """Return what each class writes; as `marked_entries` where the classes are the decoder's tokens."""
        if self.vocabulary is None:
            return marked_entries(self.tokenizer, remedy)
        return list(self.vocabulary.entries)


def pieces(tokenizer: Tokenizer) -> dict[str, int]:
    """Return what entries of a tokenizer write (`▁` a space, `<0xC3>` a byte) -> their ids.

    Of a vocabulary of bytes (GPT-2's and its heirs) what is neither whole characters nor one byte is left out.
    """
    entries = [tokenizer.token(token) for token in range(tokenizer.vocab_size)]
    if any(entry.startswith(SPACE) for entry in entries):
        return {entry: token for token, entry in enumerate(entries)}
    written = ((_of_bytes(entry), token) for token, entry in enumerate(entries))
    return {entry: token for entry, token in written if entry is not None}


def read_ctc_vocabulary(path: Path) -> CtcVocabulary:
    """Return the vocabulary of a file; `InputError` where it is missing or damaged."""
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))["tokens"]
    except FileNotFoundError:
        remedy = "make it: amalia ctc-vocabulary"
        raise InputError(path, found="no such file", wanted="a CTC vocabulary", remedy=remedy) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, found=repr(error), wanted="a CTC vocabulary", remedy=_REMEDY) from error
    return ctc_vocabulary(tokens, str(path))


def ctc_vocabulary(tokens: Any, where: str) -> CtcVocabulary:
    """Return the vocabulary of a mapping that comes from a file."""
    if not isinstance(tokens, Mapping) or not all(
        isinstance(entry, str) and isinstance(token, int) and not isinstance(token, bool)
        for entry, token in tokens.items()
    ):
        wanted = "entries and the numbers of their tokens"
        raise InputError(where, field="tokens", found=repr(tokens), wanted=wanted, remedy=_REMEDY)
    return CtcVocabulary(dict(tokens))


def write_ctc_vocabulary(path: Path, vocabulary: CtcVocabulary, made_of: Mapping[str, Any]) -> None:
    """Write a vocabulary, and what it was made of, whole or not at all; `InputError` where the disk is full."""
    ordered = {entry: vocabulary.tokens[entry] for entry in vocabulary.entries}
    text = json.dumps({"made_of": dict(made_of), "tokens": ordered}, ensure_ascii=False, indent=1)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.part")
        fresh.write_text(f"{text}\n", encoding="utf-8")
        fresh.replace(path)


def _error(found: str, wanted: str) -> InputError:
    return InputError(_WHERE, field="tokens", found=found, wanted=wanted, remedy=_REMEDY)


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTE_OF_SIGN = {chr(byte): byte for byte in _PRINTABLE}
_BYTE_OF_SIGN |= {
    chr(0x100 + place): byte for place, byte in enumerate(sorted({*range(256)} - {*_PRINTABLE}))
}
"""GPT-2's way to write a byte as a sign that can be seen."""


def _of_bytes(entry: str) -> str | None:
    """Return what an entry of a vocabulary of bytes writes, None where those are not whole characters."""
    if not all(sign in _BYTE_OF_SIGN for sign in entry):
        return None
    written = bytes(_BYTE_OF_SIGN[sign] for sign in entry)
    try:
        return written.decode("utf-8").replace(" ", SPACE)
    except UnicodeDecodeError:
        return byte_entry(written[0]) if len(written) == 1 else None
