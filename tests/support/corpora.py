"""Small corpora in the layouts of the large ones, of tones that are as long as somebody would need to say them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

SAID = (
    "O comboio parte cedo.",
    "Chama-se Ana e vive no Porto.",
    "Está frio hoje de manhã.",
    "A sopa está quente.",
    "Ninguém fala com ela.",
    "O autocarro chegou tarde ao centro.",
)


def tone(seconds: float, pitch_hz: float, rate_hz: int = 16_000) -> np.ndarray:
    """(n) int16, each pitch another sound."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (10_000 * np.sin(2 * math.pi * pitch_hz * time_s)).astype(np.int16)


def write_tone(path: Path, pitch_hz: float, seconds: float = 2.0, rate_hz: int = 16_000) -> None:
    """Write a tone in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    container = {".ogg": "OGG", ".opus": "OGG", ".mp3": "MP3", ".flac": "FLAC", ".wav": "WAV"}[path.suffix]
    subtype = "OPUS" if path.suffix == ".opus" else None
    soundfile.write(path, tone(seconds, pitch_hz, rate_hz), rate_hz, format=container, subtype=subtype)


def tone_bytes(pitch_hz: float, seconds: float = 2.0) -> bytes:
    """A tone as the bytes of a flac file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, pitch_hz), 16_000, format="FLAC")
    return buffer.getvalue()


def write_table(path: Path, rows: Sequence[Sequence[object]], delimiter: str = "\t") -> Path:
    """Write rows as a table, without quotes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(delimiter.join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as a manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def common_voice(folder: Path) -> Path:
    """A release of Portuguese, its columns as in release 17 and later."""
    columns = (
        *("client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age"),
        *("gender", "accents", "variant", "locale", "segment"),
    )

    def row(speaker: str, number: int, accent: str, variant: str = "") -> list[object]:
        clip = f"common_voice_pt_{number}.mp3"
        write_tone(folder / "pt" / "clips" / clip, 200 + 10 * number)
        return [speaker, clip, f"s{number}", SAID[number], "", 2, 0, "", "", accent, variant, "pt", ""]

    accents = ["Português de Portugal", "", "Carioca", "Paulista, vive em Lisboa", "Angola"]
    rows = [row(f"speaker{number}", number, accent) for number, accent in enumerate(accents)]
    rows.append(row("speaker0", 5, "", "Portuguese (Portugal)"))
    for name, part in (("train", rows[:3]), ("dev", rows[3:4]), ("test", rows[4:5]), ("validated", rows)):
        write_table(folder / "pt" / f"{name}.tsv", [columns, *part])
    clips = [("clip", "duration[ms]"), *((row[1], 2000) for row in rows)]
    write_table(folder / "pt" / "clip_durations.tsv", clips)
    return folder


def voxpopuli(folder: Path) -> Path:
    """The transcribed part of one language, clips by year as its tool cuts them, one by split as on the Hub."""
    columns = ("id", "raw_text", "normalized_text", "speaker_id", "split", "gender")
    names = ["20180613-0900-PLENARY-1-pt_1", "20180613-0900-PLENARY-1-pt_2", "20190115-0900-PLENARY-7-pt_9"]
    texts = [(SAID[0], SAID[0].lower()), ("", "está frio hoje de manhã"), (SAID[3], SAID[3].lower())]
    for split, name, (raw, normal) in zip(("train", "dev", "test"), names, texts, strict=True):
        row = [name, raw, normal, "None" if split == "test" else "124702", split, "female"]
        write_table(folder / f"asr_{split}.tsv", [columns, row])
        clip = folder / name[:4] / f"{name}.ogg"
        write_tone(
            folder / "test" / "test_part_0" / f"{name}.wav" if split == "test" else clip, 200 + len(raw)
        )
    return folder


def mls(folder: Path) -> Path:
    """Portuguese audiobooks, flac and opus, with lengths and readers."""
    names = {
        "train": ["123_456_000001", "123_456_000002", "77_88_000000"],
        "dev": ["9_10_000003"],
        "test": ["5_6_000001"],
    }
    number = 0
    for split, ids in names.items():
        rows, segments = [], []
        for name in ids:
            speaker, book, _ = name.split("_")
            suffix = ".opus" if split == "dev" else ".flac"
            write_tone(folder / split / "audio" / speaker / book / f"{name}{suffix}", 200 + 10 * number)
            rows.append((name, SAID[number].lower()))
            segments.append((name, "https://archive.example/book.mp3", 10.0, 12.0))
            number += 1
        write_table(folder / split / "transcripts.txt", rows)
        write_table(folder / split / "segments.txt", segments)
    readers = [("  SPEAKER   ", "GENDER", "PARTITION", "MINUTES", "BOOK ID", "TITLE", "CHAPTER")]
    readers += [("  123   ", " F ", " train ", " 1.0 ", " 456 ", " Os Maias ", " I ")]
    write_table(folder / "metainfo.txt", readers, "|")
    return folder


def fleurs(folder: Path, locale: str = "pt_br") -> Path:
    """One locale, tables without a header; the quotation mark is one that a parser of CSV would stumble over."""
    number = 0
    for split, count in (("train", 2), ("dev", 1), ("test", 1)):
        rows = []
        for _ in range(count):
            raw = f'Diz-se "{SAID[number]}' if number == 0 else SAID[number]
            write_tone(folder / locale / "audio" / split / f"{1000 + number}.wav", 200 + 10 * number)
            rows.append((number, f"{1000 + number}.wav", raw, raw.lower(), "d i z |", 32_000, "FEMALE"))
            number += 1
        write_table(folder / locale / f"{split}.tsv", rows)
    return folder
