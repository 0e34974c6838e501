"""The user's own text, sorted into what is read and what is spoken.

It knows splits; it does not know the built-in corpus, voices or shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from amalia_mm.data.schema import Split
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.corpora import Written, read_text
from amalia_mm.prepare.lines import Line
from amalia_mm.prepare.sentences import document_pieces, speakable, split_of, split_sentences


@dataclass(frozen=True)
class OwnText:
    """The user's text by split; the sentences of each split are those that a voice can say."""

    documents: dict[Split, list[Written]] = field(default_factory=dict)
    conversations: dict[Split, list[Written]] = field(default_factory=dict)
    sentences: dict[Split, list[Line]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    unspoken: Counter[str] = field(default_factory=Counter)


def read_own_text(paths: Sequence[Path], heldout: Collection[str] = ()) -> OwnText:
    """Return the user's files of text, split so that no sentence stands on two sides.

    A document is held out as a whole; a sentence of it that also stands in a training document is training. Documents
    that are too long to be read at once come in pieces.

    Args:
        paths: Files and folders.
        heldout: Spoken forms of what test recordings say: text that has one of them is held out.

    Raises:
        InputError: A file is missing or cannot be read, or a row is not what it should be.
    """
    own = OwnText()
    for part in ("train", "val", "test"):
        own.documents[part], own.conversations[part], own.sentences[part] = [], [], []
    for path in paths:
        written, notes = read_text(path)
        own.notes.update(notes)
        for one in written:
            # A conversation is not tested on: there is no one right answer to compare with.
            texts = [one.text] if one.text else [turn.text for turn in one.turns]
            part = split_of("\n".join(texts))
            if part == "train" and heldout and _says_one_of(heldout, texts):
                own.notes["held out: said in a test recording"] += 1
                part = "test"
            group = own.documents if one.text else own.conversations
            pieces = [replace(one, text=piece) for piece in document_pieces(one.text)] if one.text else [one]
            if len(pieces) > 1:
                own.notes["a piece of a longer document"] += len(pieces)
            group["val" if one.turns and part == "test" else part] += pieces
    seen: set[str] = set()
    for part in ("train", "test", "val"):
        for one in own.documents[part]:
            spoken, left_out = speakable([one.text])
            own.unspoken.update(left_out)
            for form, sentence in spoken.items():
                if form in seen:
                    own.unspoken["repeated"] += 1
                    continue
                seen.add(form)
                name = f"{part}-own-{len(own.sentences[part]):06d}"
                line = Line(name, sentence, part, source=one.source, variety=one.variety, licence="")
                own.sentences[part].append(line)
    return own


def _says_one_of(forms: Collection[str], texts: Sequence[str]) -> bool:
    return any(spoken_form(sentence) in forms for text in texts for sentence in split_sentences(text))
