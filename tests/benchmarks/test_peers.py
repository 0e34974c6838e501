"""Ours beside a peer, in one run on one machine: read the ratios, not the milliseconds."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.benchmark


@pytest.fixture(params=["ours", "transformers"])
def decoder_step(request, tmp_path):
    """One training step of the quickstart's decoder on 16 rows of 128 tokens, as a function."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from amalia_mm.text.checkpoint import load_hf

    config = LlamaConfig(
        vocab_size=512,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    llama = LlamaForCausalLM(config)
    llama.save_pretrained(tmp_path)
    ids = torch.randint(512, (16, 128))
    model = llama if request.param == "transformers" else load_hf(tmp_path)

    def step():
        logits = model(ids).logits if request.param == "transformers" else model(ids)
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        model.zero_grad()

    return step


@pytest.mark.benchmark(group="a training step of a decoder of 3 M parameters")
def test_decoder(benchmark, decoder_step):
    benchmark.pedantic(decoder_step, rounds=8, warmup_rounds=2)


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
