"""Projectors: as many tokens as the geometry says, whatever else is in the batch, at the rate that is asked for."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.errors import InputError
from amalia_mm.fusion.conv_downsampler import ConvDownsampler
from amalia_mm.fusion.projectors import CtcPosterior, StackMLP, projector_between
from amalia_mm.fusion.q_former import WindowQFormer
from amalia_mm.model_config import build_part
from amalia_mm.text.decoder import Decoder, DecoderConfig

CONFIG = DecoderConfig(30, 16, 32, 1, 2, 1, initializer_range=0.5)
WIDTH = 12
OWN = {"▁": 3, "a": 4, "o": 20, "▁a": 29}
RATE_HZ = Fraction(50)
KINDS = {
    "stack": partial(StackMLP, stack=3),
    "stack without norm": partial(StackMLP, stack=4, norm=False, activation="relu", hidden=10),
    "convolutions": partial(ConvDownsampler, strides=[2, 3]),
    "one wide convolution": partial(ConvDownsampler, strides=[2], kernel=7, hidden=8),
    "queries": partial(WindowQFormer, num_heads=4),
    "more queries than frames": partial(
        WindowQFormer, window=2, queries=5, width=8, num_heads=2, num_layers=1
    ),
    "posterior": CtcPosterior,
    "posterior over classes of its own": partial(CtcPosterior, vocabulary=OWN, top_k=3),
}
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(1)
    return Decoder(CONFIG).eval()


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def projector(request):
    torch.manual_seed(2)
    return request.param(WIDTH, CONFIG, RATE_HZ).eval()


def test_every_number_of_frames_gives_as_many_tokens_as_the_stages_say(projector, decoder):
    for num_frames in range(1, 201):
        tokens = num_frames
        for stage in projector.stages:
            tokens = stage(tokens)
        found = projector(
            torch.randn(1, num_frames, WIDTH), torch.tensor([num_frames]), decoder.embed_expected
        )
        assert found.shape == (1, tokens, 16)
        assert projector.num_audio_tokens(torch.tensor([num_frames])).tolist() == [tokens]
        assert tokens >= 1, "a clip of one frame is a token, and no frame is passed over"


def test_an_item_in_a_batch_gives_what_it_gives_alone(projector, decoder):
    """In any order, and whatever stands on the padding."""
    num_frames = torch.tensor([47, 3, 1, 16, 15])
    features = torch.randn(5, 47, WIDTH)
    for row, frames in enumerate(num_frames.tolist()):
        features[row, frames:] = 1e4
    together = projector(features, num_frames, decoder.embed_expected)
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = projector(features[order], num_frames[order], decoder.embed_expected)
    counts = projector.num_audio_tokens(num_frames).tolist()
    for row, (frames, count) in enumerate(zip(num_frames.tolist(), counts, strict=True)):
        alone = projector(features[row : row + 1, :frames], num_frames[row : row + 1], decoder.embed_expected)
        assert alone.shape == (1, count, 16)
        torch.testing.assert_close(together[row, :count], alone[0], atol=1e-5, rtol=1e-4)
        place = order.tolist().index(row)
        torch.testing.assert_close(turned[place, :count], alone[0], atol=1e-5, rtol=1e-4)


def test_the_loss_reaches_every_parameter_and_no_padding(projector, decoder):
    num_frames = torch.tensor([33, 0, 9])
    features = torch.randn(3, 33, WIDTH, requires_grad=True)
    found = projector.train()(features, num_frames, decoder.embed_expected)
    counts = projector.num_audio_tokens(num_frames)
    valid = torch.arange(found.shape[1]) < counts[:, None]
    found[valid].square().sum().backward()
    for name, parameter in projector.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    for row, frames in enumerate(num_frames.tolist()):
        assert (features.grad[row, :frames].abs().sum(dim=1) > 0).all(), "every frame counts"
        assert not features.grad[row, frames:].any()
    decoder.zero_grad()


def test_under_autocast_it_is_nearly_the_same(projector, decoder):
    features, num_frames = torch.randn(2, 31, WIDTH), torch.tensor([31, 20])
    whole = projector(features, num_frames, decoder.embed_expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = projector(features, num_frames, decoder.embed_expected)
    valid = torch.arange(found.shape[1]) < projector.num_audio_tokens(num_frames)[:, None]
    torch.testing.assert_close(found[valid].float(), whole[valid], atol=0.1, rtol=0.1)


@pytest.mark.parametrize("build", KINDS.values(), ids=KINDS.keys())
def test_a_projector_built_on_meta_has_the_same_parameters(build):
    with torch.device("meta"):
        outline = build(WIDTH, CONFIG, RATE_HZ)
    assert all(each.is_meta for each in outline.parameters())
    real = {name: each.shape for name, each in build(WIDTH, CONFIG, RATE_HZ).named_parameters()}
    assert {name: each.shape for name, each in outline.named_parameters()} == real


# --- the rate ---


@pytest.mark.parametrize(("num_convolutions", "stack"), [(2, 2), (3, 1)])
def test_the_stack_follows_from_the_encoder(num_convolutions, stack):
    encoder = ConvTransformer(
        num_convolutions=num_convolutions, width=WIDTH, num_layers=0, num_heads=1, feed_forward=8
    )
    projector = projector_between(encoder, StackMLP, CONFIG)
    assert isinstance(projector, StackMLP) and projector.stack == stack
    downsampler = projector_between(encoder, ConvDownsampler, CONFIG)
    assert [stage.stride for stage in downsampler.stages] == [stack]


@given(st.integers(1, 12), st.sampled_from([Fraction(50), Fraction(100), Fraction(25, 2), Fraction(75)]))
def test_a_rate_that_divides_is_met_exactly(stack, rate_hz):
    tokens_per_s = rate_hz / stack
    if Fraction(str(float(tokens_per_s))) != tokens_per_s:
        return  # no decimal number says it: its stack can be given instead
    for kind in (StackMLP, ConvDownsampler):
        projector = kind(WIDTH, CONFIG, rate_hz, tokens_per_s=float(tokens_per_s), hidden=4)
        for num_seconds in (2, 6):
            num_frames = torch.tensor([int(rate_hz * num_seconds)])
            assert projector.num_audio_tokens(num_frames).tolist() == [-(-num_frames.item() // stack)]


@pytest.mark.parametrize("kind", [StackMLP, ConvDownsampler])
@pytest.mark.parametrize(
    ("tokens_per_s", "says"),
    [
        (12.0, r"found 12 for 50 frames a second; wanted a rate that divides it; set it to 12.5 or 10$"),
        (13.7, r"found 13.7 for 50 frames a second; .* set it to 16.6667 or 12.5$"),
        (60.0, r"found 60 for 50 frames a second; .* set it to 50 or 25$"),
        (0.0, r"found 0 for 50 frames a second"),
        (-5.0, r"found -5 for 50 frames a second"),
    ],
)
def test_a_rate_that_does_not_divide_is_told_with_both_numbers(kind, tokens_per_s, says):
    with pytest.raises(InputError, match=says):
        kind(WIDTH, CONFIG, RATE_HZ, tokens_per_s=tokens_per_s)


def test_a_rate_and_a_stack_that_disagree_are_told():
    with pytest.raises(InputError, match="found 12.5 for 50 frames a second, and 5 frames in a token"):
        StackMLP(WIDTH, CONFIG, RATE_HZ, tokens_per_s=12.5, stack=5)
    with pytest.raises(InputError, match="found 12.5 for 50 frames a second, and 6 frames in a token"):
        ConvDownsampler(WIDTH, CONFIG, RATE_HZ, tokens_per_s=12.5, strides=[2, 3])
    assert StackMLP(WIDTH, CONFIG, RATE_HZ, tokens_per_s=12.5, stack=4).stack == 4
    assert StackMLP(WIDTH, CONFIG, RATE_HZ).stack == 4, "12.5 unless told otherwise"


def test_without_a_frame_rate_the_stack_must_be_given():
    with pytest.raises(InputError, match="frames a second are not known"):
        StackMLP(WIDTH, CONFIG)
    assert StackMLP(WIDTH, CONFIG, stack=7).stack == 7


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (partial(StackMLP, stack=0), "stack 0"),
        (partial(StackMLP, stack=2, hidden=0), "hidden 0"),
        (partial(ConvDownsampler, strides=[]), r"strides \[\]"),
        (partial(ConvDownsampler, strides=[2, 0]), r"strides \[2, 0\]"),
        (partial(ConvDownsampler, strides=[4], kernel=5), "kernel 5 must be odd and at least 7"),
        (partial(ConvDownsampler, strides=[2], kernel=4), "kernel 4 must be odd and at least 3"),
        (partial(WindowQFormer, num_heads=5), "width 12 a multiple of num_heads 5"),
        (partial(WindowQFormer, window=0), "window 0"),
        (partial(WindowQFormer, queries=0), "queries 0"),
    ],
)
def test_what_cannot_be_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build(WIDTH, CONFIG, RATE_HZ)


# --- each of them ---


def test_a_stack_cut_short_is_completed_with_zeros(decoder):
    projector = StackMLP(WIDTH, CONFIG, stack=3)
    features = torch.randn(1, 4, WIDTH)
    completed = torch.cat([features, torch.zeros(1, 2, WIDTH)], dim=1)
    torch.testing.assert_close(
        projector(features, torch.tensor([4]), decoder.embed_expected),
        projector(completed, torch.tensor([6]), decoder.embed_expected),
    )


def test_a_stack_is_mapped_as_slam_asr_does(decoder):
    """Linear, ReLU, Linear over frames side by side, written out."""
    projector = StackMLP(WIDTH, CONFIG, stack=5, hidden=9, activation="relu", norm=False)
    features = torch.randn(2, 10, WIDTH)
    found = projector(features, torch.tensor([10, 10]), decoder.embed_expected)
    for row in range(2):
        for place in range(2):
            stacked = torch.cat([features[row, 5 * place + frame] for frame in range(5)])
            hidden = (projector.expand.weight @ stacked + projector.expand.bias).clamp(min=0)
            wanted = projector.contract.weight @ hidden + projector.contract.bias
            torch.testing.assert_close(found[row, place], wanted)


def test_convolutions_are_those_of_one_clip_after_the_other(decoder):
    """Sums over frames, written out; beyond a clip's end there is nothing."""
    projector = ConvDownsampler(WIDTH, CONFIG, strides=[2], hidden=6)
    (conv,) = projector.convolutions
    frames = torch.randn(7, WIDTH)
    found = projector(frames[None], torch.tensor([7]), decoder.embed_expected)[0]
    normed = projector.norm(frames)
    for token in range(4):
        total = conv.bias.clone()
        for tap in range(3):
            frame = 2 * token + tap - 1
            if 0 <= frame < 7:
                total = total + conv.weight[:, :, tap] @ normed[frame]
        torch.testing.assert_close(found[token], projector.contract(torch.nn.functional.gelu(total)))


