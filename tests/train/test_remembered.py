"""A clip that comes again is not measured again, and what is remembered is what would be measured."""

from __future__ import annotations

import own_voice
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from voice_run import save_part

from amalia_mm.batch import VoiceBatch
from amalia_mm.train import voice_hearing
from amalia_mm.train.remembered import Remembered
from amalia_mm.train.voice_hearing import Listener, hear
from amalia_mm.voice.acoustic import AcousticModel
from amalia_mm.voice.speaker import SpeakerEncoder


def clips(*values, length=2):
    """Clips of so many samples, all of one value."""
    return [torch.full((length,), float(value)) for value in values]


def measuring(calls):
    def measure(clip):
        calls.append(float(clip[0]))
        return 10 * clip[:1]

    return measure


def test_what_is_known_is_not_measured_again():
    calls, remembered = [], Remembered()
    first = remembered.rows(clips(1, 2), ["a", "b"], measuring(calls))
    again = remembered.rows(clips(2, 3, 1), ["b", "c", "a"], measuring(calls))
    assert calls == [1, 2, 3]
    assert torch.cat(first).tolist() == [10, 20]
    assert torch.cat(again).tolist() == [20, 30, 10]


def test_a_place_that_is_another_clip_by_its_length_is_measured():
    calls, remembered = [], Remembered()
    remembered.rows(clips(1), ["a"], measuring(calls))
    (other,) = remembered.rows(clips(2, length=3), ["a"], measuring(calls))
    assert other.tolist() == [20] and calls == [1, 2]


def test_clips_without_a_place_are_measured_each_time():
    calls, remembered = [], Remembered()
    for _ in range(2):
        remembered.rows(clips(1), (), measuring(calls))
    assert calls == [1, 1]


def test_memory_is_limited_and_what_it_holds_stays():
    calls, remembered = [], Remembered(most_numbers=2)
    for _ in range(2):
        remembered.rows(clips(1, 2, 3), ["a", "b", "c"], measuring(calls))
    assert calls == [1, 2, 3, 3]


def test_places_that_are_not_one_a_clip_are_an_error():
    with pytest.raises(ValueError, match="longer"):
        Remembered().rows(clips(1, 2), ["a"], measuring([]))


def test_what_validation_measured_first_can_be_learned_from():
    remembered = Remembered()
    with torch.inference_mode():
        remembered.rows(clips(1), ["a"], lambda clip: torch.ones(2))
    (vector,) = remembered.rows(clips(1), ["a"], lambda clip: torch.zeros(2))
    weight = torch.zeros(2, requires_grad=True)
    (weight * vector).sum().backward()
    assert torch.equal(weight.grad, torch.ones(2))


def test_a_clip_keeps_no_batch_alive():
    batch = torch.zeros(1000, 4)
    (kept,) = Remembered().rows(clips(1), ["a"], lambda clip: batch[7])
    assert kept.untyped_storage().nbytes() == 16


def batch_of(*numbers):
    """Clips of different lengths, right-padded; what they say does not matter here."""
    clips = [own_voice.sound(number, seconds=0.5 + 0.4 * number) for number in numbers]
    nothing = torch.zeros(len(clips), 1, dtype=torch.int64)
    return VoiceBatch(
        phones=nothing + 1,
        is_stressed=nothing.bool(),
        is_word_start=nothing.bool(),
        num_phones=torch.ones(len(clips), dtype=torch.int64),
        waveforms=pad_sequence(clips, batch_first=True),
        num_samples=torch.tensor([len(clip) for clip in clips]),
        speakers=nothing[:, 0],
        weights=torch.ones(len(clips)),
        places=tuple(f"shard: clip {number}" for number in numbers),
    )


def test_a_voice_is_heard_once_a_clip_and_alike_in_any_company(tmp_path, monkeypatch):
    """A clip beside a longer one has the vector and the pitch that it has alone, to the last bit."""
    save_part(tmp_path / "20_speaker", "speaker", SpeakerEncoder, own_voice.ENCODER)
    folder, model = str(tmp_path / "20_speaker/model"), AcousticModel(**own_voice.FRAMES)
    listener, pitches = Listener(folder), Remembered()
    together, heard = listener.vectors(batch_of(2, 1), 16_000), hear(model, batch_of(2, 1), pitches)
    alone = batch_of(1)
    vectors, fresh = Listener(folder).vectors(alone, 16_000), hear(model, alone, Remembered())
    num_frames = int(fresh.num_frames[0])
    assert num_frames < heard.mel.shape[2]
    assert fresh.is_voiced.any()
    assert torch.equal(vectors[0], together[1])
    assert torch.equal(fresh.log_pitch[0], heard.log_pitch[1, :num_frames])
    assert not heard.is_voiced[1, num_frames:].any()

    def again(*_given):
        raise AssertionError("measured again")

    monkeypatch.setattr(listener.embedder, "embed", again)
    monkeypatch.setattr(voice_hearing, "pitch_hz", again)
    assert torch.equal(listener.vectors(batch_of(1, 2), 16_000), together.flip(0))
    assert torch.equal(hear(model, alone, pitches).log_pitch, fresh.log_pitch)
