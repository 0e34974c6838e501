"""Ours beside a peer, in one run on one machine: read the ratios, not the milliseconds."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.benchmark


@pytest.fixture(params=["ours", "openai-whisper"])
def log_mel(request):
    """The log-mel of 16 clips of 4 seconds, as a function."""
    import whisper

    from amalia_mm.audio.features import LogMel

    clips = 0.1 * torch.randn(16, 64_000)
    num_samples = torch.full((16,), 64_000)
    ours = LogMel(80)
    if request.param == "ours":
        return lambda: ours(clips, num_samples)
    return lambda: [whisper.log_mel_spectrogram(clip) for clip in clips]


@pytest.mark.benchmark(group="log-mel of 64 seconds")
def test_log_mel(benchmark, log_mel):
    benchmark.pedantic(log_mel, rounds=8, warmup_rounds=2)


@pytest.fixture(params=["ours by offset", "webdataset in sequence"])
def read_all(request, toy_data):
    """Reading every record of a folder of shards once, as a function."""
    import webdataset

    from amalia_mm.data.index import ShardIndex, read_record

    folder = toy_data / "shards" / "speech"
    index = ShardIndex.load(folder)
    if request.param == "ours by offset":
        return lambda: [read_record(index, number) for number in range(len(index))]
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    return lambda: list(webdataset.WebDataset(tars, shardshuffle=False))


@pytest.mark.benchmark(group="reading 60 records with their clips")
def test_shards(benchmark, read_all):
    benchmark.pedantic(read_all, rounds=8, warmup_rounds=1)
