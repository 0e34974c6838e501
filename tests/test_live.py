"""Live, what was shown as sure only grows; heard in blocks it is what the whole turn gives, and the end is the end."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import toy_recipe
from command_line import complaint
from ears import EARS
from sound import said

from amalia_mm.assistant import Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.io import write_audio
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.live import Live
from amalia_mm.prepare.voices import TEST_VOICES
from amalia_mm.run import save_model
from amalia_mm.text.decoder import Decoder, DecoderConfig

SECOND = 16_000


@pytest.fixture(scope="module")
def sound():
    """Two sentences, and a pause after each that ends it."""
    both = said("Tenho sede.", "O comboio parte às oito.", voices=TEST_VOICES[:1])
    return torch.cat(
        [part for each in both for part in (torch.zeros(SECOND // 2), each, torch.zeros(SECOND))]
    )


@pytest.fixture(scope="module")
def in_blocks(tmp_path_factory, toy_data):
    """A model whose encoder hears block by block; of random weights, its tokens are taken for words."""
    torch.manual_seed(0)
    sizes = {**toy_recipe.DECODER, "dropout": 0.0}
    config, ears = DecoderConfig(**sizes), {**EARS, "block_frames": 4, "left_blocks": 2}
    parts = {
        "decoder": sizes,
        "encoder": {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": ears},
        "projector": {"class_path": "amalia_mm.fusion.projectors.CtcPosterior"},
    }
    model = SpeechTextModel(ConvTransformer(**ears), CtcPosterior(8, config), Decoder(config))
    torch.nn.init.normal_(model.projector.head.weight, std=2.0)
    folder = tmp_path_factory.mktemp("blocks") / "model"
    save_model(folder, model, config=parts, tokenizer=toy_data / "tokenizer", card="")
    assistant = Assistant.load(folder, device="cpu")
    assistant._transcriber.collapse = as_words
    return assistant


def as_words(log_probs):
    tokens = log_probs.argmax(dim=1).unique_consecutive().tolist()
    return " ".join(f"w{token}" for token in tokens if token < log_probs.shape[1] - 1)


def listened(live, sound, step):
    return [event for part in sound.split(step) for event in live.push(part)] + live.flush()


@pytest.mark.parametrize("step", [400, 1_600, 7_001])
def test_heard_in_blocks_it_is_what_the_whole_gives_with_the_same_mask(in_blocks, sound, step):
    live = Live(in_blocks, num_beams=None)
    assert live.mode == "blocks"
    events = listened(live, sound, step)
    finals = [event for event in events if event.kind == "final"]
    assert [event.turn for event in finals] == [0, 1]
    for final in finals:
        partials = [event for event in events if event.kind == "partial" and event.turn == final.turn]
        assert len(partials) > 2
        grown = [partial.text for partial in partials]
        assert all(later.startswith(earlier) for earlier, later in pairwise(grown)) and " " in grown[-1]
        # These random weights hear words in the silence that ends a turn, which the text of the turn does not have.
        sure = grown[-1].split()
        assert final.is_revised == (final.text.split()[: len(sure)] != sure)
        # With the same mask, the whole sound from the turn's beginning on; blocks of 4 frames of 40 ms, and 40 samples.
        whole = sound[round((final.start_s - 0.2) * SECOND) :]
        log_probs = in_blocks.ctc_log_probs([whole])[0]
        for partial in partials:
            heard = round((partial.end_s - final.start_s + 0.2) * SECOND)
            text = in_blocks.ctc_text(log_probs[: (heard - 40) // (4 * 640) * 4])
            assert f"{partial.text} {partial.tentative}".strip() == text.strip()


def test_what_is_held_does_not_grow(in_blocks, sound):
    live, most = Live(in_blocks, num_beams=None), 0
    for _ in range(3):
        for part in sound.split(1_600):
            live.push(part)
            most = max(most, len(live._held))
    live.flush()
    assert most < len(sound) / 2
    for _ in range(60):
        live.push(torch.zeros(SECOND))
    assert len(live._held) <= 0.3 * SECOND


class Scripted:
    """A model that hears what it is told to, one reading after the other."""

    has_ctc, min_samples, chunk_samples = True, 160, 12 * SECOND
    model = SimpleNamespace(encoder=None, projector=None)

    def __init__(self, readings, final):
        self.readings, self.final, self.heard = list(readings), final, []

    def transcribe_ctc(self, sounds, vad):
        self.heard.append(len(sounds[0]))
        return [self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]]

    def transcribe(self, sounds, vad, num_beams):
        self.last = sounds[0]
        return [self.final]


def sentence(sound):
    return sound[int(2.0 * SECOND) :]


def test_what_two_hearings_agree_on_is_sure_and_stays(sound):
    scripted = Scripted(["a", "a b", "a c d", "a c x", "z"], "A c, fim.")
    live = Live(scripted, interval_s=0.3)
    assert live.mode == "again"
    *partials, final = listened(live, sentence(sound), 1_600)
    assert [(event.text, event.tentative) for event in partials[:5]] == [
        ("", "a"), ("a", "b"), ("a", "c d"), ("a c", "x"), ("a c", ""),
    ]  # fmt: skip
    assert (final.text, final.is_revised) == ("A c, fim.", False)


def test_a_final_that_takes_back_what_was_sure_says_so(sound):
    scripted = Scripted(["bom dia"], "Boa tarde.")
    final = listened(Live(scripted, interval_s=0.3), sentence(sound), 1_600)[-1]
    assert (final.kind, final.text, final.is_revised) == ("final", "Boa tarde.", True)


def test_a_turn_too_long_for_the_model_goes_on_as_another(sound):
    scripted = Scripted(["a"], "a")
    scripted.chunk_samples = SECOND
    pieces = []
    scripted.transcribe = lambda sounds, vad, num_beams: [pieces.append(sounds[0]) or "a"]
    events = listened(Live(scripted, interval_s=0.3), sentence(sound), 1_600)
    finals = [event for event in events if event.kind == "final"]
    assert len(finals) > 1
    assert all(len(piece) <= SECOND for piece in pieces)
    joined = torch.cat(pieces)
    starts = [at for at in range(2 * SECOND) if torch.equal(sentence(sound)[at : at + len(joined)], joined)]
    assert starts, "no sample between two pieces is lost or heard twice"
    assert all(one.end_s <= other.start_s for one, other in pairwise(finals))


def test_the_command_shows_what_is_said_as_it_is_said(amalia, model, sound, tmp_path):
    write_audio(tmp_path / "a.wav", sound)
    command = ("transcribe", "--live", "--speed", "4", "--ctc", "--model", model)
    code, out, err = amalia(*command, tmp_path / "a.wav")
    assert code == 0
    assert "de novo" in err and "turnos; primeira palavra" in err
    code, out, _ = amalia(*command, "--format", "json", tmp_path / "a.wav")
    *events, latency = [json.loads(line) for line in out.splitlines()]
    assert latency["kind"] == "latency" and latency["mode"] == "again"
    finals = [event for event in events if event["kind"] == "final"]
    assert latency["turns"] == len(finals) > 0
    # The pause that ends a turn is heard four times as fast.
    assert latency["final_s"]["median"] >= 0.6 / 4
    assert all(event["at_s"] >= event["end_s"] / 4 for event in finals)
    assert [event["at_s"] for event in events] == sorted(event["at_s"] for event in events)


@pytest.mark.parametrize(
    "words", [("--format", "srt"), ("--channels", "split"), ("--speed", "0"), ("--output", "x")]
)
def test_what_cannot_be_live_is_refused(amalia, model, sound, tmp_path, words):
    write_audio(tmp_path / "a.wav", sound)
    code, out, err = amalia("transcribe", "--live", "--model", model, *words, tmp_path / "a.wav")
    assert (code, out) == (2, "")
    assert "--live" in complaint(err) or "--speed" in complaint(err)
