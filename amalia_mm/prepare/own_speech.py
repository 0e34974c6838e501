"""The user's own recordings, decoded, and what became of each.

It knows manifests and limits; it does not know the built-in corpus, voices or shards.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amalia_mm.audio.channels import load_scene
from amalia_mm.audio.io import encode_flac
from amalia_mm.data.schema import TRANSCRIBE, Record
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.corpora import Recording, read_speech_manifest
from amalia_mm.prepare.kept_rate import recorded_enough
from amalia_mm.prepare.said import Said
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds

MAX_RECORDING_S = 30.0
"""Longer recordings have one text for several breaths, and do not fit a batch."""
MIN_RECORDING_S = 0.1
MAX_BAD_SHARE = 0.1

_log = logging.getLogger(__name__)


@dataclass
class OwnSpeech:
    """The user's recordings, read from their manifests, and what became of them."""

    recordings: list[Recording] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    bad: list[InputError] = field(default_factory=list)
    """The recordings that could not be used; filled while they are decoded."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By split."""

    @property
    def trained(self) -> Said:
        """What is said in recordings that are trained on."""
        return Said(recording.text for recording in self.recordings if recording.split == "train")

    @property
    def tested(self) -> Said:
        """What is said in the others."""
        return Said(recording.text for recording in self.recordings if recording.split != "train")


def read_own_speech(manifests: Sequence[Path]) -> OwnSpeech:
    """Return the rows of the user's manifests; `InputError` as `read_speech_manifest`."""
    own = OwnSpeech()
    for manifest in manifests:
        recordings, notes = read_speech_manifest(manifest)
        own.notes.update(notes)
        own.recordings += recordings
    return own


@dataclass(frozen=True)
class OwnClip:
    """One recording of the user's, decoded, as mono flac of `rate_hz`."""

    record: Record
    flac: bytes
    rate_hz: int = SAMPLE_RATE_HZ


def decode_own_speech(
    own: OwnSpeech, advance: Callable[[], object], rate_hz: int = SAMPLE_RATE_HZ
) -> Iterator[OwnClip]:
    """Yield the recordings that can be used, and note those that cannot; `advance` is called once for each.

    Above 16 kHz those recorded at less than `rate_hz` cannot (`kept_rate.py`).

    Raises:
        InputError: More than a tenth of the recordings cannot be used; it names the first of them.
    """
    for number, recording in enumerate(own.recordings):
        try:
            clip = _decoded(f"own-{number:06d}-{recording.id}", recording, rate_hz)
        except InputError as error:
            own.bad.append(error)
            _log.warning("left out: %s", error)
        else:
            part = clip.record.split
            own.seconds[part] = own.seconds.get(part, 0.0) + (clip.record.seconds or 0.0)
            yield clip
        advance()
    if len(own.bad) > MAX_BAD_SHARE * len(own.recordings):
        first = own.bad[0]
        raise InputError(
            first.where,
            field=first.field,
            found=f"{len(own.bad)} of {len(own.recordings)} recordings not usable, this one: {first.found}",
            wanted=f"at most {MAX_BAD_SHARE:.0%}",
            remedy="correct or remove the rows that are named above",
        )


def _decoded(identity: str, recording: Recording, rate_hz: int) -> OwnClip:
    where = f"{recording.where}: {recording.audio}"
    if not spoken_form(recording.text):
        remedy = "set it to null, or write down what is said"
        raise InputError(where, field="text", found=repr(recording.text), wanted="words", remedy=remedy)
    recorded_enough(recording.audio, rate_hz, where)
    waveform = load_scene(recording.audio, where=where, max_seconds=MAX_RECORDING_S, sample_rate_hz=rate_hz)
    seconds = samples_to_seconds(len(waveform), rate_hz)
    if seconds < MIN_RECORDING_S:
        wanted = f"at least {MIN_RECORDING_S:g} s"
        raise InputError(
            where, field="duration", found=f"{seconds:.3f} s", wanted=wanted, remedy="remove the row"
        )
    record = Record(
        id=identity,
        task=TRANSCRIBE,
        variety=recording.variety,
        speaker=recording.speaker,
        source=recording.source,
        licence=recording.licence,
        split=recording.split,
        text=recording.text,
        seconds=round(seconds, 3),
    )
    return OwnClip(record, encode_flac(waveform, rate_hz), rate_hz)
