"""Discriminators look at a waveform from several sides and can be moved by what they see."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.voice.discriminators import Discriminators, PeriodDiscriminator, ResolutionDiscriminator

SMALL = {"period_channels": (4, 6, 6), "resolution_channels": 4}


@pytest.mark.parametrize("period", [2, 3, 5, 7, 11])
def test_a_period_scores_every_place_of_every_phase(period):
    judged = PeriodDiscriminator(period, (4, 6, 8, 8, 8))(torch.randn(2, 1_000))
    rows, sizes = -(-1_000 // period), []
    for stride in (3, 3, 3, 3, 1):
        rows = -(-rows // stride)
        sizes.append((2, rows, period))
    assert [(len(seen), *seen.shape[2:]) for seen in judged.seen] == sizes
    assert judged.scores.shape == (2, rows * period)


def test_a_period_sees_its_own_samples_side_by_side():
    """Changing one sample changes the scores of its own phase alone: no kernel reaches across."""
    discriminator = PeriodDiscriminator(5, (4, 6))
    waveform = torch.randn(1, 500)
    other = waveform.clone()
    other[0, 252] += 1.0
    scores = discriminator(torch.cat([waveform, other])).scores
    changed = (scores[0] - scores[1]).view(-1, 5).abs().amax(dim=0) > 0
    assert changed.tolist() == [False, False, True, False, False]


def test_a_resolution_does_not_hear_how_loud_a_clip_is():
    discriminator = ResolutionDiscriminator(256, channels=4)
    waveform = torch.randn(1, 2_000)
    scores = discriminator(torch.cat([waveform, 0.01 * waveform])).scores
    assert torch.allclose(scores[0], scores[1], atol=1e-4)


def test_every_band_of_the_spectrum_is_seen():
    discriminator = ResolutionDiscriminator(512, channels=4)
    judged = discriminator(torch.randn(2, 4_096))
    assert len(judged.seen) == 5 * 5
    # Frames stay as many; three layers of a band halve its frequencies.
    assert {seen.shape[2] for seen in judged.seen} == {4_096 // 128 + 1}
    widths = [judged.seen[5 * band].shape[3] for band in range(5)]
    assert sum(widths) == 257


def test_all_of_them_move():
    judges = Discriminators(**SMALL, fft_samples=(256, 128))
    judged = judges(torch.randn(2, 3_000))
    assert len(judged) == 5 + 2
    sum(one.scores.mean() for one in judged).backward()
    assert all(parameter.grad is not None for parameter in judges.parameters())


def test_the_sizes_of_the_paper_are_the_defaults():
    """HiFi-GAN's five periods have 41.1 million parameters together."""
    with torch.device("meta"):
        judges = Discriminators()
    count = sum(parameter.numel() for parameter in judges.periods.parameters())
    assert count == pytest.approx(41.1e6, rel=0.01)
