"""A pack that was damaged, changed or opened wrongly says which; none of it is ever half there."""

from __future__ import annotations

import hashlib
import hmac
import io
import struct
import subprocess
import sys
import zipfile
from datetime import date

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from amalia_mm.errors import InputError
from amalia_mm.voice.pack import VERSION, Passphrase, read_header, read_pack, write_pack

ID = "3f0f6b2a-5b0e-4a57-9c3b-0d9f5b1c2d3e"
FILES = {"consent.json": b"{}", "clips/00000.flac": bytes(range(256)) * 8}
SECRET = Passphrase("uma frase comprida")


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "ana.voice"
    write_pack(path, FILES, SECRET, ID, date(2027, 3, 1), log2_n=4)
    return path


def test_what_goes_in_comes_out(pack):
    header, files = read_pack(pack, SECRET)
    assert files == FILES
    assert (header.voice_id, header.created) == (ID, date(2027, 3, 1))
    assert pack.stat().st_mode & 0o777 == 0o600


def test_another_program_opens_it_by_the_description(pack):
    """The layout of the module's docstring, spelt out once more by hand."""
    content = pack.read_bytes()
    magic, version, length = struct.unpack_from(">18sHI", content)
    header = read_header(pack)
    end = 24 + length
    both = Scrypt(salt=header.salt, length=64, n=2**4, r=8, p=1).derive(b"uma frase comprida")
    assert (magic, version) == (b"amalia voice pack\n", 1)
    assert content[end : end + 32] == hashlib.sha256(content[:end]).digest()
    assert content[end + 32 : end + 64] == hmac.digest(both[32:], content[: end + 32], "sha256")
    payload = AESGCM(both[:32]).decrypt(header.nonce, content[end + 64 :], content[: end + 64])
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


def test_nothing_inside_can_be_read_without_the_passphrase(pack):
    content = pack.read_bytes()
    assert not any(piece in content for piece in (b"consent", b"clips", FILES["clips/00000.flac"][:16]))
    write_pack(other := pack.with_name("b.voice"), FILES, SECRET, ID, date(2027, 3, 1), log2_n=4)
    assert other.read_bytes()[-512:] != content[-512:], "the same content is encrypted anew each time"


def test_a_wrong_passphrase_is_told_and_costs_what_the_right_one_costs(pack, monkeypatch):
    """Whoever guesses learns nothing from the time: one derivation, one comparison in constant time."""
    derived, compared = [], []
    derive, compare = Scrypt.derive, hmac.compare_digest
    monkeypatch.setattr(
        "amalia_mm.voice.pack.Scrypt",
        lambda **given: type(
            "Counted", (), {"derive": lambda _, key: derived.append(key) or derive(Scrypt(**given), key)}
        )(),
    )
    monkeypatch.setattr(
        hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or compare(a, b)
    )
    read_pack(pack, SECRET)
    for wrong in ("x", "uma frase comprid", "uma frase compridb", "p" * 1000):
        with pytest.raises(InputError, match="a passphrase that does not open it") as error:
            read_pack(pack, Passphrase(wrong))
        assert wrong not in str(error.value) or wrong == "x"
    assert len(derived) == 5
    assert compared == [(32, 32)] * 5


def test_the_same_words_of_another_keyboard_open_it(tmp_path):
    """macOS types é as two characters, and full-width letters come from other input methods."""
    write_pack(tmp_path / "a.voice", FILES, Passphrase("avó e café"), ID, date.today(), log2_n=4)
    assert read_pack(tmp_path / "a.voice", Passphrase("avo\u0301 e cafe\u0301"))[1] == FILES


def test_a_truncated_pack_is_told_at_every_length(pack):
    content = pack.read_bytes()
    for length in range(0, len(content), 37):
        pack.write_bytes(content[:length])
        with pytest.raises(InputError, match="bytes; wanted") as error:
            read_pack(pack, SECRET)
        assert "copy the pack again" in str(error.value)
    pack.write_bytes(content + b"\0")
    with pytest.raises(InputError, match=f"{len(content) + 1} bytes; wanted {len(content)}"):
        read_pack(pack, SECRET)


