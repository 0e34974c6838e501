"""A made-up person's voice for the tests of the bank, and the folder it is banked in."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import numpy as np
import safetensors.numpy
import soundfile

from amalia_mm.voice.bank import Bank
from amalia_mm.voice.consent import Consent, Use
from amalia_mm.voice.own_voice import SpeakerData
from amalia_mm.voice.pack import Passphrase
from amalia_mm.voice.phrases import Clip

TODAY = date(2027, 3, 1)
WORDS = "quatro palavras sem parentesco"
PASSPHRASE = Passphrase(WORDS)
RATE_HZ = 24_000
MIN_SIMILARITY = 0.7


def recording(seed: int, container: str = "FLAC") -> bytes:
    """A fifth of a second of noise, another one for each seed."""
    sound = np.random.default_rng(seed).uniform(-0.3, 0.3, RATE_HZ // 5)
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, RATE_HZ, format=container, subtype="PCM_16")
    return buffer.getvalue()


def speaker() -> SpeakerData:
    """An embedding of 64 numbers and one adapter."""
    draws = np.random.default_rng(7)
    adapter = {"a": draws.standard_normal((8, 4)).astype(np.float32)}
    embedding = draws.standard_normal(64).astype(np.float32)
    return SpeakerData(embedding, safetensors.numpy.save(adapter), {"acoustic": "ab" * 32})


def consent(*uses: Use, until: date = date(2029, 12, 31)) -> Consent:
    """What Ana agreed to: speech, where no use is named."""
    return Consent("Ana Sousa", frozenset(uses or (Use.SPEECH,)), date(2027, 2, 1), until, "Rui Sousa")


CLIPS = (Clip("Bom dia!", recording(1)), Clip("Estás cansado?", recording(2)))


def bank_of(folder: Path) -> Bank:
    """A bank whose packs are opened in a moment: the work of scrypt is its least."""
    return Bank(folder / "bank", scrypt_log2_n=4)


def enrol(bank: Bank, name: str = "ana", **changed) -> Path:
    """Bank Ana's voice; what is named replaces what is given otherwise."""
    given = {
        "speaker": speaker(),
        "clips": CLIPS,
        "consent": consent(),
        "consent_clip": recording(3, "WAV"),
        "verify": lambda clip: 0.9,
        "min_similarity": MIN_SIMILARITY,
        "passphrase": PASSPHRASE,
        "today": TODAY,
    }
    return bank.enrol(name, **{**given, **changed})
