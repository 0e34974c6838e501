"""`amalia voice enrol`: a person's recordings and their consent become a voice of the bank.

It imports its rooms only when it is called. What the person who recorded is told is Portuguese.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amalia_mm.commands.own_voice import WAYS_HELP
from amalia_mm.errors import InputError
from amalia_mm.terminal import note, path_column, result

if TYPE_CHECKING:
    from torch import Tensor

    from amalia_mm.voice.consent import Consent
    from amalia_mm.voice.phrases import Clip
    from amalia_mm.voice.quality import QualityGate

Actions = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
UNCOMPARED = (
    "ninguém comparou o que se diz na gravação do consentimento com a declaração. Ouça-a antes de usar a voz, ou "
    "registe de novo com --ears. Fica escrito no registo do consentimento (amalia voice show)."
)
LEAST_S = 10.0
"""Speech of a person below which no voice is made."""
PERHAPS_TWO = 0.8
"""The similarity of two groups of recordings below which they may be two people's (figures: recipes/20_speaker)."""


def add_enrol(actions: Actions) -> argparse.ArgumentParser:
    """Add `enrol` to the actions of `amalia voice`; the bank's own options are the caller's to add."""
    enrol = actions.add_parser("enrol", help="recordings and consent of a person become a voice")
    enrol.add_argument(
        "folder",
        type=Path,
        help="recordings: named as the script's sentences (007.wav), with a .txt beside, or rows of a .jsonl",
    )
    enrol.add_argument("--name", required=True, help="what the voice is called in the bank")
    enrol.add_argument("--person", required=True, help="whose voice it is")
    enrol.add_argument(
        "--until", type=_day, required=True, metavar="YYYY-MM-DD", help="until when consent holds"
    )
    enrol.add_argument("--decides-later", required=True, help="who decides when the person no longer can")
    enrol.add_argument(
        "--given", type=_day, metavar="YYYY-MM-DD", help="when consent was given (default: today)"
    )
    enrol.add_argument("--use", action="append", help="speech (always), training, export: one option each")
    enrol.add_argument(
        "--consent-clip", type=Path, help="the person saying so (default: consent.wav in FOLDER)"
    )
    enrol.add_argument("--model", type=Path, help="the run (default: $AMALIA_MODEL, else runs/quickstart)")
    enrol.add_argument(
        "--ears", type=Path, metavar="MODEL", help="with it, words are compared with what was to be said"
    )
    enrol.add_argument(
        "--adapt", metavar="WAY", help=f"the run's model learns the voice, inside the pack alone: {WAYS_HELP}"
    )
    enrol.set_defaults(run=_enrol)
    return enrol


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; wanted YYYY-MM-DD") from error


def _enrol(options: argparse.Namespace) -> int:
    from amalia_mm.audio.io import load_audio
    from amalia_mm.commands.own_voice import adapter, told, voice_recipe
    from amalia_mm.commands.voice import open_bank, read_passphrase
    from amalia_mm.commands.voice_script import gate_of
    from amalia_mm.evaluate.speaker_trials import load_verifier, threshold_of
    from amalia_mm.resolve import resolve_model
    from amalia_mm.speaking import encoder_folder, run_folder
    from amalia_mm.voice.own_voice import check_consent_clip
    from amalia_mm.voice.recordings import other_sounds, read_recordings
    from amalia_mm.voice.speaker import embed_clips, enrolled

    # What is cheap to find out comes before the passphrase, and both before minutes of listening.
    consent = _consent(options)
    bank = open_bank(options)
    bank.check_new(options.name, consent)
    if not options.folder.is_dir():
        remedy = "check the path"
        raise InputError(options.folder, found="no such folder", wanted="recordings", remedy=remedy)
    consent_clip = _consent_clip(options, consent)
    recordings = read_recordings(options.folder, leave_out=consent_clip)
    for other in other_sounds(options.folder):
        note(f"{other.name}: fica de fora, porque só se leem .wav e .flac: converta-a primeiro")
    said = _bytes(consent_clip)
    check_consent_clip(said, [clip for _, clip in recordings])
    run = run_folder(options.model)
    if options.adapt is not None:
        voice_recipe(options.adapt)
    threshold_of(encoder_folder(run))
    if options.ears is not None:
        resolve_model(options.ears)
    passphrase = read_passphrase(options, is_new=True)
    passphrase.check_new()
    verifier = load_verifier(encoder_folder(run))
    gate = gate_of(encoder_folder(run), options.ears)
    _check_statement(consent_clip, consent, gate)
    clips = _good(recordings, gate)
    vectors = embed_clips(verifier.embedder, [load_audio(clip.audio) for clip in clips])
    embedding = enrolled(vectors)
    _check_one_person(clips, vectors, gate.same_person)
    wanted: dict[str, Any] = {
        "clips": clips,
        "consent": consent,
        "consent_clip": said,
        "verify": lambda audio: verifier.similarity(embedding, load_audio(audio)),
        "min_similarity": verifier.threshold,
        "passphrase": passphrase,
    }
    bank.check_person(options.name, **wanted)
    speaker = told(embedding, run) if options.adapt is None else adapter(options.adapt, run)(clips)
    path = bank.enrol(options.name, speaker=speaker, **wanted)
    note(f"{len(clips)} recordings")
    result(path_column(path))
    return 0


