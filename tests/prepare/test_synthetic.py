"""The corpus on disk: whole, spoken, nothing measured was learned, and the user's own data is in it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import wave
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.schema import Record
from amalia_mm.data.shards import verify
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare import spoken, staging, synthetic
from amalia_mm.prepare.clips import dress, no_speech, speak_lines
from amalia_mm.prepare.corpus import build_corpus
from amalia_mm.prepare.espeak import SpeakerPool
from amalia_mm.prepare.jumbled import JUMBLED
from amalia_mm.prepare.lexicon import read_data
from amalia_mm.prepare.lines import LINES, Line, read_lines, voiced, write_lines
from amalia_mm.prepare.own_text import read_own_text
from amalia_mm.prepare.questions import BY_HEART
from amalia_mm.prepare.said import Said
from amalia_mm.prepare.speech_plan import PlanSizes, plan_speech
from amalia_mm.prepare.spoken import SPEECH_PRODUCTS, SPEECH_SUMMARY, write_speech
from amalia_mm.prepare.synthetic import TEXT_PRODUCTS, TEXT_SUMMARY, write_text
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES
from amalia_mm.units import SAMPLE_RATE_HZ

SHARDS = [
    f"{kind}-{part}"
    for kind in ("documents", "chat", "sums", "facts", "paths", "speech")
    for part in ("train", "val")
] + ["copies-train"]


def write_corpus(
    output: Path, text: Sequence[Path] = (), speech: Sequence[Path] = (), num_children: int = 2
) -> tuple[Any, Any]:
    """Return the summaries of both halves."""
    written = write_text(output, smoke=True, text=text, speech=speech, progress=False)
    return written["text"], write_speech(output, speech=speech, num_children=num_children, progress=False)


@pytest.fixture(scope="module", autouse=True)
def built_once() -> Iterator[None]:
    """Even smaller than `--smoke`; and the corpus of a seed is always the same, so it is built once."""
    tiny = PlanSizes(
        *(17, 10, 2, 4, 2, 6, 4, 4),
        own_sentences=24,
        own_test=8,
        paths=60,
        path_questions=40,
        jumbled=10,
        spoken_jumbled=3,
        train_voices=4,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "build_corpus", cache(build_corpus))
        patch.setattr(PlanSizes, "smoke", lambda: tiny)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest corpus, made once."""
    output = tmp_path_factory.mktemp("corpus")
    write_corpus(output)
    return output


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _records(folder: Path) -> list[tuple[Record, bytes | None]]:
    index = ShardIndex.load(folder)
    return [read_record(index, number) for number in range(len(index))]


def _texts(record: Record) -> list[str]:
    return [text for text in (record.text, record.spoken, *(turn.text for turn in record.turns)) if text]


def _digests(output: Path) -> dict[str, str]:
    files = (
        path
        for path in output.rglob("*")
        if path.is_file() and path.name not in (TEXT_SUMMARY, SPEECH_SUMMARY)
    )
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_everything_is_there_and_verifies(run: Path) -> None:
    products = {Path(name) for name in (*TEXT_PRODUCTS, *SPEECH_PRODUCTS)}
    assert {path.name for path in run.iterdir()} == {path.parts[0] for path in products}
    assert {path.name for path in (run / "shards").iterdir()} == set(SHARDS)
    assert all((run / path).exists() for path in products)
    for name in SHARDS:
        verified = verify(run / "shards" / name)
        assert verified.num_records > 0, name
        assert not verified.bad
    summary = json.loads((run / "speech.json").read_text(encoding="utf-8"))
    assert summary["synthesiser"].endswith("Portuguese (Portugal)")
    assert summary["not_spoken"] == []


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_children(run: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path, num_children=3)
    assert _digests(tmp_path) == _digests(run)


def test_no_sentence_voice_or_template_is_on_both_sides(run: Path) -> None:
    train, test = _rows(run / "train.jsonl"), _rows(run / "test.jsonl")
    assert not {row["voice"] for row in train} & {row["voice"] for row in test}
    assert {row["voice"] for row in test} <= {voice.name for voice in TEST_VOICES}
    heldout = {row["template"] for row in test if row["heldout"] == "heldout_template"}
    assert not heldout & {row["template"] for row in train}
    measured = {spoken_form(row["text"]) for row in test}
    measured |= {spoken_form(row["question"]) for row in _rows(run / "text_test.jsonl")}
    for name in SHARDS:
        for record, _ in _records(run / "shards" / name):
            assert not any(spoken_form(text) in measured for text in _texts(record)), record.id
            if name.startswith("documents"):
                sentences = {
                    spoken_form(part) for part in (record.text or "").replace("\n", ". ").split(". ")
                }
                assert not sentences & measured, record.id


