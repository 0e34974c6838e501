"""Speaker-balanced batches: as many clips of one as of another, and the same ones whatever was asked before."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from amalia_mm.audio.io import encode_flac
from amalia_mm.batch import IGNORE
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.speaker_data import SpeakerData
from amalia_mm.data.speakers import SpeakerOrder, SpeakerReader, collate_speakers, speakers_of
from amalia_mm.errors import InputError

CLIPS = {"ana": 7, "bruno": 3, "carla": 2, "duarte": 5, "só uma": 1, "": 2}
"""How many clips of whom; each is a ramp that tells which it is and where."""


def record(name, number):
    fixed = {"version": 1, "variety": "pt-PT", "source": "toy", "licence": "CC0-1.0", "split": "train"}
    said = {"task": "transcribe", "text": "olá", "spoken": "olá"}
    return {**fixed, **said, "id": f"{name}-{number}", "speaker": name}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speakers") / "shards"
    with ShardWriter(folder) as writer:
        for name, count in CLIPS.items():
            for number in range(count):
                num_samples = 16_000 + 1000 * number
                ramp = torch.arange(num_samples, dtype=torch.float32) / 32_768
                writer.write(record(name, number), encode_flac(ramp))
        writer.write(record("ana", 99), encode_flac(torch.zeros(4000)))  # a quarter of a second
    return folder


@pytest.fixture(scope="module")
def index(shards):
    return ShardIndex.load(shards)


def order(index, seed=0, **options):
    return SpeakerOrder(speakers_of([index], **options), speakers_per_batch=3, clips_per_speaker=2, seed=seed)


def test_who_is_left_out_is_counted_by_reason(index):
    speakers = speakers_of([index], leave_out=["duarte"])
    assert speakers.names == ("ana", "bruno", "carla")
    assert [len(clips) for clips in speakers.clips] == [7, 3, 2]
    assert speakers.left_out == {
        "of speakers who are not asked for": 5,
        "without a speaker's name": 2,
        "under 0.5 s": 1,
        "of a speaker with a single clip": 1,
    }
    assert sum(speakers.left_out.values()) + 12 == len(index)


def test_everyone_is_somebody_else_at_another_speed(index):
    speakers = speakers_of([index], speeds=(1.0, 1.1), only=["ana", "bruno"])
    assert speakers.names == ("ana", "ana at 1.1", "bruno", "bruno at 1.1")
    assert {ref.speed for ref in speakers.clips[1]} == {1.1}


@pytest.mark.parametrize("option", ["only", "leave_out"])
def test_a_name_that_nobody_has_is_an_error(index, option):
    with pytest.raises(InputError, match="no 'eva'"):
        speakers_of([index], **{option: ["ana", "bruno", "eva"]})


def test_one_speaker_is_too_few(index):
    with pytest.raises(InputError, match="1 speakers with two clips or more"):
        speakers_of([index], only=["ana", "só uma"])


def test_a_batch_follows_from_seed_and_step_alone(index):
    one, other = order(index), order(index)
    backwards = [other.batch(step) for step in reversed(range(30))][::-1]
    assert [one.batch(step) for step in range(30)] == backwards
    assert one.batch(3) != order(index, seed=1).batch(3)


def test_all_speakers_and_all_their_clips_come_equally_often(index):
    every = order(index)
    rows = [ref for step in range(4 * 35) for (ref,) in every.batch(step)]
    names = Counter(index.coded["speaker"][ref.record] for ref in rows)
    assert set(names.values()) == {4 * 35 * 3 * 2 // 4}
    for name in names:
        clips = Counter(ref.record for ref in rows if index.coded["speaker"][ref.record] == name)
        assert max(clips.values()) - min(clips.values()) <= 1
        assert len(clips) == CLIPS[name]


def test_speakers_stand_together_and_do_not_come_twice_in_a_round(index):
    every = order(index)
    for step in range(8):
        names = [index.coded["speaker"][ref.record] for (ref,) in every.batch(step)]
        assert names[::2] == names[1::2]
    first_round = [index.coded["speaker"][ref.record] for step in range(4) for (ref,) in every.batch(step)]
    assert Counter(first_round[: 4 * 2]) == dict.fromkeys(("ana", "bruno", "carla", "duarte"), 2)


def test_a_stretch_is_of_the_clip_and_of_the_length_of_its_batch(index):
    every = order(index, speeds=(1.0, 0.8))
    reader = SpeakerReader([index], every.speakers, seed=0, crop_s=(0.4, 0.9))
    lengths = set()
    for step in range(6):
        spoken = [reader.read(ref) for (ref,) in every.batch(step)]
        assert len({len(each.waveform) for each in spoken}) == 1
        lengths.add(len(spoken[0].waveform))
        again = [reader.read(ref) for (ref,) in every.batch(step)]
        assert all(torch.equal(a.waveform, b.waveform) for a, b in zip(spoken, again, strict=True))
        for each, (ref,) in zip(spoken, every.batch(step), strict=True):
            name = index.coded["speaker"][ref.record]
            assert every.speakers.names[each.speaker] == (name if ref.speed == 1.0 else f"{name} at 0.8")
            if ref.speed == 1.0:  # a ramp of 1 a sample: a stretch of it in one piece
                steps = (32_768 * each.waveform).diff().round()
                assert torch.equal(steps, torch.ones_like(steps))
    assert len(lengths) == 6
    assert all(0.4 * 16_000 <= length <= 0.9 * 16_000 for length in lengths)


def test_a_clip_shorter_than_the_stretch_stays_whole_and_is_padded(index):
    every = order(index, only=["ana", "bruno"])
    reader = SpeakerReader([index], every.speakers, seed=0, crop_s=(1.15, 1.15))
    rows = [(reader.read(ref),) for (ref,) in (row for step in range(6) for row in every.batch(step))]
    batch = collate_speakers(rows)
    assert batch.waveforms.shape[1] == int(batch.num_samples.max()) == round(1.15 * 16_000)
    assert int(batch.num_samples.min()) == 16_000
    for waveform, length in zip(batch.waveforms, batch.num_samples.tolist(), strict=True):
        assert not waveform[length:].any()
    assert (collate_speakers(rows, has_loss=False).speakers == IGNORE).all()
    assert collate_speakers([]).speakers.tolist() == [IGNORE]


def data(shards, **options):
    return SpeakerData([str(shards)], speakers_per_batch=2, clips_per_speaker=2, num_workers=0, **options)


def test_those_validated_on_are_not_trained_on(shards):
    module = data(shards, val_speakers=["ana", "duarte"])
    module.setup("fit")
    assert module.speaker_names == ("bruno", "carla")
    batches = iter(module.train_dataloader())
    seen = {name for _ in range(6) for name in next(batches).record_ids}
    assert {name.split("-")[0] for name in seen} == {"bruno", "carla"}
    (unseen,) = list(module.val_dataloader())
    assert {name.split("-")[0] for name in unseen.record_ids} == {"ana", "duarte"}
    assert len(unseen.record_ids) == 4


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"crop_s": (2.0, 1.0)}, "crop_s"),
        ({"speakers_per_batch": 1}, "speakers_per_batch"),
        ({"shards": []}, "shards"),
    ],
)
def test_values_that_cannot_be_are_named(shards, options, match):
    with pytest.raises(InputError, match=match):
        SpeakerData(**{"shards": [str(shards)], **options})