# --- the fragments ---


def _fragment(name, kind="projector"):
    return yaml.safe_load((CONFIGS / kind / f"{name}.yaml").read_text(encoding="utf-8"))


def _built(name, encoder_width, decoder_name, rate_hz=RATE_HZ, **changes):
    spec = _fragment(name)
    spec["init_args"] |= changes
    decoder = DecoderConfig.of(_fragment(decoder_name, "decoder"))
    with torch.device("meta"):
        built = build_part(spec, torch.nn.Module, name)(encoder_width, decoder, rate_hz)
    return built, sum(parameter.numel() for parameter in built.parameters())


OF_1024 = {"▁": 5, **{f"▁{number}": 10 + number for number in range(1023)}}


@pytest.mark.parametrize(
    ("name", "parameters", "tokens_of_30_s"),
    [
        ("stack_mlp", 14_694_400, 375),
        ("slam_linear", 17_305_600, 300),
        ("conv_downsampler", 24_650_240, 375),
        ("window_q_former", 56_747_008, 300),
        ("ctc_posterior", 163_969_281 + 2048, 1500),
        ("ctc_posterior_128k", 1_313_025 + 2048, 1500),
    ],
)
def test_a_fragment_between_whisper_large_and_eurollm_1b7(name, parameters, tokens_of_30_s):
    changes = {"vocabulary": OF_1024} if name == "ctc_posterior_128k" else {}
    built, found = _built(name, 1280, "eurollm_1b7", **changes)
    assert found == parameters
    assert built.num_audio_tokens(torch.tensor([1500])).tolist() == [tokens_of_30_s]


