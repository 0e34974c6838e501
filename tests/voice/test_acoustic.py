"""The acoustic model: what must not change a frame does not, and what should change speech does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from amalia_mm.portuguese.phonology.phonemes import SYMBOLS
from amalia_mm.voice.acoustic import LEAST_LOG_MEL, AcousticModel, Manner, Phones, noise_like
from amalia_mm.voice.phone_predictors import log_pitch, pitch_contour, semitones, whole_frames

SIZES = {
    "num_mels": 8,
    "width": 16,
    "encoder_blocks": 2,
    "mean_blocks": 2,
    "flow_blocks": 2,
    "speaker_size": 6,
}


@pytest.fixture
def model():
    """A tiny model whose every part does something: what begins at zero is given numbers."""
    made = AcousticModel(sample_rate_hz=16_000, dropout=0.0, **SIZES).eval()
    for name, parameter in made.named_parameters():
        if not parameter.any() or "modulate" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def phones(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(1, len(SYMBOLS), (length,), generator=generator) for length in lengths]
    symbols = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    marks = torch.rand(2, *symbols.shape, generator=generator) < 0.3
    return Phones(symbols, marks[0], marks[1])


def row(batch, number, length):
    return Phones(*(column[number : number + 1, :length] for column in vars(batch).values()))


def test_a_row_says_the_same_alone_as_among_longer_ones(model):
    batch, speakers = phones(9, 4, 6), torch.randn(3, 6)
    manner = Manner(guidance=1.7, num_steps=3, method="midpoint")
    together, num_frames = model.speak(batch, speakers, manner)
    for number, length in enumerate((9, 4, 6)):
        alone, frames = model.speak(row(batch, number, length), speakers[number : number + 1], manner)
        assert int(frames[0]) == int(num_frames[number])
        inside = together[number, :, : int(frames[0])]
        torch.testing.assert_close(inside, alone[0], atol=1e-5, rtol=1e-4)
        assert (together[number, :, int(frames[0]) :] == LEAST_LOG_MEL).all()


def test_the_order_of_the_rows_does_not_matter(model):
    batch, speakers = phones(7, 7, 7), torch.randn(3, 6)
    order = torch.tensor([2, 0, 1])
    mel, _ = model.speak(batch, speakers)
    turned, _ = model.speak(Phones(*(column[order] for column in vars(batch).values())), speakers[order])
    n = min(mel.shape[2], turned.shape[2])
    torch.testing.assert_close(turned[:, :, :n], mel[order][:, :, :n], atol=1e-5, rtol=1e-4)


def test_the_same_seed_says_the_same_and_another_one_does_not(model):
    said, speaker = phones(6), torch.randn(1, 6)
    first, _ = model.speak(said, speaker, seed=3)
    assert torch.equal(model.speak(said, speaker, seed=3)[0], first)
    assert not torch.allclose(model.speak(said, speaker, seed=4)[0], first)
    cold = Manner(temperature=0.0)
    assert torch.equal(
        model.speak(said, speaker, cold, seed=3)[0], model.speak(said, speaker, cold, seed=4)[0]
    )


@pytest.mark.parametrize("num_mels", [8, 80, 100])
def test_the_noise_of_a_frame_does_not_hang_on_how_many_come_after(num_mels):
    """Torch fills the last sixteen numbers of a tensor twice: a piece of speech would not be that of the whole."""
    whole = noise_like(torch.zeros(2, num_mels, 90), seed=5)
    for num_frames in (1, 7, 31, 64, 89):
        assert torch.equal(
            noise_like(torch.zeros(1, num_mels, num_frames), seed=5)[0], whole[1, :, :num_frames]
        )


def test_guidance_of_one_is_what_the_condition_alone_gives(model):
    outline, _ = model.plan(phones(5), torch.randn(1, 6))
    noise = noise_like(outline.mean, 0)
    calls = []
    velocity = model.velocity
    model.velocity = lambda *given: calls.append(1) or velocity(*given)
    alone = model.frames(outline, noise, Manner(guidance=1.0, num_steps=4))
    assert len(calls) == 4, "the unconditional flow is not computed for nothing"
    nearly = model.frames(outline, noise, Manner(guidance=1.0 + 1e-6, num_steps=4))
    assert len(calls) == 12
    torch.testing.assert_close(nearly, alone, atol=1e-4, rtol=0)
    assert not torch.allclose(
        model.frames(outline, noise, Manner(guidance=2.0, num_steps=4)), alone, atol=1e-2
    )


def test_what_is_dropped_says_nothing_of_phones_or_speaker(model):
    """Two different sentences of one length, both dropped, flow alike; the row that is kept does not."""
    noise = torch.randn(2, 8, 12)
    encoded = model.encode(phones(4, 4), torch.randn(2, 6))
    outline = model.outline(encoded, torch.full((2, 4), 3), torch.randn(2, 12))
    time = torch.tensor([0.4, 0.4])
    noise[1] = noise[0]
    dropped = model.velocity(noise, time, model.without(outline, torch.tensor([True, True])))
    torch.testing.assert_close(dropped[0], dropped[1])
    half = model.velocity(noise, time, model.without(outline, torch.tensor([True, False])))
    torch.testing.assert_close(half[0], dropped[0])
    torch.testing.assert_close(half[1], model.velocity(noise, time, outline)[1])
    assert not torch.allclose(half[1], half[0], atol=1e-2)


def test_an_untrained_flow_gives_the_mean_and_noise_of_the_residual_around_it():
    model = AcousticModel(sample_rate_hz=16_000, residual_std=0.3, **SIZES).eval()
    outline, _ = model.plan(phones(6), torch.zeros(1, 6))
    noise = noise_like(outline.mean, 0)
    made = model.frames(outline, noise, Manner(temperature=1.0, num_steps=200, method="midpoint"))
    torch.testing.assert_close(made, model.log_mel(outline.mean + 0.3 * noise), atol=2e-3, rtol=0)


@pytest.mark.parametrize("rate", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_a_rate_scales_how_long_everything_is_said(rate):
    frames = 2.0 + 8.0 * torch.rand(3, 20, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(20) < torch.tensor([20, 11, 1])[:, None]
    durations = whole_frames(frames, valid, rate)
    wanted = (frames * valid).sum(1) / rate
    assert (durations.sum(1) - wanted).abs().max() <= 0.5 + 1e-4
    assert (durations[valid] >= 1).all()
    assert not durations[~valid].any()


def test_every_phone_has_a_frame_however_fast():
    durations = whole_frames(
        torch.tensor([[1.5, 1.0, 1.0, 0.2, 3.0]]), torch.ones(1, 5, dtype=torch.bool), 5.0
    )
    assert durations.tolist() == [[1, 1, 1, 1, 1]]
    halves = whole_frames(torch.tensor([[1.5, 1.0, 1.0, 1.0]]), torch.ones(1, 4, dtype=torch.bool))
    assert (halves >= 1).all(), "rounding halves to even numbers would leave a phone without a frame"
    for rate in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="rate of speech"):
            whole_frames(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), rate)


def test_the_model_speaks_as_fast_as_it_is_asked(model):
    said, speaker = phones(24), torch.randn(1, 6)
    _, usual = model.speak(said, speaker)
    for rate in (0.5, 0.75, 1.5):
        _, durations = model.plan(said, speaker, Manner(rate=rate))
        assert int(durations.sum()) == pytest.approx(int(usual) / rate, abs=1.5)


def test_a_pitch_in_semitones_moves_what_the_frames_are_told_and_nothing_else(model):
    """Twelve semitones are an octave, as the frames' outline reads it; durations stay."""
    assert semitones(12) == pytest.approx(math.log(2))
    assert log_pitch(torch.tensor([150.0, 300.0, 0.0])).tolist() == pytest.approx([0.0, math.log(2), 0.0])
    said, speaker = phones(8), torch.randn(1, 6)
    told = []
    outline = model.outline
    model.outline = lambda encoded, durations, pitch: told.append(pitch) or outline(encoded, durations, pitch)
    plain, durations = model.plan(said, speaker)
    higher, same = model.plan(said, speaker, Manner(pitch_semitones=4.0))
    assert torch.equal(durations, same)
    torch.testing.assert_close(told[1] - told[0], torch.full_like(told[0], math.log(2) / 3))
    assert not torch.allclose(higher.mean, plain.mean, atol=1e-3)


