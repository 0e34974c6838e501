"""Pretrained encoders against transformers' own pipeline, features included: same weights, same frames.

Each clip goes alone through transformers, and all of them in one padded batch through ours.
"""

from __future__ import annotations

import pytest
import torch
import whisper
from safetensors.torch import load_file, save_file
from tiny_checkpoints import CASES, batch_of, write_checkpoint
from transformers import HubertForCTC, SeamlessM4TFeatureExtractor, Wav2Vec2BertForCTC, WavLMForCTC
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from amalia_mm.audio.kaldi_mel import KaldiMel
from amalia_mm.audio.wav2vec import Hubert
from amalia_mm.audio.whisper import Whisper

TOLERANCE = 1e-4
LENGTHS = [16_000, 9_001, 23_456, 4_960]


@pytest.fixture(scope="module", params=CASES)
def checkpoint(request, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), request.param)


def largest_difference(features, num_frames, wanted):
    differences = []
    for row, frames in enumerate(wanted):
        assert num_frames[row] == frames.shape[1], "as many frames as transformers gives"
        differences.append((features[row, : frames.shape[1]].float() - frames[0].float()).abs().max())
        assert not features[row, frames.shape[1] :].any(), "zero beyond the clip"
    return float(max(differences))


@torch.no_grad()
def test_frames_of_a_padded_batch(checkpoint, record_property):
    waveforms, num_samples, clips = batch_of(LENGTHS)
    features, num_frames = checkpoint.encoder()(waveforms, num_samples)
    wanted = [checkpoint.theirs(clip).last_hidden_state for clip in clips]
    assert min(frames.std() for frames in wanted) > 0.1, "frames that say something"
    found = largest_difference(features, num_frames, wanted)
    record_property("largest_difference", found)
    assert found <= TOLERANCE


@torch.no_grad()
def test_frames_in_bf16_are_as_near_to_float32_as_those_of_transformers(checkpoint):
    """Rounding differs where kernels do, so both are held to the frames of float32."""
    waveforms, num_samples, clips = batch_of(LENGTHS)
    encoder = checkpoint.encoder()
    exact = [checkpoint.theirs(clip).last_hidden_state for clip in clips]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, num_frames = encoder(waveforms, num_samples)
        rounded = [checkpoint.theirs(clip).last_hidden_state for clip in clips]
    assert features.dtype == torch.float32
    theirs = max(
        float((one.float() - other).square().mean()) for one, other in zip(rounded, exact, strict=True)
    )
    for row, frames in enumerate(exact):
        ours = float((features[row, : num_frames[row]] - frames[0]).square().mean())
        assert ours <= 2 * theirs + 1e-6
    narrow, _ = checkpoint.encoder(dtype="bfloat16")(waveforms, num_samples)
    assert narrow.dtype == torch.float32
    assert float((narrow - features).square().mean()) <= 4 * theirs + 1e-5


@torch.no_grad()
def test_a_mixture_that_begins_even_is_the_mean_of_all_hidden_frames(checkpoint):
    waveforms, num_samples, clips = batch_of([8_000, 6_000])
    features, num_frames = checkpoint.encoder(layer_mix=True)(waveforms, num_samples)
    wanted = []
    for clip in clips:
        output = checkpoint.theirs(clip, output_hidden_states=True)
        size = output.last_hidden_state.shape[1]
        states = [state[:, :size] for state in output.hidden_states[:-1]]
        wanted.append(torch.stack([*states, output.last_hidden_state]).mean(dim=0))
    assert largest_difference(features, num_frames, wanted) <= TOLERANCE


def test_gradients(checkpoint):
    """A mask in the wrong place, or a graph that is cut, leaves the frames right and the gradients wrong."""
    _, _, (clip,) = batch_of([8_000])
    encoder = checkpoint.encoder()
    checkpoint.model.zero_grad()
    checkpoint.theirs(clip).last_hidden_state.square().sum().backward()
    encoder(clip[None], torch.tensor([len(clip)]))[0].square().sum().backward()
    theirs = checkpoint.model.model.encoder if checkpoint.kind is Whisper else checkpoint.model
    wanted = {
        name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.grad is not None
    }
    checked = 0
    for name, parameter in encoder.backbone.named_parameters():
        if "embed_positions" in name:
            continue  # transformers does not train it
        assert parameter.grad is not None, name
        scale = wanted[name].abs().max().clamp(min=1.0)
        torch.testing.assert_close(
            parameter.grad / scale, wanted[name] / scale, atol=1e-4, rtol=1e-4, msg=name
        )
        checked += 1
    assert checked > 20


