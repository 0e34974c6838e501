"""The CTC vocabulary of a decoder's tokenizer: the few tokens that write best what is said in shards.

What is said is in lower case and has no signs, so of 128,000 tokens a thousand do. It knows shards;
`text/ctc_vocabulary.py` knows what such a vocabulary is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.schema import Record
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.text.ctc_vocabulary import CtcVocabulary, byte_entry, pieces, write_ctc_vocabulary
from amalia_mm.text.tokenizer import SPACE, Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyzàáâãçéêíóôõúü"
OTHERS = "0123456789-.,:%$€£ºª"
"""What else a spoken form may hold (`portuguese/normalise.py`)."""
_BYTES = [byte_entry(byte) for byte in (*range(0x80, 0xC0), *range(0xC2, 0xF5))]
"""Of which UTF-8 writes all characters but the first 128."""
_LONGEST = 16
_POOL = 8
"""How many times as many entries as are wanted are weighed against each other at first."""
_KEPT = 0.8
"""What stays of them at each weighing."""


def make_ctc_vocabulary(tokenizer: Tokenizer, words: Mapping[str, int], size: int) -> CtcVocabulary:
    """Return `size` tokens that write words with few classes, the same for the same words.

    Letters, digits and signs of Portuguese are always among them, and single bytes where the tokenizer has them, so
    that any spoken form can be written. Of the rest those are kept that save most when words are written with as few
    of them as can be: from many, the worst are taken out again and again, as SentencePiece's unigram models are made
    (Kudo 2018, section 3.2).

    Args:
        tokenizer: The decoder's.
        words: Words in spoken form, and how often they are said.
        size: Classes, the blank not counted.

    Raises:
        InputError: The tokenizer has no entry for a space, or for a letter and none for its bytes; or `size` has no
            room for what must be there, or is more than the words have use for.
    """
    known = pieces(tokenizer)
    base = _base(known, words)
    room = size - len(base)
    counts = _occurrences(words, known, base)
    gains = {entry: _gain(entry, base) for entry in counts}
    if not 0 <= room <= len(counts):
        most = len(base) + len(counts)
        remedy = f"choose a size in between{', or give more text' if room > 0 else ''}"
        wanted = f"from {len(base)}, which must be there, to {most}, which these words can use"
        raise InputError("size", found=size, wanted=wanted, remedy=remedy)
    kept = sorted(counts, key=lambda entry: (-counts[entry] * gains[entry], entry))[: _POOL * size]
    while len(kept) > room:
        used = _used(_of(known, [*base, *kept]), words)
        num = max(room, min(int(_KEPT * len(kept)), len(kept) - 1))
        kept = sorted(kept, key=lambda entry: (-used[entry] * gains[entry], entry))[:num]
    return _of(known, [*base, *kept])


def write_vocabulary(
    output: Path, tokenizer: Path, shards: Sequence[Path], size: int, *, progress: bool = True
) -> tuple[CtcVocabulary, float]:
    """Write the CTC vocabulary of shards, and return it with the classes that it takes for a word on average.

    Args:
        output: The file, replaced where it is there.
        tokenizer: The decoder's folder.
        shards: Folders of shards; audio is not read.
        size: Classes, the blank not counted.
        progress: Show a bar on stderr.

    Raises:
        InputError: As `make_ctc_vocabulary`; also where a record cannot be read, or nothing is said in any.
    """
    loaded = Tokenizer.load(tokenizer)
    words = said_words(shards, progress)
    if not words:
        remedy = "give folders with text or transcripts"
        raise InputError("shards", found="no word", wanted="words that are said", remedy=remedy)
    vocabulary = make_ctc_vocabulary(loaded, words, size)
    made_of = {"tokenizer": str(tokenizer), "shards": [*map(str, shards)], "words": words.total()}
    write_ctc_vocabulary(output, vocabulary, made_of)
    return vocabulary, _used(vocabulary, words).total() / words.total()


def said_words(shards: Sequence[Path], progress: bool = False) -> Counter[str]:
    """Return how often each word is said in the records of folders; text is taken as it would be said."""
    words: Counter[str] = Counter()
    for folder in shards:
        index = ShardIndex.load(folder)
        for number in tqdm(range(len(index)), unit="record", desc=index.folder.name, disable=not progress):
            record, _ = read_record(index, number, with_audio=False)
            for text in _texts(record):
                words.update(spoken_form(text).split())
    return words


def _texts(record: Record) -> list[str]:
    said = record.spoken if record.spoken is not None else record.text
    return [*filter(None, [said]), *(turn.text for turn in record.turns)]


def _base(known: Mapping[str, int], words: Mapping[str, int]) -> list[str]:
    """Return the entries without which some spoken form could not be written."""
    if SPACE not in known:
        remedy = "use a tokenizer in which a space has an entry"
        raise InputError("tokenizer", found=f"no entry {SPACE}", wanted="a space", remedy=remedy)
    has_bytes = all(byte in known for byte in _BYTES)
    others = sorted({character for word in words for character in word} - {*LETTERS, *OTHERS})
    wanted = [*LETTERS, *OTHERS, *([] if has_bytes else others)]
    missing = [each for each in wanted if each not in known]
    spelled = [byte_entry(ord(each)) for each in missing if each.isascii()] if has_bytes else missing
    unknown = [each for each in spelled if each not in known]
    if unknown:
        raise InputError(
            "tokenizer",
            found=f"no entry for {' '.join(unknown[:10])}",
            wanted="one for each character, or for each byte",
            remedy="use a tokenizer that has them",
        )
    return [SPACE, *(each for each in wanted if each in known), *spelled, *(_BYTES if has_bytes else [])]


def _occurrences(words: Mapping[str, int], known: Mapping[str, int], base: Sequence[str]) -> Counter[str]:
    """Return how often entries that are not of the base stand in words, wherever."""
    counts: Counter[str] = Counter()
    for word, times in words.items():
        marked = SPACE + word
        for start in range(len(marked)):
            for stop in range(start + 1, min(start + _LONGEST, len(marked)) + 1):
                if marked[start:stop] in known:
                    counts[marked[start:stop]] += times
    for entry in base:
        del counts[entry]
    return counts


def _gain(entry: str, base: Sequence[str]) -> int:
    """Return how many classes an entry saves where it stands for its letters."""
    return sum(1 if each in base else len(each.encode()) for each in entry) - 1


def _of(known: Mapping[str, int], entries: Sequence[str]) -> CtcVocabulary:
    return CtcVocabulary({entry: known[entry] for entry in entries})


def _used(vocabulary: CtcVocabulary, words: Mapping[str, int]) -> Counter[str]:
    """Return how often each entry is used to write words."""
    used: Counter[str] = Counter()
    for word, times in words.items():
        for number in vocabulary.encode(word):
            used[vocabulary.entries[number]] += times
    return used