def test_speech_is_transcribed_or_answered(run: Path) -> None:
    records = [record for record, audio in _records(run / "shards" / "speech-train") if audio]
    tasks = Counter(record.task for record in records)
    assert set(tasks) == {"transcribe", "answer"}
    assert len(records) == 32
    assert sum(record.text == "" for record in records) == 2
    question = next(record for record in records if record.task == "answer")
    assert question.turns[0].has_audio
    assert question.turns[0].text == ""
    assert question.spoken == spoken_form(question.spoken or "") != ""
    assert len({record.speaker for record in records if record.text != ""}) == 4


def test_some_lines_of_words_in_random_order_are_spoken(run: Path) -> None:
    jumbled = [row for row in _rows(run / "train.jsonl") if row["template"] == JUMBLED]
    assert len(jumbled) == 3
    read = {record.text for record, _ in _records(run / "shards" / "paths-train")}
    assert {row["text"] for row in jumbled} <= read
    assert not any(row["template"] == JUMBLED for row in _rows(run / "test.jsonl"))


def test_manifests_list_what_was_spoken(run: Path) -> None:
    listed = {row["id"]: row for row in _rows(run / "train.jsonl")}
    spoken = {
        record.id: record for record, _ in _records(run / "shards" / "speech-train") if record.text != ""
    }
    assert listed.keys() == spoken.keys()
    for identity, row in listed.items():
        record = spoken[identity]
        assert row["voice"] == record.speaker
        assert spoken_form(row["text"]) == (record.spoken or spoken_form(record.text or ""))
        assert row["answer"] == (record.turns[1].text if record.turns else None)
    for row in _rows(run / "test.jsonl"):
        assert 0.3 < len(load_audio(run / row["audio"])) / SAMPLE_RATE_HZ < 15
        assert (row["answer"] is None) == (row["task"] == "transcribe")


def test_paths_have_no_audio_and_say_what_is_heard(run: Path) -> None:
    records = _records(run / "shards" / "paths-train")
    assert all(audio is None and record.is_heard for record, audio in records)
    assert {record.task for record, _ in records} == {"transcribe", "answer"}
    assert sum(record.text == "" for record, _ in records) == 2


def test_questions_are_apart_by_what_it_takes_to_answer_them(run: Path) -> None:
    corpus = build_corpus(smoke=True)
    for part, questions in (("train", corpus.questions_train), ("val", corpus.questions_val)):
        chat, sums, facts = (
            {record.turns[0].text for record, _ in _records(run / "shards" / f"{name}-{part}")}
            for name in ("chat", "sums", "facts")
        )
        assert facts == {q.text for q in questions if q.kind in BY_HEART} and facts
        assert sums == {q.text for q in questions if q.kind == "arithmetic"} and sums
        assert chat >= {q.text for q in questions if q.kind == "context"}
        assert not chat & (facts | sums)


def test_questions_are_answered_and_written_down_whatever_their_wording() -> None:
    """They come in pairs, plain and with an opening: taken in turn, all plain ones would have been answered."""
    corpus = build_corpus(smoke=True)
    plan = plan_speech(corpus, read_own_text(()), PlanSizes.smoke(), 0)
    facts = {q.text for q in corpus.questions_train if q.kind in BY_HEART}
    openings = tuple(read_data("questions.yaml")["openings"])
    opened = {text for text in facts if text.startswith(openings)}
    for texts in (opened, facts - opened):
        tasks = Counter(line.task for line in plan.paths if line.split == "train" and line.text in texts)
        assert min(tasks["answer"], tasks["transcribe"]) > 0.2 * tasks.total() > 1, tasks


def test_copies_ask_for_a_jumbled_line_again(run: Path) -> None:
    records = [record for record, _ in _records(run / "shards" / "copies-train")]
    assert len(records) == 10
    jumbled = {record.text for record, _ in _records(run / "shards" / "paths-train")}
    for record in records:
        asked, repeated = record.turns
        assert asked.text.startswith("Repete: ")
        assert spoken_form(asked.text.removeprefix("Repete: ")) == spoken_form(repeated.text)
        assert repeated.text in jumbled, "the line is read as a path too"


