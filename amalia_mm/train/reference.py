"""What a reference thinks of pairs of preference: computed once, kept beside the shards, looked up by record id.

The sidecar of a folder is keyed by the hash of shards, tokenizer, template, precision and of the reference's weights:
another reference gets another file, and a stale one is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amalia_mm.data.index import ShardIndex
from amalia_mm.data.schema import VERSION_OF_PAIRS
from amalia_mm.errors import InputError
from amalia_mm.text.chat import TEMPLATE
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.preference_loss import TextScores

Scored = tuple[str, float, float]
"""Record id, log p of the chosen and of the rejected side."""


def reference_path(index: ShardIndex, tokenizer: Tokenizer, weights_sha256: str, precision: str) -> Path:
    """Return where the sidecar of these pairs and this reference lies."""
    parts = [index.fingerprint, tokenizer.fingerprint, TEMPLATE, VERSION_OF_PAIRS, weights_sha256, precision]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return index.folder / f"reference-{key[:20]}.npz"


def write_reference(path: Path, scored: Mapping[str, tuple[float, float]]) -> None:
    """Write a sidecar; a reader sees all of it or nothing. `InputError` where there is no room for it."""
    ids = sorted(scored)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                ids=np.array(ids, dtype=np.str_),
                log_probs=np.array([scored[i] for i in ids]).reshape(-1, 2),
            )
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        remedy = "free some space, or copy the shards to a folder that can be written"
        raise InputError(path, found=error.strerror, wanted="room for the sidecar", remedy=remedy) from error


@dataclass
class Reference:
    """Log-probabilities of both sides of pairs, by record id."""

    log_probs: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Add a sidecar.

        Raises:
            InputError: It is damaged, or has an id that another folder has with other values.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                ids, values = content["ids"], content["log_probs"]
            if values.shape != (len(ids), 2) or not np.isfinite(values).all():
                raise ValueError(f"log-probabilities of shape {values.shape} for {len(ids)} pairs")
        except Exception as error:  # numpy and zipfile raise half a dozen kinds for a file that is cut
            remedy = "delete it: the next run computes it again"
            raise InputError(
                path, found=error, wanted="what the reference thinks of pairs", remedy=remedy
            ) from error
        for identity, value in zip(ids.tolist(), map(tuple, values.tolist()), strict=True):
            if self.log_probs.setdefault(identity, value) != value:
                wanted, remedy = "an id of its own for each pair", "give the pairs of one folder other ids"
                raise InputError(
                    path, field="id", found=f"{identity}, as in another folder", wanted=wanted, remedy=remedy
                )

    def of(self, record_ids: tuple[str, ...], documents: Tensor) -> Tensor:
        """Return (b s) float32 log-probabilities of the documents of rows of pairs, 0 where a row has fewer.

        Raises:
            InputError: A pair is not among those that the reference has read.
        """
        num_documents = documents.amax(1).tolist() if record_ids else [0] * len(documents)
        found = torch.zeros(len(documents), max(int(documents.max()), 1))
        place = 0
        for row, num in enumerate(num_documents):
            for pair in range(num // 2):
                found[row, 2 * pair : 2 * pair + 2] = torch.tensor(self._one(record_ids[place]))
                place += 1
        return found.to(documents.device)

    def _one(self, record_id: str) -> tuple[float, float]:
        if record_id not in self.log_probs:
            wanted, remedy = "a pair that the reference has read", "delete the reference-*.npz of its folder"
            raise InputError("reference", field="id", found=record_id, wanted=wanted, remedy=remedy)
        return self.log_probs[record_id]


def scored_pairs(record_ids: tuple[str, ...], documents: Tensor, scores: TextScores) -> Iterator[Scored]:
    """Yield each pair of a batch with the log-probabilities of its two sides; of a batch without loss, none."""
    ids = iter(record_ids)
    values, num_tokens = scores.log_probs.double().tolist(), scores.num_tokens.tolist()
    for row, num in enumerate(documents.amax(1).tolist() if record_ids else []):
        for first in range(0, num - 1, 2):
            identity = next(ids)
            if num_tokens[row][first] > 0:
                yield identity, values[row][first], values[row][first + 1]
