"""Rows that join and leave a running batch: add requests, call `step` until nothing runs.

One engine is one model and one place for rows to be in. It has no threads and never waits: who serves many users calls
`step` in a loop of their own. It knows nothing of text: `stopping.py` and `TextStream` turn ids into it.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import Decoder
from amalia_mm.text.fused import FusedDecoder, Piece
from amalia_mm.text.sampling import Chooser, Sampling, choose
from amalia_mm.text.slots import Prefix, Slots


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt to be gone on with."""

    inputs: Tensor | Sequence[int]
    """(t) int64 ids or (t d) embeddings, at least one; what comes after the prefix."""
    sampling: Sampling
    """Repetition penalties know the prompt where it is ids."""
    stop_ids: Collection[int] = ()
    prefix: Prefix | None = None
    """What `Engine.remember` returned for the beginning of the prompt."""
    with_log_probs: bool = False


@dataclass(frozen=True)
class Event:
    """What a step brought to one row."""

    handle: int
    token: int | None
    """None where the row chose one of its stop ids."""
    log_prob: float | None
    """Of what was chosen, under the model itself: before penalties, temperature and cuts; None unless asked for."""
    end: Literal["stop", "length"] | None
    """Whether this is the row's last event, and why."""


@dataclass(eq=False)
class _Row:
    handle: int
    request: Request
    inputs: Tensor
    """The request's, as they were when it was added."""
    chooser: Chooser
    num_left: int
    last: int = -1


