"""The first stage of the quickstart: the built-in corpus, spoken, with the user's own text and recordings.

It puts the parts together and writes what later stages read: `shards/`, `audio/` (the test clips),
`examples/`, `train.jsonl`, `test.jsonl`, `text_test.jsonl`, `pairs.jsonl` and `corpus.json`. It knows nothing
of models.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from tqdm import tqdm

from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.beside import Beside
from amalia_mm.data.schema import Record
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.clips import BUILT_IN, Clip, Line, no_speech, speak_lines
from amalia_mm.prepare.corpus import Corpus, build_corpus
from amalia_mm.prepare.espeak import SpeakerPool
from amalia_mm.prepare.narrowed import narrowed
from amalia_mm.prepare.own_data import OwnSpeech, OwnText, decode_own_speech, read_own_speech, read_own_text
from amalia_mm.prepare.speech_plan import HELDOUT, Plan, PlanSizes, plan_speech
from amalia_mm.prepare.text_shards import write_text_shards

SUMMARY = "corpus.json"
"""Written last: where it is missing, the corpus is not whole."""
PRODUCTS = (
    *("shards", "audio", "examples", "train.jsonl", "test.jsonl", "text_test.jsonl", "pairs.jsonl"),
    SUMMARY,
)
MAX_UNSPOKEN_SHARE = 0.01

_STAGING = ".corpus"
_NUM_EXAMPLES = 5


@dataclass
class _Done:
    """What has been written so far."""

    train: list[dict[str, object]] = field(default_factory=list)
    test: list[dict[str, object]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("train", "val", "test"), 0.0))
    clips: Counter[str] = field(default_factory=Counter)
    unspoken: list[InputError] = field(default_factory=list)


def write_corpus(
    output: Path,
    *,
    smoke: bool = False,
    seed: int = 0,
    text: Sequence[Path] = (),
    speech: Sequence[Path] = (),
    num_sentences: int = 100_000,
    num_words: int | None = None,
    num_spoken: int | None = None,
    num_questions: int | None = None,
    num_children: int = 2,
    progress: bool = True,
) -> dict[str, object]:
    """Return the summary of the corpus (also `corpus.json`), after writing all of it under `output`.

    The same arguments give the same files, byte for byte (the summary's seconds apart), whatever the number
    of children. What an earlier or interrupted run left is replaced only when everything is there.

    Args:
        output: The run folder.
        smoke: The smallest corpus with everything in it.
        seed: Decides what is drawn, who says it and how it sounds.
        text: The user's files and folders of text, added to the corpus and spoken by the same voices.
        speech: The user's manifests of recordings, added to the training and test speech.
        num_sentences: Sentences of the built-in corpus.
        num_words: Of these, those that need no other than its commonest words; None keeps all.
        num_spoken: Training sentences that are spoken; None is the size of the quickstart.
        num_questions: Training questions that are spoken; None is the size of the quickstart.
        num_children: Synthesiser processes side by side.
        progress: Show a bar on stderr.

    Raises:
        InputError: The user's data is not what it should be, more than a tenth of the recordings cannot be
            used, the synthesiser does not work, or the disk is full.
    """
    start_s = time.monotonic()
    sizes = PlanSizes.smoke() if smoke else PlanSizes()
    sizes = sizes if num_spoken is None else replace(sizes, sentences=num_spoken)
    sizes = sizes if num_questions is None else replace(sizes, questions=num_questions)
    own_text, own_speech = read_own_text(text), read_own_speech(speech)
    corpus = build_corpus(seed, num_sentences, smoke)
    corpus = corpus if num_words is None else narrowed(corpus, num_words)
    plan = plan_speech(corpus, own_text, sizes, seed)
    staging = output / _STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        text_job = Beside(_write_text, staging, corpus, own_text, plan.paths, seed)
        with SpeakerPool(num_children) as pool, text_job, _one_torch_thread():
            synthesiser = pool.speakers[0].info()  # fails here, at once, where there is none
            done = _write_speech(staging, plan, sizes, own_speech, pool, seed, progress, text_job.check)
            text_job.wait()
        _write_examples(staging, done.test)
        summary = {
            "seed": seed,
            "smoke": smoke,
            "sizes": asdict(sizes),
            "text": _text_summary(corpus, plan, own_text),
            "speech": _speech_summary(plan, done, own_speech, synthesiser),
            "seconds_taken": round(time.monotonic() - start_s, 1),
        }
        (staging / SUMMARY).write_text(
            json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
        _publish(staging, output)
    except OSError as error:
        raise InputError(
            error.filename or output,
            found=error.strerror or str(error),
            wanted="a folder with room and the right to write",
            remedy="free some space or choose another folder, and run the same again",
        ) from error
    return summary


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let each thread of the pool work alone: teams of threads on one sentence wait for each other most of the time.

    And a sum over a clip is the same on any number of cores.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _write_text(staging: Path, corpus: Corpus, own: OwnText, paths: Sequence[Line], seed: int) -> None:
    rng = random.Random(f"documents {seed}")
    write_text_shards(staging / "shards", corpus, own, paths, rng)
    _write_jsonl(
        staging / "text_test.jsonl",
        (
            {"question": q.text, "answer": q.answer, "kind": q.kind, "template": q.template}
            for q in corpus.questions_test
        ),
    )
    _write_jsonl(staging / "pairs.jsonl", (asdict(pair) for pair in corpus.pairs))


def _write_speech(
    staging: Path,
    plan: Plan,
    sizes: PlanSizes,
    own: OwnSpeech,
    pool: SpeakerPool,
    seed: int,
    progress: bool,
    check_others: Callable[[], None],
) -> _Done:
    done = _Done()
    (staging / "audio").mkdir()
    lines = [line for part in ("train", "val", "test") for line in plan.spoken[part]]
    with ExitStack() as stack:
        writers = {
            part: stack.enter_context(ShardWriter(staging / "shards" / f"speech-{part}"))
            for part in ("train", "val")
        }
        total = len(lines) + len(own.recordings)
        bar = stack.enter_context(tqdm(total=total, unit="clip", desc="voz", disable=not progress))
        for answer in speak_lines(lines, pool, seed):
            if isinstance(answer, InputError):
                done.unspoken.append(answer)
            else:
                _keep(staging, writers, answer, done)
            bar.update()
            check_others()
        for clip in no_speech(sizes.nobody, "train", seed):
            _keep(staging, writers, clip, done)
        for own_clip in decode_own_speech(own, bar.update):
            _keep_own(staging, writers, own_clip.record, own_clip.flac, done)
        _check_unspoken(done, len(lines))
    _write_jsonl(staging / "train.jsonl", done.train)
    _write_jsonl(staging / "test.jsonl", done.test)
    return done


def _keep(staging: Path, writers: Mapping[str, ShardWriter], clip: Clip, done: _Done) -> None:
    line = clip.line
    done.seconds[line.split] += clip.seconds
    done.clips[line.split] += 1
    if line.split == "test":
        audio = f"audio/{line.id}.flac"
        (staging / audio).write_bytes(clip.flac)
        done.test.append(line.row(audio))
        return
    record = line.record(round(clip.seconds, 3))
    writers[line.split].write(record, clip.flac, num_samples=clip.num_samples)
    if line.split == "train" and line.text:
        done.train.append(line.row(None))


def _keep_own(
    staging: Path, writers: Mapping[str, ShardWriter], record: Record, flac: bytes, done: _Done
) -> None:
    line = Line(
        record.id,
        record.text or "",
        record.split,
        source=record.source,
        variety=record.variety,
        licence=record.licence,
    )
    row = line.row(None) | {"voice": record.speaker or None}
    if record.split == "test":
        audio = f"audio/own-{len(done.test):06d}.flac"
        (staging / audio).write_bytes(flac)
        done.test.append(row | {"audio": audio})
        return
    writers[record.split].write(record, flac)
    if record.split == "train":
        done.train.append(row)


def _check_unspoken(done: _Done, num_lines: int) -> None:
    if len(done.unspoken) > MAX_UNSPOKEN_SHARE * num_lines:
        first = done.unspoken[0]
        raise InputError(
            first.where,
            field=first.field,
            found=f"{len(done.unspoken)} of {num_lines} sentences not spoken, this one: {first.found}",
            wanted=f"at most {MAX_UNSPOKEN_SHARE:.0%}",
            remedy="run `amalia doctor`, or leave these sentences out of the text",
        )


def _write_examples(staging: Path, test: Sequence[Mapping[str, object]]) -> None:
    """Copy a few test clips, each by another voice if there are as many, and a spoken question, as wav."""
    (staging / "examples").mkdir()
    sentences = [row for row in test if row["task"] == "transcribe" and row["heldout"] not in (None, HELDOUT)]
    by_voice = {row["voice"]: row for row in reversed(sentences)}
    chosen = [*by_voice.values(), *(row for row in sentences if row not in by_voice.values())][:_NUM_EXAMPLES]
    question = next((row for row in test if row["task"] == "answer"), None)
    named = [(f"frase_{number}.wav", row) for number, row in enumerate(chosen, start=1)]
    named += [("pergunta.wav", question)] if question is not None else []
    for name, row in named:
        write_audio(staging / "examples" / name, load_audio(staging / str(row["audio"])))


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
            "sentences_spoken": {part: _num_own(lines) for part, lines in plan.spoken.items()},
            "sentences_left_out": dict(own.unspoken),
        },
    }


def _speech_summary(
    plan: Plan, done: _Done, own: OwnSpeech, synthesiser: Mapping[str, str]
) -> dict[str, object]:
    spoken = {part: plan.spoken[part] for part in ("train", "val", "test")}
    return {
        "synthesiser": f"espeak-ng {synthesiser['version']}, {synthesiser['language']}",
        "hours": {part: round(seconds / 3600, 3) for part, seconds in sorted(done.seconds.items())},
        "clips": dict(done.clips),
        "tasks": {part: dict(Counter(line.task for line in lines)) for part, lines in spoken.items()},
        "words": len({word for line in spoken["train"] for word in words(line.text)}),
        "voices": {
            part: sorted({line.voice.name for line in lines if line.voice is not None})
            for part, lines in spoken.items()
        },
        "not_spoken": [str(error) for error in done.unspoken],
        "own": {
            "recordings": len(own.recordings),
            "hours": {part: round(seconds / 3600, 3) for part, seconds in sorted(own.seconds.items())},
            "notes": dict(own.notes),
            "bad": [str(error) for error in own.bad],
        },
    }


def _num_own(lines: Sequence[Line]) -> int:
    return sum(line.source != BUILT_IN for line in lines)


def _publish(staging: Path, output: Path) -> None:
    """Put what is whole in its place; the summary goes first and comes last: half a corpus has none."""
    for name in reversed(PRODUCTS):
        if (output / name).is_dir():
            shutil.rmtree(output / name)
        else:
            (output / name).unlink(missing_ok=True)
    for name in PRODUCTS:
        (staging / name).replace(output / name)
    staging.rmdir()


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
