"""The certificates that sign what this machine says: made here at first use, kept for their owner alone.

They are not in the name of anybody and no authority vouches for them. What they prove is that a file was made with this
bank and not changed since; who trusts the bank trusts its root.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from amalia_mm.errors import InputError
from amalia_mm.voice.private_files import read_private, write_private

_KEY, _CHAIN = "signing.key", "signing.pem"
_ORGANISATION = "amalia_mm"
_VALID = timedelta(days=3650)
_REMEDY = "remove both signing.key and signing.pem, and the next file makes new ones"


@dataclass(frozen=True)
class Identity:
    """What signs: a key, its certificate and the root that issued it, as PEM."""

    key: bytes = field(repr=False)
    chain: bytes
    root: bytes


def identity(folder: Path) -> Identity:
    """Return what signs the files of a bank, made where it is missing or has expired.

    Raises:
        InputError: One of the two files is missing or damaged, or cannot be written.
    """
    key_path, chain_path = folder / _KEY, folder / _CHAIN
    if not key_path.exists() and not chain_path.exists():
        _make(key_path, chain_path)
    chain = read_private(chain_path, "the certificates of this bank", _REMEDY)
    certificates = _certificates(chain, chain_path)
    if certificates[0].not_valid_after_utc < datetime.now(UTC):
        _make(key_path, chain_path)
        chain = read_private(chain_path, "the certificates of this bank", _REMEDY)
        certificates = _certificates(chain, chain_path)
    key = read_private(key_path, "the key of this bank", _REMEDY)
    return Identity(key, chain, certificates[1].public_bytes(Encoding.PEM))


def root(folder: Path) -> bytes | None:
    """Return the root certificate of a bank as PEM, None where nothing was signed yet."""
    path = folder / _CHAIN
    if not path.exists():
        return None
    content = read_private(path, "the certificates of this bank", _REMEDY)
    return _certificates(content, path)[1].public_bytes(Encoding.PEM)


def _certificates(chain: bytes, path: Path) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        certificates = []
    if len(certificates) != 2:
        wanted = "the certificate and its root"
        raise InputError(path, found=f"{len(certificates)} certificates", wanted=wanted, remedy=_REMEDY)
    return certificates


def _make(key_path: Path, chain_path: Path) -> None:
    """Write a new key and its chain; the key of the root is not kept, so that it can issue nothing more."""
    root_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    issuer, subject = _name("this machine's root"), _name("this machine's voice bank")
    issued = _certificate(issuer, issuer, root_key, root_key)
    leaf = _certificate(subject, issuer, key, root_key)
    write_private(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_private(chain_path, leaf.public_bytes(Encoding.PEM) + issued.public_bytes(Encoding.PEM))


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
