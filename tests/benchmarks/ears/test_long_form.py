"""One recording of ten minutes beside the same speech as short clips: what cutting and joining cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from decoder_sizes import SMALL_3M
from paired import paired
from spoken import joined, sentences

import amalia_mm.assistant
from amalia_mm.assistant import Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.fusion.projectors import StackMLP
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.run import LoadedModel
from amalia_mm.text.decoder import Decoder
from amalia_mm.text.tokenizer import Tokenizer

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
    monkeypatch.setattr(amalia_mm.assistant, "MAX_TOKENS_PER_S", TOKENS_PER_S)
    monkeypatch.setattr(amalia_mm.assistant, "MAX_EXTRA_TOKENS", 1)
    assistant = _assistant()
    said, total_s = [], 0.0
    for one in sentences() * 2:
        if total_s + one.seconds > SECONDS:
            break
        said.append(one)
        total_s += one.seconds + PAUSE_S
    whole = joined(said, PAUSE_S).waveform
    clips = [one.waveform for one in said]
    speech_s = sum(one.seconds for one in said)
    times = paired(lambda: assistant.transcribe([whole]), lambda: assistant.transcribe(clips), num_pairs=5)
    bench.row(
        "long_short",
        f"{speech_s:.0f} s of speech in one recording of {total_s:.0f} s, over the same in {len(clips)} clips",
        ours=speech_s / times.ours_median_s,
        peer=speech_s / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio,
        op=">=",
        must=0.8,
    )
