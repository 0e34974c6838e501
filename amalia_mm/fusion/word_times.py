"""When each written word is said: the text, in the form that CTC knows, aligned with what CTC heard.

A head over letters gives the finer times, the encoder's own or one beside the projector (ctc_head.py); one over the
decoder's tokens does where there is none. The written words keep their capitals and signs: each is followed by the
words it is said with, none or several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from amalia_mm.audio.alignment import Alignment, align
from amalia_mm.audio.geometry import LengthStage, centre_samples
from amalia_mm.audio.vad import Segment
from amalia_mm.fusion.projectors import CtcPosterior, own_vocabulary
from amalia_mm.fusion.responder import Responder, Written
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.letters import ALPHABET, NUM_LETTERS, OTHER
from amalia_mm.text.tokenizer import SPACE
from amalia_mm.transcript import Word, WordSource
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds

_LEAD_FRAMES: dict[WordSource, float] = {"letters": 1.0, "tokens": 0.5}
"""CTC writes a class once it has heard it. Measured on synthetic words, whose times are known: with this the beginning
of a word is off by 18 ms (letters) and 23 ms (tokens) in the median, without it by 60 and 35; ends need none. A head
beside the projector, whose frames are as long, is taken to be as late."""


@dataclass(frozen=True)
class TimedWritten(Written):
    """A text with its words, whose times count from the beginning of what was heard."""

    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Said:
    """A written word, and the words of the spoken form it is said with; none for a sign by itself."""

    written: str
    spoken: tuple[str, ...]


@dataclass(frozen=True)
class _Heard:
    """What a CTC head makes of a clip: log p (f*s c), the blank last, its slots s in a frame, and what a frame is."""

    log_probs: Tensor
    slots: int
    stages: tuple[LengthStage, ...]


@dataclass(frozen=True)
class _Targets:
    """Classes of a CTC head, and which written word each belongs to; None for the space between two."""

    classes: tuple[int, ...]
    owners: tuple[int | None, ...]


def said_words(text: str, spoken_form: Callable[[str], str]) -> list[Said]:
    """Return the written words of a text with what is said of each; a sign by itself goes with the word before it.

    Where a text begins with such a sign, it goes with the word after.
    """
    found: list[Said] = []
    unsaid: list[str] = []
    for written in text.split():
        spoken = tuple(spoken_form(written).split())
        if spoken:
            found.append(Said(" ".join([*unsaid, written]), spoken))
            unsaid = []
        elif found:
            found[-1] = Said(f"{found[-1].written} {written}", found[-1].spoken)
        else:
            unsaid.append(written)
    return [*found, *([Said(" ".join(unsaid), ())] if unsaid else [])]


@dataclass(frozen=True)
class _Place:
    """When a word is said, and how surely."""

    start_s: float
    end_s: float
    confidence: float | None


class WordTimes:
    """Finds when words are said.

    Args:
        responder: The model with its tokenizer; it has ears.
        spoken_form: What CTC was taught to write for a text.
        read_out: What a word of the spoken form may be said as instead: a number in words.
    """

    def __init__(
        self, responder: Responder, spoken_form: Callable[[str], str], read_out: Callable[[str], str]
    ) -> None:
        self._responder = responder
        self._model = responder.model
        self._classes = CtcClasses(responder.tokenizer, own_vocabulary(self._model.projector))
        self._spoken_form = spoken_form
        self._read_out = read_out

    @property
    def source(self) -> WordSource | None:
        """What the times are from; None where the model has no CTC head."""
        head = self._model.ctc_head
        if self._has_own_letters or (head is not None and head.config.units == "letters"):
            return "letters"
        return "tokens" if head is not None or isinstance(self._model.projector, CtcPosterior) else None

    @property
    def _has_own_letters(self) -> bool:
        return self._model.encoder is not None and self._model.encoder.num_letters == NUM_LETTERS

    def place(
        self, waveforms: Sequence[Tensor], texts: Sequence[str], speech: Sequence[Segment]
    ) -> list[tuple[Word, ...]]:
        """Return the words of each text with their times in its waveform; none where the model gives no times.

        Words that CTC cannot have heard, because there are more of them than frames, share the time of the speech by
        their lengths, and have no confidence.

        Args:
            waveforms: (n) each.
            texts: What was written of each.
            speech: From where to where somebody speaks in each.
        """
        if self.source is None:
            return [()] * len(texts)
        return [
            self._words(heard, said_words(text, self._spoken_form), own)
            for heard, text, own in zip(self._hear(waveforms), texts, speech, strict=True)
        ]

    @cached_property
    def _entries(self) -> list[str]:
        return self._classes.entries("use a model that reads letters")

    @torch.no_grad()
    def _hear(self, waveforms: Sequence[Tensor]) -> list[_Heard]:
        encoder, projector, head = self._model.encoder, self._model.projector, self._model.ctc_head
        assert encoder is not None and projector is not None
        frames, num_frames, letters = encoder.hear_letters(*self._responder.pad_waveforms(waveforms))
        stages = encoder.stages
        if self._has_own_letters and letters is not None:
            log_probs = letters.float().log_softmax(dim=-1)
        elif isinstance(projector, CtcPosterior) and self.source == "tokens":
            log_probs = projector.log_probs(frames, self._classes)
        else:
            assert head is not None
            if head.config.reads == "projector":
                frames = projector(frames, num_frames, self._model.decoder.embed_expected)
                num_frames = projector.num_audio_tokens(num_frames)
            stages = head.stages(encoder, projector)
            log_probs = head.log_probs(frames, self._classes)
        slots = log_probs.shape[1] // frames.shape[1]
        return [
            _Heard(row[: slots * length], slots, stages)
            for row, length in zip(log_probs.cpu(), num_frames.tolist(), strict=True)
        ]

    def _words(self, heard: _Heard, said: list[Said], speech: Segment) -> tuple[Word, ...]:
        as_written = [each.spoken for each in said]
        read = [tuple(part for word in each for part in self._read_out(word).split()) for each in as_written]
        found: list[tuple[Alignment, _Targets]] = []
        for words in [as_written] if read == as_written else [as_written, read]:
            targets = self._targets(words)
            alignment = None if targets is None else align(heard.log_probs, targets.classes)
            if alignment is not None and targets is not None:
                found.append((alignment, targets))
        placed: list[_Place | None] = [None] * len(said)
        if found:
            alignment, targets = max(found, key=lambda one: one[0].log_p)
            placed = self._places(alignment, targets, heard, len(said))
        return tuple(
            Word(each.written, place.start_s, max(place.end_s, place.start_s), place.confidence)
            for each, place in zip(said, _filled(said, placed, speech), strict=True)
        )

    def _targets(self, words: Sequence[Sequence[str]]) -> _Targets | None:
        """Return the targets of written words, given what each is said with; None where they cannot be told apart."""
        owners_of_spoken = [owner for owner, spoken in enumerate(words) for _ in spoken]
        spoken = [word for each in words for word in each]
        if self.source == "letters":
            letters, owners = [], []
            for word, owner in zip(spoken, owners_of_spoken, strict=True):
                if letters:
                    letters.append(ALPHABET.index(" "))
                    owners.append(None)
                places = [ALPHABET.find(letter) for letter in word]
                letters += [OTHER if place < 0 else place for place in places]
                owners += [owner] * len(places)
            return _Targets(tuple(letters), tuple(owners))
        ids = self._classes.encode(" ".join(spoken))
        begins = [place > 0 and self._entries[token].startswith(SPACE) for place, token in enumerate(ids)]
        if not ids or sum(begins) + 1 != len(spoken):
            return None
        number, owners = 0, []
        for is_first in begins:
            number += is_first
            owners.append(owners_of_spoken[number])
        return _Targets(tuple(ids), tuple(owners))

    def _places(
        self, alignment: Alignment, targets: _Targets, heard: _Heard, num_words: int
    ) -> list[_Place | None]:
        """Return where each written word is; None where it has no target."""
        assert self.source is not None
        slots = heard.slots
        lead = _LEAD_FRAMES[self.source] * slots
        places: list[_Place | None] = [None] * num_words
        spans = list(zip(alignment.spans, targets.owners, strict=True))
        earliest = 0.0
        for owner in range(num_words):
            own = [place for place, (_, of) in enumerate(spans) if of == owner]
            if not own:
                continue
            first, last = spans[own[0]][0], spans[own[-1]][0]
            if own[0] > 0:
                before, of = spans[own[0] - 1]
                earliest = float(before.start_frame if of is None else before.end_frame)
            start = max(first.start_frame - lead, earliest)
            confidence = sum(spans[place][0].confidence for place in own) / len(own)
            start_s, end_s = (
                _seconds(heard.stages, border / slots) for border in (start, float(last.end_frame))
            )
            places[owner] = _Place(start_s, end_s, confidence)
        return places


def _seconds(stages: tuple[LengthStage, ...], border: float) -> float:
    """Return the time of the border before a frame, counted from 0: half a step before the frame's centre."""
    return max(centre_samples(stages, border - 0.5), 0.0) / SAMPLE_RATE_HZ


def _filled(said: Sequence[Said], places: Sequence[_Place | None], speech: Segment) -> list[_Place]:
    """Return a place for every word: those without one share the time between their neighbours, by their letters."""
    filled: list[_Place] = []
    for number, place in enumerate(places):
        if place is not None:
            filled.append(place)
            continue
        after = next((other for other in places[number:] if other is not None), None)
        last = next((n for n in range(number, len(places)) if places[n] is not None), len(places))
        start = filled[-1].end_s if filled else samples_to_seconds(speech.start_samples)
        end = samples_to_seconds(speech.end_samples) if after is None else after.start_s
        letters = [len(each.written) for each in said[number:last]]
        end = max(end, start)
        filled.append(_Place(start, start + (end - start) * letters[0] / sum(letters), None))
    return filled
