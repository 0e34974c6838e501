"""Training steps of the 100M decoder beside transformers' Llama, and what packed rows cost.

Both sides take the precision that this machine computes fast in (`train/precision.py`): bf16 autocast where the
processor has units for it, else float32; the row says which. Both have torch's fused AdamW.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from decoder_sizes import MEDIUM_100M, llama_like
from paired import best_of, paired
from torch import Tensor
from torch.optim import AdamW

from amalia_mm.batch import IGNORE, Example, TextBatch, Turn
from amalia_mm.data.collate import Item, collate_text
from amalia_mm.data.packing import pack_rows
from amalia_mm.text.chat import render
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.losses import token_nll
from amalia_mm.train.precision import native_precision
from amalia_mm.variety import Variety

pytestmark = pytest.mark.benchmark

PRECISION = "bf16 autocast" if native_precision() == "bf16-mixed" else "float32 (no bf16 units)"
ROW_TOKENS, ROWS = 512, 8


def _precision() -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if native_precision() == "bf16-mixed" else nullcontext()


class _Ours:
    def __init__(self, config: DecoderConfig) -> None:
        self.decoder = Decoder(config)
        self._optimizer = AdamW(self.decoder.parameters(), lr=1e-4, fused=True)

    def step(self, batch: TextBatch) -> None:
        with _precision():
            hidden = self.decoder.hidden(batch.ids, documents=batch.documents, positions=batch.positions)
            loss = self.decoder.at_output(hidden, lambda h, weight: token_nll(h, weight, batch.labels))
        (loss.sum / loss.count).backward()
        self._optimizer.step()
        self._optimizer.zero_grad()


class _Theirs:
    def __init__(self, decoder: Decoder) -> None:
        self._llama = llama_like(decoder).train()
        self._optimizer = AdamW(self._llama.parameters(), lr=1e-4, fused=True)

    def step(self, ids: Tensor, attention_mask: Tensor | None, labels: Tensor) -> None:
        with _precision():
            self._llama(input_ids=ids, attention_mask=attention_mask, labels=labels).loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()


def _full_rows() -> TextBatch:
    ids = torch.randint(4, MEDIUM_100M.vocab_size, (ROWS, ROW_TOKENS + 1))
    positions = torch.arange(ROW_TOKENS).expand(ROWS, -1)
    return TextBatch(
        ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), torch.ones_like(positions), positions.clone()
    )


def test_a_step_of_full_rows(bench) -> None:
    torch.manual_seed(0)
    batch = _full_rows()
    ours = _Ours(MEDIUM_100M)
    theirs = _Theirs(ours.decoder)
    times = paired(lambda: ours.step(batch), lambda: theirs.step(batch.ids, None, batch.ids))
    num_tokens = batch.ids.numel()
    bench.row(
        "train_100m",
        f"training step, 100M, {ROWS} rows of {ROW_TOKENS}, {PRECISION}, beside transformers' Llama and torch's AdamW",
        ours=num_tokens / times.ours_median_s,
        peer=num_tokens / times.peer_median_s,
        unit="tokens/s",
        ratio=times.ratio,
        op=">=",
        must=1.2,
    )


def conversations(folder: Path) -> list[tuple[Turn, ...]]:
    """Return the real conversations: requests to a support desk and to a voice assistant, with their answers."""
    found = []
    for name in ("lusosupport/lusosupport_pt_lite.jsonl", "ha_intents/pt-PT_utterances.jsonl"):
        for line in (folder / "text" / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            request = f"{row['instruction']}\n{row['input']}" if "instruction" in row else row["text"]
            answer = row["output"] if "output" in row else row.get("response")
            if answer:
                found.append((Turn("user", request), Turn("assistant", str(answer))))
    return found


def _items(folder: Path) -> list[Item]:
    turns = conversations(folder)
    tokenizer = Tokenizer.train([turn.text for each in turns for turn in each], 2000)
    random.Random(0).shuffle(turns)
    return [
        Item(Example("c", "chat", Variety.PT_PT, "", "real", turns=each), render(each, tokenizer))
        for each in turns
    ]


def _packed(items: list[Item]) -> list[TextBatch]:
    row_of = pack_rows(np.array([item.stop_token for item in items]), ROW_TOKENS)
    rows = [[items[i] for i in np.flatnonzero(row_of == row)] for row in range(int(row_of.max()) + 1)]
    return [collate_text(rows[first : first + ROWS]) for first in range(0, len(rows), ROWS)]


def _padded(items: list[Item], batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Give batches as transformers' Trainer makes them: in random order, each padded to its longest row."""
    for first in range(0, len(items), batch_size):
        batch = collate_text([[item] for item in items[first : first + batch_size]])
        is_real = batch.documents > 0
        yield batch.ids, is_real.long(), torch.where(is_real, batch.ids, IGNORE)


def test_useful_tokens_of_real_conversations(bench, shared_data: Path) -> None:
    torch.manual_seed(0)
    items = _items(shared_data)
    taken: list[Item] = []
    while sum(item.stop_token for item in taken) < ROWS * ROW_TOKENS * 0.97:
        taken.append(items.pop())
    num_useful = sum(item.stop_token for item in taken)
    packed = _packed(taken)
    ours = _Ours(MEDIUM_100M)
    theirs = _Theirs(ours.decoder)

    def run_ours() -> None:
        for batch in packed:
            ours.step(batch)

    def padded(batch_size: int) -> Callable[[], None]:
        def run() -> None:
            for batch in _padded(taken, batch_size):
                theirs.step(*batch)

        return run

    ways = {str(size): padded(size) for size in (1, 4, 8, 16)}
    best = best_of(ways, num_rounds=1)
    times = paired(run_ours, ways[best], num_pairs=3, num_warmups=0)
    bench.row(
        "train_real_lengths",
        f"useful tokens of {len(taken)} real conversations in packed rows, 100M, {PRECISION}, beside transformers "
        f"with dynamic padding at its best batch, {best}",
        ours=num_useful / times.ours_median_s,
        peer=num_useful / times.peer_median_s,
        unit="tokens/s",
        ratio=times.ratio,
        op=">=",
        must=2.0,
    )


def test_a_packed_row_costs_what_its_documents_cost(bench) -> None:
    torch.manual_seed(0)
    decoder = Decoder(MEDIUM_100M)
    ids = torch.randint(4, MEDIUM_100M.vocab_size, (16, 256))
    numbers = torch.arange(1, 17).repeat_interleave(256)[None]

    def run(ids: Tensor, documents: Tensor | None) -> None:
        with _precision():
            decoder.hidden(ids, documents=documents).square().mean().backward()

    times = paired(lambda: run(ids.view(1, -1), numbers), lambda: run(ids, None), num_pairs=3, num_warmups=1)
    bench.row(
        "packed_cost",
        f"forward and backward, 100M without its output layer, {PRECISION}: 16 documents of 256 in one row over 16",
        ours=times.ours_median_s,
        peer=times.peer_median_s,
        unit="s",
        ratio=1 / times.ratio,
        op="<=",
        must=1.25,
    )