class Engine:
    """Continues up to `num_slots` prompts at once; others wait for a slot.

    A row gets the tokens it would get alone, whatever runs beside it and whenever it joined, up to the rounding of
    float32: on a processor with up to 16 rows in every type, elsewhere where the decoder is in float32. In fewer bits
    a GPU's products of many rows are rounded otherwise than those of one, and a draw may fall otherwise.

    Args:
        decoder: Its weights are used where they are, not copied: see `FusedDecoder`. Dropout never acts.
        num_slots: How many rows run at once.
        max_length: The most positions of a row, prefix, prompt and new tokens; None: all that the decoder has. Memory
            for num_slots x max_length positions is allocated at once.
        max_read: Prompts of so many tokens together are read in one step, a longer one alone: while they are read the
            running rows wait.
        int8: Compute the layers with weights of 8 bits, which torchao makes (Dettmers et al. 2022, arXiv 2208.07339,
            section 2); what it costs in quality is in tests/text/test_int8.py.
        num_tokens: Entries of the tokenizer: rows of a padded vocabulary beyond them say nothing and are never chosen.
            None: all are chosen from.
    """

    def __init__(
        self,
        decoder: Decoder,
        num_slots: int = 1,
        max_length: int | None = None,
        max_read: int = 4096,
        int8: bool = False,
        num_tokens: int | None = None,
    ) -> None:
        for name, value in (("num_slots", num_slots), ("max_length", max_length), ("num_tokens", num_tokens)):
            if value is not None and value < 1:
                raise InputError("engine", field=name, found=value, wanted="at least 1", remedy="raise it")
        self._decoder = FusedDecoder(decoder, int8)
        self._config = decoder.config
        self._max_read = max_read
        self._num_tokens = num_tokens
        self._max_length = min(max_length or decoder.config.max_positions, decoder.config.max_positions)
        self._slots = Slots(
            num_slots, self._max_length, self._config, self._decoder.dtype, self._decoder.device
        )
        self._rows: list[_Row] = []
        """The running rows; the slot of each is its place here."""
        self._waiting: deque[_Row] = deque()
        self._num_added = 0

    @property
    def num_running(self) -> int:
        """How many rows have a slot."""
        return len(self._rows)

    @property
    def num_waiting(self) -> int:
        """How many rows have none yet."""
        return len(self._waiting)

    def add(self, request: Request) -> int:
        """Return a handle for a prompt that joins at the next step, or when a slot is free.

        Raises:
            InputError: Prompt and new tokens together exceed the decoder's positions, or those of a slot.
            ValueError: An empty prompt, ids and embeddings of another shape, ids that the decoder does not have, or
                a prefix that another engine has read.
        """
        inputs = self._inputs(request.inputs)
        if request.prefix is not None and request.prefix.engine() is not self:
            raise ValueError("a prefix of another engine: let this one remember it")
        num_read = len(inputs) + (0 if request.prefix is None else request.prefix.length)
        self._check(num_read, request.sampling.max_new_tokens)
        seen: list[int] = [] if request.prefix is None else [*request.prefix.ids]
        if request.sampling.repetition_penalty != 1.0 and not inputs.is_floating_point():
            seen += inputs.tolist()
        chooser = Chooser(request.sampling, seen, self._config.vocab_size)
        handle, self._num_added = self._num_added, self._num_added + 1
        self._waiting.append(_Row(handle, request, inputs, chooser, request.sampling.max_new_tokens))
        return handle

    def cancel(self, handle: int) -> None:
        """End a row without an event and free its slot; one that has ended already is left alone."""
        for waiting in self._waiting:
            if waiting.handle == handle:
                self._waiting.remove(waiting)
                return
        for slot, row in enumerate(self._rows):
            if row.handle == handle:
                self._leave(slot)
                return

    def remember(self, inputs: Tensor | Sequence[int]) -> Prefix:
        """Return a beginning, read once, for any number of requests of this engine.

        With `dynamic` rope_scaling it keeps the rotations of its own length, whatever follows.

        Args:
            inputs: (t) int64 ids or (t d) embeddings, such as a system prompt or an audio.

        Raises:
            InputError: It leaves no room for a prompt.
            ValueError: As `add`.
        """
        inputs = self._inputs(inputs)
        self._check(len(inputs), 1)
        slots = Slots(1, len(inputs), self._config, self._decoder.dtype, self._decoder.device)
        slots.open(None)
        self._decoder.read([Piece(0, inputs)], slots)
        ids = () if inputs.is_floating_point() else tuple(inputs.tolist())
        return Prefix(tuple(stored[0] for stored in slots.layers), len(inputs), ids, weakref.ref(self))

    def step(self) -> list[Event]:
        """Return one event for each running row, the ones that just joined included; empty when nothing runs."""
        logits: list[Tensor] = []
        if self._rows:
            logits.append(self._decoder.step([row.last for row in self._rows], self._slots))
        joining = self._join()
        if joining:
            logits.append(self._decoder.read(joining, self._slots))
        if not logits:
            return []
        return self._choose(torch.cat(logits) if len(logits) > 1 else logits[0])

    def _join(self) -> list[Piece]:
        """Give slots to rows that wait; return what must be read of them."""
        pieces: list[Piece] = []
        num_read = 0
        while self._waiting and len(self._rows) < self._slots.num_slots:
            inputs = self._waiting[0].inputs
            num_read += len(inputs)
            if pieces and num_read > self._max_read:
                break
            row = self._waiting.popleft()
            slot = self._slots.open(row.request.prefix)
            self._rows.append(row)
            pieces.append(Piece(slot, inputs))
        return pieces

    @torch.inference_mode()
    def _choose(self, logits: Tensor) -> list[Event]:
        tokens = choose(logits[:, : self._num_tokens], [row.chooser for row in self._rows])
        log_probs: list[float | None] = [None] * len(tokens)
        asked = [slot for slot, row in enumerate(self._rows) if row.request.with_log_probs]
        if asked:
            chosen = torch.tensor([tokens[slot] for slot in asked], device=logits.device)
            likely = logits[asked].log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0]
            for slot, value in zip(asked, likely.tolist(), strict=True):
                log_probs[slot] = value
        events: list[Event] = []
        for row, token, log_prob in zip(self._rows, tokens, log_probs, strict=True):
            row.last, row.num_left = token, row.num_left - 1
            is_stop = token in row.request.stop_ids
            end = "stop" if is_stop else "length" if row.num_left == 0 else None
            events.append(Event(row.handle, None if is_stop else token, log_prob, end))
        # From the last slot down: whoever moves into a slot that gets free has been looked at already.
        for slot in range(len(events) - 1, -1, -1):
            if events[slot].end is not None:
                self._leave(slot)
        return events

    def _leave(self, slot: int) -> None:
        self._slots.close(slot)
        last = self._rows.pop()
        if slot < len(self._rows):
            self._rows[slot] = last

    def _inputs(self, inputs: Tensor | Sequence[int]) -> Tensor:
        """Return a prompt or its beginning, checked here: in a step, a wrong one would end the rows beside it."""
        inputs = torch.as_tensor(inputs)
        width, rows = self._config.hidden_size, self._config.vocab_size
        is_right = inputs.ndim == 1
        if inputs.is_floating_point():
            is_right = inputs.ndim == 2 and inputs.shape[1] == width
        if not is_right or len(inputs) == 0:
            raise ValueError(
                f"a prompt of shape {tuple(inputs.shape)}: wanted (t) ids or (t {width}) embeddings"
            )
        if not inputs.is_floating_point() and not 0 <= int(inputs.min()) <= int(inputs.max()) < rows:
            raise ValueError(
                f"ids from {int(inputs.min())} to {int(inputs.max())} for a decoder with {rows} embeddings"
            )
        return inputs

    def _check(self, num_read: int, max_new_tokens: int) -> None:
        limit = self._config.max_positions
        name, remedy = "max_position_embeddings", "shorten the prompt or lower max_new_tokens"
        if self._max_length < limit:
            limit, name, remedy = (
                self._max_length,
                "max_length of the engine",
                f"{remedy}, or raise max_length",
            )
        if num_read + max_new_tokens > limit:
            raise InputError(
                "prompt",
                found=f"{num_read} tokens and {max_new_tokens} to generate",
                wanted=f"at most {limit} together ({name})",
                remedy=remedy,
            )
