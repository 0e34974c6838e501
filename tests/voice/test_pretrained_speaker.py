"""X-vector checkpoints by folder: what transformers gives for a clip alone, whatever stands beside it."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForXVector, WavLMConfig, WavLMForXVector, WavLMModel

from amalia_mm.errors import InputError
from amalia_mm.voice.pretrained_speaker import PretrainedSpeaker

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (5, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": (8, 8, 12),
    "tdnn_kernel": (5, 3, 1),
    "tdnn_dilation": (1, 2, 1),
    "xvector_output_dim": 6,
    "num_labels": 5,
}
KINDS = {"wavlm": (WavLMConfig, WavLMForXVector), "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForXVector)}


def checkpoint(folder, kind="wavlm", hearing=None, model=None, **sizes):
    config, build = KINDS[kind]
    torch.manual_seed(3)
    whole = (model or build)(config(**{**SIZES, **sizes})).eval()
    whole.save_pretrained(folder, safe_serialization=True)
    hearing = {"do_normalize": False, "sampling_rate": 16_000} if hearing is None else hearing
    (folder / "preprocessor_config.json").write_text(json.dumps(hearing))
    return whole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_clip_gives_what_transformers_gives_it_alone(tmp_path, kind, weighted):
    theirs = checkpoint(tmp_path, kind, use_weighted_layer_sum=weighted)
    ours = PretrainedSpeaker(str(tmp_path)).train()  # a frozen encoder has no dropout, whatever is asked
    clips = torch.randn(2, 4000)
    found = ours.embed(clips, torch.tensor([4000, 2500]))
    assert ours.embed_size == 6
    for vector, length, clip in zip(found, (4000, 2500), clips, strict=True):
        with torch.no_grad():
            expected = theirs(clip[None, :length]).embeddings[0]
        torch.testing.assert_close(vector, expected / expected.norm(), atol=1e-5, rtol=1e-4)


def test_a_checkpoint_that_wants_normed_clips_gets_them(tmp_path):
    theirs = checkpoint(tmp_path, hearing={"do_normalize": True})
    found = PretrainedSpeaker(str(tmp_path)).embed(
        5 * torch.ones(1, 1) + torch.randn(1, 3000), torch.tensor([3000])
    )
    torch.manual_seed(0)
    clip = 5 * torch.ones(1, 1) + torch.randn(1, 3000)
    normed = (clip - clip.mean()) / (clip.var(unbiased=False) + 1e-7).sqrt()
    again = PretrainedSpeaker(str(tmp_path)).embed(clip, torch.tensor([3000]))
    with torch.no_grad():
        expected = theirs(normed).embeddings[0]
    torch.testing.assert_close(again[0], expected / expected.norm(), atol=1e-5, rtol=1e-4)
    assert float(found.norm()) == pytest.approx(1.0, abs=1e-5)


def test_the_shortest_clip_it_takes_has_two_frames_in_the_end(tmp_path):
    checkpoint(tmp_path)
    encoder = PretrainedSpeaker(str(tmp_path))
    least = encoder._least_samples()
    assert torch.isfinite(encoder.embed(torch.randn(1, least), torch.tensor([least]))).all()
    with pytest.raises(ValueError, match=f"{least - 1} samples: this encoder needs {least}"):
        encoder.embed(torch.randn(1, least), torch.tensor([least - 1]))


def test_an_encoder_without_the_speaker_head_is_not_taken_at_random(tmp_path):
    checkpoint(tmp_path, model=WavLMModel)
    with pytest.raises(InputError, match="tensors\\); wanted every tensor"):
        PretrainedSpeaker(str(tmp_path))


@pytest.mark.parametrize(
    ("hearing", "match"),
    [({"sampling_rate": 8000}, "sampling_rate"), ({"sampling_rate": 16_000}, "do_normalize")],
)
def test_how_clips_are_taken_must_be_said(tmp_path, hearing, match):
    checkpoint(tmp_path, hearing=hearing)
    with pytest.raises(InputError, match=match):
        PretrainedSpeaker(str(tmp_path))


def test_pickles_are_not_read(tmp_path):
    whole = checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(whole.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="x-vector model"):
        PretrainedSpeaker(str(tmp_path))
