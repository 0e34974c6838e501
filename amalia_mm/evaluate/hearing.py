"""How well ears hear real voices: character and word errors by test set, and words out of a closed vocabulary.

Recordings in, `report.json` out, every rate with a confidence interval. It knows manifests and suites; ears are in
`ears.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from amalia_mm.audio.channels import load_scene
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.errors import InputError
from amalia_mm.evaluate.ears import Ears
from amalia_mm.evaluate.items import SpokenItem, read_recordings
from amalia_mm.evaluate.metrics import character_errors, word_errors
from amalia_mm.evaluate.suites.words import rank
from amalia_mm.fusion.ctc_beam import search
from amalia_mm.portuguese.normalise import NORMALISER, spoken_form
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.ngram import END, Ngrams

REPORT = "hearing.json"
NUM_RESAMPLES = 1000
_LEVEL = 0.95

_RATES = {
    "cer": "CER",
    "wer": "WER",
    "cer_text": "CER com modelo de texto",
    "wer_text": "WER com modelo de texto",
}
_PLACES = {
    "top1": "em 1.º",
    "top5": "nos 5 primeiros",
    "top1_plain": "em 1.º, sem bónus",
    "top5_plain": "nos 5 primeiros, sem bónus",
}

Write = Callable[[Tensor], str]


@dataclass(frozen=True)
class TextModel:
    """A model of the text of shards, beside CTC; chosen on what is watched, never on what is tested."""

    shards: Sequence[Path]
    weight: float = 0.5
    bonus: float = 0.5
    """For each token, against the short texts that a model of text likes."""
    order: int = 6

    def ngrams(self, classes: CtcClasses) -> Ngrams:
        """Return the n-grams of the different texts that the shards say."""
        texts: set[str] = set()
        for folder in self.shards:
            index = ShardIndex.load(folder)
            records = (read_record(index, number, with_audio=False)[0] for number in range(len(index)))
            texts |= {spoken_form(record.text) for record in records if record.text}
        return Ngrams(map(classes.encode, sorted(texts)), self.order, classes.blank)


def evaluate_hearing(
    model: Path | str,
    output: Path,
    *,
    spoken: Sequence[Path] = (),
    vocabularies: Sequence[Path] = (),
    split: str = "test",
    text: TextModel | None = None,
    token_bonus: float = 0.0,
) -> dict[str, Any]:
    """Return the figures of a model's ears on manifests of recordings; write them to `output/hearing.json`.

    Args:
        model: A model folder or stage with an encoder and a CTC head.
        output: Where to write.
        spoken: Manifests whose clips are written down: errors in characters and words.
        vocabularies: Manifests whose clips are told apart: each clip is one of all that the manifest says.
        split: Of a row with a `split`, the one that is measured; a row without one always is.
        text: Written down with it as well, under `cer_text` and `wer_text`.
        token_bonus: What the texts of a vocabulary get for each of their tokens, in nats; the places without it are
            reported as well, under `top1_plain` and `top5_plain`.

    Raises:
        InputError: The model has no ears, or a manifest or clip cannot be read.
    """
    ears = Ears.load(model)
    figures: dict[str, Any] = {"model": str(ears.folder), "normaliser": NORMALISER, "split": split}
    figures["token_bonus"] = token_bonus
    if text is not None:
        figures["text"] = {**asdict(text), "shards": [str(folder) for folder in text.shards]}
    write = None if text is None else _writer(ears, text)
    figures["spoken"] = [_written_down(ears, path, split, write) for path in spoken]
    figures["vocabularies"] = [_told_apart(ears, path, split, token_bonus) for path in vocabularies]
    output.mkdir(parents=True, exist_ok=True)
    (output / REPORT).write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return figures


def lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures for a terminal, one test a line."""
    told: list[str] = []
    for each in figures["spoken"]:
        for name, label in _RATES.items():
            if name not in each:
                continue
            told.append(f"{each['manifest']}\t{label} {_shown(each[name])}\t{each['clips']} clipes")
    for each in figures["vocabularies"]:
        for name, label in _PLACES.items():
            counted = f"{each['clips']} clipes, {each['words']} palavras"
            told.append(f"{each['manifest']}\t{label} {_shown(each[name])}\t{counted}")
    return told


