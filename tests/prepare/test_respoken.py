"""A changed copy of a recording has the pitch and the pace that were asked for."""

from __future__ import annotations

import json

import pytest
import torch
from sound import in_turns, said

from amalia_mm.audio.io import write_audio
from amalia_mm.cli import main
from amalia_mm.data.index import ShardIndex
from amalia_mm.prepare.respoken import Respeaking, respoken


def tone(hertz, seconds=1.0):
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(int(16_000 * seconds)) / 16_000)


def loudest_hz(waveform):
    return float(torch.fft.rfft(waveform).abs().argmax()) * 16_000 / len(waveform)


@pytest.mark.parametrize(("tract_scale", "tempo"), [(1.2, 1.0), (0.8, 1.0), (1.0, 1.25), (0.85, 0.9)])
def test_pitch_and_pace_move_apart(tract_scale, tempo):
    changed = respoken(tone(500.0), tract_scale, tempo)
    assert len(changed) == pytest.approx(16_000 / tempo, rel=0.01)
    assert loudest_hz(changed) == pytest.approx(500.0 * tract_scale, rel=0.02)
    assert changed.dtype == torch.float32


def test_a_copy_follows_from_seed_identity_and_number():
    change = Respeaking()
    one = change.copy(tone(300.0), 0, "a", 1)
    assert torch.equal(one, change.copy(tone(300.0), 0, "a", 1))
    others = [change.copy(tone(300.0), *key) for key in ((1, "a", 1), (0, "b", 1), (0, "a", 2))]
    assert all(len(other) != len(one) for other in others)


def test_a_range_upside_down_is_refused():
    with pytest.raises(ValueError, match=r"tempo goes from 1.2 to 0.8"):
        Respeaking(tempo=(1.2, 0.8))


def test_copies_stand_beside_their_recordings(tmp_path, capsys):
    write_audio(tmp_path / "a.wav", tone(300.0))
    (tmp_path / "m.jsonl").write_text(
        json.dumps({"audio": "a.wav", "text": "bom dia", "split": "train"}) + "\n"
    )
    folder = tmp_path / "shards"
    assert main(["shards", "write", str(tmp_path / "m.jsonl"), "--output", str(folder), "--copies", "2"]) == 0
    index = ShardIndex.load(folder)
    assert index.strings["id"] == ["own-000000-a", "own-000000-a~1", "own-000000-a~2"]
    assert len(set(index.num_samples.tolist())) == 3
    assert "3 records" in capsys.readouterr().out


def test_a_recording_of_two_speakers_is_left_out_with_what_can_be_done(tmp_path, caplog):
    in_turns(tmp_path / "two.wav", *said("Bom dia a todos.", "O comboio parte cedo."))
    rows = [{"audio": "two.wav", "text": "Bom dia a todos.", "split": "train"}]
    for number in range(10):
        write_audio(tmp_path / f"{number}.wav", tone(300.0 + number))
        rows.append({"audio": f"{number}.wav", "text": "bom dia", "split": "train"})
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["shards", "write", str(manifest), "--output", str(tmp_path / "shards")]) == 0
    assert len(ShardIndex.load(tmp_path / "shards")) == 10
    (told,) = (record.getMessage() for record in caplog.records)
    assert "two.wav: channels" in told and "keep one of them in the file" in told
