"""The certificates that sign what this machine says: made here at first use, kept for their owner alone.

Key, certificate and root are one file, so that they are of one making whenever the machine stops. They are not in the
name of anybody and no authority vouches for them. What they prove is that a file was made with this bank and not
changed since; who trusts the bank trusts its root.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from amalia_mm.errors import InputError, writing
from amalia_mm.voice.private_files import erase, read_private, write_private

_IDENTITY = "signing.pem"
_KEY_APART = "signing.key"
"""Where the key was once: a machine that stopped between the two files left certificates of another one."""
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_ORGANISATION = "amalia_mm"
_VALID = timedelta(days=3650)
_WANTED = "the key of this bank, its certificate and its root"
_REMEDY = "put it back, or remove it, and the next file makes a new one: files signed until now are then a stranger's"


@dataclass(frozen=True)
class Identity:
    """What signs: a key, its certificate and the root that issued it, as PEM."""

    key: bytes = field(repr=False)
    chain: bytes
    root: bytes


def identity(folder: Path) -> Identity:
    """Return what signs the files of a bank, made where it is missing or has expired.

    Raises:
        InputError: It is damaged, or cannot be read or written.
    """
    path = folder / _IDENTITY
    _join(folder)
    if not path.exists():
        _make(path)
    content = read_private(path, _WANTED, _REMEDY)
    if _certificates(content, path)[0].not_valid_after_utc < datetime.now(UTC):
        _make(path)
        content = read_private(path, _WANTED, _REMEDY)
    certificate, root = _certificates(content, path)
    at = content.index(_BEGIN)
    key, chain = content[:at], content[at:]
    if _public_of(key) != certificate.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    ):
        found = "another key than the certificate is of" if key.strip() else "no key"
        raise InputError(path, found=found, wanted=_WANTED, remedy=_REMEDY)
    return Identity(key, chain, root.public_bytes(Encoding.PEM))


def root(folder: Path) -> bytes | None:
    """Return the root certificate of a bank as PEM, None where nothing was signed yet."""
    path = folder / _IDENTITY
    if not path.exists():
        return None
    return _certificates(read_private(path, _WANTED, _REMEDY), path)[1].public_bytes(Encoding.PEM)


def _certificates(content: bytes, path: Path) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        certificates = []
    if len(certificates) != 2:
        found, wanted = f"{len(certificates)} certificates", "the certificate and its root"
        raise InputError(path, found=found, wanted=wanted, remedy=_REMEDY)
    return certificates


def _public_of(key: bytes) -> bytes | None:
    """Return the public half of a private key; None where there is none."""
    try:
        public = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _join(folder: Path) -> None:
    """Bring a key that is kept apart to its certificates, and remove one that is of no use."""
    path, apart = folder / _IDENTITY, folder / _KEY_APART
    if not apart.exists():
        return
    if path.exists():
        content = read_private(path, _WANTED, _REMEDY)
        certificate = _certificates(content, path)[0]
        own = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        key = read_private(apart, "the key of this bank", _REMEDY)
        if content.startswith(_BEGIN) and _public_of(key) == own:
            write_private(path, key + content)
        elif content.startswith(_BEGIN):
            # Certificates whose key is gone sign nothing any more.
            _make(path)
    with writing(folder):
        erase(apart)


def _make(path: Path) -> None:
    """Write a new key and its certificates; the key of the root is not kept, so that it can issue nothing more."""
    root_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    issuer, subject = _name("this machine's root"), _name("this machine's voice bank")
    issued = _certificate(issuer, issuer, root_key, root_key)
    leaf = _certificate(subject, issuer, key, root_key)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, private + leaf.public_bytes(Encoding.PEM) + issued.public_bytes(Encoding.PEM))


def _name(common: str) -> x509.Name:
    names = ((NameOID.ORGANIZATION_NAME, _ORGANISATION), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in names])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, by: EllipticCurvePrivateKey
) -> x509.Certificate:
    """Return a certificate as the C2PA specification 2.2 asks for it (section 14.5.1)."""
    is_root = key is by
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=not is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_root,
        crl_sign=is_root,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if not is_root:
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purposes, critical=False)
    return builder.sign(by, SHA256())