@torch.no_grad()
@pytest.mark.parametrize("num_mels", [80, 128])
def test_whisper_hears_a_window_filled_up_with_silence(tmp_path, num_mels):
    encoder = write_checkpoint(tmp_path, f"whisper {num_mels}").encoder()
    waveforms, num_samples, clips = batch_of([16_000, 250, 480_000, 31_999])
    waveforms[3, 31_999:] = 9.0  # what stands in the padding does not matter
    mel, num_frames = encoder.mel(waveforms, num_samples)
    assert num_frames.tolist() == [3000] * 4
    for row, clip in enumerate(clips):
        wanted = whisper.log_mel_spectrogram(whisper.pad_or_trim(clip), n_mels=num_mels)
        assert (mel[row] - wanted).abs().max() <= TOLERANCE


@torch.no_grad()
def test_a_trimmed_window_is_the_start_of_the_whole_one(tmp_path):
    checkpoint = write_checkpoint(tmp_path, "whisper 80")
    waveforms, num_samples, clips = batch_of([16_000, 9_001])
    features, num_frames = checkpoint.encoder(window="trimmed")(waveforms, num_samples)
    assert num_frames.tolist() == [50, 28]
    wanted = [
        checkpoint.theirs(clip).last_hidden_state[:, :size]
        for clip, size in zip(clips, (50, 28), strict=True)
    ]
    assert largest_difference(features, num_frames, wanted) <= TOLERANCE


@torch.no_grad()
def test_without_padding_whisper_is_a_whisper_of_that_length(tmp_path):
    """transformers takes one length only: a model of that many positions, with as many of the same table."""
    checkpoint = write_checkpoint(tmp_path, "whisper 80")
    waveforms, num_samples, clips = batch_of([16_000, 9_280, 12_800])
    features, num_frames = checkpoint.encoder(window="unpadded")(waveforms, num_samples)
    weights = checkpoint.model.model.encoder.state_dict()
    wanted = []
    for clip in clips:
        config = type(checkpoint.model.config).from_pretrained(tmp_path)
        config.max_source_positions = len(clip) // 320
        short = WhisperEncoder(config).eval()
        table = weights["embed_positions.weight"][: config.max_source_positions]
        short.load_state_dict({**weights, "embed_positions.weight": table})
        wanted.append(short(whisper.log_mel_spectrogram(clip)[None]).last_hidden_state)
    assert largest_difference(features, num_frames, wanted) <= TOLERANCE


@pytest.mark.parametrize("num_mels", [80, 40])
def test_kaldis_features(num_mels):
    waveforms, num_samples, clips = batch_of([16_000, 9_001, 24_240, 720])
    mel, num_frames = KaldiMel(num_mels)(waveforms, num_samples)
    extractor = SeamlessM4TFeatureExtractor(feature_size=num_mels, num_mel_bins=num_mels, stride=1)
    for row, clip in enumerate(clips):
        wanted = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt", pad_to_multiple_of=None)
        theirs = wanted["input_features"][0]
        assert num_frames[row] == len(theirs)
        assert (mel[row, : len(theirs)] - theirs).abs().max() <= 1e-3
        assert not mel[row, len(theirs) :].any()


@torch.no_grad()
@pytest.mark.parametrize(
    ("title", "whole"),
    [("hubert large", HubertForCTC), ("wavlm base", WavLMForCTC), ("w2v-bert", Wav2Vec2BertForCTC)],
)
def test_a_checkpoint_with_a_head_gives_the_same_encoder(tmp_path, title, whole):
    """Fine-tuned for CTC, every name begins with the model's, and there is a head."""
    checkpoint = write_checkpoint(tmp_path, title)
    model = whole(type(checkpoint.model.config).from_pretrained(tmp_path, vocab_size=12))
    getattr(model, model.base_model_prefix).load_state_dict(checkpoint.model.state_dict())
    waveforms, num_samples, _ = batch_of([8_000])
    wanted, _ = checkpoint.encoder()(waveforms, num_samples)
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" in load_file(tmp_path / "model.safetensors")
    torch.testing.assert_close(checkpoint.encoder()(waveforms, num_samples)[0], wanted, rtol=0, atol=0)


@torch.no_grad()
def test_the_older_names_of_a_normed_convolution_are_read(tmp_path):
    """Checkpoints on the Hub are older than torch's parametrizations: `weight_g` and `weight_v`."""
    checkpoint = write_checkpoint(tmp_path, "hubert base")
    waveforms, num_samples, _ = batch_of([8_000])
    wanted, _ = checkpoint.encoder()(waveforms, num_samples)
    path = tmp_path / "model.safetensors"
    older = {
        ".parametrizations.weight.original0": ".weight_g",
        ".parametrizations.weight.original1": ".weight_v",
    }
    renamed = {}
    for name, value in load_file(path).items():
        for new, old in older.items():
            name = name.replace(new, old)
        renamed[name] = value
    assert any(name.endswith("weight_g") for name in renamed)
    save_file(renamed, path)
    encoder = Hubert(str(tmp_path))
    encoder.load_checkpoint(tmp_path)
    torch.testing.assert_close(encoder.eval()(waveforms, num_samples)[0], wanted, rtol=0, atol=0)
