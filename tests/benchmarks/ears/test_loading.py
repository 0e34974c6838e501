"""From shards on disk to batches of log-mel with token ids: two worker processes on every side, an epoch each.

Clips lie in the shards as 48 kHz FLAC, so that each is decoded and resampled. Every peer reads, decodes and resamples
in its workers; each is measured at the fastest of several ways to write it. `datasets` decodes by torchcodec where that
and FFmpeg are installed, else its bytes are decoded by soundfile, as everywhere else here.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import soundfile
import soxr
import torch
import torchaudio
import webdataset
import whisper
from paired import best_of, paired
from spoken import of_mixed_lengths
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import WhisperFeatureExtractor

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.features import LogMel
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.io import encode_flac
from amalia_mm.data.module import SpeechTextData
from amalia_mm.data.shards import ShardIndex, ShardWriter
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds

pytestmark = pytest.mark.benchmark

NUM_CLIPS, NUM_SHARDS, RATE_HZ = 512, 4, 48_000
BATCH, WORKERS, VOCABULARY = 16, 2, 512
BUDGET_S = 16 * 16  # as much audio as a batch of sixteen clips of mean length
"""A batch of log-mel (k m f) and the token ids of its texts."""
Batch = tuple[Tensor, list[list[int]]]


@pytest.fixture(autouse=True)
def one_thread_each() -> Iterator[None]:
    """The workers have the cores: threads of the main process would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class _Shards:
    folder: Path
    tokenizer_folder: Path
    tokenizer: Tokenizer
    seconds: float

    @property
    def tars(self) -> list[str]:
        return sorted(map(str, self.folder.glob("*.tar")))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> _Shards:
    root = tmp_path_factory.mktemp("loading")
    clips = of_mixed_lengths(NUM_CLIPS)
    fixed = {"version": 1, "task": "transcribe", "variety": "pt-PT", "speaker": "", "source": "said"}
    with ShardWriter(root / "shards", max_records=NUM_CLIPS // NUM_SHARDS) as writer:
        for number, clip in enumerate(clips):
            louder = torch.from_numpy(soxr.resample(clip.waveform.numpy(), SAMPLE_RATE_HZ, RATE_HZ))
            record = {**fixed, "licence": "CC0-1.0", "split": "train", "id": str(number), "text": clip.text}
            writer.write(record, encode_flac(louder, RATE_HZ))
    tokenizer = Tokenizer.train([clip.text for clip in clips], VOCABULARY)
    tokenizer.save(root / "tokenizer")
    num_samples = int(ShardIndex.load(root / "shards").num_samples.sum())
    return _Shards(root / "shards", root / "tokenizer", tokenizer, samples_to_seconds(num_samples))


class _Ours:
    """The loader of `SpeechTextData`, and the features that an encoder takes of its batches."""

    def __init__(self, shards: _Shards) -> None:
        self._features = LogMel(80)
        with torch.device("meta"):
            geometry = AudioGeometry(SAMPLE_RATE_HZ, None, ConvTransformer(num_convolutions=3).stages)
        data = SpeechTextData(
            {str(shards.folder): 1.0},
            str(shards.tokenizer_folder),
            [str(shards.folder)],
            geometry,
            max_audio_tokens=geometry.num_audio_tokens(BUDGET_S * SAMPLE_RATE_HZ),
            max_text_tokens=10**6,
            max_rows=64,
            num_workers=WORKERS,
        )
        data.prepare_data()
        data.setup("validate")
        self._loader = data.val_dataloader()

    def epoch(self) -> int:
        num_clips = 0
        for batch in self._loader:
            with torch.inference_mode():
                mel, _ = self._features(batch.waveforms, batch.num_samples)
            num_clips += len(mel)
        return num_clips


def _read(flac: bytes) -> tuple[Any, int]:
    return soundfile.read(io.BytesIO(flac), dtype="float32")


def _by_soxr(flac: bytes) -> Tensor:
    samples, rate_hz = _read(flac)
    return torch.from_numpy(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ))


def _by_torchaudio(flac: bytes) -> Tensor:
    samples, rate_hz = _read(flac)
    return torchaudio.functional.resample(torch.from_numpy(samples), rate_hz, SAMPLE_RATE_HZ)


def _padded(mels: Sequence[Tensor], ids: list[list[int]]) -> Batch:
    return pad_sequence([mel.T for mel in mels], batch_first=True).transpose(1, 2), ids


def _clips_of(loader: Any) -> int:
    return sum(len(ids) for _, ids in loader)


def _plain_webdataset(shards: _Shards, decode: Callable[[bytes], Tensor]) -> Callable[[], int]:
    def to_item(sample: dict[str, bytes]) -> tuple[Tensor, list[int]]:
        text = json.loads(sample["json"])["text"]
        return whisper.log_mel_spectrogram(decode(sample["flac"])), shards.tokenizer.encode(text)

    def to_batch(items: list[tuple[Tensor, list[int]]]) -> Batch:
        return _padded([mel for mel, _ in items], [ids for _, ids in items])

    dataset = webdataset.WebDataset(shards.tars, shardshuffle=False).map(to_item)
    dataset = dataset.batched(BATCH, collation_fn=to_batch)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=WORKERS, prefetch_factor=4, persistent_workers=True
    )
    return lambda: _clips_of(loader)


