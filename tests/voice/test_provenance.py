"""The signed manifest: a file says that a model made it, and cannot be changed without saying so."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import c2pa
import numpy as np
import pytest
import soundfile
from cryptography import x509

from amalia_mm.audio.io import load_audio
from amalia_mm.errors import InputError
from amalia_mm.voice import signing
from amalia_mm.voice.private_files import write_private
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


def test_an_identity_that_is_damaged_is_told(folder):
    made = identity(folder)
    for content, told in (
        (made.chain, "found no key"),
        (identity(folder.with_name("other")).key + made.chain, "another key than the certificate is of"),
        (b"no certificate", "0 certificates; wanted the certificate and its root"),
    ):
        (folder / "signing.pem").write_bytes(content)
        with pytest.raises(InputError, match=told):
            sign(sound(), folder)


@pytest.mark.parametrize("is_expired", [False, True])
@pytest.mark.parametrize("num_writes", [0, 1])
def test_a_machine_that_stops_while_it_makes_them_signs_afterwards(
    tmp_path, folder, monkeypatch, num_writes, is_expired
):
    """Key and certificates were two files: stopped in between, nothing could be signed any more."""
    if is_expired:
        monkeypatch.setattr(signing, "_VALID", timedelta(0))
        identity(folder)
        monkeypatch.undo()
    written = []

    def write(path, content):
        if len(written) == num_writes:
            raise KeyboardInterrupt
        written.append(path)
        write_private(path, content)

    monkeypatch.setattr(signing, "write_private", write)
    with suppress(KeyboardInterrupt):
        identity(folder)
    monkeypatch.undo()
    (tmp_path / "said.wav").write_bytes(sign(sound(), folder))
    manifest = read_manifest(tmp_path / "said.wav", folder)
    assert manifest.is_whole and manifest.is_ours


def pair(folder):
    """What a bank of version 0.1 has: the key and its certificates in two files."""
    made = identity(folder)
    (folder / "signing.key").write_bytes(made.key)
    (folder / "signing.pem").write_bytes(made.chain)
    return made


def test_the_two_files_of_an_earlier_version_become_one_and_sign_as_before(tmp_path, folder):
    made = pair(folder)
    assert identity(folder) == made
    assert [path.name for path in folder.iterdir()] == ["signing.pem"]
    assert identity(folder) == made


def test_two_files_that_disagree_are_replaced_and_one_alone_too(tmp_path, folder):
    old = pair(folder)
    (folder / "signing.key").write_bytes(identity(tmp_path / "other").key)
    (tmp_path / "said.wav").write_bytes(sign(sound(), folder))
    assert read_manifest(tmp_path / "said.wav", folder).is_ours
    assert identity(folder) != old
    (folder / "signing.pem").rename(folder / "signing.key")
    (tmp_path / "said.wav").write_bytes(sign(sound(), folder))
    assert read_manifest(tmp_path / "said.wav", folder).is_ours
    assert [path.name for path in folder.iterdir()] == ["signing.pem"]


def test_an_expired_certificate_is_replaced(folder, monkeypatch):
    monkeypatch.setattr(signing, "_VALID", timedelta(0))
    expired = identity(folder)
    monkeypatch.undo()
    assert identity(folder) != expired
