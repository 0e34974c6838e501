"""The bank: who may enrol a voice, what it may be opened for, and what is left of it when it is deleted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from datetime import timedelta

import numpy as np
import pytest
from voices import CLIPS, PASSPHRASE, TODAY, WORDS, bank_of, consent, enrol, recording, speaker

from amalia_mm.errors import InputError, writing
from amalia_mm.voice.bank import Bank, default_folder, own_folder
from amalia_mm.voice.consent import Use
from amalia_mm.voice.own_voice import SpeakerData
from amalia_mm.voice.pack import Passphrase
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice.private_files import write_private


@pytest.fixture
def bank(tmp_path):
    return bank_of(tmp_path)


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_an_enrolled_voice_speaks_and_is_what_was_enrolled(bank):
    path = enrol(bank)
    opened = bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)
    assert np.array_equal(opened.voice.speaker.embedding, speaker().embedding)
    assert opened.voice.speaker.adapters == speaker().adapters
    assert opened.voice.speaker.made_for == {"acoustic": "ab" * 32}
    assert opened.voice.clips == CLIPS
    assert opened.voice.consent == consent()
    assert opened.voice.consent_clip == recording(3, "WAV")
    assert opened.created == TODAY
    assert bank.open(str(path), PASSPHRASE, Use.SPEECH, TODAY).voice_id == opened.voice_id, "by its path, too"


def test_the_persons_own_recording_answers_where_there_is_one(bank):
    enrol(bank)
    opened = bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)
    assert opened.replay("bom dia").audio == recording(1)
    assert opened.replay("bom dia, Rui") is None


def test_everything_in_the_bank_is_for_its_owner_alone(bank):
    enrol(bank)
    bank.revoke("ana", "Ana", TODAY)
    bank.cache_folder(bank.packs()[0].voice_id)
    assert len(files_below(bank.folder)) == 3
    for path in (bank.folder, *bank.folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"consent_clip": None}, "the consent clip: found none"),
        ({"consent_clip": b""}, "the consent clip: found none"),
        ({"consent_clip": b"RIFF and no sound"}, "the consent clip"),
        ({"consent_clip": CLIPS[0].audio}, "one of the recordings for the voice"),
        ({"verify": lambda clip: 0.412}, r"a similarity of 0\.412 .* wanted at least 0\.700"),
        ({"verify": lambda clip: float("nan")}, r"a similarity of nan"),
        ({"consent": consent(Use.TRAINING)}, "consent for training; wanted consent for speech"),
        ({"consent": consent(until=TODAY - timedelta(1))}, "wanted consent that holds today"),
        ({"clips": [Clip("", recording(1))]}, "recording 1 of 1: text"),
        ({"clips": [Clip("Sim", b"ID3 mp3 of somewhere")]}, "wanted a recording as wav or flac"),
        ({"passphrase": Passphrase("curta")}, "wanted at least 8"),
    ],
)
def test_enrolment_is_refused_and_leaves_nothing(bank, changed, message):
    with pytest.raises(InputError, match=message):
        enrol(bank, **changed)
    assert not bank.folder.exists()


def test_the_speaker_check_hears_the_consent_clip(bank):
    heard = []
    enrol(bank, verify=lambda clip: heard.append(clip) or 0.7)
    assert heard == [recording(3, "WAV")], "and exactly the similarity that is wanted is enough"


@pytest.mark.parametrize(
    "embedding",
    [np.zeros(4, np.float32), np.array([1, np.nan], np.float32), np.ones((2, 2), np.float32), np.ones(4)],
)
def test_an_embedding_is_a_vector_with_a_direction(embedding):
    with pytest.raises(InputError, match="embedding") as error:
        SpeakerData(embedding)
    assert "nan" not in str(error.value)


def test_adapters_are_safetensors():
    with pytest.raises(InputError, match="adapters: found bytes that are not safetensors"):
        SpeakerData(np.ones(4, np.float32), b"\x80\x04pickled")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "x" * 65, "a\nb", "x.voice"])
def test_a_name_is_no_path(bank, name):
    with pytest.raises(InputError, match="--name"):
        enrol(bank, name)
    assert not bank.folder.exists()


def test_a_name_is_used_once(bank):
    before = enrol(bank, "avó").read_bytes()
    with pytest.raises(InputError, match="a voice of that name"):
        enrol(bank, "avo\u0301")
    assert bank.path("avó").read_bytes() == before


def test_a_use_that_was_not_agreed_to_is_refused(bank):
    enrol(bank)
    with pytest.raises(InputError, match="consent for speech; wanted consent for training"):
        bank.open("ana", PASSPHRASE, Use.TRAINING, TODAY)


def test_expired_consent_is_refused(bank):
    enrol(bank, consent=consent(until=TODAY))
    bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)
    with pytest.raises(InputError, match="and today is 2027-03-02; wanted consent that holds today"):
        bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY + timedelta(1))


def test_a_revoked_voice_stays_silent_in_every_copy(bank, tmp_path):
    """An old copy of the pack is put back, under its own name, another name, and outside the bank."""
    path = enrol(bank)
    shutil.copy(path, backup := tmp_path / "stick.voice")
    bank.revoke("ana", "Rui Sousa", TODAY)
    path.unlink()
    shutil.copy(backup, path)
    shutil.copy(backup, bank.path("outra"))
    for name in ("ana", "outra", str(backup)):
        with pytest.raises(InputError, match="a voice that Rui Sousa revoked on 2027-03-01"):
            bank.open(name, PASSPHRASE, Use.SPEECH, TODAY)
    assert [pack.is_revoked for pack in bank.packs()] == [True, True]
    assert not bank.covers(bank.look("ana", PASSPHRASE), Use.SPEECH, TODAY)


def test_a_changed_revocation_silences_all_the_same(bank):
    enrol(bank)
    voice_id = bank.revoke("ana", "Ana", TODAY)
    record = bank.folder / "revoked" / f"{voice_id}.json"
    whole = json.loads(record.read_text())
    for changed in (
        {**whole, "by": "Rui"},
        {**whole, "signature": "00" * 64},
        {},
        "revoked",
        {**whole, "x": 1},
    ):
        record.write_text(json.dumps(changed))
        with pytest.raises(InputError, match="a record that was changed"):
            bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)
    record.write_text("not json")
    with pytest.raises(InputError, match="a record that was changed"):
        bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)


def test_a_revocation_of_another_voice_or_another_bank_is_told(bank, tmp_path):
    enrol(bank)
    enrol(bank, "rui")
    first, second = bank.revoke("ana", "Ana", TODAY), bank.packs()[1].voice_id
    folder = bank.folder / "revoked"
    shutil.copy(folder / f"{first}.json", folder / f"{second}.json")
    with pytest.raises(InputError, match="the record of another voice"):
        bank.open("rui", PASSPHRASE, Use.SPEECH, TODAY)
    (folder / "revocation.key").write_text("no key")
    with pytest.raises(InputError, match="found something else; wanted the key that signs revocations"):
        bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)
    (folder / "revocation.key").unlink()
    with pytest.raises(InputError, match="the key that signs revocations"):
        bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)


def test_a_voice_is_revoked_once(bank):
    enrol(bank)
    assert bank.revoke("ana", "Ana", TODAY) == bank.revoke("ana", "Rui", TODAY + timedelta(1))
    with pytest.raises(InputError, match="Ana revoked on 2027-03-01"):
        bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)
    with pytest.raises(InputError, match="--by"):
        bank.revoke("ana", " ", TODAY)


def test_nothing_of_a_deleted_voice_is_on_the_disk(bank, tmp_path):
    """The disk is searched for what a voice could be made of: in the clear, and encrypted."""
    path = enrol(bank)
    enrol(bank, "rui", clips=[Clip("Olá", recording(9))])
    voice_id = bank.packs()[0].voice_id
    pack = path.read_bytes()
    shutil.copy(path, bank.path("ana copy"))
    (path.parent / ".ana.voice.1a2b3c4d.writing").write_bytes(pack[: len(pack) // 2])
    cache = bank.cache_folder(voice_id)
    (cache / "said").mkdir()
    (cache / "said" / "bom dia.wav").write_bytes(recording(1))
    (cache / "embedding.npy").write_bytes(speaker().embedding.tobytes())
    (cache / "merged.safetensors").write_bytes(speaker().adapters)
    secrets = {
        "embedding": speaker().embedding.tobytes(),
        "adapters": speaker().adapters[-64:],
        "recording": recording(1)[1000:1064],
        "pack": pack[400:464],
    }

    def on_disk(what):
        return [found for found in files_below(tmp_path) if secrets[what] in found.read_bytes()]

    assert {what: len(on_disk(what)) for what in secrets} == {
        "embedding": 1,
        "adapters": 1,
        "recording": 1,
        "pack": 3,
    }
    removed = bank.delete("ana", TODAY)
    assert [what for what in secrets if on_disk(what)] == []
    assert len(removed) == 4, "pack, copy, what was half written, cache"
    assert [pack.name for pack in bank.packs()] == ["rui"]
    assert not any("ana" in found.name for found in files_below(tmp_path))
    assert bank.open("rui", PASSPHRASE, Use.SPEECH, TODAY).replay("olá")
    path.write_bytes(pack)
    with pytest.raises(InputError, match="deletion revoked on"):
        bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)


def test_what_is_erased_is_overwritten_first(bank, tmp_path):
    """A second name of the file shows what was left in it."""
    path = enrol(bank)
    (tmp_path / "kept").hardlink_to(path)
    length = path.stat().st_size
    bank.delete("ana", TODAY)
    assert (tmp_path / "kept").read_bytes() == bytes(length)


def test_a_link_is_removed_and_not_followed(bank, tmp_path):
    enrol(bank)
    (tmp_path / "precious.txt").write_text("of somebody else")
    (bank.cache_folder(bank.packs()[0].voice_id) / "link").symlink_to(tmp_path / "precious.txt")
    bank.delete("ana", TODAY)
    assert (tmp_path / "precious.txt").read_text() == "of somebody else"


def test_a_damaged_pack_is_listed_and_can_be_deleted(bank):
    path = enrol(bank)
    path.write_bytes(path.read_bytes()[:100])
    (listed,) = bank.packs()
    assert (listed.name, listed.voice_id) == ("ana", "")
    assert "found 100 bytes" in listed.problem
    assert bank.delete("ana", TODAY) == [path]
    assert bank.packs() == []


def test_export_gives_the_person_what_is_theirs(bank, tmp_path):
    """Recordings and consent always; the speaker data, by which others could clone, where it was agreed to."""
    enrol(bank)
    enrol(bank, "rui", consent=consent(Use.SPEECH, Use.EXPORT))
    own = bank.export("ana", PASSPHRASE, tmp_path / "ana", TODAY)
    assert sorted(own) == [
        "clips.jsonl",
        "clips/00000.flac",
        "clips/00001.flac",
        "consent.json",
        "consent.wav",
    ]
    assert (tmp_path / "ana" / "clips" / "00001.flac").read_bytes() == recording(2)
    rows = [json.loads(line) for line in (tmp_path / "ana" / "clips.jsonl").read_text().splitlines()]
    assert rows[1] == {"audio": "clips/00001.flac", "text": "Estás cansado?"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "ana").rglob("*"))
    assert "embedding.safetensors" in bank.export("rui", PASSPHRASE, tmp_path / "rui", TODAY)
    with pytest.raises(InputError, match="found something there"):
        bank.export("ana", PASSPHRASE, tmp_path / "ana", TODAY)
    bank.revoke("rui", "Ana", TODAY)
    assert "embedding.safetensors" not in bank.export("rui", PASSPHRASE, tmp_path / "rui2", TODAY)


def test_an_export_onto_a_full_disk_leaves_nothing(bank, tmp_path, monkeypatch):
    enrol(bank)
    written = []

    def full(path, content):
        written.append(path)
        if len(written) == 3:
            raise InputError(path, found="No space left on device", wanted="room", remedy="free some")
        write_private(path, content)

    monkeypatch.setattr("amalia_mm.voice.private_files.write_private", full)
    with pytest.raises(InputError, match="No space left"):
        bank.export("ana", PASSPHRASE, tmp_path / "out", TODAY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank"]


def test_a_full_disk_while_enrolling_leaves_no_voice(tmp_path):
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from voices import bank_of, enrol\n"
        "from amalia_mm.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n"
        "    enrol(bank_of(Path(sys.argv[1])))\n"
        "except InputError as error:\n"
        "    sys.exit(f'told: {error}')\n"
    )
    paths = [p for p in sys.path if p.endswith("support")]
    child = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path += {paths!r}\n{code}", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 1
    assert "told:" in child.stderr
    assert files_below(tmp_path) == []
    assert bank_of(tmp_path).packs() == []


def killed_at(number, action):
    """Run an action on a bank in a process that is killed when something is brought onto the disk."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from voices import PASSPHRASE, TODAY, bank_of, enrol\n"
        "place = Path(sys.argv[1])\n"
        "calls = []\n"
        "def fsync(descriptor):\n"
        "    calls.append(descriptor)\n"
        f"    if len(calls) == {number}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fsync = fsync\n"
        f"{action}\n"
    )

    def run(place):
        paths = [p for p in sys.path if p.endswith("support")]
        command = [sys.executable, "-c", f"import sys; sys.path += {paths!r}\n{code}", str(place)]
        assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL

    return run


