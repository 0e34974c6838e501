"""Words come out as they were written, at the times that CTC gives their letters or tokens."""

from __future__ import annotations

import statistics
from functools import partial

import pytest
import torch
from ears import EARS
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.assistant import Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.vad import Segment
from amalia_mm.fusion.pieces import Piece, timed_transcript
from amalia_mm.fusion.projectors import CtcPosterior, StackMLP
from amalia_mm.fusion.responder import Responder
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.fusion.word_times import Said, TimedWritten, WordTimes, said_words
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.portuguese.numbers import read_out
from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TEST_VOICES
from amalia_mm.text.ctc_vocabulary import CtcVocabulary, pieces
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.letters import ALPHABET, NUM_LETTERS
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.transcript import Word

SIZES = DecoderConfig(360, 16, 24, 1, 2, 1)
SECOND = 16_000


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["bom dia, quero um café e um pastel de nata", "vinte e cinco minutos"], 360)


def word_times(tokenizer, letters=False, projector=CtcPosterior):
    options = {"letters_after": 1, "num_letters": NUM_LETTERS} if letters else {}
    model = SpeechTextModel(
        ConvTransformer(**EARS, num_convolutions=3, **options), projector(8, SIZES), Decoder(SIZES)
    ).eval()
    return WordTimes(Responder(model, tokenizer), spoken_form, read_out)


def hearing(times, monkeypatch, path, slots):
    """Let the model be certain of one class a slot, given as letters or tokens; "" is the blank."""
    num_classes = (NUM_LETTERS if slots > 1 else SIZES.vocab_size) + 1
    logits = torch.zeros(1, len(path), num_classes)
    classes = torch.tensor([num_classes - 1 if each == "" else each for each in path])
    logits[0, torch.arange(len(path)), classes] = 12.0
    frames = len(path) // slots

    def hear_letters(waveforms, num_samples):
        features = torch.zeros(1, frames, 8)
        return features, torch.tensor([frames]), logits if slots > 1 else None

    monkeypatch.setattr(times._model.encoder, "hear_letters", hear_letters)
    if slots == 1:
        monkeypatch.setattr(times._model.projector, "ctc_logits", lambda _: logits)


def test_letters_give_the_times_of_their_words(tokenizer, monkeypatch):
    """80 ms a frame, three letters in each: frame 4 begins at 0.285 s, 5 ms before the middle of its mel frame."""
    times = word_times(tokenizer, letters=True)
    assert times.source == "letters"
    path = [""] * 45
    for slot, letter in {12: "b", 13: "o", 14: "m", 18: " ", 24: "d", 27: "i", 29: "a"}.items():
        path[slot] = ALPHABET.index(letter)
    hearing(times, monkeypatch, path, slots=3)
    [words] = times.place([torch.zeros(15 * 1_280)], ["Bom dia!"], [Segment(0, 15 * 1_280)])
    assert [word.text for word in words] == ["Bom", "dia!"]

    def border(slot):
        return (slot / 3 * 1_280 + 79.5 - 640) / SECOND

    # A word begins up to a frame before its first letter is written, but not before the space.
    assert words[0].start_s == pytest.approx(border(9))
    assert words[0].end_s == pytest.approx(border(15))
    assert words[1].start_s == pytest.approx(border(21))
    assert words[1].end_s == pytest.approx(border(30))
    certain = torch.tensor([12.0] + [0.0] * NUM_LETTERS).softmax(0)[0].item()
    assert [word.confidence for word in words] == pytest.approx([certain] * 2, rel=1e-4)


def test_tokens_give_them_where_no_letters_are_read(tokenizer, monkeypatch):
    times = word_times(tokenizer)
    assert times.source == "tokens"
    tokens = tokenizer.encode("bom dia")
    first = len(tokenizer.encode("bom"))
    path = ["", "", *tokens[:first], "", "", "", *tokens[first:], "", ""]
    hearing(times, monkeypatch, path, slots=1)
    [words] = times.place([torch.zeros(len(path) * 1_280)], ["— Bom dia."], [Segment(0, len(path) * 1_280)])
    assert [word.text for word in words] == ["— Bom", "dia."]
    middle = (79.5 - 640) / SECOND
    assert words[0].start_s == pytest.approx(1.5 * 0.08 + middle)
    assert words[0].end_s == pytest.approx((2 + first) * 0.08 + middle)
    assert words[1].start_s == pytest.approx((4.5 + first) * 0.08 + middle)
    assert all(word.confidence > 0.99 for word in words)


def test_a_number_in_digits_is_found_as_it_is_said(tokenizer, monkeypatch):
    times = word_times(tokenizer, letters=True)
    said = "são vinte e cinco minutos"
    path = [each for letter in said for each in (ALPHABET.index(letter), "", "")]
    hearing(times, monkeypatch, path, slots=3)
    [words] = times.place([torch.zeros(len(said) * 1_280)], ["São 25 minutos."], [Segment(0, 1)])
    assert [word.text for word in words] == ["São", "25", "minutos."]
    assert words[1].confidence > 0.99
    assert words[1].end_s == pytest.approx((len("são vinte e cinco") - 2 / 3) * 0.08 + (79.5 - 640) / SECOND)


def test_what_ctc_cannot_have_heard_shares_the_time_and_has_no_confidence(tokenizer, monkeypatch):
    times = word_times(tokenizer, letters=True)
    hearing(times, monkeypatch, [""] * 9, slots=3)
    speech = Segment(SECOND, 3 * SECOND)
    [words] = times.place([torch.zeros(4 * SECOND)], ["um pastel de nata"], [speech])
    assert [word.confidence for word in words] == [None] * 4
    assert [word.start_s for word in words] == pytest.approx([1 + 2 * n / 14 for n in (0, 2, 8, 10)])
    assert words[-1].end_s == pytest.approx(3.0)


