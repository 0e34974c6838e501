"""Speech as it is made is the speech that is made at once, and none leaves without the mark."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.errors import InputError
from amalia_mm.portuguese.phonology.phonemes import SYMBOLS
from amalia_mm.portuguese.read_aloud import LONGEST, read_aloud, sentences
from amalia_mm.voice import synthesis
from amalia_mm.voice.acoustic import AcousticModel, Manner, noise_like
from amalia_mm.voice.griffin_lim import GriffinLim
from amalia_mm.voice.synthesis import Synthesiser
from amalia_mm.voice.vocoder import Vocos

FRAMES = {"sample_rate_hz": 16_000, "num_mels": 16, "fft_samples": 256, "hop_samples": 64}
TEXT = "Bom dia, está tudo bem? A Ana foi ao mercado comprar pão. Até amanhã!"


class Unmarked:
    """In the place of the marker: what goes in comes out, and its pieces are counted."""

    def __init__(self, sample_rate_hz):
        self.pieces = []
        MARKERS.append(self)

    def push(self, waveform):
        self.pieces.append(waveform)
        return waveform

    def flush(self):
        return torch.zeros(0)


MARKERS: list[Unmarked] = []


@pytest.fixture
def voice(monkeypatch):
    monkeypatch.setattr(synthesis, "Marker", Unmarked)
    MARKERS.clear()
    torch.manual_seed(0)
    sizes = {"width": 16, "encoder_blocks": 1, "mean_blocks": 1, "flow_blocks": 1, "speaker_size": 6}
    acoustic = AcousticModel(**FRAMES, **sizes, dropout=0.0).eval()
    torch.nn.init.normal_(acoustic.leave.weight, std=0.05)
    vocoder = Vocos(**FRAMES, width=16, inner_width=32, num_layers=2).eval()
    return Synthesiser(acoustic, vocoder, torch.randn(6), Manner(num_steps=2))


def whole(voice, text, seed=0):
    """Return what the parts give of each sentence at once, nothing cut."""
    said = []
    with torch.no_grad():
        for number, sentence in enumerate(sentences(read_aloud(text))):
            outline = voice.outline(sentence)
            frames = voice.acoustic.frames(outline, noise_like(outline.mean, seed + number), voice.manner)
            said.append(voice.vocoder(frames)[0])
    return torch.cat(said)


def test_sentences_are_cut_at_their_ends_and_lose_nothing():
    read = read_aloud(TEXT)
    cut = list(sentences(read))
    assert len(cut) == 3
    assert sum((one.symbols[1:] for one in cut), ()) == read.symbols[1:]
    assert sum((one.is_stressed[1:] for one in cut), ()) == read.is_stressed[1:]
    assert sum((one.is_word_start[1:] for one in cut), ()) == read.is_word_start[1:]
    assert all(one.symbols[0] == read.symbols[0] for one in cut)


@pytest.mark.parametrize(
    "text", ["palavra " * 2000, "uma palavra, outra palavra " * 900, "a" * 3000, "palavra " * 30]
)
def test_a_sentence_without_an_end_comes_in_parts_and_loses_nothing(text):
    """Its first sound came when all of it was planned: 19 s after 50,000 characters, and in 2.5 GB."""
    read = read_aloud(text)
    assert len(read) > LONGEST
    parts = list(sentences(read))
    assert all(LONGEST // 4 <= len(part) <= LONGEST + 2 for part in parts)
    pause, comma = read.symbols[0], SYMBOLS.index(",")
    whole = [symbol for part in parts for symbol in part.symbols[1:] if symbol != comma]
    assert whole == [symbol for symbol in read.symbols[1:] if symbol != comma]
    assert all(part.symbols[0] == pause and part.symbols[-1] == comma for part in parts[:-1])
    assert parts[-1].symbols[-1] == read.symbols[-1]
    if " " in text:
        assert all(part.is_word_start[1] for part in parts)
    if ", " in text:
        commas = sum(symbol == comma for symbol in read.symbols)
        assert sum(symbol == comma for part in parts for symbol in part.symbols) == commas, "cut at commas"


def test_one_sentence_read_alone_is_what_it_is_among_others():
    assert list(sentences(read_aloud(TEXT)))[2] == read_aloud("Até amanhã!")


def test_pieces_together_are_the_whole(voice):
    at_once = whole(voice, TEXT, seed=3)
    pieces = list(voice.stream(TEXT, seed=3))
    assert len(pieces) > 3
    streamed = torch.cat(pieces)
    assert streamed.shape == at_once.shape
    assert torch.allclose(streamed, at_once, atol=1e-4 * float(at_once.abs().max()) + 1e-6)


def test_the_first_sound_comes_before_the_rest_is_made(voice, monkeypatch):
    made = []
    frames = AcousticModel.frames

    def counted(self, outline, *arguments):
        made.append(outline.mean.shape[2])
        return frames(self, outline, *arguments)

    monkeypatch.setattr(AcousticModel, "frames", counted)
    stream = voice.stream(TEXT)
    first = next(stream)
    rate_hz = FRAMES["sample_rate_hz"]
    assert len(first) == pytest.approx(synthesis.FIRST_S * rate_hz, abs=2 * FRAMES["hop_samples"])
    assert len(made) == 1, "one piece of one sentence is made before the first sound"
    assert sum(len(piece) for piece in stream) > 2 * len(first)


def test_all_that_is_said_went_through_the_marker(voice):
    said = voice.say(TEXT)
    assert len(MARKERS) == 1
    assert torch.equal(torch.cat(MARKERS[0].pieces), said)


def test_a_vocoder_that_needs_all_frames_speaks_too(voice):
    slow = Synthesiser(voice.acoustic, GriffinLim.of(voice.acoustic.mel, num_iterations=2), voice.speaker)
    said = slow.say("Bom dia.")
    assert said.isfinite().all() and said.abs().max() > 0


def test_the_same_seed_says_the_same(voice):
    assert torch.equal(voice.say("Olá.", seed=1), voice.say("Olá.", seed=1))
    assert not torch.equal(voice.say("Olá.", seed=1), voice.say("Olá.", seed=2))


@pytest.mark.parametrize("text", ["", "🙂🙂", "<speak>olá</speak>"])
def test_what_cannot_be_said_is_refused(voice, text):
    with pytest.raises(InputError):
        voice.say(text)


def test_parts_of_different_frames_do_not_speak_together(voice):
    other = Vocos(**{**FRAMES, "hop_samples": 128}, width=16, inner_width=32, num_layers=1)
    with pytest.raises(ValueError, match="128"):
        Synthesiser(voice.acoustic, other, voice.speaker)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        Synthesiser(voice.acoustic, voice.vocoder, torch.zeros(5))
