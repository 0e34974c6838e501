"""The one place that counts audio tokens agrees with the modules that make them, for every length."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.features import LogMel
from amalia_mm.audio.geometry import AudioGeometry, LengthStage, centre_samples
from amalia_mm.fusion.projectors import CtcPosterior, StackMLP
from amalia_mm.text.decoder import DecoderConfig

TINY = DecoderConfig(20, 16, 32, 1, 2, 1)


def windows_by_hand(stage: LengthStage, length: int) -> int:
    """Lay the windows out one by one."""
    if length < 1:
        return 0
    total, start, count = length + stage.pad_left + stage.pad_right, 0, 0
    while stage.partial == "drop" and start + stage.kernel <= total:
        start, count = start + stage.stride, count + 1
    covered = 0
    while stage.partial == "pad" and covered < total and start < stage.pad_left + length:
        covered, start, count = start + stage.kernel, start + stage.stride, count + 1
    return count * stage.emits


stages = st.builds(
    LengthStage,
    kernel=st.integers(1, 12),
    stride=st.integers(1, 12),
    pad_left=st.integers(0, 6),
    pad_right=st.integers(0, 6),
    emits=st.integers(1, 3),
    partial=st.sampled_from(["drop", "pad"]),
)


@given(stages, st.integers(-1, 200))
def test_a_stage_counts_the_windows_that_can_be_laid_out(stage, length):
    assert stage(length) == windows_by_hand(stage, length)


@given(stages, st.lists(st.integers(-1, 5000), min_size=1, max_size=8))
def test_lengths_in_a_tensor_give_what_they_give_one_by_one(stage, lengths):
    assert stage.lengths(torch.tensor(lengths)).tolist() == [stage(length) for length in lengths]


@given(st.integers(1, 15), st.integers(1, 15), st.integers(0, 7), st.integers(1, 300))
def test_a_stage_is_as_long_as_a_convolution(kernel, stride, padding, length):
    stage = LengthStage(kernel, stride, padding, padding)
    with torch.device("meta"):
        convolution = nn.Conv1d(1, 1, kernel, stride=stride, padding=padding)
        if length + 2 * padding >= kernel:
            assert stage(length) == convolution(torch.empty(1, 1, length)).shape[-1]
        else:
            assert stage(length) == 0


@given(st.integers(1, 15), st.integers(1, 15), st.integers(0, 7), st.integers(1, 300))
def test_a_padded_stage_is_as_long_as_a_pooling_in_ceil_mode(kernel, stride, padding, length):
    # Stride above kernel once gave a last window of padding alone.
    padding = min(padding, kernel // 2)
    if length + 2 * padding >= kernel:
        pooled = nn.MaxPool1d(kernel, stride, padding, ceil_mode=True)(torch.zeros(1, 1, length))
        assert LengthStage(kernel, stride, padding, padding, partial="pad")(length) == pooled.shape[-1]


def test_hubert_gives_49_frames_for_a_second():
    """Seven convolutions without padding: kernels 10 3 3 3 3 2 2, strides 5 2 2 2 2 2 2 (Hsu et al. 2021)."""
    hubert = tuple(map(LengthStage, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)))
    geometry = AudioGeometry(16_000, None, hubert)
    assert geometry.num_audio_tokens(16_000) == 49
    assert geometry.min_samples == 400


def test_whisper_and_a_window_of_queries():
    features = (LengthStage(160, 160), LengthStage(3, 1, 1, 1), LengthStage(3, 2, 1, 1))
    whisper = AudioGeometry(16_000, 480_000, (*features, LengthStage(15, 15, emits=3, partial="pad")))
    assert whisper.num_audio_tokens(1) == whisper.num_audio_tokens(480_000) == 300
    with pytest.raises(ValueError, match=r"480001 samples .* 480000.*chunks"):
        whisper.num_audio_tokens(480_001)
    with pytest.raises(ValueError, match="0 samples"):
        whisper.num_audio_tokens(0)


@given(st.lists(stages, max_size=4), st.integers(1, 3000))
def test_the_shortest_clip_is_found(stage_list, num_samples):
    geometry = AudioGeometry(16_000, None, tuple(stage_list))
    if num_samples >= geometry.min_samples:
        assert geometry.num_audio_tokens(num_samples) >= 1
    else:
        with pytest.raises(ValueError, match=rf"{num_samples} samples .*{geometry.min_samples} samples"):
            geometry.num_audio_tokens(num_samples)


def test_the_features_are_as_long_as_their_stage_says_at_every_length():
    features = LogMel(4)
    for num_samples in (*range(1, 700), *range(700, 5001, 37)):
        mel, num_frames = features(torch.zeros(1, num_samples), torch.tensor([num_samples]))
        assert mel.shape[2] == num_frames.item() == features.stages[0](num_samples) == num_samples // 160


@pytest.mark.parametrize("num_convolutions", [2, 3])
def test_the_encoder_is_as_long_as_its_stages_say_at_every_length(num_convolutions):
    """The features are measured above; their frames go through the real convolutions here."""
    encoder = ConvTransformer(
        num_convolutions=num_convolutions, width=8, num_layers=0, num_heads=1, feed_forward=8
    ).to("meta")
    projector = StackMLP(8, TINY, stack=3).to("meta")
    for num_samples in range(1, 5001):
        expected = num_samples // 160
        if expected:
            hidden = torch.empty(1, 80, expected, device="meta")
            for convolution in encoder.convolutions:
                hidden = convolution(hidden)
            expected = hidden.shape[2]
        geometry = AudioGeometry(16_000, None, encoder.stages)
        stacked = AudioGeometry(16_000, None, (*encoder.stages, *projector.stages))
        if expected:
            assert geometry.num_audio_tokens(num_samples) == expected
            assert stacked.num_audio_tokens(num_samples) == -(-expected // 3)
        else:
            with pytest.raises(ValueError, match=f"^{num_samples} samples are .*160 samples"):
                geometry.num_audio_tokens(num_samples)


@pytest.mark.parametrize("num_samples", [160, 161, 799, 800, 801, 4321, 16_000, 40_001])
@pytest.mark.parametrize("make", [partial(StackMLP, stack=3), CtcPosterior])
def test_encoder_and_projector_give_what_the_geometry_says(make, num_samples):
    encoder = ConvTransformer(width=8, num_layers=1, num_heads=1, feed_forward=8)
    projector = make(8, TINY)
    geometry = AudioGeometry(16_000, None, (*encoder.stages, *projector.stages))
    features, num_frames = encoder(torch.randn(1, num_samples), torch.tensor([num_samples]))
    embeddings = projector(features, num_frames, lambda ids, weights: torch.zeros(*ids.shape[:-1], 16))
    assert embeddings.shape[1] == geometry.num_audio_tokens(num_samples)
    assert projector.num_audio_tokens(num_frames).tolist() == [embeddings.shape[1]]


@pytest.mark.parametrize(
    "wrong", [{"kernel": 0}, {"stride": 0}, {"emits": 0}, {"pad_left": -1}, {"pad_right": -1}]
)
def test_a_stage_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LengthStage(**({"kernel": 1, "stride": 1} | wrong))


def test_the_centre_of_a_frame_is_the_middle_of_what_reaches_it():
    """Found by moving one sample about; convolutions alone, so that what reaches a frame has edges."""
    convs = nn.Sequential(nn.Conv1d(1, 1, 5, stride=3, padding=2), nn.Conv1d(1, 1, 3, stride=2, padding=1))
    for conv in convs:
        nn.init.ones_(conv.weight)
    stages = (LengthStage(5, 3, 2, 2), LengthStage(3, 2, 1, 1))
    silent = convs(torch.zeros(1, 1, 120))[0, 0]
    for frame in (3, 7, 11):
        impulses = nn.functional.one_hot(torch.arange(120)).float()[:, None]
        reach = (convs(impulses)[:, 0, frame] != silent[frame]).nonzero().flatten().tolist()
        assert centre_samples(stages, frame) == (reach[0] + reach[-1]) / 2
    assert centre_samples(stages, 3.5) == (centre_samples(stages, 3) + centre_samples(stages, 4)) / 2
    assert centre_samples(ConvTransformer(num_convolutions=3).stages, 2) == 2 * 1_280 + 79.5


def test_positions_that_share_a_window_share_its_time():
    """Three of fifteen frames: five each, whose middles are 2, 7 and 12; a window that reaches further, evenly."""
    stage = LengthStage(15, 15, emits=3)
    assert [centre_samples((stage,), position) for position in range(4)] == [2, 7, 12, 17]
    assert centre_samples((LengthStage(19, 15, pad_left=2, emits=3),), 1) == 7
    mel = LengthStage(160, 160)
    assert centre_samples((mel, stage), 1) == 7 * 160 + 79.5
