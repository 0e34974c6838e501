"""Pretrained encoders: as many frames as the geometry says, a clip alone as in a batch, frozen without a graph."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tiny_checkpoints import CASES, WAVEFORM, batch_of, write_checkpoint

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.layer_mix import LayerMix
from amalia_mm.audio.wav2vec import Hubert
from amalia_mm.audio.whisper import Whisper
from amalia_mm.data.module import _geometry
from amalia_mm.fusion.projectors import StackMLP
from amalia_mm.lora import LoraConfig, LoraLinear
from amalia_mm.model_config import build_part
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.train.geometry import geometry_of

CONFIGS = Path(__file__).parents[2] / "configs/encoder"
TINY_DECODER = DecoderConfig(20, 16, 32, 1, 2, 1)
WAYS = [
    *((title, {}) for title in CASES if "128" not in title),
    ("whisper 80", {"window": "trimmed"}),
    ("whisper 80", {"window": "unpadded"}),
]
FEW = {"max_source_positions": 100}
"""A window of 2 s: the same code in a fifteenth of the time."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    changes = {title: FEW if "whisper" in title else {} for title in CASES}
    return {
        title: write_checkpoint(root / title.replace(" ", "_"), title, **changes[title]) for title, _ in WAYS
    }


def way_label(way):
    return "-".join((way[0], *way[1].values())) if isinstance(way, tuple) else None


@pytest.fixture(params=WAYS, ids=way_label)
def encoder(request, folders):
    title, arguments = request.param
    return folders[title].encoder(**arguments)


@torch.no_grad()
def test_the_encoder_is_as_long_as_its_geometry_says(encoder):
    longest = encoder.geometry.longest_samples or 33_000
    lengths = [*range(encoder.geometry.min_samples, 1400, 83), *range(1400, longest, 2503)]
    lengths += [700, 720, 721, 1039, 1040, 1041, longest]
    for num_samples in sorted({max(length, encoder.geometry.min_samples) for length in lengths}):
        features, num_frames = encoder(torch.randn(1, num_samples), torch.tensor([num_samples]))
        wanted = encoder.geometry.num_audio_tokens(num_samples)
        assert (features.shape[1], num_frames.item()) == (wanted, wanted), num_samples
        assert features.shape[2] == encoder.width


@torch.no_grad()
def test_too_short_and_too_long_are_refused_with_both_numbers(encoder):
    shortest, longest = encoder.geometry.min_samples, encoder.geometry.longest_samples
    if shortest > 1:
        with pytest.raises(ValueError, match=rf"{shortest - 1} samples .*{shortest} samples"):
            encoder(torch.randn(1, shortest - 1), torch.tensor([shortest - 1]))
    if longest is not None:
        with pytest.raises(ValueError, match=rf"{longest + 1} samples .*window of {longest}.*chunks"):
            encoder(torch.randn(1, longest + 1), torch.tensor([longest + 1]))
        # Padding beyond the window is none of the clip's.
        encoder(torch.randn(1, longest + 1), torch.tensor([longest]))
    with pytest.raises(ValueError, match="float32"):
        encoder(torch.randn(1, 8000).bfloat16(), torch.tensor([8000]))
    with pytest.raises(ValueError, match="8001 samples in waveforms of 8000"):
        encoder(torch.randn(1, 8000), torch.tensor([8001]))


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[8000, 5040, 1100], [5201, 7999], [9000, 1360, 6480, 2000]], ids=str)
def test_a_clip_in_a_batch_gives_what_it_gives_alone(encoder, lengths):
    """Even and odd numbers of mel frames: a convolution of stride 2 sees beyond the end of odd ones alone."""
    waveforms, num_samples, clips = batch_of(lengths)
    for row, length in enumerate(lengths):
        waveforms[row, length:] = 3.0  # whatever stands in the padding
    features, num_frames = encoder(waveforms, num_samples)
    for row, clip in enumerate(clips):
        alone, frames = encoder(clip[None], num_samples[row : row + 1])
        assert frames.item() == num_frames[row].item() == alone.shape[1]
        torch.testing.assert_close(features[row, : frames.item()], alone[0], atol=1e-4, rtol=1e-4)
        assert not features[row, frames.item() :].any()


@torch.no_grad()
def test_a_clip_without_a_frame_beside_others_gives_none_and_no_nan(encoder):
    shortest = encoder.geometry.min_samples
    waveforms, num_samples, _ = batch_of([4000, max(shortest - 1, 1)])
    features, num_frames = encoder(waveforms, num_samples)
    assert features.isfinite().all()
    if shortest > 1:
        assert num_frames[1] == 0 and not features[1].any()


