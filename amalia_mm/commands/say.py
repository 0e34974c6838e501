"""`amalia say`: a written text as speech, into a file or as it is made.

It imports its rooms only when it is called.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.commands.voice import add_passphrase, open_bank, read_passphrase
from amalia_mm.errors import InputError
from amalia_mm.terminal import note

if TYPE_CHECKING:
    from torch import Tensor

    from amalia_mm.voice.phrases import Clip

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
ENDINGS = (".wav", ".flac")
_SEEDS = 2**62
"""Torch counts to 2^63, and each sentence has a seed of its own."""


def add_say(commands: Commands) -> None:
    """Add `say` to the sub-commands."""
    say = commands.add_parser("say", help="text to speech: a file, or a stream as it is made")
    say.add_argument("text", nargs="?", help="what to say; without it, standard input")
    say.add_argument("--output", type=Path, help="a .wav or .flac file")
    say.add_argument(
        "--stream",
        action="store_true",
        help="wav to standard output, as it is made; marked, but with no manifest",
    )
    say.add_argument("--model", type=Path, help="the run (default: $AMALIA_MODEL, else runs/quickstart)")
    say.add_argument("--speaker", help="a voice that the model learned; a wrong name lists them")
    say.add_argument("--voice", metavar="NAME", help="a person's own voice out of the bank")
    say.add_argument("--vocoder", help="a vocoder's folder, or griffin-lim (default: the run's own)")
    say.add_argument(
        "--acoustic", help="a folder of recipes/21_acoustic or 23_own_voice (default: the run's own)"
    )
    say.add_argument("--rate", type=float, default=1.0, help="times as fast (0.5 to 2)")
    say.add_argument("--pitch", type=float, default=0.0, metavar="SEMITONES", help="higher, or lower")
    say.add_argument("--seed", type=int, default=0)
    say.add_argument(
        "--bank", type=Path, metavar="FOLDER", help="the bank folder, for --voice and signatures"
    )
    add_passphrase(say, of=" of --voice")
    say.set_defaults(run=_say)


def _say(options: argparse.Namespace) -> int:
    _check(options)
    text = sys.stdin.read() if options.text is None else options.text
    read = _read(text)
    bank, opened = open_bank(options), None
    if options.voice is not None:
        from amalia_mm.voice.consent import Use

        bank.check_may_speak(options.voice)
        opened = bank.open(options.voice, read_passphrase(options), Use.SPEECH)
        clip = opened.replay(text)
        if clip is not None:
            _tell_ignored(options)
            return _replay(clip, options)
    from amalia_mm.voice.acoustic import Manner
    from amalia_mm.voice.spoken_file import write_speech
    from amalia_mm.voices import Voices

    voice = Voices(options.model, options.vocoder, options.acoustic).voice(
        opened or options.speaker, Manner(rate=options.rate, pitch_semitones=options.pitch)
    )
    pieces = voice.stream(read, options.seed, progress=not options.stream)
    if options.stream:
        return _stream(pieces, voice.sample_rate_hz)
    consent = opened.consent_id if opened else ""
    num_samples = write_speech(options.output, pieces, voice.sample_rate_hz, bank.signing_folder, consent)
    note(f"{options.output}: {num_samples / voice.sample_rate_hz:.2f} s")
    return 0


def _read(text: str) -> str:
    """Return a text as it is read out; what has no reading is told. `InputError` where nothing can be said."""
    from amalia_mm.portuguese.read_aloud import read_aloud
    from amalia_mm.portuguese.spoken import reading

    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        remedy = "save it as UTF-8, or convert it: iconv -f latin1 -t utf-8"
        raise InputError("text", found="bytes that are no UTF-8", wanted="text in UTF-8", remedy=remedy)
    found = reading(text)
    if found.told:
        note(f"amalia: {found.told}")
    read_aloud(found.text)
    return found.text


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot be, before a passphrase is asked for and before anything is loaded."""
    _check_options(options)
    if options.output is not None:
        from amalia_mm.voice.private_files import check_place

        check_place(options.output)
    elif sys.stdout.isatty():
        remedy = "send it to a player or a file: amalia say ... --stream | aplay"
        raise InputError("--stream", found="a terminal", wanted="a place for sound", remedy=remedy)
    # What a person recorded needs no run: with --voice its absence is told where nothing is recorded.
    if options.acoustic is None and (options.model is not None or options.voice is None):
        from amalia_mm.speaking import acoustic_folder, run_folder

        acoustic_folder(run_folder(options.model))
    if options.vocoder not in (None, "griffin-lim") and not Path(options.vocoder).is_dir():
        wanted, remedy = "a vocoder's folder, or griffin-lim", "check the path"
        raise InputError("--vocoder", found=options.vocoder, wanted=wanted, remedy=remedy)


def _check_options(options: argparse.Namespace) -> None:
    if (options.output is None) == (not options.stream):
        found = "both" if options.stream else "neither"
        raise InputError("say", found=found, wanted="--output FILE or --stream", remedy="give one of them")
    if options.output is not None and options.output.suffix.lower() not in ENDINGS:
        found, wanted = options.output.suffix or "no ending", " or ".join(ENDINGS)
        raise InputError("--output", found=found, wanted=wanted, remedy="choose one of these endings")
    if options.speaker is not None and options.voice is not None:
        raise InputError("say", found="--speaker and --voice", wanted="one of them", remedy="leave one out")
    if not -_SEEDS < options.seed < _SEEDS:
        raise InputError("--seed", found=options.seed, wanted=f"below {_SEEDS}", remedy="choose another")
    if not 0.5 <= options.rate <= 2.0:
        raise InputError("--rate", found=options.rate, wanted="0.5 to 2", remedy="choose one in between")
    if not abs(options.pitch) <= 12.0:
        wanted = "-12 to 12 semitones"
        raise InputError("--pitch", found=options.pitch, wanted=wanted, remedy="choose one in between")


def _tell_ignored(options: argparse.Namespace) -> None:
    ignored = [
        f"--{name}" for name, usual in (("rate", 1.0), ("pitch", 0.0)) if getattr(options, name) != usual
    ]
    if ignored:
        note(f"amalia: {' and '.join(ignored)} change nothing of a recording")


def _replay(clip: Clip, options: argparse.Namespace) -> int:
    """Give the person's own recording of exactly this text: no model made it, so nothing marks it as one's."""
    import torch

    from amalia_mm.audio.io import encode_flac, encode_wav
    from amalia_mm.voice.private_files import write_whole

    note("amalia: the person's own recording")
    samples, rate_hz = clip.samples()
    waveform = torch.from_numpy(samples).float()
    if options.stream:
        sys.stdout.buffer.write(encode_wav(waveform, rate_hz))
        return 0
    encode = encode_flac if options.output.suffix.lower() == ".flac" else encode_wav
    write_whole(options.output, encode(waveform, rate_hz))
    return 0


def _stream(pieces: Iterator[Tensor], sample_rate_hz: int) -> int:
    """Write 16-bit wav whose header does not know how long it will be."""
    import torch

    unknown, width = 0xFFFFFFFF, 2
    layout = (16, 1, 1, sample_rate_hz, sample_rate_hz * width, width, 8 * width)
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", unknown, b"WAVE", b"fmt ", *layout, b"data", unknown)
    out = sys.stdout.buffer
    out.write(header)
    for piece in pieces:
        # Peaks cannot be scaled down any more once their beginning is out.
        samples = (piece.clamp(-1.0, 1.0) * 32767.0).round().to(torch.int16)
        out.write(samples.numpy().astype("<i2").tobytes())
        out.flush()
    return 0
