"""Batches of voices: what is said and what is heard, from the index, the same at any step and for any processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amalia_mm.audio.io import encode_flac
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.voice import VoiceData
from amalia_mm.data.voice_phones import NOTHING_SAID, index_phones, phone_counts_path, said_in
from amalia_mm.data.voice_reader import collate_voice
from amalia_mm.errors import InputError
from amalia_mm.portuguese.phonology.phonemes import SYMBOLS
from amalia_mm.portuguese.read_aloud import read_aloud

FRAMES = {"sample_rate_hz": 16_000, "hop_samples": 256, "fft_samples": 1024}
TEXTS = ("Bom dia.", "O comboio parte cedo?", "Está frio hoje", "A Ana chama o gato.", "Sim!")


def tone(seconds, hz=180.0, level=0.3):
    time = torch.arange(round(16_000 * seconds)) / 16_000
    return level * torch.sin(2 * torch.pi * hz * time)


def record(number, text, speaker="ana", task="transcribe", **changes):
    fields = {"version": 1, "id": f"r{number}", "task": task, "variety": "pt-PT", "speaker": speaker}
    fields |= {"source": "t", "licence": "CC0", "split": "train", "text": text}
    return {name: value for name, value in (fields | changes).items() if value is not None}


@pytest.fixture
def folder(tmp_path):
    """Twenty clips by two speakers, one without a word, one question to be answered, one document."""
    with ShardWriter(tmp_path / "shards") as writer:
        for number in range(20):
            text = TEXTS[number % len(TEXTS)]
            clip = encode_flac(tone(0.6 + 0.1 * (number % 7), level=0.02 * (1 + number % 5)))
            writer.write(record(number, text, "ana" if number % 2 else "rui"), clip)
        writer.write(record(20, "", ""), encode_flac(tone(1.0)))
        asked = [{"role": "user", "text": "", "audio": True}, {"role": "assistant", "text": "Azul."}]
        question = record(21, None, task="answer", turns=asked, spoken="de que cor é o céu")
        writer.write(question, encode_flac(tone(1.2)))
        writer.write(record(22, "Um documento.", task="document"))
    return str(tmp_path / "shards")


def ready(folder, **options):
    data = VoiceData({folder: 1.0}, voice_frames=FRAMES, num_workers=0, **options)
    data.prepare_data()
    data.setup("fit")
    return data


def batches(data, num):
    steps, _ = data._steps(data.shards, data.seed)
    return [steps[number] for number in range(num)]


def test_a_text_becomes_phones_between_two_pauses():
    said = read_aloud("Bom dia")
    assert [SYMBOLS[number] for number in said.symbols] == [".", "b", "õ", "d", "i", "ɐ", "."]
    assert [place for place, is_start in enumerate(said.is_word_start) if is_start] == [1, 3]
    assert [SYMBOLS[n] for n, s in zip(said.symbols, said.is_stressed, strict=True) if s] == ["õ", "i"]
    asked = read_aloud("Bom dia?")
    assert SYMBOLS[asked.symbols[-1]] == "?", "no second pause after the one that is written"
    for nothing in ("", " ... ", "?!", "\n"):
        with pytest.raises(InputError, match="^line 3: text: found .*; wanted "):
            read_aloud(nothing, "line 3")


def test_phones_are_counted_once_and_silence_says_nothing(folder):
    counts = index_phones(folder).num_tokens
    assert counts[0] == len(read_aloud(TEXTS[0]))
    assert counts[20:].tolist() == [NOTHING_SAID, len(read_aloud("de que cor é o céu")), NOTHING_SAID]
    path = phone_counts_path(ShardIndex.load(folder))
    before = path.stat().st_mtime_ns
    assert index_phones(folder).num_tokens.tolist() == counts.tolist()
    assert path.stat().st_mtime_ns == before


def test_a_batch_holds_what_its_records_say(folder):
    data = ready(folder, max_rows=4, level_db=-20.0)
    assert data.speaker_names == ("ana", "rui")
    seen = {}
    for batch in batches(data, 6):
        assert batch.waveforms.dtype == torch.float32
        assert len(batch.record_ids) == len(batch.phones) <= 4
        for row, name in enumerate(batch.record_ids):
            num_phones, num_samples = int(batch.num_phones[row]), int(batch.num_samples[row])
            assert not batch.phones[row, num_phones:].any()
            assert not batch.waveforms[row, num_samples:].any()
            clip = batch.waveforms[row, :num_samples]
            assert float(clip.square().mean().sqrt()) == pytest.approx(0.1, rel=1e-3), "-20 dB"
            seen[name] = (
                tuple(batch.phones[row, :num_phones].tolist()),
                int(batch.speakers[row]),
                num_samples,
            )
    assert len(seen) == 21, "every clip that says something, in an epoch of six batches"
    for number in range(20):
        said = read_aloud(TEXTS[number % len(TEXTS)])
        speaker, seconds = 0 if number % 2 else 1, 0.6 + 0.1 * (number % 7)
        assert seen[f"r{number}"] == (said.symbols, speaker, round(16_000 * seconds))
    assert seen["r21"][0] == read_aloud("de que cor é o céu").symbols


def kept_at(folder, *rates_hz):
    """A second of noise at each of some rates."""
    generator = torch.Generator().manual_seed(0)
    with ShardWriter(folder) as writer:
        for number, rate_hz in enumerate(rates_hz):
            clip = 0.1 * torch.randn(rate_hz, generator=generator)
            writer.write(record(number, "Bom dia."), encode_flac(clip, rate_hz))
    return str(folder)


def at_24_khz(folder):
    data = VoiceData({folder: 1.0}, voice_frames=FRAMES | {"sample_rate_hz": 24_000}, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    return data


def test_a_clip_is_read_at_the_rate_of_the_model_and_has_what_is_above_8_khz(tmp_path):
    (batch,) = batches(at_24_khz(kept_at(tmp_path / "s", 24_000, 44_100)), 1)
    assert batch.num_samples.tolist() == [24_000, 24_000]
    power = torch.fft.rfft(batch.waveforms).abs().square()
    # Noise is as loud everywhere: 8 to 12 kHz is a third of what there is.
    for row in power:
        assert float(row[8_000:].sum() / row.sum()) == pytest.approx(1 / 3, abs=0.05)


def test_clips_kept_at_less_than_the_model_s_rate_are_left_out_and_told(tmp_path, caplog):
    batch = batches(at_24_khz(kept_at(tmp_path / "s", 16_000, 24_000, 22_050)), 1)[0]
    assert set(batch.record_ids) == {"r1"}
    assert "2 of 3 clips are kept at 16000 Hz, 22050 Hz, less than the 24000 Hz of the model" in caplog.text
    with pytest.raises(InputError, match=r"rate_hz: found clips of 16000 Hz alone; wanted 24000 Hz or more"):
        batches(at_24_khz(kept_at(tmp_path / "low", 16_000)), 1)


def test_the_order_is_that_of_seed_and_step_for_any_number_of_processes(folder):
    first, again = (batches(ready(folder, max_rows=5, seed=3), 12) for _ in range(2))
    assert [batch.record_ids for batch in first] == [batch.record_ids for batch in again]
    other = batches(ready(folder, max_rows=5, seed=4), 12)
    assert [batch.record_ids for batch in first] != [batch.record_ids for batch in other]
    data = ready(folder, max_rows=5, seed=3)
    steps, _ = data._steps(data.shards, data.seed)
    for number, whole in enumerate(first):
        shares = []
        for steps._rank in range(2):
            steps._world_size = 2
            shares.append(steps[number])
        kept = [name for share in shares for name in share.record_ids if bool(share.weights.all())]
        assert sorted(kept) == sorted(whole.record_ids)


def test_nothing_to_read_is_a_row_of_silence_without_loss():
    batch = collate_voice([], speaker_names=("ana",), silence_samples=2048, has_loss=True)
    assert batch.waveforms.shape == (1, 2048)
    assert batch.weights.tolist() == [0.0]
    assert batch.num_phones.tolist() == [1]
    assert batch.record_ids == ()


def test_a_clip_too_short_for_its_text_is_never_in_the_order(tmp_path):
    with ShardWriter(tmp_path / "s") as writer:
        writer.write(record(0, "O comboio parte cedo e a Ana chama o gato."), encode_flac(tone(0.2)))
        for number in range(1, 4):
            writer.write(record(number, "Bom dia."), encode_flac(tone(1.0)))
    data = ready(str(tmp_path / "s"), max_bad_fraction=0.3)
    names = {name for batch in batches(data, 6) for name in batch.record_ids}
    assert names == {"r1", "r2", "r3"}
    with pytest.raises(InputError, match="fewer frames than phones"):
        batches(ready(str(tmp_path / "s"), max_bad_fraction=0.0), 1)


def test_counts_of_other_rules_stop_the_run(folder):
    path = phone_counts_path(ShardIndex.load(folder))
    index_phones(folder)
    counts = np.load(path)
    counts[counts > 0] += 1
    np.save(path, counts)
    data = ready(folder)
    steps, _ = data._steps(data.shards, data.seed)
    with pytest.raises(InputError, match=r"delete .*phones-\*\.npy"):
        raise steps[0].error


def test_a_silent_clip_is_a_bad_record(tmp_path):
    with ShardWriter(tmp_path / "s") as writer:
        for number in range(3):
            writer.write(record(number, "Bom dia."), encode_flac(tone(1.0, level=0.3 if number else 0.0)))
    data = ready(str(tmp_path / "s"), max_bad_fraction=0.5)
    steps, bad = data._steps(data.shards, data.seed)
    assert sorted(steps[0].record_ids) == ["r1", "r2"]
    assert bad.counts() == {str(tmp_path / "s"): (1, 3)}


def test_what_is_said_is_written_or_spoken_or_nothing():
    from amalia_mm.data.schema import validate

    assert said_in(validate(record(0, "Olá, Rui."), "x")) == "Olá, Rui."
    asked = [{"role": "user", "text": "", "audio": True}, {"role": "assistant", "text": "Azul."}]
    assert (
        said_in(validate(record(1, None, task="answer", turns=asked, spoken="de que cor"), "x"))
        == "de que cor"
    )
    assert said_in(validate(record(2, "Um texto.", task="document"), "x")) == ""


def test_speakers_keep_their_numbers_where_nothing_is_trained(folder, tmp_path):
    """`amalia validate` loads no training folder, and would have called everybody nobody."""
    with ShardWriter(tmp_path / "val") as writer:
        writer.write(record(0, "Bom dia.", "rui"), encode_flac(tone(1.0)))
    data = VoiceData({folder: 1.0}, [str(tmp_path / "val")], voice_frames=FRAMES, num_workers=0)
    data.prepare_data()
    data.setup("validate")
    (batch,) = data.val_dataloader()
    assert batch.speaker_names[int(batch.speakers[0])] == "rui"


def test_one_persons_clips_are_drawn_until_they_are_long_enough(folder):
    index = ShardIndex.load(folder)
    every = ready(folder, speaker="ana")
    every.train_dataloader()
    lengths = [len(clip) for clip in every.waveforms()]
    theirs = [r for r in range(22) if index.coded["speaker"][r] == "ana"]
    assert sorted(lengths) == sorted(index.num_samples[theirs].tolist())
    assert every.speaker_names == ("ana",)

    some = ready(folder, speaker="ana", speech_s=3.0)
    some.train_dataloader()
    chosen = [len(clip) / 16_000 for clip in some.waveforms()]
    assert sum(chosen) + 0.016 * len(chosen) >= 3.0
    assert sum(chosen) - max(chosen) < 3.0, "not one clip more than is needed"
    again, other = (
        ready(folder, speaker="ana", speech_s=3.0),
        ready(folder, speaker="ana", speech_s=3.0, seed=5),
    )
    for each in (again, other):
        each.train_dataloader()
    assert [len(clip) / 16_000 for clip in again.waveforms()] == chosen
    assert [len(clip) / 16_000 for clip in other.waveforms()] != chosen
    heard = {number for batch in batches(some, 12) for number in batch.record_ids}
    assert len(heard) == len(chosen) and all(int(name[1:]) % 2 for name in heard)


def test_somebody_who_says_nothing_there_is_refused_by_name(folder):
    with pytest.raises(InputError, match="'eva'.*ana, rui"):
        ready(folder, speaker="eva")
    with pytest.raises(InputError, match="speech_s"):
        ready(folder, speaker="ana", speech_s=0.0)
