"""A tokenizer and small folders of shards, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from amalia_mm.audio.geometry import AudioGeometry, LengthStage
from amalia_mm.audio.io import encode_flac
from amalia_mm.data.shards import ShardWriter
from amalia_mm.text.tokenizer import Tokenizer

TEXT = (
    "o gato preto come a sopa quente na cozinha da avó enquanto chove muito lá fora e ninguém fala com ela "
    "hoje de manhã porque o autocarro chegou tarde ao centro de saúde"
)


def sentences(count: int, longest: int) -> list[str]:
    rng = np.random.default_rng(5)
    words = TEXT.split()
    return [" ".join(rng.choice(words, rng.integers(2, longest))) for _ in range(count)]


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train(sentences(300, 12), 380).save(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_folder)


@pytest.fixture(scope="session")
def fields() -> Callable[..., dict[str, object]]:
    """A record as a JSON object; any field can be given another value, and None takes it out."""

    def make(**changes: object) -> dict[str, object]:
        record: dict[str, object] = {"version": 1, "id": "a", "text": "o gato come", "task": "document"}
        record |= {"variety": "pt-PT", "speaker": "ana", "source": "test", "licence": "CC0", "split": "train"}
        return {name: value for name, value in (record | changes).items() if value is not None}

    return make


@pytest.fixture(scope="session")
def geometry() -> AudioGeometry:
    """Four times fewer positions than frames of 10 ms."""
    halved = LengthStage(kernel=3, stride=2, pad_left=1, pad_right=1)
    return AudioGeometry(16_000, None, (LengthStage(160, 160), halved, halved))


@pytest.fixture
def clip() -> Callable[[int], bytes]:
    """The flac bytes of a quiet tone of so many samples."""

    def make(num_samples: int) -> bytes:
        return encode_flac(0.1 * torch.sin(torch.arange(num_samples) * 0.1))

    return make


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory, fields: Callable[..., dict[str, object]]) -> Path:
    """120 documents of 2 to 60 words in 3 shards."""
    folder = tmp_path_factory.mktemp("documents")
    with ShardWriter(folder, max_records=50) as writer:
        for number, text in enumerate(sentences(120, 60)):
            writer.write(fields(id=f"d{number}", text=text, source="books"))
    return folder


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory, fields: Callable[..., dict[str, object]]) -> Path:
    """60 short clips with their words in 3 shards."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(3)
    with ShardWriter(folder, max_records=20) as writer:
        for number, text in enumerate(sentences(60, 8)):
            tone = 0.1 * torch.sin(torch.arange(int(rng.integers(3_000, 9_000))) * 0.1)
            record = fields(id=f"s{number}", text=text, task="transcribe", speaker=f"v{number % 3}")
            writer.write(record, encode_flac(tone))
    return folder
