"""The written half of the built-in corpus, with the user's own text: what is read, asked, measured and to be spoken.

It puts the parts together and writes what later stages read: shards without audio, `text_test.jsonl`, `pairs.jsonl`,
`lines.jsonl` (which `prepare/spoken.py` speaks) and `corpus.json`. It knows nothing of sound or models.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from amalia_mm.prepare.apart import apart
from amalia_mm.prepare.corpus import Corpus, build_corpus
from amalia_mm.prepare.lines import BUILT_IN, LINES, write_lines
from amalia_mm.prepare.narrowed import narrowed
from amalia_mm.prepare.own_speech import read_own_speech
from amalia_mm.prepare.own_text import OwnText, read_own_text
from amalia_mm.prepare.speech_plan import Plan, PlanSizes, plan_speech
from amalia_mm.prepare.spoken import SPEECH_PRODUCTS
from amalia_mm.prepare.staging import remove, staged, write_jsonl, write_summary
from amalia_mm.prepare.text_shards import TEXT_SHARDS, write_text_shards

TEXT_SUMMARY = "corpus.json"
"""Written last: where it is missing, the text is not whole."""
TEXT_PRODUCTS = (
    *(f"shards/{name}" for name in TEXT_SHARDS),
    *("text_test.jsonl", "pairs.jsonl", LINES, TEXT_SUMMARY),
)
TEXT_STAGING = ".corpus"


def write_text(
    output: Path,
    *,
    smoke: bool = False,
    seed: int = 0,
    text: Sequence[Path] = (),
    speech: Sequence[Path] = (),
    num_words: int | None = None,
    progress: bool = True,
) -> dict[str, object]:
    """Return the summary of the text (also `corpus.json`), after writing all of it under `output`.

    The same arguments give the same files, byte for byte (the summary's seconds apart). What an earlier or
    interrupted run left is replaced only when everything is there; what was spoken of other lines goes with it.

    Args:
        output: The run folder.
        smoke: The smallest corpus with everything in it.
        seed: Decides what is drawn, and who says it.
        text: The user's files and folders of text, added to the corpus and spoken by the same voices.
        speech: The user's manifests of recordings: what those that are tested on say is not learned from text, and
            what the others say is not tested (sentences of three words or more).
        num_words: Keep the sentences that need no other than so many of the commonest words; None keeps all.
        progress: Show a bar on stderr.

    Raises:
        InputError: The user's text or a manifest is not what it should be, or the disk is full.
    """
    start_s = time.monotonic()
    sizes = PlanSizes.smoke() if smoke else PlanSizes()
    recordings = read_own_speech(speech)
    own = read_own_text(text, recordings.trained, recordings.tested)
    corpus = apart(build_corpus(seed, smoke=smoke), recordings.trained, recordings.tested)
    corpus = corpus if num_words is None else narrowed(corpus, num_words)
    plan = plan_speech(corpus, own, sizes, seed)
    with staged(output, TEXT_STAGING, TEXT_PRODUCTS) as staging:
        rng = random.Random(f"documents {seed}")
        write_text_shards(staging / "shards", corpus, own, plan.paths, rng, progress)
        write_jsonl(
            staging / "text_test.jsonl",
            (
                {"question": q.text, "answer": q.answer, "kind": q.kind, "template": q.template}
                for q in corpus.questions_test
            ),
        )
        write_jsonl(staging / "pairs.jsonl", (asdict(pair) for pair in corpus.pairs))
        write_lines(staging / LINES, (line for lines in plan.spoken.values() for line in lines))
        summary = {
            "seed": seed,
            "smoke": smoke,
            "sizes": asdict(sizes),
            "text": _text_summary(corpus, plan, own),
            "seconds_taken": round(time.monotonic() - start_s, 1),
        }
        write_summary(staging / TEXT_SUMMARY, summary)
        if not _are_same(staging / LINES, output / LINES):
            remove(output, SPEECH_PRODUCTS)
    return summary


def _are_same(new: Path, old: Path) -> bool:
    return old.is_file() and new.read_bytes() == old.read_bytes()


def _text_summary(corpus: Corpus, plan: Plan, own: OwnText) -> dict[str, object]:
    train = {sentence.template for sentence in corpus.train}
    return {
        "sentences": sum(map(len, (corpus.train, corpus.val, corpus.test_seen, corpus.test_heldout))),
        "words": len(corpus.vocabulary),
        "templates": len(train),
        "heldout_templates": len(corpus.heldout_templates),
        "questions": {
            "train": len(corpus.questions_train),
            "val": len(corpus.questions_val),
            "test": dict(Counter(question.kind for question in corpus.questions_test)),
        },
        "dialogues": len(corpus.dialogues),
        "pairs": len(corpus.pairs),
        "paths": len(plan.paths),
        "own": {
            "documents": {part: len(found) for part, found in own.documents.items()},
            "conversations": {part: len(found) for part, found in own.conversations.items()},
            "sentences_that_can_be_spoken": {part: len(found) for part, found in own.sentences.items()},
            "notes": dict(own.notes),
            "sentences_spoken": {
                part: sum(line.source != BUILT_IN for line in lines) for part, lines in plan.spoken.items()
            },
            "sentences_left_out": dict(own.unspoken),
        },
    }