def test_a_changed_byte_is_found_wherever_it_is(pack):
    content = pack.read_bytes()
    # Every byte of what stands before the payload, and every fifth of that.
    for at in [*range(600), *range(600, len(content), 5)]:
        changed = bytearray(content)
        changed[at] ^= 1
        pack.write_bytes(bytes(changed))
        with pytest.raises(InputError):
            read_pack(pack, SECRET)


def test_a_changed_payload_is_not_taken_for_a_wrong_passphrase(pack):
    content = bytearray(pack.read_bytes())
    content[-40] ^= 1
    pack.write_bytes(bytes(content))
    with pytest.raises(InputError, match="content that was changed or damaged"):
        read_pack(pack, SECRET)


def test_a_header_that_was_changed_with_its_digest_does_not_open(pack):
    """The digest is no secret: an attacker gives the pack another voice's id, to pass a revocation, and mends it."""
    content = pack.read_bytes()
    length = struct.unpack_from(">18sHI", content)[2]
    start = content[: 24 + length].replace(ID.encode(), ID.replace("3f", "4f").encode())
    pack.write_bytes(start + hashlib.sha256(start).digest() + content[24 + length + 32 :])
    assert read_header(pack).voice_id != ID
    with pytest.raises(InputError, match="does not open it"):
        read_pack(pack, SECRET)


def test_another_version_is_told_with_what_to_do(pack):
    content = bytearray(pack.read_bytes())
    content[19] = VERSION + 1
    pack.write_bytes(bytes(content))
    with pytest.raises(InputError, match="version: found 2; wanted version 1; update amalia-mm"):
        read_pack(pack, SECRET)


def test_a_header_cannot_ask_for_the_whole_memory(pack):
    content = pack.read_bytes()
    length = struct.unpack_from(">18sHI", content)[2]
    header = content[24 : 24 + length].replace(b'"log2_n": 4', b'"log2_n": 40')
    start = struct.pack(">18sHI", b"amalia voice pack\n", 1, len(header)) + header
    pack.write_bytes(start + hashlib.sha256(start).digest() + content[24 + length + 32 :])
    with pytest.raises(InputError, match="a header that no pack has"):
        read_header(pack)


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", b"amalia", b"amalia voice pack\n"])
def test_other_files_are_no_packs(tmp_path, content):
    (tmp_path / "x.voice").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.voice"):
        read_header(tmp_path / "x.voice")


def test_a_pack_names_no_place_outside_itself(pack):
    """Whoever made it knew the passphrase, and may still mean harm to the machine that exports it."""
    for name in ("../evil.py", "/etc/passwd", "a/b/c.txt", "A.txt", "a.txt/"):
        with pytest.raises(ValueError, match="plain names"):
            write_pack(pack, {name: b""}, SECRET, ID, date.today(), log2_n=4)
    assert read_pack(pack, SECRET)[1] == FILES, "the earlier pack is untouched"


def test_a_new_passphrase_has_a_least_length_and_is_not_shown(tmp_path):
    with pytest.raises(InputError, match="found 5 characters; wanted at least 8") as error:
        write_pack(tmp_path / "a.voice", FILES, Passphrase("curta"), ID, date.today(), log2_n=4)
    assert "curta" not in str(error.value) + repr(Passphrase("curta"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="found nothing"):
        Passphrase("")


@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_the_earlier_pack_or_none(tmp_path, is_new):
    """For real: the system lets the child write 1,000 bytes into a file, and no more."""
    path = tmp_path / "ana.voice"
    if not is_new:
        write_pack(path, FILES, SECRET, ID, date(2027, 3, 1), log2_n=4)
    before = path.read_bytes() if not is_new else None
    code = (
        "import resource, sys\n"
        "from datetime import date\n"
        "from pathlib import Path\n"
        "from amalia_mm.errors import InputError\n"
        "from amalia_mm.voice.pack import Passphrase, write_pack\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_pack(Path(sys.argv[1]), {'a.bin': bytes(100_000)}, Passphrase('uma frase comprida'),\n"
        f"               '{ID}', date.today(), log2_n=4)\n"
        "except InputError as error:\n"
        "    sys.exit(f'told: {error}')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 1
    assert "told:" in child.stderr
    assert "free some space" in child.stderr
    assert [p.name for p in tmp_path.iterdir()] == ([] if is_new else ["ana.voice"])
    assert is_new or path.read_bytes() == before