def test_every_fragment_is_built_beside_a_tiny_and_a_large_decoder():
    names = sorted(path.stem for path in (CONFIGS / "projector").glob("*.yaml"))
    assert len(names) >= 6
    for name in names:
        changes = {"vocabulary": OWN, "top_k": 2} if name == "ctc_posterior_128k" else {}
        for encoder_width, decoder_name, rate_hz in (
            (192, "tiny", Fraction(25, 2)),
            (1024, "amalia_9b", RATE_HZ),
        ):
            _, found = _built(name, encoder_width, decoder_name, rate_hz, **changes)
            assert found > 0


@pytest.mark.parametrize(
    ("encoder_width", "hidden_size", "published"),
    [
        (1024, 4096, 18.88),  # SLAM-ASR, WavLM-Large
        (1280, 4096, 21.50),  # SLAM-ASR, HuBERT X-Large
        (1280, 2048, 17.31),  # FBK on EuroLLM-1.7B
    ],
)
def test_the_linear_projector_has_the_published_size(encoder_width, hidden_size, published):
    decoder = DecoderConfig(128, hidden_size, 8, 1, 2, 1)
    with torch.device("meta"):
        built = build_part(_fragment("slam_linear"), StackMLP, "")(encoder_width, decoder, RATE_HZ)
    assert round(sum(p.numel() for p in built.parameters()) / 1e6, 2) == published


