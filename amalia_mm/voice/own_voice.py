"""What a voice pack holds of a person, as named files with a manifest of their hashes, and back.

Bytes and numpy arrays only: what they mean to a model is the model's affair, and nothing here waits for torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import soundfile

from amalia_mm.errors import InputError
from amalia_mm.voice.consent import Consent
from amalia_mm.voice.phrases import Clip, Phrases
from amalia_mm.voice.same_recording import SAME, likeness

CONTENT = 1
"""The version of what is inside a pack: names of files and fields of the manifest."""
_MANIFEST = "manifest.json"
_CONSENT = "consent.json"
_CLIPS = "clips.jsonl"
_CONSENT_CLIPS = ("consent.wav", "consent.flac")
EMBEDDING = "embedding.safetensors"
_ADAPTERS = "adapters.safetensors"
_ENDINGS = {b"fLaC": "flac", b"RIFF": "wav"}
_OTHER_CONTENT = (
    *(KeyError, TypeError, AttributeError, StopIteration),
    *(json.JSONDecodeError, UnicodeDecodeError, safetensors.SafetensorError),
)
_WHOLE = "copy the pack again from where it was made or backed up"


@dataclass(frozen=True)
class SpeakerData:
    """What models learnt of a voice.

    Args:
        embedding: The speaker embedding (e) float32.
        adapters: The bytes of a safetensors file, None where the voice is its embedding alone.
        made_for: Part ("speaker_encoder", "acoustic") -> the hash of its weights, for a model to know its own.

    Raises:
        InputError: The embedding is no vector of finite numbers, or the adapters are not safetensors.
    """

    embedding: np.ndarray = field(repr=False)
    adapters: bytes | None = field(default=None, repr=False)
    made_for: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        remedy = "compute it again from the recordings"
        if self.embedding.ndim != 1 or self.embedding.dtype != np.float32:
            found = f"{self.embedding.dtype} of shape {self.embedding.shape}"
            raise InputError("embedding", found=found, wanted="a float32 vector", remedy=remedy)
        if not np.isfinite(self.embedding).all() or not self.embedding.any():
            found = "zeros alone, or numbers that are not finite"
            raise InputError("embedding", found=found, wanted="a vector with a direction", remedy=remedy)
        if self.adapters is not None:
            try:
                safetensors.deserialize(self.adapters)
            except safetensors.SafetensorError as error:
                found = f"bytes that are not safetensors ({error})"
                raise InputError("adapters", found=found, wanted="safetensors", remedy=remedy) from None

    def files(self) -> dict[str, bytes]:
        """Return embedding and adapters as named files."""
        files = {EMBEDDING: safetensors.numpy.save({"embedding": self.embedding})}
        return files if self.adapters is None else {**files, _ADAPTERS: self.adapters}


@dataclass(frozen=True)
class OwnVoice:
    """A person's voice, as it lies in a pack.

    Args:
        speaker: What models learnt of it.
        clips: The person's recordings and what is said in them.
        consent: What the person agreed to.
        consent_clip: The person saying so, as the bytes of a wav or flac file.
    """

    speaker: SpeakerData
    clips: tuple[Clip, ...]
    consent: Consent
    consent_clip: bytes = field(repr=False)

    @cached_property
    def phrases(self) -> Phrases:
        """The recordings by what is said in them."""
        return Phrases(self.clips)

    def own_files(self) -> dict[str, bytes]:
        """Return what is the person's own as named files: recordings, what is said in them, consent.

        Raises:
            InputError: A recording is neither wav nor flac, or has no text.
        """
        consent_clip = f"consent.{ending(self.consent_clip, 'the consent clip')}"
        files = {_CONSENT: _json(self.consent.to_json()), consent_clip: self.consent_clip}
        rows = []
        for number, clip in enumerate(self.clips):
            where = f"recording {number + 1} of {len(self.clips)}"
            if not clip.text.strip():
                wanted, remedy = "what is said in it", "write it down, or leave the recording out"
                raise InputError(where, field="text", found="nothing", wanted=wanted, remedy=remedy)
            name = f"clips/{number:05}.{ending(clip.audio, where)}"
            files[name] = clip.audio
            rows.append(json.dumps({"audio": name, "text": clip.text}, ensure_ascii=False))
        return {**files, _CLIPS: "".join(f"{row}\n" for row in rows).encode()}

    def files(self) -> dict[str, bytes]:
        """Return the whole voice as named files, with a manifest of their hashes; errors as `own_files`."""
        files = self.own_files() | self.speaker.files()
        hashes = {name: _fingerprint(content) for name, content in files.items()}
        made_for = dict(self.speaker.made_for)
        return {**files, _MANIFEST: _json({"content": CONTENT, "made_for": made_for, "files": hashes})}

    @classmethod
    def of_files(cls, files: Mapping[str, bytes], where: Path) -> OwnVoice:
        """Return the voice of files as `files` named them.

        Raises:
            InputError: A file is missing, unknown or another one than the manifest says, or a field is.
        """
        manifest = _manifest(files, where)
        try:
            rows = [json.loads(line) for line in files[_CLIPS].decode().split("\n")[:-1]]
            speaker = SpeakerData(
                safetensors.numpy.load(files[EMBEDDING])["embedding"],
                files.get(_ADAPTERS),
                {str(part): str(value) for part, value in manifest["made_for"].items()},
            )
            return cls(
                speaker,
                tuple(Clip(str(row["text"]), files[row["audio"]]) for row in rows),
                Consent.from_json(json.loads(files[_CONSENT]), str(where)),
                next(files[name] for name in _CONSENT_CLIPS if name in files),
            )
        except _OTHER_CONTENT as error:
            found = f"a part that is missing or of another kind ({type(error).__name__})"
            raise InputError(where, found=found, wanted="a whole voice", remedy=_WHOLE) from None

    def seconds(self) -> float:
        """Return how long the recordings are in all."""
        return sum(len(samples) / rate_hz for samples, rate_hz in (clip.samples() for clip in self.clips))


def ending(audio: bytes, where: str) -> str:
    """Return `wav` or `flac`, by what a recording is.

    Raises:
        InputError: It is neither, or nothing that can be played.
    """
    kind = _ENDINGS.get(audio[:4])
    found = "another format"
    if kind is not None:
        try:
            samples, _ = Clip("", audio).samples()
            if len(samples):
                return kind
            found = "no sample"
        except soundfile.LibsndfileError as error:
            found = error.error_string
    remedy = "record it again, or convert it"
    raise InputError(where, found=found, wanted="a recording as wav or flac", remedy=remedy)


def check_consent_clip(clip: bytes | None, recordings: Sequence[Clip]) -> bytes:
    """Return the consent clip; `InputError` where there is none, or it is one of the recordings again, or of one."""
    wanted = "a recording of the person saying the statement of consent"
    remedy = "let the person read the statement aloud and record it"
    if not clip:
        raise InputError("the consent clip", found="none", wanted=wanted, remedy=remedy)
    if any(clip == recording.audio for recording in recordings):
        found = "one of the recordings for the voice"
        raise InputError("the consent clip", found=found, wanted=wanted, remedy=remedy)
    ending(clip, "the consent clip")
    samples = Clip("", clip).samples()
    for recording in recordings:
        try:
            found = likeness(*samples, *recording.samples())
        except soundfile.LibsndfileError:
            continue  # refused where it is to be kept
        if found >= SAME:
            raise InputError(
                "the consent clip",
                found=f"a part of the recording of «{recording.text}» again (likeness {found:.2f})",
                wanted=wanted,
                remedy=remedy,
            )
    return clip


def _manifest(files: Mapping[str, bytes], where: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(files[_MANIFEST])
        content, listed = manifest["content"], dict(manifest["files"])
    except (KeyError, TypeError, ValueError):
        found, wanted = "no manifest", "a manifest of its files"
        raise InputError(where, found=found, wanted=wanted, remedy=_WHOLE) from None
    if content != CONTENT:
        wanted, remedy = str(CONTENT), "update amalia-mm, or enrol the voice again"
        raise InputError(where, field="content", found=content, wanted=wanted, remedy=remedy)
    for name in sorted(listed.keys() | (files.keys() - {_MANIFEST})):
        if name not in files or _fingerprint(files[name]) != listed.get(name):
            found, wanted = "missing, unknown, or another content", "what the manifest says"
            raise InputError(where, field=name, found=found, wanted=wanted, remedy=_WHOLE)
    return manifest


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True).encode()