def test_a_frame_hangs_on_its_neighbourhood_alone(model):
    """Frames can be made piece by piece: what is further off than the reach changes nothing."""
    encoded = model.encode(phones(12), torch.randn(1, 6))
    outline = model.outline(encoded, torch.full((1, 12), 5), torch.zeros(1, 60))
    noise = torch.randn(1, 8, 60)
    time = torch.tensor([0.3])
    whole = model.velocity(noise, time, outline)
    reach, middle = model.flow_stack.reach, 30
    near = slice(middle - reach, middle + reach + 1)
    piece = replace(
        outline,
        condition=outline.condition[:, near],
        mean=outline.mean[:, :, near],
        valid=outline.valid[:, near],
    )
    alone = model.velocity(noise[:, :, near], time, piece)
    torch.testing.assert_close(alone[:, :, reach], whole[:, :, middle], atol=1e-5, rtol=1e-4)
    noise[:, :, middle + reach + 1] += 5.0
    torch.testing.assert_close(model.velocity(noise, time, outline)[:, :, middle], whole[:, :, middle])
    noise[:, :, middle + reach] += 5.0
    assert not torch.allclose(model.velocity(noise, time, outline)[:, :, middle], whole[:, :, middle])


@pytest.mark.parametrize(
    "manner", [Manner(num_steps=3), Manner(num_steps=2, method="midpoint", guidance=1.5)]
)
def test_pieces_are_together_what_is_made_at_once(model, manner):
    encoded = model.encode(phones(12, 9), torch.randn(2, 6))
    durations = torch.cat([torch.full((2, 9), 11), torch.tensor([[11, 11, 11], [0, 0, 0]])], dim=1)
    outline = model.outline(encoded, durations, torch.zeros(2, 132))
    noise = noise_like(outline.mean, seed=2)
    whole = model.frames(outline, noise, manner)
    for sizes in ((16, 7), (50, 50), (1000, 1000)):
        made = list(model.pieces(outline, noise, manner, *sizes))
        assert made[0].shape[2] == min(sizes[1], 132)
        torch.testing.assert_close(torch.cat(made, dim=2), whole, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="at least 1 each"):
        next(model.pieces(outline, noise, manner, 8, 0))


def test_shapes_without_a_weight():
    with torch.device("meta"):
        model = AcousticModel()
        said = Phones(*(torch.zeros(2, 7, dtype=kind) for kind in (torch.int64, torch.bool, torch.bool)))
        encoded = model.encode(said, torch.zeros(2, model.speaker_size))
        assert encoded.mean.shape == (2, 7, 100)
        assert model.log_durations(encoded).shape == model.log_pitch(encoded).shape == (2, 7)
    assert (model.mel.sample_rate_hz, model.mel.hop_samples) == (24_000, 256), (
        "as the weights of Vocos have it"
    )


def test_the_pitch_between_two_phones_is_on_the_way_from_one_to_the_other():
    contour = pitch_contour(torch.tensor([[2, 4]]), torch.tensor([[1.0, 4.0]]))
    # Middles at 1 and 4: the line between them rises 1 a frame, and is flat outside.
    assert contour[0].tolist() == pytest.approx([1.0, 1.5, 2.5, 3.5, 4.0, 4.0])
