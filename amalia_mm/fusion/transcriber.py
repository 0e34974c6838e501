"""Transcripts on which decoder and CTC agree: every word is weighed by both as it is written.

The decoder knows what is likely to be said, CTC what was heard; a small decoder left alone writes a likely sentence
in place of the one it heard. The search goes over the decoder's tokens and adds CTC's log-likelihoods of the text so
far ("one-pass decoding", Watanabe et al. 2017, IV-C). CTC's own text is a candidate too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from amalia_mm.batch import Turn
from amalia_mm.fusion.ctc_judge import ClassIndex, CtcJudge
from amalia_mm.fusion.projectors import CtcPosterior, own_vocabulary
from amalia_mm.fusion.responder import Responder, Written
from amalia_mm.text.beam import Hypothesis
from amalia_mm.text.chat import PROMPTS
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.sampling import Sampling

_ASKED = (Turn("user", PROMPTS["transcribe"], has_audio=True),)


@dataclass(frozen=True)
class _Candidate:
    """A text with its log-likelihood under decoder and CTC together, in nats."""

    written: Written
    log_likelihood: float


class Transcriber:
    """Writes down what is said in waveforms.

    Args:
        responder: The model with its tokenizer; it has ears.
        spoken_form: What CTC was taught to write for a text.
    """

    def __init__(self, responder: Responder, spoken_form: Callable[[str], str]) -> None:
        self._responder = responder
        self._spoken_form = spoken_form
        self._model = responder.model
        self.classes = CtcClasses(responder.tokenizer, own_vocabulary(self._model.projector))
        """What CTC writes, where the model has a CTC head."""

    @cached_property
    def _index(self) -> ClassIndex:
        return ClassIndex(self.classes)

    @property
    def has_ctc(self) -> bool:
        """Whether the model also writes frame by frame, without its decoder."""
        return isinstance(self._model.projector, CtcPosterior)

    def write(self, waveforms: list[Tensor], limits: list[int], num_beams: int) -> list[Written]:
        """Return the text of each waveform.

        Args:
            waveforms: (n) each.
            limits: The most tokens of each text.
            num_beams: Texts that are kept in mind; with 1, or without a CTC head, the decoder writes alone. Its
                cache holds as many rows for each waveform.
        """
        if num_beams == 1 or not self.has_ctc:
            return self._responder.write([_ASKED] * len(waveforms), waveforms, [*map(Sampling, limits)])
        log_probs = self.ctc_log_probs(waveforms)
        judge = CtcJudge(log_probs, self._index, self._spoken_form)
        prompts = self._responder.prompts([_ASKED] * len(waveforms), waveforms)
        found = self._responder.search(prompts, limits, num_beams, num_wanted=1, judge=judge)
        own = [_as_sentences(self.collapse(each)) for each in log_probs]
        likely = [self._responder.log_likelihood_after(prompts, texts) for texts in zip(*own, strict=True)]
        candidates = [
            [
                _Candidate(Written(text), score + judge.whole(row, text))
                for text, score in zip(texts, scores, strict=True)
            ]
            for row, (texts, scores) in enumerate(zip(own, zip(*likely, strict=True), strict=True))
        ]
        return [
            _best([*map(self._candidate, hypotheses), *others])
            for hypotheses, others in zip(found, candidates, strict=True)
        ]

    @torch.no_grad()
    def ctc_log_probs(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Return log p of every class in every frame of each waveform, (f v+1) on the CPU, blank last.

        Raises:
            ValueError: The model has no CTC head.
        """
        projector = self._model.projector
        if not isinstance(projector, CtcPosterior):
            raise ValueError(f"{type(projector).__name__} has no CTC head")
        heard = self._model.hear(*self._responder.pad_waveforms(waveforms))
        log_probs = projector.log_probs(heard.features, self.classes).cpu()
        return [row[:length] for row, length in zip(log_probs, heard.num_frames.tolist(), strict=True)]

    def collapse(self, log_probs: Tensor) -> str:
        """Return the text of frames (f v+1): the best of each frame, repeats merged, blanks removed."""
        blank = log_probs.shape[-1] - 1
        best = log_probs.argmax(dim=-1).unique_consecutive().tolist()
        return self.classes.decode([each for each in best if each != blank])

    def _candidate(self, one: Hypothesis) -> _Candidate:
        return _Candidate(self._responder.written(one.ids, one.is_cut), one.log_likelihood)


def _best(candidates: list[_Candidate]) -> Written:
    """Return the likeliest; what was cut is judged by its beginning alone, and comes after all that is possible."""
    possible = [one for one in candidates if not one.written.is_cut and one.log_likelihood > float("-inf")]
    return max(possible or candidates, key=lambda one: one.log_likelihood).written


def _as_sentences(text: str) -> tuple[str, str]:
    """Return a spoken form as it is written, as far as that is known without reading it: told, and asked."""
    text = text.strip()
    opened = f"{text[:1].upper()}{text[1:]}"
    return (f"{opened}.", f"{opened}?") if text else ("", "")
