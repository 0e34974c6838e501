"""Text that voices read out as whole sentences, as pieces of them, and as single words: speech where there is none.

Nothing is recited that is tested on. It knows text and lines; it does not know how a line sounds.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from amalia_mm.json_rows import json_rows
from amalia_mm.portuguese.normalise import spoken_form, words
from amalia_mm.prepare.corpora import read_text
from amalia_mm.prepare.lines import Line, voiced
from amalia_mm.prepare.rows import fail, optional
from amalia_mm.prepare.sentences import MAX_WORDS, split_sentences
from amalia_mm.prepare.voices import TRAIN_VOICES

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzàáâãçéêíóôõúü-")
_MIN_LETTERS = 3
"""Texts of fewer ("é", "um") stand in any sentence: they are withheld as whole lines only."""
_PIECE_WORDS = (2, 2, 3, 3, 4, 5, 6)
"""How many words a piece of a sentence has, each as likely as any other entry."""


class Withheld:
    """Texts that must not be said: not as a line, nor (of three letters or more) inside one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._whole = {tuple(words(text)) for text in texts} - {()}
        self._by_first: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
        for text in self._whole:
            if sum(map(len, text)) >= _MIN_LETTERS:
                self._by_first[text[0]].add(text)

    def __len__(self) -> int:
        return len(self._whole)

    def is_said(self, said: Sequence[str]) -> bool:
        """Return whether one of the texts is these words, or stands among them."""
        return tuple(said) in self._whole or any(
            tuple(said[start : start + len(text)]) == text
            for start, word in enumerate(said)
            for text in self._by_first.get(word, ())
        )


@dataclass
class Recited:
    """The lines to be said, and what became of the text they come from."""

    lines: list[Line] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def read_withheld(manifests: Sequence[Path]) -> Withheld:
    """Return what the rows of manifests say that are not for training (rows without a split are not)."""
    texts: list[str] = []
    for manifest in manifests:
        found = [
            optional(row, "text", where) or ""
            for where, row in json_rows(manifest)
            if optional(row, "split", where) != "train"
        ]
        if not any(found):
            fail(
                manifest, "text", "no text that is not for training", "what must not be said", "leave it out"
            )
        texts += found
    return Withheld(texts)


def recite(
    paths: Sequence[Path], num_lines: int, words_share: float, withheld: Withheld, seed: int
) -> Recited:
    """Return lines of text for the training voices, each of which says as many as any other.

    A sentence of up to `MAX_WORDS` words is said whole, once. The other lines, up to `num_lines`, are drawn: single
    words, each word of the text as likely as any other, and pieces of sentences of any length.

    Args:
        paths: Files and folders of text, as `read_text` takes them.
        num_lines: How many lines.
        words_share: How many of the drawn lines are a single word.
        withheld: What must not be said.
        seed: Decides what is drawn, and who says it.

    Raises:
        InputError: A file cannot be read, or no word of the text can be said.
    """
    recited = Recited()
    sentences: dict[tuple[str, ...], Line] = {}
    for path in paths:
        written, notes = read_text(path)
        recited.notes.update(notes)
        for one in written:
            for sentence in split_sentences(one.text):
                said = tuple(words(sentence))
                if not said or said in sentences or any(not set(word) <= _LETTERS for word in said):
                    recited.notes["repeated, or with more than words in letters"] += 1
                elif withheld.is_said(said):
                    recited.notes["withheld: it says what is tested on"] += 1
                else:
                    text = sentence if len(said) <= MAX_WORDS else " ".join(said)
                    sentences[said] = Line(
                        "", text, "train", source=one.source, variety=one.variety, licence=""
                    )
    if not sentences:
        fail(str(paths[0]), "", "no sentence that can be said", "sentences in words", "give other text")
    rng = random.Random(f"recited {seed}")
    lines = [line for said, line in sentences.items() if len(said) <= MAX_WORDS]
    lines = rng.sample(lines, min(len(lines), num_lines))
    lines += _drawn(sentences, num_lines - len(lines), words_share, withheld, rng)
    named = [replace(line, id=f"recited-{number:06d}") for number, line in enumerate(lines)]
    recited.lines = voiced(named, TRAIN_VOICES, rng)
    return recited


def _drawn(
    sentences: dict[tuple[str, ...], Line],
    num: int,
    words_share: float,
    withheld: Withheld,
    rng: random.Random,
) -> list[Line]:
    """Return lines of a single word or a piece of a sentence."""
    first_said: dict[str, Line] = {}
    for said, line in sentences.items():
        for word in said:
            first_said.setdefault(word, line)
    vocabulary = [word for word in first_said if not withheld.is_said([word])]
    longer = [said for said in sentences if len(said) >= 2]
    lines: list[Line] = []
    while len(lines) < num and vocabulary:
        if not longer or rng.random() < words_share:
            word = rng.choice(vocabulary)
            lines.append(replace(first_said[word], text=word))
            continue
        said = rng.choice(longer)
        length = min(rng.choice(_PIECE_WORDS), len(said))
        start = rng.randrange(len(said) - length + 1)
        piece = said[start : start + length]
        if not withheld.is_said(piece):
            lines.append(replace(sentences[said], text=spoken_form(" ".join(piece))))
    return lines
