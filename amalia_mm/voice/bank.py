"""The voice bank: packs in a folder of the user, opened for a use that was agreed to and refused for any other.

It imports no torch: a phrase that the person recorded is played without waiting for a model. What judges whether the
consent clip is the enrolled voice is handed in.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import platformdirs

from amalia_mm.errors import InputError
from amalia_mm.voice.consent import Consent, Use
from amalia_mm.voice.own_voice import OwnVoice, SpeakerData, check_consent_clip
from amalia_mm.voice.pack import SCRYPT_LOG2_N, Passphrase, read_header, read_pack, write_pack
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice.private_files import (
    check_new_folder,
    erase,
    private_folder,
    unfinished,
    write_private_folder,
)
from amalia_mm.voice.revocation import Revocations

BANK = "AMALIA_BANK"
"""The variable that names another bank folder."""
ENDING = ".voice"
_NAME = re.compile(r"\w[\w .-]{0,63}")

Similarity = Callable[[bytes], float]
"""The bytes of a recording -> how like it is to the voice that is being enrolled."""


def default_folder() -> Path:
    """Return the bank of this user: $AMALIA_BANK, else `own_folder`."""
    named = os.environ.get(BANK)
    return Path(named) if named else own_folder()


def own_folder() -> Path:
    """Return the bank that is where the system keeps what is the user's own."""
    return Path(platformdirs.user_data_dir("amalia_mm", appauthor=False)) / "bank"


@dataclass(frozen=True)
class Listed:
    """A pack as it is seen without its passphrase."""

    name: str
    voice_id: str = ""
    created: str = ""
    is_revoked: bool = False
    problem: str = ""
    """Why it cannot be read, where it cannot."""


@dataclass(frozen=True)
class Opened:
    """A voice whose passphrase was right, and whose id therefore is, too."""

    voice_id: str
    created: date
    voice: OwnVoice
    path: Path
    bank: Bank

    def check(self, use: Use, today: date | None = None) -> None:
        """Raise `InputError` where the voice was revoked, also since it was opened, or consent does not cover a use."""
        self.bank.check_revoked(self.voice_id, self.path)
        self.voice.consent.check(use, today or date.today(), str(self.path))

    @property
    def consent_id(self) -> str:
        """What tells this consent, for the manifests of files: nobody learns from it whose it is."""
        record = json.dumps({"voice_id": self.voice_id, **self.voice.consent.to_json()}, sort_keys=True)
        return hashlib.sha256(record.encode()).hexdigest()[:16]

    def replay(self, text: str) -> Clip | None:
        """Return the person's own recording of exactly this text, None where there is none."""
        return self.voice.phrases.replay(text)