def test_examples_are_test_voices_and_one_question(run: Path) -> None:
    names = sorted(path.name for path in (run / "examples").iterdir())
    assert names[-1] == "pergunta.wav"
    for path in (run / "examples").iterdir():
        with wave.open(str(path)) as sound:
            assert (sound.getframerate(), sound.getnchannels()) == (SAMPLE_RATE_HZ, 1)


def test_clips_differ_in_level_length_and_noise_and_never_clip() -> None:
    tone = torch.sin(torch.arange(16_000) * 0.1) * 0.3
    clips = [dress(tone, torch.Generator().manual_seed(seed)) for seed in range(40)]
    levels_db = [20 * np.log10(clip.square().mean().sqrt().item()) for clip in clips]
    assert max(levels_db) - min(levels_db) > 8
    assert len({len(clip) for clip in clips}) > 30
    assert all(16_000 + 1600 <= len(clip) <= 16_000 + 9600 for clip in clips)
    quiet = [clip[:800].abs().max().item() for clip in clips]
    assert 0 < sum(level == 0 for level in quiet) < 20, "most clips, not all, have noise"


def test_a_clip_depends_on_its_line_alone() -> None:
    lines = [
        Line(f"l{number}", f"Bom dia, {name}.", "train") for number, name in enumerate(("Ana", "Rui", "Eva"))
    ]
    lines = voiced(lines, TRAIN_VOICES[:1], random.Random(0))
    with SpeakerPool(1) as pool:
        together = list(speak_lines(lines, pool, 3))
        alone = next(speak_lines(lines[2:], pool, 3))
        other = next(speak_lines(lines[2:], pool, 4))
    assert not isinstance(alone, InputError)
    assert not isinstance(other, InputError)
    assert alone == together[2]
    assert alone.flac != other.flac


def test_voices_are_shared_out_evenly() -> None:
    lines = voiced(
        [Line(str(n), "a", "train") for n in range(2 * len(TRAIN_VOICES))], TRAIN_VOICES, random.Random(0)
    )
    assert set(Counter(line.voice for line in lines).values()) == {2}


def test_a_few_clips_in_a_hundred_have_no_speech() -> None:
    for sizes in (PlanSizes(), PlanSizes.smoke()):
        with_words = sizes.sentences + sizes.spoken_jumbled + sizes.questions
        assert 0.03 < sizes.nobody / (with_words + sizes.nobody) < 0.07


