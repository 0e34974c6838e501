"""The encoder gives a clip what it gives it alone, masks what it should, and learns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.spec_augment import SpecAugment
from amalia_mm.audio.standardised import standardised


def tiny(**changes) -> ConvTransformer:
    torch.manual_seed(0)
    sizes = {"num_mels": 16, "width": 24, "num_layers": 2, "num_heads": 2, "feed_forward": 32}
    return ConvTransformer(**(sizes | changes))


def batch(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clips = [0.1 * torch.randn(length, generator=generator) for length in lengths]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(lengths)


@settings(max_examples=20)
@given(st.lists(st.integers(160, 6000), min_size=2, max_size=4), st.integers(0, 99))
def test_a_clip_in_a_batch_gives_what_it_gives_alone(lengths, seed):
    encoder = tiny().eval()
    waveforms, num_samples = batch(lengths, seed)
    with torch.no_grad():
        features, num_frames = encoder(waveforms, num_samples)
        for row, length in enumerate(lengths):
            single, frames = encoder(waveforms[row : row + 1, :length], num_samples[row : row + 1])
            assert frames.item() == num_frames[row].item() == single.shape[1]
            torch.testing.assert_close(features[row, : frames.item()], single[0], atol=1e-4, rtol=1e-4)
            assert not features[row, frames.item() :].any()


def test_the_order_of_a_batch_does_not_matter():
    encoder = tiny().eval()
    waveforms, num_samples = batch([4000, 900, 7000])
    order = torch.tensor([2, 0, 1])
    features, _ = encoder(waveforms, num_samples)
    torch.testing.assert_close(encoder(waveforms[order], num_samples[order])[0], features[order])


def test_level_and_colour_of_a_channel_hardly_matter():
    """Mean and variance of each mel bin over the clip take a constant gain away."""
    encoder = tiny().eval()
    waveforms, num_samples = batch([8000])
    louder, _ = encoder(8.0 * waveforms, num_samples)
    torch.testing.assert_close(encoder(waveforms, num_samples)[0], louder, atol=1e-3, rtol=1e-3)


def test_silence_gives_numbers():
    features, _ = tiny()(torch.zeros(2, 4000), torch.tensor([4000, 200]))
    assert features.isfinite().all()


def test_a_clip_without_a_frame_is_zero_and_does_not_spoil_the_others():
    encoder = tiny()
    waveforms, _ = batch([4000, 4000])
    features, num_frames = encoder(waveforms, torch.tensor([4000, 100]))
    assert num_frames.tolist() == [7, 0]
    assert features.isfinite().all() and not features[1].any()
    features.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_a_batch_shorter_than_a_frame_names_both_numbers():
    with pytest.raises(ValueError, match=r"120 samples .* 160"):
        tiny()(torch.zeros(1, 120), torch.tensor([120]))


def test_the_default_has_1_9_million_parameters():
    with torch.device("meta"):
        encoder = ConvTransformer()
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 1) == 1.9


def test_an_encoder_built_on_meta_works_once_its_weights_are_loaded():
    encoder = tiny().eval()
    with torch.device("meta"):
        other = tiny().eval()
    other.load_state_dict(encoder.state_dict(), assign=True)
    waveforms, num_samples = batch([3000])
    assert torch.equal(other(waveforms, num_samples)[0], encoder(waveforms, num_samples)[0])


def test_bf16_autocast_stays_near_float32():
    encoder = tiny().eval()
    waveforms, num_samples = batch([6000, 3000])
    full, _ = encoder(waveforms, num_samples)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = encoder(waveforms, num_samples)
    assert (mixed.float() - full).abs().mean() < 0.02


def test_it_learns_which_of_two_glides_it_hears():
    encoder, head = tiny(dropout=0.0, num_layers=1), torch.nn.Linear(24, 3)
    time_s = torch.arange(4800) / 16_000
    rising = torch.sin(2 * torch.pi * (300.0 * time_s + 2500.0 * time_s.square()))
    glides = torch.stack([rising, rising.flip(0)]).repeat(2, 1)
    waveforms = glides + 0.01 * torch.randn(4, 4800)
    targets = torch.tensor([[0], [1], [0], [1]])
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 1e-2)
    for _ in range(40):
        features, num_frames = encoder(waveforms, torch.full((4,), 4800))
        log_probs = head(features).log_softmax(-1).transpose(0, 1)
        loss = F.ctc_loss(log_probs, targets, num_frames, torch.ones(4, dtype=torch.long), blank=2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_normalised_clips_have_mean_zero_and_variance_one_over_their_own_frames():
    mel = 3.0 + 2.0 * torch.randn(2, 5, 300)
    normal = standardised(mel, torch.tensor([300, 120]), dim=2, eps=1e-5)
    for row, frames in ((0, 300), (1, 120)):
        torch.testing.assert_close(normal[row, :, :frames].mean(1), torch.zeros(5), atol=1e-5, rtol=0)
        spread = normal[row, :, :frames].std(1, correction=0)
        torch.testing.assert_close(spread, torch.ones(5), atol=1e-4, rtol=0)
    assert not normal[1, :, 120:].any()


@given(st.integers(1, 120), st.integers(0, 60), st.integers(0, 99))
def test_masks_of_time_stay_inside_their_bounds(num_frames, longest, seed):
    mel = torch.ones(3, 8, 120)
    masked = SpecAugment(1, longest, 0, 0)(mel, torch.tensor([num_frames, 120, 5]), (seed, seed + 1, seed))
    hidden = (masked == 0).all(dim=1)
    assert torch.equal(hidden, (masked == 0).any(dim=1))
    for row, frames in enumerate((num_frames, 120, 5)):
        assert hidden[row].sum() <= min(longest, frames // 5)
        assert not hidden[row, frames:].any()
        edges = hidden[row].int().diff().abs().sum()
        assert edges <= 2


def test_masks_of_frequency_differ_between_clips():
    masked = SpecAugment(0, 0, 2, 12)(torch.ones(8, 40, 10), torch.full((8,), 10), range(8))
    hidden = (masked == 0).all(dim=2).sum(dim=1)
    assert hidden.max() <= 24 and len(set(hidden.tolist())) > 1


def test_what_is_hidden_of_a_clip_follows_from_its_own_seed_alone():
    """It was drawn for the batch: another size of batch, or another number of processes, hid something else."""
    masks = SpecAugment(2, 20, 2, 6)
    mel, num_frames = torch.ones(4, 16, 90), torch.tensor([90, 40, 75, 90])
    together = masks(mel, num_frames, (7, 8, 9, 7))
    for row, seed in enumerate((7, 8, 9, 7)):
        torch.manual_seed(row)  # of no account
        length = int(num_frames[row])
        alone = masks(mel[row : row + 1, :, :length], num_frames[row : row + 1], (seed,))
        assert torch.equal(alone[0], together[row, :, :length])
    assert torch.equal(together[0], together[3]) and not torch.equal(together[0], together[1])


def test_masks_are_for_training_only_and_without_seeds_there_are_none():
    encoder = tiny(num_time_masks=4, num_frequency_masks=4, dropout=0.0)
    waveforms, num_samples = batch([9000])
    assert not torch.equal(encoder(waveforms, num_samples, (1,))[0], encoder(waveforms, num_samples, (2,))[0])
    for wrong in (None, (1, 2)):
        with pytest.raises(ValueError, match="a seed for each of 1 clips, found"):
            encoder(waveforms, num_samples, wrong)
    encoder.eval()
    assert torch.equal(encoder(waveforms, num_samples)[0], encoder(waveforms, num_samples, (1,))[0])


@pytest.mark.parametrize("wrong", [{"width": 25}, {"position_kernel": 4}, {"num_convolutions": 0}])
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        tiny(**wrong)


def reader(**options):
    torch.manual_seed(0)
    sizes = {"width": 16, "num_layers": 2, "num_heads": 2, "feed_forward": 32, "dropout": 0.0}
    return ConvTransformer(**sizes, letters_after=1, num_letters=5, **options).eval()


def test_letters_are_read_half_way_with_room_for_several_a_frame():
    waveforms = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    num_samples = torch.tensor([16_000, 9_000])
    for room in (1, 3):
        encoder = reader(letters_per_frame=room)
        features, num_frames, letters = encoder.hear_letters(waveforms, num_samples)
        assert letters.shape == (2, room * features.shape[1], 6)
        assert torch.equal(encoder(waveforms, num_samples)[0], features)
        alone = encoder.hear_letters(waveforms[1:, :9_000], num_samples[1:])[2]
        torch.testing.assert_close(letters[1:, : room * num_frames[1]], alone[:, : room * num_frames[1]])


def test_the_layers_after_them_know_the_letters():
    waveforms, num_samples = 0.1 * torch.randn(1, 16_000), torch.tensor([16_000])
    encoder = reader()
    before = encoder(waveforms, num_samples)[0]
    with torch.no_grad():
        encoder.letters.head.bias[2] += 5.0
    assert not torch.allclose(encoder(waveforms, num_samples)[0], before, atol=1e-4)


def test_without_a_head_no_letters_are_read():
    encoder = ConvTransformer(width=16, num_layers=2, num_heads=2, feed_forward=32)
    assert encoder.hear_letters(torch.randn(1, 16_000), torch.tensor([16_000]))[2] is None


@pytest.mark.parametrize(
    "wrong", [{"letters_after": 3}, {"letters_after": 0}, {"num_letters": 0}, {"letters_per_frame": 0}]
)
def test_letters_are_read_after_a_layer_that_exists(wrong):
    options = {"num_layers": 2, "letters_after": 1, "num_letters": 5} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ConvTransformer(**options)
