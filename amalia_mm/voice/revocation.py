"""Voices that may no longer speak on this machine: one signed record each, by the voice's id.

A record is about the id and not about a file, so that an older copy of the pack, put back in its place, stays silent
too. A record that was changed silences the voice all the same: only a whole one tells when and by whom.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from amalia_mm.errors import InputError
from amalia_mm.voice.private_files import read_private, write_private

_KEY = "revocation.key"


@dataclass(frozen=True)
class Revocation:
    """Who took a voice back, and when."""

    voice_id: str
    day: str
    by: str

    def signed(self) -> bytes:
        """Return the bytes that are signed."""
        return json.dumps(asdict(self), sort_keys=True).encode()


@dataclass(frozen=True)
class Revocations:
    """The records of a bank.

    Args:
        folder: Where they and the key that signs them are kept.
    """

    folder: Path

    def add(self, voice_id: str, by: str, today: date) -> Revocation:
        """Write the record of a voice, for good; of one that is revoked already the first record stays.

        Raises:
            InputError: `by` is empty, or the record cannot be written.
        """
        if not by.strip():
            raise InputError("--by", found="nothing", wanted="who takes the voice back", remedy="name them")
        path = self._path(voice_id)
        if path.exists():
            return self._read(path, voice_id)
        record = Revocation(voice_id, today.isoformat(), by.strip())
        signature = self._key().sign(record.signed()).hex()
        write_private(path, json.dumps({**asdict(record), "signature": signature}).encode())
        return record

    def is_revoked(self, voice_id: str) -> bool:
        """Return whether there is a record of a voice, whole or not."""
        return self._path(voice_id).exists()

    def check(self, voice_id: str, where: Path) -> None:
        """Raise `InputError` where a voice was revoked, or has a record that this bank did not sign."""
        path = self._path(voice_id)
        if path.exists():
            record = self._read(path, voice_id)
            raise InputError(
                where,
                field="consent",
                found=f"a voice that {record.by} revoked on {record.day}",
                wanted="a voice whose person agrees",
                remedy="if the person wishes so, enrol the voice again with a new consent",
            )

    def _read(self, path: Path, voice_id: str) -> Revocation:
        remedy = "the voice stays silent; if the person wishes so, enrol it again with a new consent"
        wanted = "a record that this bank signed"
        content = read_private(path, wanted, remedy)
        try:
            fields = json.loads(content)
            signature = bytes.fromhex(fields.pop("signature"))
            record = Revocation(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            record, signature = Revocation("", "", ""), b""
        try:
            self._key(may_make=False).public_key().verify(signature, record.signed())
        except InvalidSignature:
            found = "a record that was changed"
            raise InputError(path, found=found, wanted=wanted, remedy=remedy) from None
        if record.voice_id != voice_id:
            raise InputError(path, found="the record of another voice", wanted=wanted, remedy=remedy)
        return record

    def _path(self, voice_id: str) -> Path:
        return self.folder / f"{uuid.UUID(voice_id)}.json"

    def _key(self, may_make: bool = True) -> Ed25519PrivateKey:
        path = self.folder / _KEY
        if may_make and not os.path.lexists(path):
            fresh = Ed25519PrivateKey.generate()
            write_private(path, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        wanted = "the key that signs revocations"
        remedy = "put it back, or remove what is left of it: voices that were revoked stay silent"
        try:
            key = load_pem_private_key(read_private(path, wanted, remedy), None)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(path, found="something else", wanted=wanted, remedy=remedy)
        return key
