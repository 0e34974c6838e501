"""A tiny run folder to train on: a tokenizer, shards of text, and shards of tones with a text for each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amalia_mm.audio.io import encode_flac
from amalia_mm.data.shards import ShardWriter
from amalia_mm.text.tokenizer import Tokenizer

WORDS = ("bom", "dia", "a", "ana", "chama-se", "o", "comboio", "parte", "cedo", "está", "frio", "hoje")
VOCAB_SIZE = 320


def _sentence(generator: torch.Generator) -> str:
    num_words = int(torch.randint(2, 7, (1,), generator=generator))
    return " ".join(WORDS[int(i)] for i in torch.randint(0, len(WORDS), (num_words,), generator=generator))


def _record(number: int, split: str, **content: object) -> dict[str, object]:
    fixed = {"version": 1, "variety": "pt-PT", "speaker": "tom", "source": "toy", "licence": "CC0-1.0"}
    return {**fixed, "id": f"{split}-{number}", "split": split, **content}


def _turns(asked: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "text": asked}, {"role": "assistant", "text": answer}]


def _tone(num_words: int, generator: torch.Generator) -> bytes:
    num_samples = 16_000 * num_words // 4 + int(torch.randint(0, 4000, (1,), generator=generator))
    time = torch.arange(num_samples) / 16_000
    pitch_hz = 200 + 400 * float(torch.rand(1, generator=generator))
    return encode_flac(0.3 * torch.sin(2 * torch.pi * pitch_hz * time))


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tokenizer/ and shards/{text,chat,speech,pairs}."""
    root = tmp_path_factory.mktemp("toy")
    generator = torch.Generator().manual_seed(0)
    sentences = [_sentence(generator) for _ in range(150)]
    Tokenizer.train(sentences, VOCAB_SIZE).save(root / "tokenizer")
    with ShardWriter(root / "shards" / "text") as writer:
        for number, text in enumerate(sentences):
            writer.write(_record(number, "train", task="text", text=text))
    with ShardWriter(root / "shards" / "chat") as writer:
        for number, text in enumerate(sentences[:40]):
            writer.write(_record(number, "train", task="chat", turns=_turns(text, text[::-1])))
    with ShardWriter(root / "shards" / "speech") as writer:
        for number, text in enumerate(sentences[:60]):
            record = _record(number, "train", task="transcribe", text=text, spoken=text)
            writer.write(record, _tone(len(text.split()), generator))
    with ShardWriter(root / "shards" / "pairs") as writer:
        for number, text in enumerate(sentences[:60]):
            asked = {"text": text} if number % 3 == 0 else {"turns": _turns(sentences[-number], text)}
            rejected = f"{text} {text}" if number % 2 else text[::-1]
            writer.write(_record(number, "train", task="pair", **asked, rejected=rejected) | {"version": 2})
    return root
