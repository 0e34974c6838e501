"""Speech written down while it is spoken: what is sure so far only grows, and each turn ends with its whole text.

An encoder that hears in blocks gives its frames once and for all, so CTC's text of them only grows. Any other model
hears the turn again at intervals, and what two hearings in a row agree on is taken for sure ("local agreement":
Liu et al. 2020, 3.2). At the end of a turn decoder and CTC write it together; where that takes back a word that was
shown as sure, it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from amalia_mm.assistant import NUM_BEAMS, Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.streaming import StreamingEncoder
from amalia_mm.audio.turns import TurnEvent, Turns
from amalia_mm.audio.vad import quietest
from amalia_mm.fusion.pieces import MIN_SPEECH_MS, SPEECH_THRESHOLD
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.portuguese.normalise import words
from amalia_mm.units import samples_to_seconds, seconds_to_samples

Mode = Literal["blocks", "again"]
"""Whether frames are heard block by block, or the turn is heard again at intervals."""
_INCOMPLETE = "\ufffd"


@dataclass(frozen=True)
class Event:
    """What is known of a turn now; times in seconds of the whole."""

    kind: Literal["partial", "final"]
    turn: int
    text: str
    """Of a partial what is sure so far, as CTC writes it: it only grows. Of a final all of it, as it is written."""
    tentative: str
    """What may follow, and may change; "" at the end."""
    start_s: float
    """Where the first sound of the turn begins."""
    end_s: float
    """Where its last sound ends; of a partial, up to where it was heard."""
    is_revised: bool = False
    """Of a final: whether it takes back words that were shown as sure."""


class Live:
    """Hears one stream of sound.

    Args:
        assistant: The model.
        pause_s: The silence that ends a turn.
        interval_s: How often a turn is heard again by a model that does not hear in blocks.
        num_beams: As `Assistant.transcribe`, for the text of whole turns; None: CTC alone.
    """

    def __init__(
        self,
        assistant: Assistant,
        *,
        pause_s: float = 0.6,
        interval_s: float = 0.5,
        num_beams: int | None = NUM_BEAMS,
    ) -> None:
        self._assistant = assistant
        self._num_beams = num_beams
        self._turns = Turns(pause_s, SPEECH_THRESHOLD, MIN_SPEECH_MS / 1000)
        self._interval = seconds_to_samples(interval_s)
        self._held = torch.empty(0)
        self._held_start = 0
        self._num_turns = 0
        self._turn: _Turn | None = None

    @property
    def mode(self) -> Mode:
        """How this model follows what is said."""
        encoder, projector = self._assistant.model.encoder, self._assistant.model.projector
        in_blocks = isinstance(encoder, ConvTransformer) and encoder.block_frames is not None
        return "blocks" if in_blocks and isinstance(projector, CtcPosterior) else "again"

    def push(self, samples: Tensor) -> list[Event]:
        """Return what the next samples (n) float32 at 16 kHz tell."""
        self._held = torch.cat([self._held, samples.float().cpu()])
        found: list[Event] = []
        for event in self._turns.push(samples):
            found += self._turned(event)
        found += self._follow()
        self._forget()
        return found

    def flush(self) -> list[Event]:
        """Return the end of what was being said when the sound ended."""
        found: list[Event] = []
        for event in self._turns.flush():
            found += self._turned(event)
        return found

    @property
    def _now(self) -> int:
        return self._held_start + len(self._held)

    def _sound(self, start: int, end: int) -> Tensor:
        return self._held[start - self._held_start : end - self._held_start]

    def _turned(self, event: TurnEvent) -> list[Event]:
        if event.kind == "end":
            return self._end(event.at_samples, event.sound_samples)
        self._begin(event.at_samples, event.sound_samples)
        return []

    def _begin(self, at: int, sound: int) -> None:
        stream = self._stream() if self.mode == "blocks" else None
        self._turn = _Turn(self._num_turns, at, sound, stream)
        self._num_turns += 1

    def _stream(self) -> StreamingEncoder:
        encoder = self._assistant.model.encoder
        assert isinstance(encoder, ConvTransformer)
        return StreamingEncoder(encoder)

    def _follow(self) -> list[Event]:
        """Hear what came of the turn, and show what is new in it; a turn too long for the model goes on as another."""
        found: list[Event] = []
        longest = self._assistant.chunk_samples
        while self._turn is not None and self._now - self._turn.start > longest:
            sound = self._sound(self._turn.start, self._turn.start + longest)
            end = self._turn.start + quietest(sound, longest // 2, longest)
            found += self._end(end, end)
            self._begin(end, end)
        turn = self._turn
        if turn is None:
            return found
        if turn.stream is not None:
            shown = self._by_block(turn)
        elif self._now - turn.heard_to >= self._interval:
            shown = self._again(turn)
        else:
            return found
        if shown:
            start_s, end_s = samples_to_seconds(turn.said_from), samples_to_seconds(turn.heard_to)
            sure = " ".join(turn.sure)
            found.append(Event("partial", turn.number, sure, " ".join(turn.tentative), start_s, end_s))
        return found

    @torch.no_grad()
    def _by_block(self, turn: _Turn) -> bool:
        """Hear the blocks that are whole; return whether there are new words."""
        assert turn.stream is not None
        frames = turn.stream.push(self._sound(turn.heard_to, self._now))
        turn.heard_to = self._now
        if not len(frames):
            return False
        projector = self._assistant.model.projector
        assert isinstance(projector, CtcPosterior)
        turn.logits.append(projector.ctc_logits(frames[None])[0].float().cpu())
        text = self._assistant.ctc_text(torch.cat(turn.logits)).partition(_INCOMPLETE)[0]
        *whole, last = text.split() or [""]
        before = turn.sure, turn.tentative
        # The last word may still grow; what comes before a space does not change any more.
        turn.sure, turn.tentative = tuple(whole), (last,) if last else ()
        return (turn.sure, turn.tentative) != before

    def _again(self, turn: _Turn) -> bool:
        """Hear the turn from its beginning; return whether there is something new."""
        sound = self._sound(turn.start, self._now)
        turn.heard_to = self._now
        if len(sound) < self._assistant.min_samples:
            return False
        text = (
            self._assistant.transcribe_ctc([sound], vad=False)[0]
            if self._assistant.has_ctc
            else self._write(sound)
        )
        heard, before = tuple(text.split()), (turn.sure, turn.tentative)
        agreed = _agreed(turn.last, heard)
        turn.last = heard
        if agreed[: len(turn.sure)] == turn.sure:
            turn.sure = agreed
        turn.tentative = heard[len(turn.sure) :]
        return (turn.sure, turn.tentative) != before

    def _end(self, at: int, said_to: int) -> list[Event]:
        turn, self._turn = self._turn, None
        assert turn is not None
        # A turn that was cut for its length may begin after the last sound.
        at = max(at, turn.start)
        sound = self._sound(turn.start, at)
        text = self._write(sound) if len(sound) >= self._assistant.min_samples else ""
        shown, written = words(" ".join(turn.sure)), words(text)
        is_revised = written[: len(shown)] != shown
        if not text and not is_revised:
            return []
        start_s, end_s = samples_to_seconds(turn.said_from), samples_to_seconds(max(said_to, turn.said_from))
        return [Event("final", turn.number, text, "", start_s, end_s, is_revised)]

    def _write(self, sound: Tensor) -> str:
        if self._num_beams is None:
            return self._assistant.transcribe_ctc([sound], vad=False)[0]
        return self._assistant.transcribe([sound], vad=False, num_beams=self._num_beams)[0]

    def _forget(self) -> None:
        """Give up what no turn can need any more."""
        start = self._turns.may_begin_at if self._turn is None else self._turn.start
        dropped = max(start - self._held_start, 0)
        self._held = self._held[dropped:].clone()
        self._held_start += dropped


class _Turn:
    """A turn that is being said."""

    def __init__(self, number: int, start: int, said_from: int, stream: StreamingEncoder | None) -> None:
        self.number = number
        self.start = start
        self.said_from = said_from
        self.stream = stream
        self.heard_to = start
        self.logits: list[Tensor] = []
        self.last: tuple[str, ...] = ()
        self.sure: tuple[str, ...] = ()
        self.tentative: tuple[str, ...] = ()


def _agreed(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """Return the words that both begin with."""
    agreed: list[str] = []
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        agreed.append(first)
    return tuple(agreed)
