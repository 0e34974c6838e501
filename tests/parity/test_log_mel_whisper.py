"""Log-mel features against openai-whisper's own function: at most 1e-4 apart."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.audio.features import LogMel
from amalia_mm.audio.io import load_audio
from amalia_mm.audio.noise import coloured_noise

whisper = pytest.importorskip("whisper", reason="openai-whisper is in the extra `dev`")
WANTED = 1e-4


def largest_difference(clips: list[torch.Tensor], num_mels: int) -> float:
    """Each clip alone through Whisper, all of them in one padded batch through ours."""
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mel, num_frames = LogMel(num_mels)(batch, torch.tensor([len(clip) for clip in clips]))
    differences = []
    for row, clip in enumerate(clips):
        theirs = whisper.log_mel_spectrogram(clip, n_mels=num_mels)
        assert theirs.shape[1] == num_frames[row]
        differences.append((theirs - mel[row, :, : theirs.shape[1]]).abs().max().item())
    return max(differences)


@pytest.mark.parametrize("num_mels", [80, 128])
def test_generated_clips(num_mels):
    generator = torch.Generator().manual_seed(3)
    time_s = torch.arange(24_000) / 16_000
    glide = torch.sin(2 * torch.pi * (200 * time_s + 900 * time_s.square())) * torch.hann_window(24_000)
    noise = 0.2 * coloured_noise("pink", 7001, generator)
    clips = [glide, noise, 0.001 * glide[:9999], torch.zeros(3200), 1.4 * glide[:201]]
    assert largest_difference(clips, num_mels) <= WANTED


@pytest.mark.parametrize("num_mels", [80, 128])
def test_real_clips(shared_data, num_mels, record_property):
    paths = sorted(p for p in (shared_data / "speech/english").rglob("*") if p.suffix in (".wav", ".flac"))
    clips = [load_audio(path) for path in paths]
    assert len(clips) >= 10
    found = largest_difference(clips, num_mels)
    record_property("largest_difference", found)
    assert found <= WANTED
