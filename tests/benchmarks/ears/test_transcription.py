"""Ten minutes of speech to text beside openai-whisper and transformers: encoders of one shape and type.

Everybody hears windows of 30 s and writes a hundred tokens of each, whatever they are. The name of the row tells the
seconds of the encoder apart from those of all the rest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import transformers
import whisper
import whisper.decoding
from decoder_sizes import MEDIUM_100M
from paired import paired
from spoken import recording, sentences
from torch import Tensor, nn
from transformers import AutomaticSpeechRecognitionPipeline, WhisperFeatureExtractor
from whisper_sizes import (
    ENCODER,
    LANGUAGE,
    TASK,
    openai_model,
    openai_tokenizer,
    transformers_model,
    transformers_tokenizer,
)

from amalia_mm.audio.whisper import Whisper
from amalia_mm.batch import Turn
from amalia_mm.fusion.projectors import StackMLP
from amalia_mm.fusion.responder import Responder
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.text.chat import PROMPTS
from amalia_mm.text.decoder import Decoder
from amalia_mm.text.sampling import Sampling
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.precision import native_precision
from amalia_mm.units import SAMPLE_RATE_HZ

pytestmark = pytest.mark.benchmark

SECONDS, WINDOW_S, NUM_TOKENS, STACK = 600, 30, 100, 4
BATCH, PEER_BATCH = 20, 20
WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE_HZ
DTYPE = "bfloat16" if native_precision() == "bf16-mixed" else "float32"
TORCH_DTYPE = getattr(torch, DTYPE)
ASKED = (Turn("user", PROMPTS["transcribe"], has_audio=True),)


class _Watched:
    """One side: writes what it hears, and tells how many of its seconds the encoder took."""

    def __init__(self, encoder: nn.Module, write: Callable[[Tensor], list[int]]) -> None:
        self._write = write
        self._began, self._encoder_s = 0.0, 0.0
        self.encoder_s: list[float] = []
        """Of each run."""
        encoder.register_forward_pre_hook(self._begin)
        encoder.register_forward_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._began = time.perf_counter()

    def _end(self, *_: object) -> None:
        self._encoder_s += time.perf_counter() - self._began

    def run(self, waveform: Tensor) -> None:
        """Write what is heard, which must be as many tokens of each window as they all write."""
        self._encoder_s = 0.0
        num_tokens = self._write(waveform)
        assert num_tokens == [NUM_TOKENS] * -(-len(waveform) // WINDOW_SAMPLES)
        self.encoder_s.append(self._encoder_s)

    def apart(self, total_s: float) -> str:
        """Return the seconds of the encoder and of all the rest, of a run of so many seconds."""
        encoder_s = statistics.median(self.encoder_s)
        return f"{encoder_s:.1f} + {total_s - encoder_s:.1f} s"


def _ours(batch_size: int) -> _Watched:
    config = replace(MEDIUM_100M, dtype=DTYPE)
    encoder = Whisper(ENCODER, dtype=DTYPE)
    projector = StackMLP(encoder.width, config, stack=STACK)
    model = SpeechTextModel(encoder, projector, Decoder(config)).eval().requires_grad_(False)
    tokenizer = Tokenizer.train([said.text for said in sentences()], 512)
    # A logit of 0 is never the largest of so many: nothing ends before its hundredth token.
    assert model.decoder.lm_head is not None
    model.decoder.lm_head.weight[list(tokenizer.stop_ids)] = 0.0
    responder = Responder(model, tokenizer)

    def write(waveform: Tensor) -> list[int]:
        windows = list(waveform.split(WINDOW_SAMPLES))
        num_tokens = []
        for first in range(0, len(windows), batch_size):
            batch = windows[first : first + batch_size]
            rules = [Sampling(NUM_TOKENS)] * len(batch)
            written = responder.write([ASKED] * len(batch), batch, rules)
            num_tokens += [NUM_TOKENS * one.is_cut for one in written]
        return num_tokens

    return _Watched(encoder, write)


class _Task(whisper.decoding.DecodingTask):
    """openai-whisper's, which refuses frames of bfloat16."""

    def _get_audio_features(self, mel: Tensor) -> Tensor:
        return self.model.encoder(mel)


def _openai() -> _Watched:
    model = openai_model(TORCH_DTYPE)
    options = whisper.DecodingOptions(
        task=TASK,
        language=LANGUAGE,
        sample_len=NUM_TOKENS,
        without_timestamps=True,
        suppress_tokens=[openai_tokenizer().eot],
        fp16=False,
    )

    def write(waveform: Tensor) -> list[int]:
        mel = whisper.log_mel_spectrogram(waveform).to(TORCH_DTYPE)
        windows = mel.split(WINDOW_S * 100, dim=1)
        return [len(_Task(model, options).run(window[None])[0].tokens) for window in windows]

    return _Watched(model.encoder, write)


def _transformers(batch_size: int) -> _Watched:
    model = transformers_model(TORCH_DTYPE)
    pipeline = AutomaticSpeechRecognitionPipeline(
        model,
        WhisperFeatureExtractor(),
        transformers_tokenizer(),
        chunk_length_s=WINDOW_S,
        stride_length_s=0,
        ignore_warning=True,
        batch_size=batch_size,
        dtype=TORCH_DTYPE,
    )
    given = {"language": LANGUAGE, "task": TASK, "num_beams": 1}
    given |= {"min_new_tokens": NUM_TOKENS, "max_new_tokens": NUM_TOKENS}
    num_tokens: list[int] = []
    generate = model.generate

    def counted(**options: object) -> Tensor:
        ids = generate(**options)
        num_tokens.extend(len(row) for row in ids)
        return ids

    model.generate = counted

    def write(waveform: Tensor) -> list[int]:
        num_tokens.clear()
        pipeline(waveform.numpy(), generate_kwargs=given)
        return list(num_tokens)

    return _Watched(model.model.encoder, write)


@pytest.fixture(autouse=True)
def seeded() -> None:
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)


def _row(
    bench, row: str, peer_name: str, ours: _Watched, peer: _Watched, num_pairs: int, must: float
) -> None:
    waveform = recording(SECONDS)
    for side in (ours, peer):
        side.run(waveform[:WINDOW_SAMPLES])
        side.encoder_s.clear()
    times = paired(lambda: ours.run(waveform), lambda: peer.run(waveform), num_pairs=num_pairs, num_warmups=0)
    bench.row(
        row,
        f"transcription of {SECONDS} s, Whisper small's encoder, decoders of 100M, {DTYPE}, {NUM_TOKENS} tokens "
        f"of each {WINDOW_S} s; {peer_name}; encoder + the rest: ours {ours.apart(times.ours_median_s)}, peer "
        f"{peer.apart(times.peer_median_s)}",
        ours=SECONDS / times.ours_median_s,
        peer=SECONDS / times.peer_median_s,
        unit="s/s",
        ratio=times.ratio,
        op=">=",
        must=must,
    )


def test_beside_openai_whisper(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its task would take the tokenizer of the whole vocabulary.
    monkeypatch.setattr(whisper.decoding, "get_tokenizer", lambda *_, **__: openai_tokenizer())
    _row(bench, "transcribe_whisper", "openai-whisper, batch 1", _ours(BATCH), _openai(), 2, 2.0)


def test_beside_transformers(bench) -> None:
    name = f"transformers' chunked pipeline, batch {PEER_BATCH}"
    _row(bench, "transcribe_hf", name, _ours(BATCH), _transformers(PEER_BATCH), 3, 1.1)
