"""A voice pack: one encrypted file, and what it says when it is damaged, changed, or opened with a wrong passphrase.

```text
magic (18) | version (2) | header length (4) | header, JSON | SHA-256 of all before | HMAC of all before | payload
```

The header is readable by everyone: the voice's id, the day, how the key follows from the passphrase. The payload is a
ZIP of named files, encrypted by AES-256-GCM with everything before it as associated data. scrypt (RFC 7914) makes one
key for the payload and one for the HMAC. The digest tells damage, which anybody can meet with, from a wrong passphrase;
the HMAC and GCM's tag tell tampering, which needs the passphrase to be hidden.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import re
import struct
import unicodedata
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from amalia_mm.errors import InputError
from amalia_mm.voice.private_files import read_private, write_private

VERSION = 1
SCRYPT_LOG2_N = 17
"""128 MiB and a third of a second for every guess of a passphrase, as OWASP's password storage page advises."""
MIN_PASSPHRASE_LETTERS = 8
_MAGIC = b"amalia voice pack\n"
_START = struct.Struct(f">{len(_MAGIC)}sHI")
_DIGEST_BYTES = _MAC_BYTES = 32
_TAG_BYTES = 16
_KDF = {"name": "scrypt", "r": 8, "p": 1}
_LOG2_N = range(4, 21)
"""What a header may ask for: beyond it a file would fill the memory before it is known to be ours."""
_MAX_HEADER_BYTES = 1 << 16
_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)?\.[a-z0-9]+")
_WANTED = "a voice pack of amalia"
_COPY_AGAIN = "copy the pack again from where it was made or backed up"


@dataclass(frozen=True)
class Passphrase:
    """What opens a pack. It is never shown: not in a message, not in a traceback.

    Args:
        text: The words. The same words typed on another keyboard or system are the same passphrase (NFKC).
        where: Where they were read, for errors.

    Raises:
        InputError: It is empty.
    """

    text: str = field(repr=False)
    where: str = "the passphrase"

    def __post_init__(self) -> None:
        if not self.text:
            raise InputError(
                self.where, found="nothing", wanted="the passphrase of the pack", remedy="give it"
            )

    def check_new(self) -> None:
        """Raise `InputError` where it is too short for a new pack."""
        if len(self.text) < MIN_PASSPHRASE_LETTERS:
            found, wanted = f"{len(self.text)} characters", f"at least {MIN_PASSPHRASE_LETTERS}"
            remedy = "choose a longer one: four words that do not belong together are easy to keep"
            raise InputError(self.where, found=found, wanted=wanted, remedy=remedy)

    def keys(self, salt: bytes, log2_n: int) -> tuple[bytes, bytes]:
        """Return the key of the payload and that of the HMAC, 32 bytes each."""
        kdf = Scrypt(salt=salt, length=64, n=1 << log2_n, r=int(_KDF["r"]), p=int(_KDF["p"]))
        both = kdf.derive(unicodedata.normalize("NFKC", self.text).encode())
        return both[:32], both[32:]


@dataclass(frozen=True)
class Header:
    """What is readable without the passphrase. It is authenticated only once the pack is opened."""

    voice_id: str
    created: date
    log2_n: int
    salt: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    payload_bytes: int

    def to_json(self) -> bytes:
        """Return the header as bytes, the same for the same header."""
        record = {
            "voice_id": self.voice_id,
            "created": self.created.isoformat(),
            "kdf": {**_KDF, "log2_n": self.log2_n, "salt": self.salt.hex()},
            "cipher": {"name": "AES-256-GCM", "nonce": self.nonce.hex()},
            "payload_bytes": self.payload_bytes,
        }
        return json.dumps(record, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes, where: Path) -> Header:
        """Return the header of bytes, as `to_json` wrote it and in no other form.

        Raises:
            InputError: It is another one, or asks for more memory than any pack of ours.
        """
        try:
            record: dict[str, Any] = json.loads(content)
            header = cls(
                str(uuid.UUID(record["voice_id"])),
                date.fromisoformat(record["created"]),
                int(record["kdf"]["log2_n"]),
                bytes.fromhex(record["kdf"]["salt"]),
                bytes.fromhex(record["cipher"]["nonce"]),
                int(record["payload_bytes"]),
            )
        except (ValueError, KeyError, TypeError):
            header = None
        if header is None or header.log2_n not in _LOG2_N or header.to_json() != content:
            wanted = f"a header of version {VERSION}"
            raise InputError(where, found="a header that no pack has", wanted=wanted, remedy=_COPY_AGAIN)
        return header


