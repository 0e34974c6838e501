"""How well a run's voice is understood: sentences said by it, and written down again by ears.

Sentences in, `round_trip.json` out, with the sounds beside it. The same sentences as they are in the corpus, by the
voices that say them there and at their pace, are written down by the same ears.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amalia_mm.assistant import Assistant
from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.errors import InputError, writing
from amalia_mm.evaluate.copying import at_16_khz
from amalia_mm.evaluate.dnsmos import Dnsmos, mean_opinion
from amalia_mm.evaluate.items import SYNTHETIC
from amalia_mm.evaluate.metrics import character_errors, word_errors
from amalia_mm.json_rows import json_rows
from amalia_mm.speaking import SpeechModel
from amalia_mm.units import samples_to_seconds

REPORT = "round_trip.json"
SAID, REFERENCE, OWN_SPEECH = "said", "reference", "own_speech"


def evaluate_round_trip(
    model: SpeechModel,
    ears: Assistant,
    rows: Sequence[dict[str, str]],
    output: Path,
    *,
    speakers: Sequence[str],
    dnsmos: Path | None = None,
    own_speech: Sequence[Tensor] = (),
    with_reference: bool = True,
) -> dict[str, Any]:
    """Return the error rates of what a model says and of the reference, by group of sentences.

    Args:
        model: What speaks.
        ears: Who writes down.
        rows: As `sentences` returns them.
        output: Where `round_trip.json` and the sounds go.
        speakers: Voices of the model, which take turns.
        dnsmos: The folder of its weights; None leaves opinions out.
        own_speech: Clips (n) at 16 kHz that the voices were learned from, for opinions of them, too: an opinion is of a
            voice as much as of what is made of it.
        with_reference: Whether the clips of the sentences are written down, too.
    """
    judge = None if dnsmos is None else Dnsmos(dnsmos)
    voices = [model.learned(name) for name in speakers]
    said, references, first_s, taken_s = [], [], [], 0.0
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(rows):
            voice = voices[number % len(voices)]
            begun = time.perf_counter()
            pieces: list[Tensor] = []
            for piece in voice.stream(row["text"]):
                if not pieces:
                    first_s.append(time.perf_counter() - begun)
                pieces.append(piece)
            taken_s += time.perf_counter() - begun
            waveform = torch.cat(pieces)
            write_audio(output / f"{row['id']}.flac", waveform, voice.sample_rate_hz)
            said.append(at_16_khz(waveform, voice.sample_rate_hz))
            if with_reference:
                references.append(load_audio(row["audio"]))
        spoken_s = sum(samples_to_seconds(len(waveform)) for waveform in said)
        figures: dict[str, Any] = {
            "speakers": list(speakers),
            "vocoder": type(model.vocoder).__name__,
            "real_time": taken_s / spoken_s,
            "first_audio_s": sorted(first_s)[len(first_s) // 2],
            "seconds": round(spoken_s, 1),
        }
        for name, clips in ((SAID, said), *(((REFERENCE, references),) if with_reference else ())):
            figures[name] = _understood(rows, ears.transcribe(clips))
            if judge is not None:
                figures[name] |= {"dnsmos": _opinion(judge, clips)}
        if judge is not None and own_speech:
            figures[OWN_SPEECH] = {"clips": len(own_speech), "dnsmos": _opinion(judge, own_speech)}
        text = json.dumps(figures, ensure_ascii=False, indent=1) + "\n"
        (output / REPORT).write_text(text, encoding="utf-8")
    return figures


def sentences(run: Path, most: int, *, is_built_in: bool = False) -> list[dict[str, str]]:
    """Return the sentences of a run's test set, as many of each group (`heldout`) at most, with where their clip lies.

    With `is_built_in` they are of the built-in corpus alone, without the user's own.

    Raises:
        InputError: There is none.
    """
    listed = run / "test.jsonl"
    groups: dict[str, list[dict[str, str]]] = {}
    for _, row in json_rows(listed):
        is_meant = not is_built_in or str(row.get("source") or SYNTHETIC).startswith(SYNTHETIC)
        if row.get("task") == "transcribe" and is_meant:
            clip = {"id": str(row["id"]), "text": str(row["text"]), "audio": str(run / str(row["audio"]))}
            groups.setdefault(str(row.get("heldout")), []).append({**clip, "group": str(row.get("heldout"))})
    chosen = [row for rows in groups.values() for row in _spread(rows, most)]
    if not chosen:
        remedy = "give --data the folder of a quickstart"
        raise InputError(listed, found="no sentence", wanted="sentences with clips", remedy=remedy)
    return chosen


def lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures for a terminal, a line for each group of what was said and of the reference."""
    told = [f"{figures['real_time']:.3f} x tempo real, primeiro som {1000 * figures['first_audio_s']:.0f} ms"]
    for name in (SAID, REFERENCE):
        for group, row in figures[name].items():
            if group == "dnsmos":
                told.append(f"{name}\tDNSMOS\t{row['ovr']:.2f}")
                continue
            share = f"{100 * row['word_errors'] / row['words']:.1f} %".replace(".", ",")
            told.append(f"{name}\t{group}\t{share}\t{row['words']} palavras, {row['sentences']} frases")
    return told


def _opinion(judge: Dnsmos, clips: Sequence[Tensor]) -> dict[str, float]:
    return asdict(mean_opinion([judge(clip) for clip in clips]))


def _spread(rows: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    """Return some of the rows, from all over: neighbours say much the same."""
    step = max(1, len(rows) // most)
    return rows[::step][:most]


def _understood(rows: Sequence[dict[str, str]], written: Sequence[str]) -> dict[str, Any]:
    found = {}
    for group in dict.fromkeys(row["group"] for row in rows):
        own = [(row["text"], text) for row, text in zip(rows, written, strict=True) if row["group"] == group]
        texts, heard = [text for text, _ in own], [text for _, text in own]
        words, characters = word_errors(texts, heard), character_errors(texts, heard)
        found[group] = {
            "sentences": len(own),
            "word_errors": words.num_errors,
            "words": words.num_reference,
            "character_errors": characters.num_errors,
            "characters": characters.num_reference,
        }
    return found
