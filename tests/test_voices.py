"""What an assistant says: as its run says it, with a banked voice, piece by piece; and what it refuses at once."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import date

import numpy as np
import pytest
import soundfile
import torch
from voice_run import save_part, save_voice
from voices import PASSPHRASE, bank_of, enrol, recording

from amalia_mm import Assistant
from amalia_mm.errors import InputError
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.run import save_model
from amalia_mm.speaking import SpeechModel, encoder_hash
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.voice.acoustic import Manner
from amalia_mm.voice.consent import Consent, Use
from amalia_mm.voice.own_voice import SpeakerData
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice.speaker import SpeakerEncoder

TEXT = "Bom dia, está tudo bem?"
SIZES = {
    "vocab_size": 320,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
ENCODER = {"num_mels": 20, "width": 16, "num_blocks": 2, "embed_size": 6, "bottleneck": 8}
AGREED = Consent("Ana Sousa", frozenset({Use.SPEECH}), date(2025, 1, 1), date(2199, 12, 31), "Rui Sousa")


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy_data):
    """A run that reads and speaks, and whose voice is told by an encoder who speaks."""
    run = tmp_path_factory.mktemp("run")
    save_part(run / "20_speaker", "speaker", SpeakerEncoder, ENCODER)
    save_voice(run, speaker_encoder="20_speaker/model", speaker_encoder_sha256=encoder_hash(run))
    model = SpeechTextModel(None, None, Decoder(DecoderConfig(**SIZES)))
    folder = run / "04_sft/model"
    save_model(folder, model, config={"decoder": SIZES}, tokenizer=toy_data / "tokenizer", card="")
    return run


@pytest.fixture(autouse=True)
def bank(tmp_path, monkeypatch):
    monkeypatch.setenv("AMALIA_BANK", str(tmp_path / "bank"))
    return bank_of(tmp_path)


def banked(bank, run, **changed):
    """Ana's voice out of the bank, as an encoder heard it."""
    vector = np.random.default_rng(3).standard_normal(6).astype(np.float32)
    speaker = SpeakerData(vector, None, {"speaker_encoder": encoder_hash(run)})
    enrol(bank, **{"speaker": speaker, "consent": AGREED, "today": date(2026, 1, 1), **changed})
    return bank.open("ana", PASSPHRASE, Use.SPEECH)


def test_an_assistant_says_piece_by_piece_what_its_run_says_at_once(run):
    """Loaded by its run, its stage or its model folder, it finds the voice that stands beside it."""
    expected = SpeechModel(run).learned().say(TEXT)
    for place in (run, run / "04_sft", run / "04_sft/model"):
        assistant = Assistant.load(place)
        assert assistant.has_voice
        pieces = list(assistant.say(TEXT))
        assert len(pieces) > 1
        assert torch.equal(torch.cat(pieces), expected)
    assert assistant.voice_rate_hz == 16_000


def test_what_is_asked_for_reaches_the_voice(run):
    assistant, model = Assistant.load(run), SpeechModel(run)
    fast = Manner(rate=2.0)
    said = torch.cat(list(assistant.say(TEXT, "ana", manner=fast, seed=4)))
    assert torch.equal(said, model.learned("ana", fast).say(TEXT, 4))


def test_a_banked_voice_is_the_persons_vector(bank, run):
    opened = banked(bank, run)
    assistant = Assistant.load(run)
    said = torch.cat(list(assistant.say(TEXT, opened)))
    vector = torch.from_numpy(opened.voice.speaker.embedding)
    assert torch.equal(said, SpeechModel(run).voiced(vector).say(TEXT))
    assert not torch.equal(said, torch.cat(list(assistant.say(TEXT))))


def test_exactly_what_was_recorded_is_the_recording_at_the_rate_of_the_voice(bank, run):
    recorded = Clip("Quero água, por favor.", recording(9))
    opened = banked(bank, run, clips=[recorded])
    (said,) = Assistant.load(run).say("quero água por favor", opened)
    own, rate_hz = soundfile.read(io.BytesIO(recorded.audio))
    assert rate_hz == 24_000 and len(said) == len(own) * 16_000 // 24_000


def test_a_voice_that_is_revoked_after_it_was_opened_falls_silent(bank, run):
    """A server keeps a voice open for weeks: the person takes it back on the command line meanwhile."""
    opened = banked(bank, run, clips=[Clip("Quero água.", recording(9))])
    assistant = Assistant.load(run)
    assert list(assistant.say("Quero água.", opened))
    bank.revoke("ana", "Ana Sousa")
    for text in ("Quero água.", TEXT):
        with pytest.raises(InputError, match="revoked"):
            assistant.say(text, opened)


def test_what_cannot_be_is_told_before_a_piece_is_asked_for(run, tmp_path, toy_data):
    assistant = Assistant.load(run)
    with pytest.raises(InputError, match="nothing that can be said"):
        assistant.say("☂")
    with pytest.raises(InputError, match="found 'nobody'; wanted ana, pt"):
        assistant.say(TEXT, "nobody")
    nameless = SpeechModel(run)
    nameless.config = {**nameless.config, "speakers": []}
    with pytest.raises(InputError, match="found no speaker of its own.*give --voice, a banked one"):
        nameless.learned()
    mute = tmp_path / "mute"
    model = SpeechTextModel(None, None, Decoder(DecoderConfig(**SIZES)))
    save_model(mute / "model", model, config={"decoder": SIZES}, tokenizer=toy_data / "tokenizer", card="")
    silent = Assistant.load(mute)
    assert not silent.has_voice
    with pytest.raises(InputError, match="found no voice; wanted a run with 21_acoustic/model"):
        silent.say(TEXT)
    spoken = Assistant.load(mute, voice_run=run)
    assert spoken.has_voice and next(spoken.say(TEXT)).isfinite().all()


def test_the_base_install_loads_an_assistant():
    """The bank's packages are an extra: who transcribes need not have them."""
    code = (
        "import sys\n"
        "for name in ('cryptography', 'platformdirs', 'c2pa', 'perth'):\n"
        "    sys.modules[name] = None\n"
        "from amalia_mm import Assistant\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
