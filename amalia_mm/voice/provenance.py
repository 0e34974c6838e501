"""A signed manifest inside a sound file: a program made it, which one, and nobody changed it since (C2PA).

The watermark survives where the manifest is stripped; the manifest says more and cannot be forged. Nothing is fetched:
no time stamp, no revocation of certificates, no manifest from elsewhere.
"""

from __future__ import annotations

import errno
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import c2pa

from amalia_mm import __version__
from amalia_mm.errors import InputError
from amalia_mm.voice.private_files import read_private
from amalia_mm.voice.signing import identity, root

_TYPES = {b"RIFF": "audio/wav", b"fLaC": "audio/flac", b"ID3": "audio/mpeg", b"\xff": "audio/mpeg"}
_MADE_BY_A_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_VOICE = "org.amalia_mm.voice"
_WANTED = "a sound file"
_CANNOT_WRITE = (c2pa.C2paError.Io, c2pa.C2paError.Other)  # pyright: ignore[reportAttributeAccessIssue]
"""What c2pa makes of an error of the file that it writes into."""


@dataclass(frozen=True)
class Manifest:
    """What a file says of where it comes from.

    Args:
        is_whole: The signature holds and the file is as it was signed.
        is_ours: The bank that was asked signed it.
        generator: The program and its version, as the manifest claims.
        is_synthetic: It claims that a trained model made the sound.
        consent_id: The consent under which it was made, where it says.
        problem: Why it is not whole.
    """

    is_whole: bool
    is_ours: bool
    generator: str
    is_synthetic: bool
    consent_id: str = ""
    problem: str = ""

    def told(self) -> str:
        """Return it in a line, for a person."""
        if not self.is_whole:
            return f"the file was changed after it was signed, or the manifest is damaged: {self.problem}"
        signer = "this bank" if self.is_ours else "a signer that this bank does not know"
        made = "made by a model" if self.is_synthetic else "of unknown making"
        consent = f", consent {self.consent_id}" if self.consent_id else ""
        return f"whole, signed by {signer}: {made}, {self.generator}{consent}"


def sign(audio: bytes, signing_folder: Path, consent_id: str = "") -> bytes:
    """Return a file of sound with a signed manifest inside.

    Args:
        audio: The bytes of a wav, flac or mp3 file.
        signing_folder: Where the bank keeps what signs; made at first use.
        consent_id: What tells the consent and not the person.

    Raises:
        InputError: It is another format, or the certificates are damaged.
    """
    signed = io.BytesIO()
    sign_file(io.BytesIO(audio), signed, signing_folder, consent_id)
    return signed.getvalue()


def sign_file(audio: BinaryIO, signed: BinaryIO, signing_folder: Path, consent_id: str = "") -> None:
    """Write an open file of sound, with a signed manifest inside, into another one; else as `sign`.

    Raises:
        InputError: As `sign`.
        OSError: The other one cannot be written.
    """
    audio.seek(0)
    kind = _type(audio.read(4))
    audio.seek(0)
    if kind is None:
        wanted, remedy = "wav, flac or mp3", "write one of them"
        raise InputError("the output", found="another format", wanted=wanted, remedy=remedy)
    own = identity(signing_folder)
    program = {"name": "amalia_mm", "version": __version__}
    action = {"action": "c2pa.created", "digitalSourceType": _MADE_BY_A_MODEL, "softwareAgent": program}
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions", "data": {"actions": [action]}}]
    if consent_id:
        assertions.append({"label": _VOICE, "data": {"consent_id": consent_id}})
    claim = {"claim_generator_info": [program], "format": kind, "assertions": assertions}
    with (
        _context(own.root) as context,
        c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", own.chain, own.key, None)) as signer,
        c2pa.Builder(claim, context) as builder,
    ):
        try:
            builder.sign(signer, kind, audio, signed)
        except _CANNOT_WRITE as error:
            raise OSError(errno.EIO, f"no room, or a disk that fails ({error})") from error


def read_manifest(path: Path, signing_folder: Path) -> Manifest | None:
    """Return the manifest inside a file, None where there is none or the format holds none.

    Args:
        path: The file.
        signing_folder: Where the bank keeps what signs: its files are told from those of others.

    Raises:
        InputError: The file cannot be read.
    """
    audio = read_private(path, _WANTED, "check the path")
    kind = _type(audio)
    if kind is None:
        return None
    anchor = root(signing_folder)
    with _context(anchor) as context:
        try:
            reader = c2pa.Reader.try_create(kind, io.BytesIO(audio), context=context)
        except c2pa.C2paError as error:
            return Manifest(False, False, "", False, problem=f"it cannot be read ({error})")
        if reader is None:
            return None
        with reader:
            store, state = json.loads(reader.json()), reader.get_validation_state()
    return _told(store, state)


def _told(store: dict[str, Any], state: str | None) -> Manifest:
    active = store["manifests"][store["active_manifest"]]
    data = {entry["label"]: entry["data"] for entry in active.get("assertions", [])}
    actions = [
        action for label in data if label.startswith("c2pa.actions") for action in data[label]["actions"]
    ]
    generators = active.get("claim_generator_info", [])
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    codes = sorted({failure["code"] for failure in failures})
    return Manifest(
        is_whole=state in ("Valid", "Trusted"),
        is_ours=state == "Trusted",
        generator=", ".join(f"{info.get('name')} {info.get('version', '')}".strip() for info in generators),
        is_synthetic=any(action.get("digitalSourceType") == _MADE_BY_A_MODEL for action in actions),
        consent_id=str(data.get(_VOICE, {}).get("consent_id", "")),
        problem="" if state in ("Valid", "Trusted") else ", ".join(codes),
    )


def _context(anchor: bytes | None) -> c2pa.Context:
    """Return settings under which nothing is fetched and the bank's own root is trusted."""
    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if anchor is not None:
        settings["trust"] = {"user_anchors": anchor.decode()}
    return c2pa.Context.from_dict(settings)


def _type(audio: bytes) -> str | None:
    return next((kind for start, kind in _TYPES.items() if audio.startswith(start)), None)