def _shown(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    text = f"{100 * figure['rate']:.1f}\u202f% ({100 * low:.1f} a {100 * high:.1f})"
    return text.replace(".", ",")


def _writer(ears: Ears, text: TextModel) -> Write:
    """Return what writes the frames (f v+1) of a clip with the help of a model of text."""
    ngrams = text.ngrams(ears.classes)

    def write(log_probs: Tensor) -> str:
        ids = search(log_probs, ngrams.log_prob, END, weight=text.weight, bonus=text.bonus)
        return ears.classes.decode(ids)

    return write


def _heard(ears: Ears, manifest: Path, split: str) -> tuple[list[SpokenItem], list[Tensor]]:
    """Return the rows of a manifest, and the frames (f v+1) of each."""
    items = read_recordings(manifest, split)
    clips = [load_scene(item.audio) for item in items]
    for item, clip in zip(items, clips, strict=True):
        try:
            ears.geometry.num_audio_tokens(len(clip))
        except ValueError as error:
            wanted, remedy = "a clip that the encoder can hear", "cut it at pauses, or leave it out"
            raise InputError(item.audio, field="audio", found=error, wanted=wanted, remedy=remedy) from error
    return items, ears.log_probs(clips)


def _written_down(ears: Ears, manifest: Path, split: str, write: Write | None) -> dict[str, Any]:
    items, log_probs = _heard(ears, manifest, split)
    said = [item.text for item in items]
    rows = [{"id": item.id, "said": item.text} for item in items]
    figures: dict[str, Any] = {"manifest": str(manifest), "clips": len(items)}
    writers = {"": ears.text} if write is None else {"": ears.text, "_text": write}
    for name, writer in writers.items():
        written = [writer(each) for each in log_probs]
        pairs = list(zip(said, written, strict=True))
        for rate, errors in (("cer", character_errors), ("wer", word_errors)):
            counts = [errors([one], [other]) for one, other in pairs]
            figures[rate + name] = _ratio([(count.num_errors, count.num_reference) for count in counts])
        for row, text in zip(rows, written, strict=True):
            row[f"written{name}"] = text
    return {**figures, "rows": rows}


def _told_apart(ears: Ears, manifest: Path, split: str, token_bonus: float) -> dict[str, Any]:
    items, log_probs = _heard(ears, manifest, split)
    said = [spoken_form(item.text) for item in items]
    ranked = rank(log_probs, said, ears.classes.encode, token_bonus)
    figures: dict[str, Any] = {"manifest": str(manifest), "clips": len(items), "words": len(set(said))}
    plain = rank(log_probs, said, ears.classes.encode) if token_bonus else ranked
    for name, found in (("", ranked), ("_plain", plain)):
        for places in (1, 5):
            figures[f"top{places}{name}"] = _ratio([(int(row.place <= places), 1) for row in found.rows])
    rows = [
        {"id": item.id, "said": row.said, "first": row.first, "place": row.place}
        for item, row in zip(items, ranked.rows, strict=True)
    ]
    return {**figures, "rows": rows}


def _ratio(counts: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the rate of (part, whole) over all clips with its interval, and both sums."""
    part, whole = (sum(column) for column in zip(*counts, strict=True))
    low, high = interval(counts)
    return {"rate": part / whole, "interval": [low, high], "part": part, "whole": whole}


def interval(counts: Sequence[tuple[int, int]], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % confidence interval of sum(part) / sum(whole) when clips are drawn anew (Efron 1979)."""
    rng = random.Random(seed)
    rates: list[float] = []
    for _ in range(NUM_RESAMPLES):
        drawn = rng.choices(counts, k=len(counts))
        rates.append(sum(part for part, _ in drawn) / max(1, sum(whole for _, whole in drawn)))
    rates.sort()
    tail = round((1 - _LEVEL) / 2 * NUM_RESAMPLES)
    return rates[tail], rates[-tail - 1]