def test_the_order_of_a_batch_does_not_matter(encoder):
    waveforms, num_samples, _ = batch_of([4000, 900, 7000])
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        features, _ = encoder(waveforms, num_samples)
        torch.testing.assert_close(encoder(waveforms[order], num_samples[order])[0], features[order])


@torch.no_grad()
def test_an_encoder_that_was_built_without_memory_is_the_same_one_when_it_is_filled(request, folders):
    """A table that is not among the weights would be lost on the way: positions, filters, windows."""
    for title, arguments in WAYS:
        wanted = folders[title].encoder(**arguments)
        with torch.device("meta"):
            empty = folders[title].kind(str(folders[title].folder), **arguments)
        assert all(parameter.is_meta for parameter in empty.parameters())
        assert not list(empty.buffers()), "buffers are lost"
        assert empty.geometry == wanted.geometry
        empty.to_empty(device="cpu")
        empty.load_checkpoint(folders[title].folder)
        waveforms, num_samples, _ = batch_of([8000, 5000])
        found, _ = empty.eval()(waveforms, num_samples)
        torch.testing.assert_close(found, wanted(waveforms, num_samples)[0], rtol=0, atol=0)


def test_frozen_it_has_no_dropout_and_no_graph_in_whatever_mode(folders, tmp_path):
    sizes = {**WAVEFORM, "hidden_dropout": 0.5, "attention_dropout": 0.5, "activation_dropout": 0.5}
    checkpoint = write_checkpoint(tmp_path, "hubert large", **{k: sizes[k] for k in sizes if "dropout" in k})
    encoder = checkpoint.encoder()
    waveforms, num_samples, _ = batch_of([8000, 5000])
    wanted = encoder(waveforms, num_samples)[0].detach()
    assert not torch.equal(encoder.train()(waveforms, num_samples)[0], wanted), "dropout, as it learns"
    encoder.requires_grad_(False).train()
    features, _ = encoder(waveforms, num_samples)
    assert not features.requires_grad
    assert torch.equal(features, wanted)
    encoder.requires_grad_(True).train()
    assert encoder(waveforms, num_samples)[0].requires_grad


def test_a_mixture_learns_over_layers_that_are_frozen(folders):
    encoder = folders["hubert large"].encoder(layer_mix=True)
    encoder.backbone.requires_grad_(False)
    waveforms, num_samples, _ = batch_of([8000, 5000])
    features, _ = encoder.train()(waveforms, num_samples)
    features.square().sum().backward()
    assert encoder.mix.weights.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in encoder.backbone.parameters())


def test_a_mixture_of_another_number_of_layers_is_refused():
    mix = LayerMix(3)
    torch.nn.init.constant_(mix.weights[1:2].data, 50.0)
    states = [torch.full((1, 2, 4), float(number)) for number in range(3)]
    torch.testing.assert_close(mix(states), states[1])
    with pytest.raises(ValueError, match="2 hidden states for a mixture of 3"):
        mix(states[:2])


@pytest.mark.parametrize("title", [title for title in CASES if "128" not in title])
def test_low_rank_changes_act_and_alone_learn(folders, title):
    """transformers' WavLM reads its matrices past the maps: changes to them did nothing at all."""
    pattern = r"linear_[qv]$" if title == "w2v-bert" else r"[qv]_proj$"
    encoder = folders[title].encoder(lora=LoraConfig(modules=[pattern], rank=2))
    waveforms, num_samples, _ = batch_of([8000, 5000])
    plain = folders[title].encoder()(waveforms, num_samples)[0].detach()
    features, _ = encoder(waveforms, num_samples)
    torch.testing.assert_close(features, plain, rtol=1e-5, atol=1e-5)
    features.square().sum().backward()
    changes = [module for module in encoder.modules() if isinstance(module, LoraLinear)]
    assert len(changes) == 2 * encoder.num_layers
    assert all(change.lora_b.grad.abs().max() > 0 for change in changes)
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in encoder.named_parameters() if "lora_" in name}


def test_the_geometry_travels_to_the_data_with_its_longest_clip():
    """A link between instances carries plain values: a clip of 31 s would be cut, or fail in the middle of a run."""
    spec = yaml.safe_load((CONFIGS / "camoes_whisper.yaml").read_text())
    geometry = geometry_of(build_part(spec, AudioEncoder, "test"), StackMLP, TINY_DECODER)
    assert geometry.max_samples == geometry.longest_samples == 480_000
    assert _geometry(dataclasses.asdict(geometry)) == geometry
    assert geometry.num_audio_tokens(160_000) == 500 // 4
    with pytest.raises(ValueError, match="480001 samples .*480000"):
        geometry.num_audio_tokens(480_001)
    assert AudioGeometry(16_000, 480_000, geometry.stages).longest_samples == 480_000