@dataclass(frozen=True)
class Bank:
    """The packs, revocations and caches of a user.

    Args:
        folder: Where they are kept.
        scrypt_log2_n: The work of a guess at the passphrase of a new pack, as a power of two.
    """

    folder: Path
    scrypt_log2_n: int = SCRYPT_LOG2_N

    @property
    def revocations(self) -> Revocations:
        """The voices that may no longer speak here."""
        return Revocations(self.folder / "revoked")

    @property
    def signing_folder(self) -> Path:
        """Where what signs the manifests of files is kept."""
        return self.folder / "signing"

    def path(self, name: str) -> Path:
        """Return where the pack of a name is kept.

        Raises:
            InputError: The name could be a path to somewhere else, or a hidden file.
        """
        name = unicodedata.normalize("NFC", name)
        if _NAME.fullmatch(name) is None or name.endswith(ENDING):
            wanted = "1 to 64 letters, digits, spaces, dots or hyphens, a letter or digit first"
            raise InputError("--name", found=repr(name), wanted=wanted, remedy="choose another name")
        return self.folder / "voices" / f"{name}{ENDING}"

    def cache_folder(self, voice_id: str) -> Path:
        """Return where everything that is derived from a voice has to be kept: `delete` removes it."""
        return private_folder(self.folder / "caches" / str(uuid.UUID(voice_id)))

    def packs(self) -> list[Listed]:
        """Return the packs of the bank by name; one that cannot be read says why."""
        return [self._listed(path) for path in sorted((self.folder / "voices").glob(f"*{ENDING}"))]

    def enrol(
        self,
        name: str,
        *,
        speaker: SpeakerData,
        clips: Sequence[Clip],
        consent: Consent,
        consent_clip: bytes | None,
        verify: Similarity,
        min_similarity: float,
        passphrase: Passphrase,
        today: date | None = None,
    ) -> Path:
        """Write a new pack and return its path; on any error nothing of it is left.

        Args:
            name: What the voice is called here.
            speaker: What models learnt of it.
            clips: The person's recordings and what is said in them.
            consent: What the person agreed to.
            consent_clip: The person saying so.
            verify: How like a recording is to the voice.
            min_similarity: What the consent clip must reach.
            passphrase: What will open the pack.
            today: The day of enrolment.

        Raises:
            InputError: The name is taken; consent does not cover speech today, has no clip, or the clip is
                somebody else's or one of the recordings; a recording cannot be played; the disk is full.
        """
        path, today = self.path(name), today or date.today()
        consent_clip = self.check_person(
            name,
            clips=clips,
            consent=consent,
            consent_clip=consent_clip,
            verify=verify,
            min_similarity=min_similarity,
            passphrase=passphrase,
            today=today,
        )
        files = OwnVoice(speaker, tuple(clips), consent, consent_clip).files()
        for left in unfinished(path):
            erase(left)
        private_folder(self.folder)
        write_pack(path, files, passphrase, str(uuid.uuid4()), today, self.scrypt_log2_n)
        return path

    def check_person(
        self,
        name: str,
        *,
        clips: Sequence[Clip],
        consent: Consent,
        consent_clip: bytes | None,
        verify: Similarity,
        min_similarity: float,
        passphrase: Passphrase,
        today: date | None = None,
    ) -> bytes:
        """Return the consent clip, where `enrol` would take a voice: so it is known before anything is learned of it.

        Raises:
            InputError: As `enrol`, but for what the disk and the recordings say when they are written.
        """
        self.check_new(name, consent, today)
        consent_clip = check_consent_clip(consent_clip, clips)
        passphrase.check_new()
        similarity = verify(consent_clip)
        if not similarity >= min_similarity:  # not a number is no similarity
            raise InputError(
                "the consent clip",
                found=f"a similarity of {similarity:.3f} to the voice that is being enrolled",
                wanted=f"at least {min_similarity:.3f}",
                remedy="nobody consents for another voice; if it is the person's, let them read the statement aloud "
                "again, in the room and at the microphone of the other recordings",
            )
        return consent_clip

    def check_new(self, name: str, consent: Consent, today: date | None = None) -> Path:
        """Return where a new voice will be kept.

        Raises:
            InputError: The name is none, or taken; or consent does not cover speech today.
        """
        path = self.path(name)
        if path.exists():
            wanted, remedy = "a new name", "choose another, or delete the voice first"
            raise InputError(path, found="a voice of that name", wanted=wanted, remedy=remedy)
        consent.check(Use.SPEECH, today or date.today(), str(path))
        return path

    def find(self, name: str) -> Path:
        """Return where a voice is kept, before its passphrase is asked for.

        Raises:
            InputError: There is no such pack, or it is damaged as far as can be seen.
        """
        path = self._existing(name)
        read_header(path)
        return path

    def check_may_speak(self, name: str) -> None:
        """Raise `InputError` where a voice was revoked, before its passphrase is asked for; else as `find`."""
        path = self.find(name)
        self.check_revoked(read_header(path).voice_id, path)

    def look(self, name: str, passphrase: Passphrase) -> Opened:
        """Return what is in a pack, whatever consent says: for the person to see and to take away, not to speak.

        Raises:
            InputError: There is no such pack, it was changed or damaged, or the passphrase is wrong.
        """
        path = self._existing(name)
        header, files = read_pack(path, passphrase)
        return Opened(header.voice_id, header.created, OwnVoice.of_files(files, path), path, self)

    def open(self, name: str, passphrase: Passphrase, use: Use, today: date | None = None) -> Opened:
        """Return a voice for a use.

        Raises:
            InputError: As `look`; or the voice was revoked, consent has expired, or does not cover the use.
        """
        # Told before the passphrase is tried, and again of the id that the passphrase vouches for.
        self.check_may_speak(name)
        opened = self.look(name, passphrase)
        opened.check(use, today)
        return opened

    def check_revoked(self, voice_id: str, path: Path) -> None:
        """Raise `InputError` where a voice was revoked: here, in the bank its pack lies in, or in the user's own.

        A record of some other bank is not looked for: whoever has pack and passphrase can carry them to one.
        """
        for folder in {self.folder, path.resolve().parent.parent, default_folder(), own_folder()}:
            Bank(folder).revocations.check(voice_id, path)

    def export(
        self, name: str, passphrase: Passphrase, folder: Path, today: date | None = None
    ) -> dict[str, bytes]:
        """Write what is in a pack, in the clear, into a new folder for its owner alone, and return it by name.

        Recordings, their texts and the consent are the person's own and always come; embedding and adapters where
        consent covers export today and the voice was not revoked.

        Raises:
            InputError: As `look`; or the folder exists, or cannot be written: then nothing of it is left.
        """
        check_new_folder(folder)
        opened = self.look(name, passphrase)
        files = opened.voice.own_files()
        if self.covers(opened, Use.EXPORT, today):
            files |= opened.voice.speaker.files()
        write_private_folder(folder, files)
        return files

    def covers(self, opened: Opened, use: Use, today: date | None = None) -> bool:
        """Return whether a voice may be used so on a day."""
        try:
            opened.check(use, today)
        except InputError:
            return False
        return True

    def revoke(self, name: str, by: str, today: date | None = None) -> str:
        """Silence a voice in this bank for good, and return its id; no passphrase stands in the way.

        Of the user's own bank (`own_folder`), in every other bank as well.

        Raises:
            InputError: There is no such pack, or it is so damaged that its id is gone; `by` is empty; the disk is
                full.
        """
        path = self._existing(name)
        voice_id = read_header(path).voice_id
        try:
            self.revocations.add(voice_id, by, today or date.today())
        except InputError as error:
            if isinstance(error.__cause__, OSError):
                remedy = f"the voice still speaks: make room and run the same again, or `amalia voice delete {name}`, "
                remedy += "which needs none"
                raise InputError(
                    path, found=error.found, wanted="room for the record", remedy=remedy
                ) from error
            raise
        return voice_id

    def delete(self, name: str, today: date | None = None) -> list[Path]:
        """Remove a voice and all that is derived from it, and return what was removed.

        Every copy in the bank goes, whatever its name; a copy that is put back later is refused like a revoked one.
        A pack that is too damaged to say which voice it is goes alone.

        Raises:
            InputError: There is no such pack, or the disk must not be written; or the voice is gone and no record of it
                could be written.
        """
        path, today = self._existing(name), today or date.today()
        removed = unfinished(path)
        listed = self._listed(path)
        unwritten: InputError | None = None
        if listed.voice_id:
            unwritten = self._note_deletion(listed.voice_id, today)
            # By path: a file manager calls a copy what no voice may be called.
            packs = sorted((self.folder / "voices").glob(f"*{ENDING}"))
            copies = [pack for pack in packs if self._listed(pack).voice_id == listed.voice_id]
            removed += [left for copy in copies if copy != path for left in (*unfinished(copy), copy)]
            cache = self.folder / "caches" / listed.voice_id
            removed += [cache] if cache.exists() else []
        # The pack goes last: as long as it is there, an interrupted deletion can be run again.
        removed.append(path)
        for found in removed:
            erase(found)
        # On a full disk the record waits for the room that the pack took.
        if unwritten is not None and self._note_deletion(listed.voice_id, today) is not None:
            raise unwritten
        return removed

    def _note_deletion(self, voice_id: str, today: date) -> InputError | None:
        """Write the record that keeps a deleted voice silent; return why that could not be."""
        try:
            self.revocations.add(voice_id, "deletion", today)
        except InputError as error:
            remedy = f"the voice is gone; a copy that is put back would speak. {error.remedy}"
            return InputError(
                error.where, found=error.found, wanted="a record of the deletion", remedy=remedy
            )
        return None

    def _existing(self, name: str) -> Path:
        """Return the pack of a name, or that of a path: a pack may lie outside the bank, on a stick."""
        path = Path(name) if name.endswith(ENDING) else self.path(name)
        if not path.is_file():
            known = ", ".join(listed.name for listed in self.packs()) or "none"
            remedy = f"`amalia voice list` shows those of {self.folder}: {known}"
            raise InputError(path, found="no such voice", wanted="a voice of the bank", remedy=remedy)
        return path

    def _listed(self, path: Path) -> Listed:
        try:
            header = read_header(path)
        except InputError as error:
            return Listed(path.stem, problem=f"found {error.found}; wanted {error.wanted}")
        revoked = self.revocations.is_revoked(header.voice_id)
        return Listed(path.stem, header.voice_id, header.created.isoformat(), revoked)