def test_beside_webdataset(bench, shards: _Shards) -> None:
    ours = _Ours(shards)
    ways = {
        "soundfile and soxr": _plain_webdataset(shards, _by_soxr),
        "soundfile and torchaudio": _plain_webdataset(shards, _by_torchaudio),
    }
    assert ours.epoch() == NUM_CLIPS == next(iter(ways.values()))()
    best = best_of(ways)
    times = paired(ours.epoch, ways[best], num_pairs=7)
    bench.row(
        "loader_webdataset",
        f"{NUM_CLIPS} clips of 1 to 30 s, {RATE_HZ // 1000} kHz FLAC in shards, to batches of log-mel and tokens, "
        f"{WORKERS} workers; webdataset with {best} and openai-whisper's log-mel, batches of {BATCH}",
        ours=shards.seconds / times.ours_median_s,
        peer=shards.seconds / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio,
        op=">=",
        must=1.0,
    )


def _has_torchcodec() -> bool:
    """Return whether `datasets` can decode audio itself; torchcodec needs FFmpeg's libraries on the machine."""
    if importlib.util.find_spec("torchcodec") is None:
        return False
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError):
        return False
    return True


class _OfBytes:
    """Decodes what `datasets` gives where its Audio feature is not to decode."""

    def __init__(self, decode: Callable[[bytes], Tensor]) -> None:
        self._decode = decode

    def __call__(self, audio: dict[str, Any]) -> Tensor:
        return self._decode(audio["bytes"])


def _decoded(audio: Any) -> Tensor:
    return audio.get_all_samples().data[0]


def _datasets_pipeline(
    shards: _Shards, table: Any, to_waveform: Callable[[Any], Tensor], is_batched: bool
) -> Callable[[], int]:
    extract = partial(
        WhisperFeatureExtractor(), sampling_rate=SAMPLE_RATE_HZ, truncation=False, return_tensors="pt"
    )

    def to_batch(rows: list[dict[str, Any]]) -> Batch:
        clips = [to_waveform(row["audio"]).numpy() for row in rows]
        ids = [shards.tokenizer.encode(row["text"]) for row in rows]
        if is_batched:
            return extract(clips, padding="longest")["input_features"], ids
        return _padded([extract(clip, padding="do_not_pad")["input_features"][0] for clip in clips], ids)

    loader = DataLoader(
        table,
        BATCH,
        shuffle=True,
        collate_fn=to_batch,
        num_workers=WORKERS,
        prefetch_factor=4,
        persistent_workers=True,
    )
    return lambda: _clips_of(loader)


def _table(shards: _Shards, cache: Path) -> Any:
    """Return the records as `datasets` keeps them: an Arrow file that is mapped, the clips as bytes."""
    import datasets

    def rows() -> Any:
        for sample in webdataset.WebDataset(shards.tars, shardshuffle=False):
            text = json.loads(sample["json"])["text"]
            yield {"audio": {"bytes": sample["flac"], "path": f"{sample['__key__']}.flac"}, "text": text}

    clip = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"audio": clip, "text": datasets.Value("string")})
    return datasets.Dataset.from_generator(rows, features=features, cache_dir=str(cache))


def test_beside_datasets(bench, shards: _Shards, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is in the extra `dev`")
    table = _table(shards, tmp_path)
    of_bytes = table.cast_column("audio", datasets.Audio(decode=False))
    decoders: dict[str, tuple[Any, Callable[[Any], Tensor]]] = {
        "soundfile and soxr": (of_bytes, _OfBytes(_by_soxr)),
        "soundfile and torchaudio": (of_bytes, _OfBytes(_by_torchaudio)),
    }
    if _has_torchcodec():
        audio = table.cast_column("audio", datasets.Audio(sampling_rate=SAMPLE_RATE_HZ, num_channels=1))
        decoders["its Audio feature (torchcodec)"] = audio, _decoded
    ways = {
        f"{name}, {extracted}": _datasets_pipeline(shards, *decoder, extracted == "batches at once")
        for name, decoder in decoders.items()
        for extracted in ("batches at once", "clip by clip")
    }
    ours = _Ours(shards)
    assert ours.epoch() == NUM_CLIPS == next(iter(ways.values()))()
    best = best_of(ways)
    times = paired(ours.epoch, ways[best], num_pairs=7)
    bench.row(
        "loader_datasets",
        f"the same clips; datasets and transformers' feature extractor with {best}, batches of {BATCH} padded to the "
        f"longest, {WORKERS} workers",
        ours=shards.seconds / times.ours_median_s,
        peer=shards.seconds / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio,
        op=">=",
        must=2.0,
    )
