"""Batches of like length under a budget beside batches in random order: one model, one type, clips of one corpus."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from paired import paired
from spoken import Said, of_mixed_lengths
from torch import Tensor
from torch.optim import AdamW

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import Example, SpeechTextBatch, Turn
from amalia_mm.data.collate import Item, collate_speech
from amalia_mm.data.order import BudgetOrder
from amalia_mm.data.pipeline import to_item
from amalia_mm.data.visits import Source
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.text.chat import PROMPTS
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.losses import ctc
from amalia_mm.train.precision import native_precision
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.variety import Variety

pytestmark = pytest.mark.benchmark

PRECISION = "bf16 autocast" if native_precision() == "bf16-mixed" else "float32 (no bf16 units)"
NUM_CLIPS, NUM_BATCHES, BATCH, WINDOW_S = 400, 8, 8, 30
VOCABULARY = 512


def _precision() -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if native_precision() == "bf16-mixed" else nullcontext()


class _Model:
    """An encoder of 15M parameters with a CTC head, and its optimiser."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.encoder = ConvTransformer(
            num_convolutions=3, width=384, num_layers=8, num_heads=6, feed_forward=1536, dropout=0.0
        )
        sizes = DecoderConfig(VOCABULARY, 64, 64, 1, 1, 1)
        self.projector = CtcPosterior(self.encoder.width, sizes)
        stages = (*self.encoder.stages, *self.projector.stages)
        self.geometry = AudioGeometry(SAMPLE_RATE_HZ, None, stages)
        self._optimizer = AdamW(
            [*self.encoder.parameters(), *self.projector.parameters()], lr=1e-4, fused=True
        )

    def train(self, batches: Iterable[SpeechTextBatch]) -> None:
        for batch in batches:
            with _precision():
                features, num_frames = self.encoder(batch.waveforms, batch.num_samples)
                logits = self.projector.ctc_logits(features)
                loss = ctc(logits, num_frames, batch.ctc_ids, batch.num_ctc_ids)
            (loss.sum / loss.count).backward()
            self._optimizer.step()
            self._optimizer.zero_grad()


def _items(clips: list[Said], geometry: AudioGeometry) -> list[Item]:
    tokenizer = Tokenizer.train([clip.text for clip in clips], VOCABULARY)
    asked = Turn("user", PROMPTS["transcribe"], has_audio=True)
    examples = [
        Example(
            str(number),
            "transcribe",
            Variety.PT_PT,
            "",
            "said",
            turns=(asked, Turn("assistant", clip.text)),
            spoken=spoken_form(clip.text),
            waveform=clip.waveform,
        )
        for number, clip in enumerate(clips)
    ]
    return [to_item(example, tokenizer, geometry) for example in examples]


def _collated(items: list[Item]) -> SpeechTextBatch:
    return collate_speech([[item] for item in items])


def _by_budget(items: list[Item], geometry: AudioGeometry) -> list[SpeechTextBatch]:
    """Return batches as `SpeechTextData` makes them, from the shortest to the longest; none is larger than a peer's."""
    source = Source(
        1.0,
        np.arange(len(items)),
        np.array([item.num_own_tokens for item in items]),
        np.array([sum(item.rendered.is_audio) for item in items]),
    )
    most_tokens = BATCH * geometry.num_audio_tokens(WINDOW_S * SAMPLE_RATE_HZ)
    order = BudgetOrder([source], max_audio_tokens=most_tokens, max_text_tokens=10**6, max_rows=64, seed=0)
    batches = [order.batch(step) for step in range(order.num_batches(epoch=0))]
    batches.sort(key=lambda rows: max(len(_waveform(items[row[0].record])) for row in rows))
    # As many of them, evenly from all lengths.
    chosen = [batches[(2 * number + 1) * len(batches) // (2 * NUM_BATCHES)] for number in range(NUM_BATCHES)]
    return [_collated([items[ref.record] for row in rows for ref in row]) for rows in chosen]


def _waveform(item: Item) -> Tensor:
    assert item.example.waveform is not None
    return item.example.waveform


def _at_random(items: list[Item]) -> list[SpeechTextBatch]:
    """Return batches of eight clips in random order, each padded to its longest."""
    dice = random.Random(0)
    return [_collated(dice.sample(items, BATCH)) for _ in range(NUM_BATCHES)]


def _to_window(batch: SpeechTextBatch) -> SpeechTextBatch:
    assert batch.waveforms is not None
    missing = WINDOW_S * SAMPLE_RATE_HZ - batch.waveforms.shape[1]
    return replace(batch, waveforms=F.pad(batch.waveforms, (0, missing)))


def _useful_s(batches: list[SpeechTextBatch]) -> float:
    return (
        sum(float(batch.num_samples.sum()) for batch in batches if batch.num_samples is not None)
        / SAMPLE_RATE_HZ
    )


def _useful_share(batches: list[SpeechTextBatch]) -> float:
    heard_s = (
        sum(batch.waveforms.numel() for batch in batches if batch.waveforms is not None) / SAMPLE_RATE_HZ
    )
    return _useful_s(batches) / heard_s


@pytest.mark.parametrize(
    ("row", "padding", "must"), [("train_padded8", "", 1.4), ("train_padded30", "30 s", 1.6)]
)
def test_useful_seconds_a_second(bench, row: str, padding: str, must: float) -> None:
    model = _Model()
    items = _items(of_mixed_lengths(NUM_CLIPS), model.geometry)
    ours, theirs = _by_budget(items, model.geometry), _at_random(items)
    if padding:
        theirs = [_to_window(batch) for batch in theirs]
    times = paired(lambda: model.train(ours), lambda: model.train(theirs), num_pairs=5, num_warmups=1)
    bench.row(
        row,
        f"useful audio of clips of 1 to {WINDOW_S} s, encoder of 15M with CTC, {PRECISION}: batches by budget "
        f"({_useful_share(ours):.0%} useful) over random ones of {BATCH} padded to {padding or 'their longest'} "
        f"({_useful_share(theirs):.0%})",
        ours=_useful_s(ours) / times.ours_median_s,
        peer=_useful_s(theirs) / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio * _useful_s(ours) / _useful_s(theirs),
        op=">=",
        must=must,
    )
