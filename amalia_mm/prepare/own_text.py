"""The user's own text, sorted into what is read and what is spoken.

It knows splits; it does not know the built-in corpus, voices or shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from amalia_mm.batch import Turn
from amalia_mm.data.conversation import split_conversation
from amalia_mm.data.schema import Split
from amalia_mm.errors import InputError
from amalia_mm.prepare.corpora import Written, read_text
from amalia_mm.prepare.lines import Line
from amalia_mm.prepare.said import Said
from amalia_mm.prepare.sentences import MAX_BYTES, document_pieces, speakable, split_of

_TEMPLATE_BYTES = 8
"""Of a turn: the tokens that ChatML puts around it."""

NOTHING = Said(())
HELD_OUT = "held out: said in a test recording"
LONG_CONVERSATION = "a longer conversation in parts"
LONG_EXCHANGE = "a question with its answer that is too long"


@dataclass(frozen=True)
class OwnText:
    """The user's text by split; the sentences of each split are those that a voice can say."""

    documents: dict[Split, list[Written]] = field(default_factory=dict)
    conversations: dict[Split, list[Written]] = field(default_factory=dict)
    sentences: dict[Split, list[Line]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    unspoken: Counter[str] = field(default_factory=Counter)

    @property
    def num_texts(self) -> int:
        """How many documents and conversations there are, in all splits."""
        return sum(len(found) for group in (self.documents, self.conversations) for found in group.values())


def read_own_text(paths: Sequence[Path], trained: Said = NOTHING, tested: Said = NOTHING) -> OwnText:
    """Return the user's files of text, split so that no sentence stands on two sides.

    A document is held out as a whole; a sentence of it that also stands in a training document is training. Documents
    that are too long to be read at once come in pieces, and only the pieces that say what recordings say are held out
    for it; conversations come in parts.

    Args:
        paths: Files and folders.
        trained: What is said in recordings that are trained on: no test sentence is one of these.
        tested: What is said in recordings that are not: text in which it stands is not trained on.

    Raises:
        InputError: A file is missing or cannot be read, a row is not what it should be, or nothing of a path can be
            read by so small a decoder.
    """
    own = OwnText()
    for part in ("train", "val", "test"):
        own.documents[part], own.conversations[part], own.sentences[part] = [], [], []
    for path in paths:
        written, notes = read_text(path)
        own.notes.update(notes)
        num_before = own.num_texts
        for one in written:
            # A conversation is not tested on: there is no one right answer to compare with.
            texts = [one.text] if one.text else [turn.text for turn in one.turns]
            part = split_of("\n".join(texts))
            if one.turns:
                is_said = part == "train" and any(map(tested.is_in, texts))
                own.notes.update([HELD_OUT] * is_said)
                parts, too_long = split_conversation(one.turns, _num_bytes(one.turns), MAX_BYTES)
                own.notes.update([LONG_CONVERSATION] * (len(parts) > 1) + [LONG_EXCHANGE] * len(too_long))
                group = own.conversations["val" if is_said or part == "test" else part]
                group += [replace(one, turns=turns) for turns in parts]
                continue
            pieces = document_pieces(one.text)
            if len(pieces) > 1:
                own.notes["a piece of a longer document"] += len(pieces)
            for piece in pieces:
                is_said = part == "train" and tested.is_in(piece)
                own.notes.update([HELD_OUT] * is_said)
                own.documents["test" if is_said else part].append(replace(one, text=piece))
        if own.num_texts == num_before:
            wanted = (
                f"a question with its answer of at most {MAX_BYTES} bytes together, for so small a decoder"
            )
            remedy = "shorten the answers (and what the system says before them)"
            raise InputError(path, found="only longer conversations", wanted=wanted, remedy=remedy)
    seen: set[str] = set()
    for part in ("train", "test", "val"):
        for one in own.documents[part]:
            spoken, left_out = speakable([one.text])
            own.unspoken.update(left_out)
            for form, sentence in spoken.items():
                if form in seen or (part != "train" and trained.is_in(sentence)):
                    own.unspoken["repeated"] += 1
                    continue
                seen.add(form)
                name = f"{part}-own-{len(own.sentences[part]):06d}"
                line = Line(name, sentence, part, source=one.source, variety=one.variety, licence="")
                own.sentences[part].append(line)
    return own


def _num_bytes(turns: Sequence[Turn]) -> list[int]:
    return [len(turn.text.encode()) + _TEMPLATE_BYTES for turn in turns]