def test_hubert_gives_49_frames_for_a_second_and_whisper_1500_for_any_clip():
    with torch.device("meta"):
        hubert = build_part(yaml.safe_load((CONFIGS / "hubert_large.yaml").read_text()), Hubert, "test")()
        whisper = build_part(
            yaml.safe_load((CONFIGS / "whisper_large_v3.yaml").read_text()), Whisper, "test"
        )()
    assert hubert.geometry.num_audio_tokens(16_000) == 49
    assert [whisper.geometry.num_audio_tokens(n) for n in (1, 16_000, 480_000)] == [1500] * 3


def linear(rows, columns, bias=True):
    return rows * columns + bias * rows


def whisper_numbers(width, layers, mels):
    """Two convolutions of 3, 1,500 positions; q, k (without bias), v, output, two maps 4 times as wide, two norms."""
    attention = 3 * linear(width, width) + linear(width, width, bias=False)
    layer = attention + linear(4 * width, width) + linear(width, 4 * width) + 2 * 2 * width
    return 3 * mels * width + width + 3 * width**2 + width + 1500 * width + layers * layer + 2 * width


def wav2vec_numbers(conv_bias):
    """A large HuBERT: seven convolutions of 512 with a norm each, grouped positions, 24 layers of 1,024."""
    width, kernels = 1024, (10, 3, 3, 3, 3, 2, 2)
    convolutions = sum((512 if i else 1) * 512 * kernel for i, kernel in enumerate(kernels))
    convolutions += 7 * (2 * 512 + conv_bias * 512)
    positions = (
        width * width // 16 * 128 + width + 128
    )  # weights by direction, biases, a length for each of 128
    layer = 4 * linear(width, width) + linear(4 * width, width) + linear(width, 4 * width) + 2 * 2 * width
    return convolutions + 2 * 512 + linear(width, 512) + positions + 2 * width + 24 * layer


def wav2vec_bert_numbers():
    """24 Conformer layers of 1,024: two feed-forward pairs, attention with 73 distances of 64, a convolution of 31."""
    width = 1024
    feed_forward = linear(4 * width, width) + linear(width, 4 * width) + 2 * width
    attention = 4 * linear(width, width) + 73 * 64 + 2 * width
    convolution = 2 * width**2 + 31 * width + width**2 + 2 * 2 * width
    return 2 * 160 + linear(width, 160) + 24 * (2 * feed_forward + attention + convolution + 2 * width)


@pytest.mark.parametrize(
    ("fragment", "derived", "known"),
    [
        ("whisper_large_v3", whisper_numbers(1280, 32, 128), 636_968_960),
        ("camoes_whisper", whisper_numbers(1280, 32, 128), 636_968_960),
        ("whisper_small", whisper_numbers(768, 12, 80), 88_154_112),
        ("hubert_large", wav2vec_numbers(conv_bias=True), 315_437_696),
        # The gates of 24 layers of 16 heads, and the first layer's 320 distances.
        ("wavlm_large", wav2vec_numbers(False) + 24 * (linear(8, 64) + 16) + 320 * 16, 315_452_096),
        ("w2v_bert_2", wav2vec_bert_numbers(), 580_492_096),
    ],
)
def test_a_fragment_has_as_many_parameters_as_its_checkpoint(fragment, derived, known):
    spec = yaml.safe_load((CONFIGS / f"{fragment}.yaml").read_text())
    with torch.device("meta"):
        encoder = build_part(spec, AudioEncoder, fragment)()
    assert sum(parameter.numel() for parameter in encoder.backbone.parameters()) == derived == known


def test_low_rank_changes_of_a_fragment_are_counted():
    spec = yaml.safe_load((CONFIGS / "whisper_small_lora.yaml").read_text())
    with torch.device("meta"):
        encoder = build_part(spec, AudioEncoder, "test")()
    trained = sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
    assert trained == 12 * 2 * 16 * (768 + 768) == 589_824


def test_what_torchao_does_with_torch_is_not_told_to_users():
    """transformers imports torchao, whose two enums torch warns of at every start."""
    code = "from amalia_mm.audio.whisper import Whisper; import logging, torch.utils._pytree as tree; "
    code += "tree.log.warning('something else')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Enum" not in done.stderr and "something else" in done.stderr
