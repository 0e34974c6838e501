"""Speech for a voice: lines said clean, once each, by all voices, and the same again."""

from __future__ import annotations

from collections import Counter

import pytest

from amalia_mm.audio.io import load_audio
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.schema import TRANSCRIBE
from amalia_mm.errors import InputError
from amalia_mm.prepare.jumbled import JUMBLED
from amalia_mm.prepare.lines import LINES, Line, write_lines
from amalia_mm.prepare.voice_shards import HELD_OUT, write_held_out, write_voice
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES

VOICE = TRAIN_VOICES[0]


def lines():
    spoken = [Line(f"train-{n}", f"O número {n} está aqui.", "train", VOICE, template="t") for n in range(10)]
    jumbled = [Line(f"jumbled-{n}", "aqui o está", "train", VOICE, template=JUMBLED) for n in range(5)]
    others = [
        Line("question-0", "De que cor é o céu?", "train", VOICE, answer="Azul.", template="t"),
        Line("nobody-0", "", "train", template="silence"),
        Line("val-0", "Bom dia, Ana.", "val", VOICE),
        Line("test-0", "Nunca em voz alta.", "test", VOICE),
    ]
    return [*jumbled, *spoken, *others]


def records(folder):
    index = ShardIndex.load(folder)
    return [read_record(index, number) for number in range(len(index))]


def test_lines_are_said_clean_and_once_and_nonsense_last(tmp_path):
    write_lines(tmp_path / LINES, lines())
    summary = write_voice(tmp_path, num_clips=13, num_val_clips=4, num_children=1, progress=False)
    assert summary["clips"] == {"train": 13, "val": 1}
    train = records(tmp_path / "shards/voice-train")
    names = [record.id for record, _ in train]
    assert len(set(names)) == 13
    assert sum(name.startswith("jumbled") for name in names) == 2, "words in random order only fill up"
    assert "nobody-0" not in names
    speakers = Counter(record.speaker for record, _ in train)
    assert set(speakers.values()) == {1}, "every voice says as many as any other"
    question = next(record for record, _ in train if record.id == "question-0")
    assert (question.task, question.text, question.turns) == (TRANSCRIBE, "De que cor é o céu?", ())
    for _, audio in train:
        clip = load_audio(audio)
        assert not clip[:1200].any() and not clip[-1200:].any(), "silence around it, without a noise"
        assert float(clip.abs().max()) > 0.05
    assert [record.id for record, _ in records(tmp_path / "shards/voice-val")] == ["val-0"]


def test_the_same_lines_give_the_same_shards(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_lines(tmp_path / name / LINES, lines())
        write_voice(tmp_path / name, num_clips=4, num_children=1 + (name == "b"), progress=False)
    tars = [(tmp_path / name / "shards/voice-train/shard-000000.tar").read_bytes() for name in ("a", "b")]
    assert tars[0] == tars[1]


def test_voices_that_nothing_was_trained_on_say_so_many_minutes_and_then_the_same_test_sentences(tmp_path):
    said = [
        Line(f"train-{n}", f"O número {n} está aqui.", "train", VOICE, template="t") for n in range(10, 50)
    ]
    tests = [
        Line(f"test-{n}", f"Hoje é dia {n} de maio.", "test", VOICE, heldout="heldout_template")
        for n in range(5)
    ]
    seen = [Line("test-seen", "Isto não.", "test", VOICE, heldout="seen_template")]
    write_lines(tmp_path / LINES, [*said, *lines(), *tests, *seen])
    summary = write_held_out(tmp_path, minutes=0.1, num_test_clips=3, num_children=1, progress=False)
    names = {voice.name for voice in TEST_VOICES}
    assert summary["voices"] == sorted(names) and not names & {voice.name for voice in TRAIN_VOICES}
    train, test = (records(tmp_path / HELD_OUT / split) for split in ("train", "test"))
    seconds = Counter()
    for record, audio in train:
        seconds[record.speaker] += len(load_audio(audio)) / 16_000
    assert seconds.keys() == names
    assert all(6.0 <= total < 6.0 + 4.0 for total in seconds.values()), "no clip more than is needed"
    assert len({record.text for record, _ in train}) == len(train), "no two people say the same"
    assert all("número" in record.text or record.text == "De que cor é o céu?" for record, _ in train)
    assert Counter(record.speaker for record, _ in test) == dict.fromkeys(names, 3)
    assert len({record.text for record, _ in test}) == 3 and "Isto não." not in {r.text for r, _ in test}


def test_more_minutes_than_there_are_lines_for_are_refused_and_nothing_is_left(tmp_path):
    write_lines(tmp_path / LINES, lines())
    with pytest.raises(InputError, match="--held-out.*fewer minutes"):
        write_held_out(tmp_path, minutes=5, num_children=1, progress=False)
    assert not (tmp_path / HELD_OUT).exists() and not (tmp_path / "held_out.json").exists()
