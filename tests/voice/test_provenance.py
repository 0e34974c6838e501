"""The signed manifest: a file says that a model made it, and cannot be changed without saying so."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import c2pa
import numpy as np
import pytest
import soundfile
from cryptography import x509

from amalia_mm.audio.io import load_audio
from amalia_mm.errors import InputError
from amalia_mm.voice.provenance import read_manifest, sign
from amalia_mm.voice.signing import identity

SAMPLES = (0.1 * np.sin(np.arange(12_000) * 0.05)).astype(np.float32)


def sound(container="WAV"):
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES, 24_000, format=container)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "signing"


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3"])
def test_a_file_says_that_a_model_made_it_and_sounds_the_same(tmp_path, folder, container):
    path = tmp_path / f"said.{container.lower()}"
    path.write_bytes(sign(sound(container), folder, consent_id="c-17"))
    manifest = read_manifest(path, folder)
    assert (manifest.is_whole, manifest.is_ours, manifest.is_synthetic) == (True, True, True)
    assert manifest.generator.startswith("amalia_mm 0.")
    assert manifest.consent_id == "c-17"
    assert manifest.problem == ""
    assert "whole, signed by this bank: made by a model" in manifest.told()
    assert np.array_equal(load_audio(path), load_audio(sound(container)))


def test_another_reader_of_c2pa_finds_the_same(folder):
    """c2pa's own reader with its own settings, and nothing of ours."""
    with c2pa.Reader("audio/wav", io.BytesIO(sign(sound(), folder))) as reader:
        store = json.loads(reader.json())
        assert reader.get_validation_state() == "Valid"
    active = store["manifests"][store["active_manifest"]]
    (actions,) = [a["data"]["actions"] for a in active["assertions"] if a["label"].startswith("c2pa.actions")]
    assert actions[0]["action"] == "c2pa.created"
    assert actions[0]["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert "Ana" not in json.dumps(store), "it does not say who speaks"


def test_a_changed_sample_is_told(tmp_path, folder):
    signed = bytearray(sign(sound(), folder))
    signed[2000] ^= 1
    (tmp_path / "said.wav").write_bytes(bytes(signed))
    manifest = read_manifest(tmp_path / "said.wav", folder)
    assert not manifest.is_whole
    assert "Hash" in manifest.problem
    assert "changed after it was signed" in manifest.told()


def test_what_another_machine_signed_is_whole_and_not_ours(tmp_path, folder):
    (tmp_path / "said.wav").write_bytes(sign(sound(), tmp_path / "other"))
    identity(folder)
    manifest = read_manifest(tmp_path / "said.wav", folder)
    assert (manifest.is_whole, manifest.is_ours) == (True, False)
    assert "a signer that this bank does not know" in manifest.told()


def test_a_file_without_a_manifest_or_of_another_kind_has_none(tmp_path, folder):
    for name, content in (("a.wav", sound()), ("a.ogg", sound("OGG")), ("a.txt", b"text"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        assert read_manifest(tmp_path / name, folder) is None, name
    assert not folder.exists(), "looking makes no key"
    with pytest.raises(InputError, match="check the path"):
        read_manifest(tmp_path / "gone.wav", folder)


def test_a_damaged_manifest_is_told_and_not_raised(tmp_path, folder):
    signed = sign(sound(), folder)
    at = signed.index(b"jumb")
    for length in (at + 40, len(signed) - 10):
        (tmp_path / "said.wav").write_bytes(signed[:length])
        manifest = read_manifest(tmp_path / "said.wav", folder)
        assert manifest is None or not manifest.is_whole


def test_other_formats_are_refused(folder):
    with pytest.raises(InputError, match="wanted wav, flac or mp3"):
        sign(sound("OGG"), folder)


def test_the_key_is_made_once_and_for_its_owner_alone(folder):
    first = identity(folder)
    assert identity(folder) == first
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert first.key not in repr(first).encode()
    certificates = x509.load_pem_x509_certificates(first.chain)
    certificates[0].verify_directly_issued_by(certificates[1])
    assert certificates[0].not_valid_after_utc > datetime.now(UTC) + timedelta(days=3000)


def test_a_lost_half_of_the_identity_is_told(folder):
    identity(folder)
    (folder / "signing.key").unlink()
    with pytest.raises(InputError, match="remove both"):
        sign(sound(), folder)
    (folder / "signing.pem").write_text("no certificate")
    with pytest.raises(InputError, match="0 certificates; wanted the certificate and its root"):
        identity(folder)


def test_an_expired_certificate_is_replaced(folder, monkeypatch):
    monkeypatch.setattr("amalia_mm.voice.signing._VALID", timedelta(0))
    expired = identity(folder)
    monkeypatch.undo()
    assert identity(folder) != expired
