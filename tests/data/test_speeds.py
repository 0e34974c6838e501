"""A clip said faster or slower is counted, rendered and heard at the length it then has."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.speed import num_samples_at
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.module import SpeechTextData
from amalia_mm.data.order import BudgetOrder
from amalia_mm.data.visits import Source
from amalia_mm.errors import InputError

SPEEDS = (0.9, 1.0, 1.1)
QUIET = {"noise_probability": 0.0, "gain_probability": 0.0}


def data_of(speech: Path, tokenizer_folder: Path, geometry: AudioGeometry, **changes: Any) -> SpeechTextData:
    arguments: dict[str, Any] = {"shards": {str(speech): 1.0}, "tokenizer": str(tokenizer_folder)}
    arguments |= {"geometry": geometry, "max_rows": 6, "num_workers": 0, "max_audio_tokens": 120}
    arguments |= {"augment": Augment(**QUIET, speeds=SPEEDS), "val_shards": [str(speech)]}
    data = SpeechTextData(**(arguments | changes))
    data.prepare_data()
    data.setup("fit")
    return data


def test_what_is_heard_is_as_long_as_the_order_counted(
    speech: Path, tokenizer_folder: Path, geometry: AudioGeometry
) -> None:
    """The budget is cut from the index, before any clip is read: a slower clip must be counted as longer."""
    data = data_of(speech, tokenizer_folder, geometry)
    index = ShardIndex.load(speech)
    lengths = dict(zip(index.strings["id"], index.num_samples.tolist(), strict=True))
    heard_at: dict[str, list[int]] = defaultdict(list)
    loader = data.train_dataloader()
    for batch in islice(loader, 60):
        assert batch.num_audio_tokens.max() * len(batch.num_audio_tokens) <= 120
        for name, samples, tokens in zip(
            batch.text.record_ids, batch.num_samples, batch.num_audio_tokens, strict=True
        ):
            heard_at[name].append(int(samples))
            assert int(tokens) == geometry.num_audio_tokens(int(samples))
    assert any(len(found) >= 3 for found in heard_at.values())
    for name, found in heard_at.items():
        possible = [num_samples_at(lengths[name], speed) for speed in SPEEDS]
        assert set(found) <= set(possible)
        if len(found) >= 3:
            assert set(found[:3]) == set(possible)  # one after the other, none twice before all were heard
    assert (
        len({found[0] > found[1] for found in heard_at.values() if len(found) > 1}) == 2
    )  # beginning anywhere


def test_a_resumed_run_hears_the_same_speeds(
    speech: Path, tokenizer_folder: Path, geometry: AudioGeometry
) -> None:
    through = list(islice(data_of(speech, tokenizer_folder, geometry).train_dataloader(), 30))
    resumed = data_of(speech, tokenizer_folder, geometry)
    resumed.trainer = SimpleNamespace(global_step=25, accumulate_grad_batches=1, global_rank=0, world_size=1)  # type: ignore[assignment]
    for found, wanted in zip(islice(resumed.train_dataloader(), 5), through[25:], strict=True):
        assert torch.equal(found.waveforms, wanted.waveforms)


def test_validation_hears_clips_as_they_are(
    speech: Path, tokenizer_folder: Path, geometry: AudioGeometry
) -> None:
    index = ShardIndex.load(speech)
    lengths = dict(zip(index.strings["id"], index.num_samples.tolist(), strict=True))
    for batch in data_of(speech, tokenizer_folder, geometry).val_dataloader():
        assert [int(n) for n in batch.num_samples] == [lengths[name] for name in batch.text.record_ids]


def test_one_speed_that_is_not_its_own_changes_every_clip(
    speech: Path, tokenizer_folder: Path, geometry: AudioGeometry
) -> None:
    data = data_of(speech, tokenizer_folder, geometry, augment=Augment(**QUIET, speeds=(1.25,)))
    index = ShardIndex.load(speech)
    lengths = dict(zip(index.strings["id"], index.num_samples.tolist(), strict=True))
    batch = next(iter(data.train_dataloader()))
    assert [int(n) for n in batch.num_samples] == [
        num_samples_at(lengths[n], 1.25) for n in batch.text.record_ids
    ]


def test_a_clip_that_is_too_long_when_it_is_slow_is_told(
    speech: Path, tokenizer_folder: Path, geometry: AudioGeometry
) -> None:
    longest = max(geometry.num_audio_tokens(int(n)) for n in ShardIndex.load(speech).num_samples)
    limits = {"max_audio_tokens": longest, "max_bad_fraction": 0.0}
    data_of(speech, tokenizer_folder, geometry, augment=None, **limits).train_dataloader()
    with pytest.raises(InputError, match=rf"too long a clip.*at most {longest} audio tokens"):
        data_of(speech, tokenizer_folder, geometry, **limits).train_dataloader()


@pytest.mark.parametrize(("speeds", "slowest"), [((0.9, 1.0, 1.1), 0.9), ((1.25,), 1.25), ((1.0,), 1.0)])
def test_a_model_is_told_how_long_clips_are_at_the_speeds_it_heard_them(
    speech: Path, tokenizer_folder: Path, geometry: AudioGeometry, speeds: tuple[float, ...], slowest: float
) -> None:
    """A recording is later cut into pieces as long as the clips of training: slow ones were not counted as longer."""
    data = data_of(speech, tokenizer_folder, geometry, augment=Augment(**QUIET, speeds=speeds))
    lengths = ShardIndex.load(speech).num_samples.tolist()
    heard = sorted(num_samples_at(length, speed) for length in lengths for speed in speeds)
    assert data.clip_s is not None
    samples = round(data.clip_s * 16_000)
    assert sum(length <= samples for length in heard) == pytest.approx(0.99 * len(heard), abs=1)
    assert 0.95 * max(lengths) / slowest < samples <= -(-max(lengths) // slowest)
    assert data_of(speech, tokenizer_folder, geometry, augment=None).clip_s == pytest.approx(
        np.percentile(lengths, 99) / 16_000, abs=1e-4
    )


def test_another_seed_begins_at_other_speeds_and_a_source_without_speeds_at_none() -> None:
    tokens = np.arange(40, dtype=np.int64) + 20
    at_speed = np.stack([tokens + 3, tokens, tokens - 2])
    fast = Source(1.0, np.arange(40), tokens, tokens + 3, speeds=SPEEDS, tokens_at_speed=at_speed)
    plain = Source(1.0, np.arange(40), tokens, tokens)

    def speeds(seed: int) -> list[list[float]]:
        order = BudgetOrder([fast, plain], max_audio_tokens=300, max_text_tokens=300, max_rows=6, seed=seed)
        refs = [ref for step in range(order.num_batches(0)) for row in order.batch(step) for ref in row]
        return [
            [ref.speed for ref in sorted(refs, key=lambda r: r.record) if ref.source == n] for n in (0, 1)
        ]

    assert set(speeds(0)[0]) == set(SPEEDS) and set(speeds(0)[1]) == {1.0}
    assert speeds(0)[0] != speeds(1)[0] and speeds(0) == speeds(0)
