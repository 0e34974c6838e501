"""Sentences of a run's voice to hear and see: as the corpus says them, copied by the vocoder, and said by the voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from amalia_mm.assistant import Assistant
from amalia_mm.audio.io import encode_flac, load_audio
from amalia_mm.evaluate.copying import at_16_khz, copies
from amalia_mm.evaluate.figures import data_uri
from amalia_mm.evaluate.round_trip import sentences
from amalia_mm.evaluate.voice_figure import Seen, voice_picture
from amalia_mm.portuguese.phonology.phonemes import BREAKS, SYMBOLS
from amalia_mm.portuguese.read_aloud import ReadAloud, read_aloud
from amalia_mm.portuguese.read_aloud import sentences as spoken_sentences
from amalia_mm.speaking import SpeechModel, encoder_folder
from amalia_mm.voice.acoustic import Phones
from amalia_mm.voice.alignment import diagonal_prior, likeness, monotonic_alignment
from amalia_mm.voice.pitch import pitch_hz
from amalia_mm.voice.speaker import SpeakerEncoder
from amalia_mm.voice.synthesis import Synthesiser
from amalia_mm.voice.watermark import mark
from amalia_mm.voice_folder import load_voice_part

NUM_SENTENCES = 3
NUM_VOICES = 2
_EVEN = 0.2
"""How far off the diagonal a phone costs as much as in training (`Acoustic.alignment_width`)."""


@dataclass(frozen=True)
class Player:
    """A clip to hear, and what the run's ears write of it."""

    label: str
    sound: str
    written: str


@dataclass(frozen=True)
class ShownSentence:
    """A sentence as a report shows it."""

    text: str
    players: tuple[Player, ...]
    picture: str


def shown_sentences(
    run: Path, model: SpeechModel, ears: Assistant, speakers: Sequence[str]
) -> list[ShownSentence]:
    """Return some sentences of a run's test set, by the reference, by the vocoder and by the first of these speakers.

    What a model made, the copy too, carries the watermark. The picture shows the reference beside the first speaker.
    """
    voices = {name: model.learned(name) for name in speakers[:NUM_VOICES]}
    shown = []
    for row in _chosen(run):
        text, rate_hz = row["text"], model.vocoder.sample_rate_hz
        reference = load_audio(row["audio"], sample_rate_hz=rate_hz)
        (copy,) = copies({"vocoder": model.vocoder}, reference)
        said = {name: voice.say(text) for name, voice in voices.items()}
        heard = {
            "referência, do corpus": reference,
            "cópia dela pelo vocoder": mark(copy.waveform, rate_hz),
            **{f"o modelo, com a voz {name}": waveform for name, waveform in said.items()},
        }
        written = ears.transcribe([at_16_khz(waveform, rate_hz) for waveform in heard.values()])
        players = [
            Player(label, data_uri(encode_flac(waveform, rate_hz), "audio/flac"), text)
            for (label, waveform), text in zip(heard.items(), written, strict=True)
        ]
        name, voice = next(iter(voices.items()))
        columns = [
            _seen(model, "referência", reference, aligned(model, read_aloud(text), reference)),
            _seen(model, f"o modelo, com a voz {name}", said[name], planned(voice, text)),
        ]
        phones = [
            " " if SYMBOLS[number] in BREAKS else SYMBOLS[number] for number in read_aloud(text).symbols
        ]
        shown.append(ShownSentence(text, tuple(players), voice_picture(columns, phones)))
    return shown


def aligned(model: SpeechModel, read: ReadAloud, waveform: Tensor) -> list[int]:
    """Return how many frames each phone takes in a clip (n) of these phones, as the model finds it.

    Raises:
        ValueError: The clip has fewer frames than phones.
    """
    acoustic = model.acoustic
    with torch.no_grad():
        mel = acoustic.scaled(acoustic.mel(waveform[None]))
        mean = acoustic.encode(_phones(read), _speaker_of(model, waveform)).mean
        num_phones, num_frames = torch.tensor([len(read)]), torch.tensor([mel.shape[2]])
        scores = likeness(mean, mel) + diagonal_prior(num_phones, num_frames, _EVEN)
        return monotonic_alignment(scores, num_phones, num_frames)[0].tolist()


def planned(voice: Synthesiser, text: str) -> list[int]:
    """Return how many frames a voice gives each phone of a sentence."""
    return voice.acoustic.plan(_phones(read_aloud(text)), voice.speaker[None], voice.manner)[1][0].tolist()


def _chosen(run: Path) -> list[dict[str, str]]:
    """Return sentences out of every group in turn; a picture is of one sentence, so texts of several are left out."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in sentences(run, 2 * NUM_SENTENCES, is_built_in=True):
        if len(list(spoken_sentences(read_aloud(row["text"])))) == 1:
            groups.setdefault(row["group"], []).append(row)
    turns = [(number, row) for rows in groups.values() for number, row in enumerate(rows)]
    return [row for _, row in sorted(turns, key=lambda turn: turn[0])][:NUM_SENTENCES]


def _seen(model: SpeechModel, title: str, waveform: Tensor, durations: list[int]) -> Seen:
    mel = model.acoustic.mel
    pitch = pitch_hz(waveform[None], mel.sample_rate_hz, mel.hop_samples)[0]
    with torch.no_grad():
        return Seen(title, mel(waveform[None])[0], pitch, durations, mel.hop_samples / mel.sample_rate_hz)


def _phones(read: ReadAloud) -> Phones:
    return Phones(
        torch.tensor([read.symbols]), torch.tensor([read.is_stressed]), torch.tensor([read.is_word_start])
    )


def _speaker_of(model: SpeechModel, waveform: Tensor) -> Tensor:
    """Return (1 e) who speaks in a clip (n); nobody in particular where no encoder tells the model."""
    if not model.hears_speakers:
        return torch.zeros(1, model.acoustic.speaker_size)
    encoder, _ = load_voice_part(encoder_folder(model.run), "speaker", SpeakerEncoder)
    clip = at_16_khz(waveform, model.acoustic.mel.sample_rate_hz)
    return encoder.embed(clip[None], torch.tensor([len(clip)]))