@pytest.mark.parametrize(("hidden_size", "published"), [(3072, 25), (5120, 52)])
def test_the_mlp_without_norm_has_the_size_of_voxtrals(hidden_size, published):
    decoder = DecoderConfig(128, hidden_size, 8, 1, 2, 1)
    with torch.device("meta"):
        built = StackMLP(1280, decoder, RATE_HZ, norm=False)
    assert round(sum(p.numel() for p in built.parameters()) / 1e6) == published


def test_the_memory_in_the_fragment_is_what_it_takes():
    """Head and logits of 8 clips of 30 s, of all tokens and of the fragment's classes."""
    text = (CONFIGS / "projector/ctc_posterior_128k.yaml").read_text(encoding="utf-8")
    stated = [
        [int(number) for number in re.findall(r"[\d,]+", row.replace(",", ""))]
        for row in re.findall(r"^# +[\d,]+ \+ blank +(.*)$", text, re.MULTILINE)
    ]
    taken = []
    for name, changes in (("ctc_posterior", {}), ("ctc_posterior_128k", {"vocabulary": OF_1024})):
        built, _ = _built(name, 1280, "eurollm_1b7", **changes)
        head = sum(parameter.numel() for parameter in built.head.parameters())
        logits = built.ctc_logits(torch.empty(8, 1500, 1280, device="meta"))
        megabytes = [each / 1e6 for each in (4 * head, 16 * head, logits.nbytes, 3 * logits.nbytes)]
        taken.append([head, *map(round, megabytes)])
    assert stated == taken
