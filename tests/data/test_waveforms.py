"""Windows of speech: the same for the same seed and visit, from another place at the next, never silent by chance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amalia_mm.audio.io import encode_flac, load_audio
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.order import Ref
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.waveforms import WaveformData, WindowReader
from amalia_mm.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of noise at 24 kHz, of 0.2 to 2 s, one of which is silent but for its end; and a document."""
    folder = tmp_path_factory.mktemp("windows") / "speech"
    generator = torch.Generator().manual_seed(0)
    fixed = {
        "version": 1,
        "variety": "pt-PT",
        "source": "t",
        "licence": "CC0",
        "split": "train",
        "speaker": "a",
    }
    with ShardWriter(folder) as writer:
        for number in range(10):
            clip = 0.2 * torch.randn(4_800 * (number + 1), generator=generator).clamp(-3, 3)
            if number == 9:
                clip[:40_000] = 0.0
            record = {**fixed, "id": f"c{number}", "task": "transcribe", "text": "bom dia"}
            writer.write(record, encode_flac(clip, 24_000))
        writer.write({**fixed, "id": "text", "task": "text", "text": "bom dia"})
    return folder


def reader(folder: Path, **changes: object) -> WindowReader:
    arguments = {"sample_rate_hz": 24_000, "window_samples": 4_096, "seed": 3, **changes}
    return WindowReader([ShardIndex.load(folder)], **arguments)


def test_a_window_is_a_piece_of_its_clip_at_the_rate_that_is_spoken(folder):
    window = reader(folder).read(Ref(0, 5)).waveform
    clip = load_audio(read_record(ShardIndex.load(folder), 5)[1] or b"", sample_rate_hz=24_000)
    assert len(clip) == 4_800 * 6
    places = clip.unfold(0, 4_096, 1)
    assert int((places == window).all(dim=1).sum()) == 1


def test_the_same_visit_gives_the_same_window_and_the_next_another(folder):
    first, again = (reader(folder, gain_db=6.0).read(Ref(0, 5, appearance=2)).waveform for _ in range(2))
    assert torch.equal(first, again)
    others = [
        reader(folder, gain_db=6.0).read(Ref(0, 5, appearance=3)),
        reader(folder, gain_db=6.0, seed=4).read(Ref(0, 5, appearance=2)),
    ]
    assert not any(torch.equal(first, other.waveform) for other in others)


def test_a_silent_place_is_passed_over(folder):
    windows = [reader(folder).read(Ref(0, 9, appearance=visit)).waveform for visit in range(20)]
    # Of 43,905 places 36,000 are silent: one try alone would hear 4 of 20, and eight tries 15.
    assert all(float(window.abs().max()) > 0.01 for window in windows)


def test_a_clip_that_is_silent_is_a_bad_record(tmp_path):
    with ShardWriter(tmp_path / "s") as writer:
        record = {
            "version": 1,
            "variety": "pt-PT",
            "source": "t",
            "licence": "CC0",
            "split": "train",
            "speaker": "a",
        }
        writer.write(
            {**record, "id": "a", "task": "transcribe", "text": "a"}, encode_flac(torch.zeros(9_000), 24_000)
        )
    with pytest.raises(InputError, match="found silence"):
        reader(tmp_path / "s").read(Ref(0, 0))


def test_loudness_changes_and_nothing_is_cut(folder):
    plain = [reader(folder).read(Ref(0, 5, appearance=visit)).waveform for visit in range(12)]
    loud = [reader(folder, gain_db=12.0).read(Ref(0, 5, appearance=visit)).waveform for visit in range(12)]
    gains = torch.stack([b.norm() / a.norm() for a, b in zip(plain, loud, strict=True)])
    assert gains.max() / gains.min() > 2
    assert max(float(window.abs().max()) for window in loud) <= 1.0 + 1e-6
    assert all(torch.allclose(b, a * g, atol=1e-5) for a, b, g in zip(plain, loud, gains, strict=True))


def test_batches_are_of_one_size_whatever_the_number_of_processes(folder, caplog):
    def batches(num_workers: int) -> list[torch.Tensor]:
        data = WaveformData(
            {str(folder): 1.0},
            window_samples=9_600,
            windows_per_batch=4,
            num_workers=num_workers,
        )
        data.setup("fit")
        loader = iter(data.train_dataloader())
        return [next(loader).waveforms for _ in range(5)]

    alone, beside = batches(0), batches(2)
    assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))
    # Clips of 0.4 s and more: 9 less the one that is a sample short after rounding.
    assert {tuple(batch.shape) for batch in alone} == {(4, 9_600)}
    assert "of 11 records are shorter than a window" in caplog.text


def test_each_clip_is_validated_on_once_and_as_it_is(folder):
    data = WaveformData({str(folder): 1.0}, val_shards=[str(folder)], window_samples=4_096, num_workers=0)
    data.setup("fit")
    loaders = [list(data.val_dataloader()) for _ in range(2)]
    places = [place for batch in loaders[0] for place in batch.places]
    assert len(places) == len(set(places)) == 10
    for one, other in zip(*loaders, strict=True):
        assert torch.equal(one.waveforms, other.waveforms)
    by_place = {
        place: window
        for batch in loaders[0]
        for place, window in zip(batch.places, batch.waveforms, strict=True)
    }
    plain = reader(folder, seed=0).read(Ref(0, 5))
    assert torch.equal(by_place[plain.where], plain.waveform)


def test_a_window_longer_than_every_clip_is_told(folder):
    data = WaveformData({str(folder): 1.0}, window_samples=480_000, num_workers=0)
    data.setup("fit")
    with pytest.raises(InputError, match=r"0 clips of 20\.00 s or more"):
        data.train_dataloader()


def test_a_record_without_a_clip_is_told(folder):
    with pytest.raises(InputError, match="no clip"):
        reader(folder).read(Ref(0, 10))
