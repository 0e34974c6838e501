"""Whether a person is recognised in what a run says with their voice: by a judge that had no part in making it.

Clips of some people in, `own_voice.json` out, with sounds beside it. Each is learned from a few seconds or minutes of
their clips and says sentences of others of them; every sentence is a trial: the judge compares it with everybody.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.errors import InputError, writing
from amalia_mm.evaluate.copying import at_16_khz, copies
from amalia_mm.evaluate.dnsmos import Dnsmos, mean_opinion
from amalia_mm.evaluate.metrics import word_errors
from amalia_mm.evaluate.people import Person, first, seconds_of
from amalia_mm.evaluate.voice_distance import Throat, distance, throat
from amalia_mm.speaking import SpeechModel
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.own_voice import SpeakerData
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice.speaker import SpeakerEmbedder, embed_clips, enrolled, similarity
from amalia_mm.voice.watermark import mark

REPORT, AUDIO = "own_voice.json", "audio"
REFERENCE, COPY = "reference", "copy"
_PROFILE_CLIPS = 40
"""Of which the judge makes its own idea of a person."""
_THROAT_CLIPS = 6
"""Of a person and kind, for pitch and formants: they are slow to find, and some twelve seconds say enough."""

Learn = Callable[[Sequence[Clip], float], SpeakerData]
"""A person's clips and the seconds that were asked for -> what a pack would hold of them."""
Ears = Callable[[Sequence[Tensor]], Sequence[str]]


@dataclass(frozen=True)
class Said:
    """What a person says, in one of the kinds: reference, copy-synthesis, or learned from so many seconds."""

    person: str
    kind: str
    texts: tuple[str, ...]
    waveforms: tuple[Tensor, ...]
    """(n) each, float32 at 16 kHz."""


def evaluate_own_voice(
    model: SpeechModel,
    judge: SpeakerEmbedder,
    known: Sequence[Person],
    others: Mapping[str, Tensor],
    output: Path,
    *,
    seconds: Sequence[float],
    learn: Learn,
    ears: Ears | None = None,
    dnsmos: Path | None = None,
) -> dict[str, Any]:
    """Return the figures of people's voices, and write them to `output/own_voice.json` with sounds beside it.

    Args:
        model: What speaks.
        judge: Who recognises; of another seed and other voices than the encoder that tells the model who speaks.
        known: The people.
        others: Name -> the judge's vector (e) of others, who might be taken for one of them.
        output: Where to write; `audio/<person>-<kind>.wav` is one sentence of each.
        seconds: How much is learned from, one after the other.
        learn: How.
        ears: Who writes down what is said; None leaves words out.
        dnsmos: The folder of its weights; None leaves opinions out.

    Raises:
        InputError: There is nobody to be taken for; or as `learn`.
    """
    if len(known) + len(others) < 2:
        wanted, remedy = "two people or more", "give --others, or shards of more people"
        raise InputError("--own-voice", found="one person", wanted=wanted, remedy=remedy)
    profiles = {person.name: _profile(judge, person.learn) for person in known} | {
        name: vector for name, vector in others.items() if name not in {person.name for person in known}
    }
    opinion = None if dnsmos is None else Dnsmos(dnsmos)
    said: list[Said] = []
    learned: list[dict[str, Any]] = []
    for person in known:
        said += [_reference(person), _copied(model, person)]
        for wanted_s in seconds:
            data, row = _learned(person, wanted_s, learn)
            learned.append(row)
            said.append(_said(model, person, data, kind_of(wanted_s)))
    kinds = list(dict.fromkeys(each.kind for each in said))
    figures: dict[str, Any] = {
        "speakers": [person.name for person in known],
        "others": sorted(profiles.keys() - {person.name for person in known}),
        "learned": learned,
        "trials": [trial for each in said for trial in _trials(judge, each, profiles, known)],
    }
    figures["distances"] = list(_distances({(each.person, each.kind): _throat(each) for each in said}))
    figures["kinds"] = {
        kind: _kind(figures, [each for each in said if each.kind == kind], ears, opinion) for kind in kinds
    }
    figures["clips"] = _write_sounds(output, said)
    with writing(output):
        text = json.dumps(figures, ensure_ascii=False, indent=1) + "\n"
        (output / REPORT).write_text(text, encoding="utf-8")
    return figures


def kind_of(seconds: float) -> str:
    """Return what files and figures call a voice that is learned from so many seconds."""
    return f"{seconds:g}s"


def lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures for a terminal, a line a kind."""
    told = []
    for kind, row in figures["kinds"].items():
        line = (
            f"{kind}\t{_percent(row['right'])} acima dos outros {len(figures['speakers']) - 1}\t"
            f"{_percent(row['right_of_all'])} acima de todos os {len(figures['others'])} outros também\t"
            f"semelhança {_number(row['similarity'], 3)}\taltura {_number(row['pitch_semitones'], 2)} meios-tons\t"
            f"formantes {_number(row['formants_percent'], 1)} %"
        )
        if "word_errors" in row:
            line += f"\tWER {_percent(row['word_errors'] / row['words'])}"
        if "dnsmos" in row:
            line += f"\tDNSMOS {_number(row['dnsmos']['ovr'], 2)}"
        told.append(f"{line}\t{row['trials']} frases")
    return told


def _number(value: float | None, places: int) -> str:
    return "?" if value is None else f"{value:.{places}f}".replace(".", ",")


def _percent(share: float) -> str:
    return f"{_number(100 * share, 1)} %"


def _profile(judge: SpeakerEmbedder, clips: Sequence[Clip]) -> Tensor:
    return enrolled(embed_clips(judge, [load_audio(clip.audio) for clip in clips[:_PROFILE_CLIPS]]))


def _learned(person: Person, wanted_s: float, learn: Learn) -> tuple[SpeakerData, dict[str, Any]]:
    """Return what is learned of so many seconds, and what that took."""
    clips = first(person.learn, wanted_s)
    began_s = time.monotonic()
    data = learn(clips, wanted_s)
    row = {"speaker": person.name, "kind": kind_of(wanted_s), "clips": len(clips)}
    row |= {"seconds": round(seconds_of(clips), 1), "taken_s": round(time.monotonic() - began_s, 1)}
    return data, {**row, "adapters_bytes": len(data.adapters or b"")}


def _reference(person: Person) -> Said:
    sounds = tuple(load_audio(clip.audio) for clip in person.test)
    return Said(person.name, REFERENCE, tuple(clip.text for clip in person.test), sounds)


def _copied(model: SpeechModel, person: Person) -> Said:
    """Return the reference as the vocoder says it again, without the end that is no whole hop."""
    rate_hz = model.vocoder.sample_rate_hz
    made = []
    for clip in person.test:
        (copy,) = copies({COPY: model.vocoder}, load_audio(clip.audio, sample_rate_hz=rate_hz))
        made.append(at_16_khz(copy.waveform, rate_hz))
    return Said(person.name, COPY, tuple(clip.text for clip in person.test), tuple(made))


def _said(model: SpeechModel, person: Person, data: SpeakerData, kind: str) -> Said:
    voice, texts = model.own(data), tuple(clip.text for clip in person.test)
    sounds = tuple(at_16_khz(voice.say(text), voice.sample_rate_hz) for text in texts)
    return Said(person.name, kind, texts, sounds)


def _trials(
    judge: SpeakerEmbedder, said: Said, profiles: Mapping[str, Tensor], known: Sequence[Person]
) -> Iterator[dict[str, Any]]:
    """Yield what the judge makes of each sentence: how like it is to its person, and to the others who are likest."""
    rivals = {person.name for person in known} - {said.person}
    for text, vector in zip(said.texts, embed_clips(judge, said.waveforms), strict=True):
        close = {name: float(similarity(profile, vector)) for name, profile in profiles.items()}
        own = close.pop(said.person)
        rival = max(rivals, key=close.__getitem__, default=None)
        nearest = max(close, key=close.__getitem__)
        row = {"speaker": said.person, "kind": said.kind, "text": text, "similarity": own}
        yield {
            **row,
            "rival": rival,
            "rival_similarity": None if rival is None else close[rival],
            "is_right": rival is None or own > close[rival],
            "nearest": nearest,
            "nearest_similarity": close[nearest],
            "is_right_of_all": own > close[nearest],
        }


def _throat(said: Said) -> Throat | None:
    """Return pitch and formants of some of what is said; None where too little of it is voiced to tell."""
    try:
        return throat(torch.cat(said.waveforms[:_THROAT_CLIPS]))
    except ValueError:
        return None


def _distances(throats: Mapping[tuple[str, str], Throat | None]) -> Iterator[dict[str, Any]]:
    """Yield how far each kind of each person is from the reference; of None where one cannot be measured."""
    for (person, kind), own in throats.items():
        reference = throats[person, REFERENCE]
        both = None if own is None or reference is None else asdict(distance(own, reference))
        yield {"speaker": person, "kind": kind, "throat": own and asdict(own), "distance": both}


def _kind(
    figures: Mapping[str, Any], said: Sequence[Said], ears: Ears | None, opinion: Dnsmos | None
) -> dict[str, Any]:
    kind = said[0].kind
    trials = [trial for trial in figures["trials"] if trial["kind"] == kind]
    apart = [row["distance"] for row in figures["distances"] if row["kind"] == kind and row["distance"]]
    row: dict[str, Any] = {
        "trials": len(trials),
        "right": _mean([trial["is_right"] for trial in trials]),
        "right_of_all": _mean([trial["is_right_of_all"] for trial in trials]),
        "similarity": _mean([trial["similarity"] for trial in trials]),
        "pitch_semitones": _mean([each["pitch_semitones"] for each in apart]),
        "formants_percent": _mean([each["formants_percent"] for each in apart]),
    }
    waveforms = [sound for each in said for sound in each.waveforms]
    if ears is not None:
        words = word_errors([text for each in said for text in each.texts], list(ears(waveforms)))
        row |= {"word_errors": words.num_errors, "words": words.num_reference}
    if opinion is not None:
        row["dnsmos"] = asdict(mean_opinion([opinion(sound) for sound in waveforms]))
    return row


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _write_sounds(output: Path, said: Sequence[Said]) -> list[dict[str, str]]:
    """Write the first sentence of each person and kind, and return what lies where."""
    clips = []
    with writing(output):
        (output / AUDIO).mkdir(parents=True, exist_ok=True)
        for each in said:
            path = f"{AUDIO}/{each.person.replace('/', '-')}-{each.kind}.wav"
            sound = each.waveforms[0]
            # What a voice says is marked as it is made; a copy is not, until it leaves the machine.
            kept = mark(sound, SAMPLE_RATE_HZ) if each.kind == COPY else sound
            write_audio(output / path, kept, SAMPLE_RATE_HZ)
            clips.append({"speaker": each.person, "kind": each.kind, "path": path, "text": each.texts[0]})
    return clips