def test_a_process_that_is_killed_while_enrolling_leaves_nothing(tmp_path):
    """A whole pack lay there under a name that no command lists or deletes."""
    killed_at(1, "enrol(bank_of(place))")(tmp_path)
    assert files_below(tmp_path) == []


def test_what_a_killed_export_left_goes_with_the_next_one(bank, tmp_path):
    enrol(bank)
    killed_at(3, "bank_of(place).export('ana', PASSPHRASE, place / 'out', TODAY)")(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".writing")]
    bank.export("ana", PASSPHRASE, tmp_path / "out", TODAY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank", "out"]


@pytest.fixture
def full_disk(monkeypatch):
    """A disk on which there is no room for a record, while a pack is there."""

    def at(pack):
        def write(path, content):
            with writing(path.parent):
                if pack.exists():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                write_private(path, content)

        monkeypatch.setattr("amalia_mm.voice.revocation.write_private", write)

    return at


def test_on_a_full_disk_a_voice_can_be_deleted_and_stays_silent(bank, tmp_path, full_disk):
    pack = enrol(bank)
    copy = pack.read_bytes()
    full_disk(pack)
    with pytest.raises(InputError, match="No space left.*still speaks.*voice delete ana"):
        bank.revoke("ana", "Ana", TODAY)
    assert pack in bank.delete("ana", TODAY)
    pack.write_bytes(copy)
    with pytest.raises(InputError, match="deletion revoked"):
        bank.open("ana", PASSPHRASE, Use.SPEECH, TODAY)


def test_a_deletion_that_cannot_be_noted_is_told_when_the_voice_is_gone(bank, monkeypatch):
    def write(path, content):
        raise InputError(path, found="No space left on device", wanted="room", remedy="make some")

    pack = enrol(bank)
    monkeypatch.setattr("amalia_mm.voice.revocation.write_private", write)
    with pytest.raises(InputError, match="the voice is gone; a copy that is put back would speak"):
        bank.delete("ana", TODAY)
    assert not pack.exists()


def test_neither_voice_nor_passphrase_is_in_a_message_or_a_traceback(bank, caplog):
    """Whatever goes wrong, what is shown has no secret in it; neither have the locals that some tracebacks show."""
    path = enrol(bank)
    failing = (
        lambda: bank.open("ana", Passphrase(WORDS + "x"), Use.SPEECH, TODAY),
        lambda: bank.open("ana", PASSPHRASE, Use.EXPORT, TODAY),
        lambda: enrol(bank, "b", verify=lambda clip: 0.1),
        lambda: enrol(bank, "b", passphrase=Passphrase(WORDS[:7])),
        lambda: SpeakerData(speaker().embedding * np.float32("inf")),
        lambda: path.write_bytes(path.read_bytes()[:-1]) and bank.look("ana", PASSPHRASE),
    )
    shown = [repr(bank.look("ana", PASSPHRASE)), repr(speaker()), repr(PASSPHRASE)]
    for fails in failing:
        with pytest.raises(InputError) as error:
            fails()
        told = traceback.TracebackException.from_exception(error.value, capture_locals=True)
        shown += [str(error.value), *told.format_exception_only()]
        shown += [str(frame.locals) for frame in told.stack if "/amalia_mm/" in frame.filename]
    assert len(shown) > 3 * len(failing)
    secrets = [WORDS[:7], *(f"{abs(value):.4f}"[:-1] for value in speaker().embedding)]
    assert [(secret, text) for secret in secrets for text in [*shown, caplog.text] if secret in text] == []


def test_the_folder_is_the_users_own_or_the_one_named(monkeypatch, tmp_path):
    monkeypatch.setenv("AMALIA_BANK", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("AMALIA_BANK")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if sys.platform == "linux":
        assert default_folder() == tmp_path / "data" / "amalia_mm" / "bank"


def test_a_bank_opens_without_torch():
    """An emergency phrase must not wait for a model."""
    code = (
        "import sys; import amalia_mm.voice.bank; sys.exit('torch' in sys.modules or 'c2pa' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_work_of_a_guess_is_what_the_docstring_says():
    assert Bank(default_folder()).scrypt_log2_n == 17


def test_another_bank_folder_does_not_give_a_revoked_voice_its_voice_back(tmp_path, monkeypatch):
    """The pack named by its path and `--bank` elsewhere: revocations were looked up there alone."""
    bank = bank_of(tmp_path)
    monkeypatch.setenv("AMALIA_BANK", str(bank.folder))
    pack = enrol(bank)
    bank.revoke("ana", "Ana Sousa")
    carried = tmp_path / "stick" / "ana.voice"
    carried.parent.mkdir()
    carried.write_bytes(pack.read_bytes())
    for elsewhere in (pack, carried):
        with pytest.raises(InputError, match="revoked"):
            Bank(tmp_path / "other", scrypt_log2_n=4).open(str(elsewhere), PASSPHRASE, Use.SPEECH, TODAY)


def test_a_voice_revoked_in_the_users_own_bank_is_silent_in_every_other(tmp_path, monkeypatch):
    monkeypatch.setattr("amalia_mm.voice.bank.platformdirs.user_data_dir", lambda *_, **__: tmp_path / "own")
    own = Bank(own_folder(), scrypt_log2_n=4)
    pack = enrol(own)
    monkeypatch.setenv("AMALIA_BANK", str(tmp_path / "other"))
    carried = tmp_path / "other" / "voices" / "nova.voice"
    carried.parent.mkdir(parents=True)
    carried.write_bytes(pack.read_bytes())
    other = Bank(tmp_path / "other", scrypt_log2_n=4)
    assert other.open("nova", PASSPHRASE, Use.SPEECH, TODAY)
    own.revoke("ana", "Ana", TODAY)
    with pytest.raises(InputError, match="revoked"):
        other.open("nova", PASSPHRASE, Use.SPEECH, TODAY)


def test_copies_that_a_file_manager_made_are_deleted_with_the_voice(tmp_path):
    """Their names are none that a voice may have, and nothing was deleted at all."""
    bank = bank_of(tmp_path)
    pack = enrol(bank)
    copy = pack.with_name("ana (cópia).voice")
    copy.write_bytes(pack.read_bytes())
    bank.delete("ana")
    assert not pack.exists() and not copy.exists()
