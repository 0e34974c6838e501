"""The user's own text, sorted into what is read and what is spoken.

It knows splits; it does not know the built-in corpus, voices or shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amalia_mm.data.schema import Split
from amalia_mm.prepare.corpora import Written, read_text
from amalia_mm.prepare.lines import Line
from amalia_mm.prepare.sentences import speakable, split_of


@dataclass(frozen=True)
class OwnText:
    """The user's text by split; the sentences of each split are those that a voice can say."""

    documents: dict[Split, list[Written]] = field(default_factory=dict)
    conversations: dict[Split, list[Written]] = field(default_factory=dict)
    sentences: dict[Split, list[Line]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    unspoken: Counter[str] = field(default_factory=Counter)


def read_own_text(paths: Sequence[Path]) -> OwnText:
    """Return the user's files of text, split so that no sentence stands on two sides.

    A document is held out as a whole; a sentence of it that also stands in a training document is training.

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
            part = split_of(one.text or "\n".join(turn.text for turn in one.turns))
            group = own.documents if one.text else own.conversations
            group["val" if one.turns and part == "test" else part].append(one)
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
