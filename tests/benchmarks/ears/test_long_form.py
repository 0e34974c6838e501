"""One recording of ten minutes beside the same speech as short clips: what cutting and joining cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from decoder_sizes import SMALL_3M
from paired import paired
from spoken import sentences
from torch import Tensor

import amalia_mm.fusion.pieces
from amalia_mm.assistant import Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.fusion.projectors import StackMLP
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.run import LoadedModel
from amalia_mm.text.decoder import Decoder
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.units import samples_to_seconds, seconds_to_samples

pytestmark = pytest.mark.benchmark

SECONDS, PAUSE_S, TOKENS_PER_S = 600, 0.5, 5


def _assistant() -> Assistant:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train([said.text for said in sentences()], SMALL_3M.vocab_size)
    decoder = Decoder(SMALL_3M)
    encoder = ConvTransformer(num_convolutions=3, layer_kernel=9)
    model = SpeechTextModel(encoder, StackMLP(encoder.width, SMALL_3M, stack=1), decoder)
    return Assistant(LoadedModel(model, tokenizer, {}, Path("random weights")))


def test_long_beside_short(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights never end a text: each piece gets as many tokens as speech of its length has."""
    monkeypatch.setattr(amalia_mm.fusion.pieces, "MAX_TOKENS_PER_S", TOKENS_PER_S)
    monkeypatch.setattr(amalia_mm.fusion.pieces, "MAX_EXTRA_TOKENS", 1)
    assistant = _assistant()
    pause = torch.zeros(seconds_to_samples(PAUSE_S))
    clips: list[Tensor] = []
    for one in sentences() * 2:
        clip = torch.cat([one.waveform, pause])
        if sum(map(len, clips)) + len(clip) > seconds_to_samples(SECONDS):
            break
        clips.append(clip)
    whole = torch.cat(clips)
    seconds = samples_to_seconds(len(whole))
    times = paired(lambda: assistant.transcribe([whole]), lambda: assistant.transcribe(clips), num_pairs=5)
    bench.row(
        "long_short",
        f"{seconds:.0f} s of sentences in one recording, over the same samples in {len(clips)} clips; encoder of 2.6M, "
        f"decoder of 3M, {TOKENS_PER_S} tokens a second",
        ours=seconds / times.ours_median_s,
        peer=seconds / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio,
        op=">=",
        must=0.8,
    )