def write_pack(
    path: Path,
    files: Mapping[str, bytes],
    passphrase: Passphrase,
    voice_id: str,
    created: date,
    log2_n: int = SCRYPT_LOG2_N,
) -> None:
    """Write files into an encrypted pack; whole or not at all, for its owner alone.

    Args:
        path: The pack.
        files: Name -> content.
        passphrase: What will open it.
        voice_id: A UUID, readable by everyone.
        created: The day it was made, readable by everyone.
        log2_n: The work of a guess, as a power of two.

    Raises:
        InputError: The passphrase is too short, or the disk is full.
    """
    passphrase.check_new()
    payload = _zipped(files)
    header = Header(voice_id, created, log2_n, os.urandom(16), os.urandom(12), len(payload) + _TAG_BYTES)
    readable = header.to_json()
    start = _START.pack(_MAGIC, VERSION, len(readable)) + readable
    start += hashlib.sha256(start).digest()
    key, mac_key = passphrase.keys(header.salt, log2_n)
    start += hmac.digest(mac_key, start, "sha256")
    write_private(path, start + AESGCM(key).encrypt(header.nonce, payload, start))


def read_header(path: Path) -> Header:
    """Return what a pack says without its passphrase.

    Raises:
        InputError: There is no such file; or it is no pack, of another version, truncated, or its header damaged.
    """
    return _split(path)[0]


def read_pack(path: Path, passphrase: Passphrase) -> tuple[Header, dict[str, bytes]]:
    """Return the header and the files of a pack.

    A wrong passphrase costs the same work as the right one and is found by a comparison in constant time.

    Raises:
        InputError: As `read_header`; or the passphrase is wrong, or anything in the pack was changed.
    """
    header, start, mac, payload = _split(path)
    key, mac_key = passphrase.keys(header.salt, header.log2_n)
    if not hmac.compare_digest(hmac.digest(mac_key, start, "sha256"), mac):
        raise InputError(
            path,
            found="a passphrase that does not open it, or a damaged head",
            wanted="the passphrase it was made with, and the pack as it was made",
            remedy="try again; if the passphrase is surely right, take a copy of the pack from a backup. Without both "
            "nothing can be read, and the voice is enrolled anew",
        )
    try:
        content = AESGCM(key).decrypt(header.nonce, payload, start + mac)
    except InvalidTag:
        found, wanted = "content that was changed or damaged", "the content that was enrolled"
        raise InputError(path, found=found, wanted=wanted, remedy=_COPY_AGAIN) from None
    return header, _unzipped(content, path)


def _split(path: Path) -> tuple[Header, bytes, bytes, bytes]:
    """Return the header, the bytes that the HMAC is over, the HMAC, and the payload."""
    content = read_private(path, _WANTED, "`amalia voice list` shows what there is")
    if not content.startswith(_MAGIC):
        # Whatever begins like a pack and is shorter than the first field was one.
        begins = bool(content) and _MAGIC.startswith(content)
        found = f"{len(content)} bytes" if begins or not content else "another kind of file"
        raise InputError(path, found=found, wanted=_WANTED, remedy=_COPY_AGAIN)
    if len(content) < _START.size:
        raise _truncated(path, len(content), f"more than {_START.size}")
    _, version, header_bytes = _START.unpack_from(content)
    if version != VERSION:
        remedy = "update amalia-mm" if version > VERSION else "enrol the voice again"
        wanted = f"version {VERSION}"
        raise InputError(path, field="version", found=version, wanted=wanted, remedy=remedy)
    header_end = _START.size + header_bytes
    digest_end = header_end + _DIGEST_BYTES
    payload_at = digest_end + _MAC_BYTES
    if header_bytes > _MAX_HEADER_BYTES:
        found, wanted = f"a header of {header_bytes} bytes", f"at most {_MAX_HEADER_BYTES}"
        raise InputError(path, found=found, wanted=wanted, remedy=_COPY_AGAIN)
    if len(content) < payload_at:
        raise _truncated(path, len(content), f"more than {payload_at}")
    if hashlib.sha256(content[:header_end]).digest() != content[header_end:digest_end]:
        found = "a header that was changed or damaged"
        raise InputError(path, found=found, wanted="the header it was made with", remedy=_COPY_AGAIN)
    header = Header.from_json(content[_START.size : header_end], path)
    wanted_bytes = payload_at + header.payload_bytes
    if len(content) != wanted_bytes:
        raise _truncated(path, len(content), str(wanted_bytes))
    return header, content[:digest_end], content[digest_end:payload_at], content[payload_at:]


def _truncated(path: Path, found_bytes: int, wanted_bytes: str) -> InputError:
    return InputError(
        path, field="size", found=f"{found_bytes} bytes", wanted=f"{wanted_bytes} bytes", remedy=_COPY_AGAIN
    )


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"a pack holds files with plain names, not {name!r}")
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _unzipped(content: bytes, path: Path) -> dict[str, bytes]:
    """Return the files of an archive; whoever made it knew the passphrase, and may still not name any place."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            is_plain = all(
                _NAME.fullmatch(name) and not entry.compress_type
                for name, entry in zip(names, entries, strict=True)
            )
            files = {name: archive.read(name) for name in names} if is_plain else {}
    except (zipfile.BadZipFile, EOFError, OSError):
        is_plain, files, names = False, {}, []
    if not is_plain or len(files) != len(names):
        raise InputError(path, found="content that no pack has", wanted=_WANTED, remedy=_COPY_AGAIN)
    return files