def test_nobody_speaks_in_clips_of_every_kind() -> None:
    plan = plan_speech(build_corpus(smoke=True), read_own_text(()), PlanSizes(nobody=6), 0)
    clips = [no_speech(line, 0) for line in plan.spoken["train"] if line.voice is None]
    assert len({clip.line.template for clip in clips}) == len(clips) == 6
    assert len({clip.flac for clip in clips}) == 6
    assert all(clip.line.record(clip.seconds).text == "" for clip in clips)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder: a text, and a manifest of twenty recordings of which one is not there."""
    sentences = [f"Esta é a frase da {name}." for name in ("Rosa", "Lia", "Zita", "Mafalda", "Alda", "Inês")]
    sentences += [
        f"O {name} foi ao mercado." for name in ("Abel", "Gil", "Noé", "Tomás", "Raul", "Davi", "Ivo", "Élio")
    ]
    text = "\n".join([*sentences, "Sim.", "São 3 horas agora."])
    (tmp_path / "texto.txt").write_text(text, encoding="utf-8")
    rows: list[dict[str, object]] = []
    for number in range(20):
        write_audio(tmp_path / f"{number}.wav", torch.sin(torch.arange(8000) * 0.01 * (number + 1)) * 0.3)
        split = ("train", "val", "test")[number % 3]
        rows.append({"audio": f"{number}.wav", "text": f"palavra {number}", "split": split, "speaker": "eu"})
    (tmp_path / "7.wav").unlink()
    rows.append({"audio": "x.wav", "text": None})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def test_own_text_and_recordings_are_in_the_corpus(own: Path) -> None:
    run = own / "run"
    text, speech = write_corpus(run, text=[own / "texto.txt"], speech=[own / "m.jsonl"])
    heard = speech["own"]
    assert heard["recordings"] == 20
    assert heard["notes"] == {"no text (null)": 1}
    assert len(heard["bad"]) == 1
    assert "7.wav" in heard["bad"][0]
    written = text["own"]
    assert written["sentences_left_out"] == {"fewer than 2 words": 1, "digits": 1}
    sources = Counter(row["source"] for row in _rows(run / "test.jsonl"))
    assert sources[f"speech:{own.name}/m"] == 6
    assert all((run / row["audio"]).is_file() for row in _rows(run / "test.jsonl"))
    spoken = [record for record, _ in _records(run / "shards" / "speech-train")]
    assert sum(record.source.startswith("speech:") for record in spoken) == 7
    own_train = written["sentences_that_can_be_spoken"]["train"]
    assert sum(record.source == "text:texto.txt" for record in spoken) == own_train > 0
    read = [record for record, _ in _records(run / "shards" / "paths-train")]
    assert sum(record.source == "text:texto.txt" for record in read) == own_train
    documents = [record for record, _ in _records(run / "shards" / "documents-train")]
    assert sum(record.source == "text:texto.txt" for record in documents) == written["documents"]["train"]


def test_what_test_recordings_say_is_not_learned_from_text(tmp_path: Path) -> None:
    """Nor are long documents left out: they come in pieces."""
    said, unsaid = "O gato dorme na cadeira.", "O cão corre na rua."
    documents = [
        f"{said}\n{one} {two}."
        for one in ("Um", "Dois", "Três")
        for two in ("pão", "chá", "figo", "ovo", "sal")
    ]
    longest = " ".join(
        f"{unsaid} E depois dorme a sesta muito bem, número {letter}." for letter in "abcdefgh" * 8
    )
    rows = [{"text": text} for text in (*documents, longest)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read_own_text([tmp_path / "t.jsonl"], tested=Said(["O gato dorme na cadeira."]))
    train = [one.text for part in ("train", "val") for one in found.documents[part]]
    without = read_own_text([tmp_path / "t.jsonl"])
    assert any(said in one.text for one in without.documents["train"])
    held_out = found.notes["held out: said in a test recording"]
    assert held_out == sum(said in one.text for one in without.documents["train"]) > 0
    assert not any(said in one.text for one in found.documents["train"])
    pieces = [one.text for part in found.documents.values() for one in part if unsaid in one.text]
    assert len(pieces) == found.notes["a piece of a longer document"] > 1
    assert "".join("".join(pieces).split()) == "".join(longest.split())
    assert max(map(len, train)) <= 1500


def test_speakers_on_both_sides_are_named(own: Path) -> None:
    manifest = own / "m.jsonl"
    _, speech = write_corpus(own / "run", speech=[manifest])
    assert speech["own"]["speakers_in_training_and_test"] == ["eu"]


def test_lines_come_back_as_they_were_written(run: Path, tmp_path: Path) -> None:
    lines = read_lines(run / LINES)
    assert {line.split for line in lines} == {"train", "val", "test"}
    assert {line.task for line in lines} == {"transcribe", "answer"}
    assert {line.voice is None for line in lines} == {True, False}
    write_lines(tmp_path / LINES, lines)
    assert (tmp_path / LINES).read_bytes() == (run / LINES).read_bytes()
    assert read_lines(tmp_path / LINES) == lines


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ('{"id": "a", "text": "Olá."', "delimiter"),
        ('{"id": "a", "text": "Olá.", "split": "train", "voice": "ana", "variety": "pt-PT"}', "'ana'"),
        ('{"id": "a", "voice": null, "variety": "pt-PT"}', "missing 2 required"),
        ("[]", "list indices"),
        ('{"id": "a", "text": 5, "split": "train", "voice": "m1", "variety": "pt-PT"}', "text 5"),
        ('{"id": "a", "text": "Olá.", "split": "dev", "voice": "m1", "variety": "pt-PT"}', "split 'dev'"),
        ('{"id": "a", "text": "", "split": "train", "voice": null, "variety": "pt-PT"}', "template None"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, row: str, found: str) -> None:
    good = '{"id": "a", "text": "Olá.", "split": "train", "voice": "m1", "variety": "pt-PT"}\n'
    (tmp_path / LINES).write_text(good + row + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"lines\.jsonl: line 2: .*{found}.*amalia corpus --part text"):
        write_speech(tmp_path, progress=False)


@pytest.mark.parametrize(("content", "found"), [(b"", "no lines"), ('{"id": "é'.encode()[:-1], "utf-8")])
def test_lines_that_are_no_text_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / LINES).write_bytes(content)
    with pytest.raises(InputError, match=rf"lines\.jsonl: found .*{found}"):
        write_speech(tmp_path, progress=False)


def test_an_end_of_line_of_unicodes_is_in_a_text_like_any_other(tmp_path: Path) -> None:
    """splitlines() cut such a row in two, and the stage told the user to write the same file again."""
    lines = [Line("a", "Olá,\u2028amigo.\u0085 Bom\u2029dia.", "train", TRAIN_VOICES[0])]
    write_lines(tmp_path / LINES, lines)
    assert read_lines(tmp_path / LINES) == lines


def test_speech_without_text_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lines\.jsonl: found no such file.*amalia corpus --part text"):
        write_speech(tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_too_many_bad_recordings_stop_and_leave_nothing_half(own: Path) -> None:
    for number in range(3):
        (own / f"{number}.wav").write_bytes(b"not audio")
    with pytest.raises(InputError, match=r"4 of 20 recordings not usable") as error:
        write_corpus(own / "run", speech=[own / "m.jsonl"])
    assert "0.wav" in str(error.value)
    assert not any((own / "run" / name).exists() for name in SPEECH_PRODUCTS)


def test_interrupted_text_is_made_anew_and_an_old_one_kept_until_then(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    (tmp_path / "pairs.jsonl").write_text("an older corpus\n")
    before = _digests(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write_summary", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_text(tmp_path, smoke=True, progress=False)
    assert {name: digest for name, digest in _digests(tmp_path).items() if name in before} == before
    write_text(tmp_path, smoke=True, progress=False)
    assert _digests(tmp_path) == _digests(run), "the clips are of the same lines, and stay"


def test_clips_of_other_lines_go_with_them(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    write_text(tmp_path, smoke=True, seed=1, progress=False)
    assert not any((tmp_path / name).exists() for name in SPEECH_PRODUCTS)
    assert all((tmp_path / name).exists() for name in TEXT_PRODUCTS)


def test_what_is_half_replaced_has_no_summary(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(staging.shutil, "rmtree", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            staging.remove(tmp_path, SPEECH_PRODUCTS)
    assert (tmp_path / "shards/speech-train").exists()
    assert not (tmp_path / SPEECH_SUMMARY).exists()


def test_interrupted_speech_is_made_anew_and_an_old_one_kept_until_then(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train.jsonl").write_text("an older corpus\n")
    before = _digests(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(spoken, "_write_examples", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_speech(tmp_path, progress=False)
    assert {name: digest for name, digest in _digests(tmp_path).items() if name in before} == before
    write_speech(tmp_path, progress=False)
    assert _digests(tmp_path) == _digests(run)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_is_told_and_keeps_what_was_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write_jsonl", _no_room)
        with pytest.raises(InputError, match=f"{os.strerror(errno.ENOSPC)}.*free some space"):
            write_corpus(tmp_path)
    assert not any((tmp_path / name).exists() for name in TEXT_PRODUCTS)
    monkeypatch.setattr(Path, "write_bytes", _full(Path.write_bytes))
    with pytest.raises(InputError, match=f"{os.strerror(errno.ENOSPC)}.*free some space"):
        write_corpus(tmp_path)
    assert not any((tmp_path / name).exists() for name in SPEECH_PRODUCTS)
    assert (tmp_path / TEXT_SUMMARY).exists(), "the text has its own place and is whole"


def _no_room(path: Path, rows: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _full(write: Callable[[Path, bytes], int]) -> Callable[[Path, bytes], int]:
    def refuse(path: Path, content: bytes) -> int:
        if path.suffix == ".flac":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, content)

    return refuse


def test_real_words_and_sentences_become_shards(shared_data: Path, tmp_path: Path) -> None:
    _, speech = write_corpus(
        tmp_path,
        text=[shared_data / "text" / "ha_intents" / "pt-PT_utterances.jsonl"],
        speech=[shared_data / "speech" / "gcompris_ptPT" / "words.jsonl"],
    )
    assert speech["own"]["recordings"] == 178
    assert speech["own"]["bad"] == []
    assert not verify(tmp_path / "shards" / "speech-train").bad
    assert {row["source"] for row in _rows(tmp_path / "test.jsonl")} >= {
        "speech:gcompris_ptPT/words",
        "text:pt-PT_utterances.jsonl",
    }
