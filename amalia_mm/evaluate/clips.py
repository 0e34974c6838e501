"""Three clips to hear and see: which ones, their sound, their picture, and what CTC read in which frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amalia_mm.assistant import Assistant
from amalia_mm.audio.features import LogMel
from amalia_mm.audio.io import encode_flac, load_audio
from amalia_mm.evaluate.figures import TokenSpan, alignment, data_uri
from amalia_mm.evaluate.metrics import word_errors
from amalia_mm.evaluate.suites.asr import Transcript
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.units import samples_to_seconds

NUM_CLIPS = 3
MAX_CLIP_S = 12.0
"""Longer clips make a picture nobody can read, and a heavy report."""


@dataclass(frozen=True)
class ShownClip:
    """A clip as the report shows it; `picture` is "" without a CTC head."""

    reason: str
    transcript: Transcript
    audio: str
    picture: str


def show_clips(assistant: Assistant, transcripts: Sequence[Transcript]) -> list[ShownClip]:
    """Return up to three clips: one heard without error, the one with most errors, one in a new template."""
    shown: list[ShownClip] = []
    for reason, transcript in _choose(transcripts):
        waveform = load_audio(transcript.item.audio)
        audio = data_uri(encode_flac(waveform), "audio/flac")
        shown.append(ShownClip(reason, transcript, audio, _picture(assistant, waveform)))
    return shown


def read_spans(log_probs: Tensor, classes: CtcClasses) -> list[TokenSpan]:
    """Return the classes that greedy CTC reads in log_probs (f v+1), with their frames, in order."""
    blank = log_probs.shape[1] - 1
    found, lengths = log_probs.argmax(dim=1).unique_consecutive(return_counts=True)
    ends = lengths.cumsum(0).tolist()
    return [
        TokenSpan(classes.entry(number).replace("\u2581", "·"), end - length, end)
        for number, length, end in zip(found.tolist(), lengths.tolist(), ends, strict=True)
        if number != blank
    ]


def _choose(transcripts: Sequence[Transcript]) -> list[tuple[str, Transcript]]:
    errors = {row.item.id: word_errors([row.item.text], [row.text]).num_errors for row in transcripts}
    right = [row for row in transcripts if not errors[row.item.id]]
    worst = sorted(transcripts, key=lambda row: -errors[row.item.id])
    new = [row for row in transcripts if row.item.is_new_template]
    wishes = [
        ("Ouvido sem erros", right),
        ("O clipe com mais erros", [row for row in worst if errors[row.item.id]]),
        ("Num molde de frase novo", new),
        ("Mais um clipe", list(transcripts)),
        ("Mais um clipe", list(transcripts)),
    ]
    chosen: list[tuple[str, Transcript]] = []
    for reason, candidates in wishes:
        taken = {row.item.id for _, row in chosen}
        free = [row for row in candidates if row.item.id not in taken]
        if free and len(chosen) < NUM_CLIPS:
            chosen.append((reason, free[0]))
    return chosen


def _picture(assistant: Assistant, waveform: Tensor) -> str:
    seconds = samples_to_seconds(len(waveform))
    if not assistant.has_ctc or seconds > MAX_CLIP_S:
        return ""
    mel, _ = LogMel(80)(waveform[None], torch.tensor([len(waveform)]))
    log_probs = assistant.ctc_log_probs([waveform])[0]
    return alignment(mel[0], log_probs, read_spans(log_probs, assistant.ctc_classes), seconds)
