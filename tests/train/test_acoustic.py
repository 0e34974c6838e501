"""Training of the acoustic model on sounds whose phones, durations and pitch are known, because they were made so."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from amalia_mm.batch import VoiceBatch
from amalia_mm.errors import InputError
from amalia_mm.train.acoustic import Acoustic, _deviance
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.remembered import Remembered
from amalia_mm.train.voice_hearing import hear
from amalia_mm.voice.acoustic import AcousticModel

RATE_HZ, HOP = 16_000, 256
SIZES = {"sample_rate_hz": RATE_HZ, "num_mels": 80, "width": 32, "encoder_blocks": 1, "mean_blocks": 2}
SIZES |= {"flow_blocks": 2, "speaker_size": 8, "num_speakers": 3, "dropout": 0.0}
FORMANTS_HZ = {1: 400.0, 2: 900.0, 3: 1800.0, 4: 3000.0}
"""Where each phone is loud; phone 5 is silence."""


def said(symbols, durations, hz):
    """A sound whose phones last so many frames: harmonics of one pitch, loud around the phone's own formant."""
    num_samples = sum(durations) * HOP
    time = np.arange(num_samples) / RATE_HZ
    ends = np.cumsum(durations) * HOP
    phone = np.array(symbols)[
        np.searchsorted(ends, np.arange(num_samples), side="right").clip(max=len(ends) - 1)
    ]
    sound = np.zeros(num_samples)
    for k in range(1, int(7000 // hz)):
        loud = sum(np.exp(-(((k * hz - at) / 300) ** 2)) * (phone == p) for p, at in FORMANTS_HZ.items())
        sound += (loud + 0.15 * np.isin(phone, list(FORMANTS_HZ))) * np.sin(2 * np.pi * k * hz * time)
    return torch.tensor(0.1 * sound, dtype=torch.float32)


def batch_of(rows, pitches_hz, speakers=None):
    """A batch of (symbols, durations) rows; without durations, as training sees it."""
    clips = [said(*row, hz) for row, hz in zip(rows, pitches_hz, strict=True)]
    pad = torch.nn.utils.rnn.pad_sequence
    symbols = pad([torch.tensor(symbols) for symbols, _ in rows], batch_first=True)
    return VoiceBatch(
        phones=symbols,
        is_stressed=torch.zeros_like(symbols, dtype=torch.bool),
        is_word_start=torch.zeros_like(symbols, dtype=torch.bool),
        num_phones=torch.tensor([len(symbols) for symbols, _ in rows]),
        waveforms=pad(clips, batch_first=True),
        num_samples=torch.tensor([len(clip) for clip in clips]),
        speakers=torch.zeros(len(rows), dtype=torch.int64) if speakers is None else torch.tensor(speakers),
        weights=torch.ones(len(rows)),
        record_ids=tuple(f"r{number}" for number in range(len(rows))),
        places=tuple(f"r{number}" for number in range(len(rows))),
        speaker_names=("ana", "rui"),
    )


ROWS = [([1, 3, 2, 4], [4, 14, 5, 12]), ([4, 1, 3], [16, 5, 11]), ([2, 4, 1, 3, 2], [3, 12, 5, 4, 13])]


def module(**options):
    made = Acoustic(lambda: AcousticModel(**SIZES), OptimConfig(lr=1e-3), **options)
    made.configure_model()
    return made


def train(made, batches, num_steps, lr=4e-3):
    """Descend as a trainer would, in a few lines."""
    optimizer = torch.optim.AdamW(made.parameters(), lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps, pct_start=0.1)
    made.train()
    for step in range(num_steps):
        loss = made.loss_terms(batches[step % len(batches)])["loss"]
        optimizer.zero_grad()
        (loss.sum / loss.count).backward()
        optimizer.step()
        schedule.step()
    return made.eval()


def rows_of(batch, which):
    """Some rows of a batch, padded no further than they need."""
    kept = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, torch.Tensor):
            kept[field.name] = value[which]
        elif field.name in ("record_ids", "places"):
            kept[field.name] = tuple(value[number] for number in which)
    part = replace(batch, **kept)
    longest, most = int(part.num_samples.max()), int(part.num_phones.max())
    cut = {name: getattr(part, name)[:, :most] for name in ("phones", "is_stressed", "is_word_start")}
    return replace(part, waveforms=part.waveforms[:, :longest], **cut)


def test_every_part_of_the_model_is_taught():
    made = module()
    made.train()
    batch = batch_of(ROWS, (150.0, 220.0, 180.0))
    for parameter in made.parameters():  # what begins at zero hides what is behind it
        torch.nn.init.normal_(parameter, std=0.1)
    made.dropped = 0.5
    torch.manual_seed(1)
    made.loss_terms(batch)["loss"].sum.backward()
    idle = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_the_loss_of_a_batch_is_the_sum_over_its_clips():
    made = module().eval().requires_grad_(False)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = batch_of(ROWS, (150.0, 220.0, 180.0), speakers=[0, 1, -1])
    # Time and noise are of the row and batch: the flow is compared below by itself.
    whole = made.loss_terms(batch)
    alone = [made.loss_terms(rows_of(batch, [number])) for number in range(3)]
    for name in ("mean", "phone_mean", "duration", "pitch"):
        for what in ("sum", "count"):
            together = float(getattr(whole[name], what))
            assert together == pytest.approx(sum(float(getattr(one[name], what)) for one in alone), rel=1e-4)
    shuffled = made.loss_terms(rows_of(batch, [0, 1, 2]))
    assert float(shuffled["loss"].sum) == float(whole["loss"].sum), (
        "validation draws the same noise every time"
    )


def test_a_filler_row_weighs_nothing_and_still_reaches_every_parameter():
    made = module()
    made.train()
    batch = batch_of(ROWS, (150.0, 220.0, 180.0))
    terms = made.loss_terms(replace(batch, weights=torch.zeros(3)))
    assert float(terms["loss"].sum.detach()) == float(terms["loss"].count) == 0.0
    terms["loss"].sum.backward()
    assert all(p.grad is not None and not p.grad.any() for p in made.parameters())


def test_every_frame_is_of_a_phone():
    seen = module().eval()._see(batch_of(ROWS, (150.0, 220.0, 180.0)))
    for row, (symbols, _) in enumerate(ROWS):
        assert (seen.durations[row, : len(symbols)] > 0).all() and not seen.durations[
            row, len(symbols) :
        ].any()
    # A clip of n samples has a frame more than n hops.
    assert seen.durations.sum(1).tolist() == [36, 33, 38]


def test_harmonics_lie_where_the_pitch_is_heard_in_training_and_where_it_is_foreseen_in_what_is_said(
    monkeypatch,
):
    made = module().eval()
    told, outline = [], made.model.acoustic.outline
    monkeypatch.setattr(
        made.model.acoustic, "outline", lambda *given: told.append(given[2]) or outline(*given), raising=False
    )
    batch = batch_of(ROWS, (150.0, 220.0, 180.0))
    terms = made.loss_terms(batch)
    heard = hear(made.model.acoustic, batch, Remembered())
    learned, said = told
    assert heard.is_voiced.any()
    assert torch.equal(learned[heard.is_voiced], heard.log_pitch[heard.is_voiced])
    assert not torch.allclose(said[heard.is_voiced], heard.log_pitch[heard.is_voiced], atol=0.05)
    assert terms["said_mean"].count == terms["mean"].count
    assert "said_mean" not in made.train().loss_terms(batch)


def test_more_speakers_than_rows_and_speakers_from_nowhere_are_told():
    made = module()
    batch = replace(batch_of(ROWS, (150.0, 220.0, 180.0)), speaker_names=("a", "b", "c", "d"))
    with pytest.raises(InputError, match="3 for 4 speakers"):
        made.loss_terms(batch)
    nowhere = Acoustic(lambda: AcousticModel(**SIZES | {"num_speakers": 0}), OptimConfig(lr=1e-3))
    with pytest.raises(InputError, match=r"found neither; wanted acoustic\.num_speakers"):
        nowhere.configure_model()


class Tells:
    """A listener that tells of each clip what it is given."""

    def __init__(self, vectors):
        self.given = vectors

    def vectors(self, batch, sample_rate_hz):
        return self.given


def test_beside_an_encoder_the_table_keeps_the_middle_of_what_it_tells():
    """Voices by name and voices of anybody are told to the model in the same way; only training changes the names."""
    made = module()
    table = made.model.acoustic.speakers.weight.requires_grad_(False).zero_()
    batch = replace(
        batch_of(ROWS, (150.0, 220.0, 180.0), speakers=[0, 1, -1]), weights=torch.tensor([1.0, 1.0, 0.0])
    )
    told = torch.nn.functional.normalize(torch.randn(2, 3, 8), dim=-1)
    made._listener = Tells(told[0])
    made.eval()
    assert torch.equal(made.speaker_vectors(batch), told[0])
    assert not table.any()
    made.train()
    assert torch.equal(made.speaker_vectors(batch), told[0])
    assert torch.equal(table[:2], told[0, :2]) and not table[2].any()
    made._listener = Tells(told[1])
    made.speaker_vectors(batch)
    torch.testing.assert_close(table[:2], 0.95 * told[0, :2] + 0.05 * told[1, :2])


def test_it_finds_the_phones_and_learns_the_sounds_by_heart():
    generator = np.random.default_rng(0)
    batches = [batch_of(ROWS * 2, generator.uniform(140, 320, 6)) for _ in range(12)]
    # Three phones of a row are no even row of phones: the diagonal says little here. It takes the right seed: from
    # three of five all borders are found, as from two of five before the model knew of harmonics.
    torch.manual_seed(1)
    made = module(dropped=0.0, alignment_width=1.0)
    with torch.no_grad():
        before = made.eval().loss_terms(batches[0])
    train(made, batches, 150)
    with torch.no_grad():
        after = made.loss_terms(batches[0])
        seen = made._see(batches[0])
    for row, (symbols, durations) in enumerate(ROWS):
        borders = seen.durations[row, : len(symbols)].cumsum(0)[:-1] - torch.tensor(durations).cumsum(0)[:-1]
        # Windows are 4 frames long; an even alignment would be up to 8 off.
        assert int(borders.abs().max()) <= 3, "borders where the sound changes"
    for name in ("mean", "phone_mean", "flow"):
        assert float(after[name].sum / after[name].count) < 0.35 * float(
            before[name].sum / before[name].count
        ), name


def test_durations_are_learned_as_they_are_on_average():
    """Of 2, 2 and 11 frames the mean is 5; a geometric mean would be 3.5, and all speech too fast."""
    frames, counted = torch.tensor([[2, 2, 11, 40]]), torch.tensor([[True, True, True, False]])
    predicted = torch.full((1, 4), math.log(5.0), requires_grad=True)
    loss = _deviance(predicted, frames, counted)
    loss.sum.backward()
    assert float(predicted.grad.sum()) == pytest.approx(0.0, abs=1e-5)
    assert float(loss.count) == 3.0 and float(loss.sum.detach()) > 0
    exact = _deviance(frames.float().log(), frames, counted)
    assert float(exact.sum) == pytest.approx(0.0, abs=1e-5)