def test_signs_alone_have_the_time_of_the_speech(tokenizer, monkeypatch):
    times = word_times(tokenizer, letters=True)
    hearing(times, monkeypatch, [""] * 9, slots=3)
    [words, *_] = times.place([torch.zeros(SECOND)], ["…"], [Segment(0, SECOND)])
    assert [(word.text, word.start_s, word.end_s, word.confidence) for word in words] == [("…", 0, 1, None)]


def test_classes_of_a_vocabulary_of_its_own_give_the_times_of_their_words(tokenizer, monkeypatch):
    """The targets were the decoder's tokens, which such a head does not have: refused, or the times of other words."""
    letters = {entry: token for entry, token in pieces(tokenizer).items() if len(entry) == 1}
    times = word_times(tokenizer, projector=partial(CtcPosterior, vocabulary=letters))
    classes = CtcVocabulary(letters).encode("bom dia")
    path = [each for one in classes for each in (one, "")]
    logits = torch.zeros(1, len(path), len(letters) + 1)
    places = [len(letters) if each == "" else each for each in path]
    logits[0, torch.arange(len(path)), torch.tensor(places)] = 12.0
    hearing(times, monkeypatch, [""] * len(path), slots=1)
    monkeypatch.setattr(times._model.projector, "ctc_logits", lambda _: logits)
    [words] = times.place([torch.zeros(len(path) * 1_280)], ["Bom dia."], [Segment(0, SECOND)])
    assert [word.text for word in words] == ["Bom", "dia."]
    assert min(word.confidence for word in words) > 0.99
    ends = [2 * classes.index(CtcVocabulary(letters).encode("m")[-1]) + 1, len(path) - 1]
    assert [word.end_s for word in words] == pytest.approx(
        [(end * 1_280 + 79.5 - 640) / SECOND for end in ends]
    )


def test_a_model_without_a_ctc_head_gives_no_times(tokenizer):
    times = word_times(tokenizer, projector=partial(StackMLP, stack=3))
    assert times.source is None
    assert times.place([torch.zeros(SECOND)] * 2, ["um", "dois"], [Segment(0, 1)] * 2) == [(), ()]


def test_said_words_by_hand():
    assert said_words("– Olá, d'água! ... 12,5 % e Diga-me", spoken_form) == [
        Said("– Olá,", ("olá",)),
        Said("d'água! ...", ("dágua",)),
        Said("12,5", ("12,5",)),
        Said("%", ("%",)),
        Said("e", ("e",)),
        Said("Diga-me", ("diga-me",)),
    ]
    assert said_words("? !", spoken_form) == [Said("? !", ())]
    assert said_words("", spoken_form) == []


@given(st.text("aÁç1 .,-–!?%€'ºª\t", max_size=30))
def test_no_written_sign_is_lost(text):
    said = said_words(text, spoken_form)
    assert " ".join(each.written for each in said) == " ".join(text.split())
    assert all(each.spoken for each in said) or len(said) == 1


@pytest.fixture(scope="module")
def trained(root):
    if not (root / "runs/quickstart/14_joint/model").is_dir():
        pytest.skip("no trained model: run `make quickstart`")
    return Assistant.load(root / "runs/quickstart", device="cpu")


SENTENCES = (
    "Perdi as minhas chaves na peixaria esta manhã.",
    "Podes dar-me boleia para o mercado, Teresa?",
    "Comprei carne e pão no supermercado.",
    "O champô está dentro do carro, Pedro.",
    "Muito obrigado pela banana.",
    "Podes ir ao museu mais tarde, Teresa?",
)


def test_a_trained_model_finds_the_words_where_the_synthesiser_put_them(trained):
    """Its letters and its tokens, against the beginnings that espeak-ng tells: 25 ms in the median."""
    errors = {"letters": [], "tokens": []}
    with Speaker() as speaker:
        for number, text in enumerate(SENTENCES):
            waveform, starts = speaker.speak_words(Utterance(text, TEST_VOICES[number % len(TEST_VOICES)]))
            for source, off in errors.items():
                with pytest.MonkeyPatch.context() as patch:
                    if source == "tokens":
                        patch.setattr(trained.model.encoder, "num_letters", 0)
                    [words] = trained._word_times.place([waveform], [text], [Segment(0, len(waveform))])
                if len(words) == len(starts):
                    off += [abs(w.start_s - start / SECOND) for w, start in zip(words, starts, strict=True)]
    for source, off in errors.items():
        assert len(off) > 25, source
        assert statistics.median(off) < 0.04, source
        assert sorted(off)[int(0.9 * len(off))] < 0.12, source


def test_a_word_lies_in_the_segment_it_is_of():
    """CTC hears the first sound of a word before the detector of speech is sure of it."""
    words = (Word("Bom", 0.072, 0.3, 0.9), Word("dia.", 0.4, 1.2, None))
    piece = Piece(2 * SECOND, SECOND, Segment(1_472, SECOND), (TimedWritten("Bom dia.", False, words),))
    [segment] = timed_transcript([piece], 3.0, "letters", None).segments
    assert [(word.start_s, word.end_s) for word in segment.words] == [(1.072, 1.3), (1.4, 2.2)]
    assert (segment.start_s, segment.end_s) == (1.072, 2.2)
    quiet = Piece(2 * SECOND, 0, Segment(160, 2 * SECOND), (TimedWritten("Bom dia.", False, words),))
    [segment] = timed_transcript([quiet], 2.0, "letters", None).segments
    assert (segment.start_s, segment.end_s) == (0.01, 2.0)