def _consent(options: argparse.Namespace) -> Consent:
    from amalia_mm.voice.consent import Consent, Use

    named = {"speech", *(options.use or ())}
    unknown = named - set(Use)
    if unknown:
        wanted = ", ".join(Use)
        raise InputError("--use", found=min(unknown), wanted=wanted, remedy="choose one of these")
    uses = frozenset(Use(name) for name in named)
    given = options.given or date.today()
    is_compared = options.ears is not None
    return Consent(options.person, uses, given, options.until, options.decides_later, is_compared)


def _consent_clip(options: argparse.Namespace, consent: Consent) -> Path:
    """Return where the person consents aloud; the error without it says what is to be read out."""
    given = options.consent_clip
    places = [given] if given is not None else [options.folder / f"consent{end}" for end in (".wav", ".flac")]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        places[0],
        found="no consent clip",
        wanted="the person saying: «" + consent.statement() + "»",
        remedy="record that, and give it with --consent-clip",
    )


def _check_statement(consent_clip: Path, consent: Consent, gate: QualityGate) -> None:
    """Refuse a consent clip that is no good recording, or in which something else is said, as far as ears can tell."""
    examined = gate.examine(consent_clip, consent.statement())
    if not examined.is_good:
        raise InputError(
            consent_clip,
            found="; ".join(examined.advice),
            wanted=f"the person saying: «{consent.statement()}»",
            remedy="record it again",
        )
    if gate.transcribe is None:
        note(f"ATENÇÃO: {UNCOMPARED}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(path, found=found, wanted="a recording", remedy="check the path") from error


def _good(recordings: Sequence[tuple[Path, Clip]], gate: QualityGate) -> list[Clip]:
    """Return the recordings a voice can be learned from; what is wrong with the others is told, file by file."""
    good, speech_s = [], 0.0
    for path, clip in recordings:
        examined = gate.examine(path, clip.text)
        for advice in examined.advice:
            note(f"{path.name}: {advice}")
        if examined.is_good:
            good.append(clip)
            speech_s += examined.figures["speech_s"]
    if len(good) < len(recordings):
        note(f"{len(recordings) - len(good)} de {len(recordings)} gravações ficam de fora")
    if speech_s < LEAST_S:
        found = f"{speech_s:.1f} s of speech in {len(good)} good recordings"
        remedy = "record more, or again what is told above (amalia voice script)"
        raise InputError("recordings", found=found, wanted=f"{LEAST_S:g} s or more", remedy=remedy)
    return good


def _check_one_person(clips: Sequence[Clip], vectors: Tensor, least: float) -> None:
    """Refuse recordings of which some are of somebody else, each by itself or many; tell where that may be.

    The limit is that of two parts of one recording, not that of the consent clip: of so many clips one would always
    miss the latter.
    """
    from amalia_mm.voice.advice import comma
    from amalia_mm.voice.speaker import enrolled, similarity
    from amalia_mm.voice.two_people import two_groups

    if len(clips) < 2:
        return
    for number, clip in enumerate(clips):
        others = enrolled(vectors[[other for other in range(len(clips)) if other != number]])
        _check_alike([clip], float(similarity(others, vectors[number])), least)
    groups = two_groups(vectors)
    some = [clips[number] for number in groups.fewer]
    if len(some) > 1:
        _check_alike(some, groups.similarity, least)
        if groups.similarity < PERHAPS_TWO:
            said = ", ".join(f"«{clip.text}»" for clip in some)
            note(
                f"ATENÇÃO: parecem duas pessoas, ou dois lugares (semelhança {comma(groups.similarity, 2)}). "
                f"Ouça estas {len(some)} gravações ao lado das outras {len(clips) - len(some)}: {said}"
            )


def _check_alike(some: Sequence[Clip], found: float, least: float) -> None:
    if found < least:
        said = ", ".join(f"«{clip.text}»" for clip in some)
        raise InputError(
            f"the recording of {said}" if len(some) == 1 else f"the {len(some)} recordings of {said}",
            found=f"a similarity of {found:.3f} to the other recordings",
            wanted=f"at least {least:.3f}: one person's recordings",
            remedy="take out what somebody else said, or record it again",
        )
