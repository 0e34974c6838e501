"""Transcripts on which decoder and CTC agree: the decoder's likeliest texts, and CTC's own, scored by both.

The decoder knows what is likely to be said, CTC what was heard; a small decoder left alone writes a likely sentence
in place of the one it heard. The scores are joined over whole texts ("rescoring", Watanabe et al. 2017, IV-C), since
the two write different tokens: CTC the spoken form, the decoder the written one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from amalia_mm.batch import Turn
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.fusion.responder import Responder, Written
from amalia_mm.text.chat import PROMPTS
from amalia_mm.text.generate import Sampling

_ASKED = (Turn("user", PROMPTS["transcribe"], has_audio=True),)


@dataclass(frozen=True)
class _Candidate:
    """A text with its log-likelihood under the decoder, in nats."""

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
        self._tokenizer = responder.tokenizer
        self._model = responder.model

    @property
    def has_ctc(self) -> bool:
        """Whether the model also writes frame by frame, without its decoder."""
        return isinstance(self._model.projector, CtcPosterior)

    def write(self, waveforms: list[Tensor], limits: list[int], num_beams: int) -> list[Written]:
        """Return the text of each waveform.

        Args:
            waveforms: (n) each.
            limits: The most tokens of each text.
            num_beams: Texts of the decoder to choose among; with 1, or without a CTC head, it writes alone. The
                decoder's cache holds as many rows for each waveform.
        """
        if num_beams == 1 or not self.has_ctc:
            return self._responder.write([_ASKED] * len(waveforms), waveforms, limits, Sampling())
        log_probs = self.ctc_log_probs(waveforms)
        own = [_as_sentences(self.collapse(each)) for each in log_probs]
        found = self._candidates(waveforms, limits, num_beams, own)
        return [self._best(*each) for each in zip(found, log_probs, strict=True)]

    @torch.no_grad()
    def ctc_log_probs(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Return log p of every token in every frame of each waveform, (f v+1) on the CPU, blank last.

        Raises:
            ValueError: The model has no CTC head.
        """
        projector = self._model.projector
        if not isinstance(projector, CtcPosterior):
            raise ValueError(f"{type(projector).__name__} has no CTC head")
        heard = self._model.hear(*self._responder.pad_waveforms(waveforms))
        log_probs = projector.ctc_logits(heard.features).float().log_softmax(dim=-1).cpu()
        return [row[:length] for row, length in zip(log_probs, heard.num_frames.tolist(), strict=True)]

    def collapse(self, log_probs: Tensor) -> str:
        """Return the text of frames (f v+1): the best of each frame, repeats merged, blanks removed."""
        blank = log_probs.shape[-1] - 1
        best = log_probs.argmax(dim=-1).unique_consecutive().tolist()
        return self._tokenizer.decode([token for token in best if token != blank])

    def _candidates(
        self, waveforms: list[Tensor], limits: list[int], num_beams: int, own: list[tuple[str, str]]
    ) -> list[list[_Candidate]]:
        """Return the decoder's texts of each waveform, and CTC's own with what the decoder thinks of them."""
        prompts = self._responder.prompts([_ASKED] * len(waveforms), waveforms)
        found = [
            [
                _Candidate(self._responder.written(one.ids, one.is_cut), one.log_likelihood)
                for one in hypotheses
            ]
            for hypotheses in self._responder.search(prompts, limits, num_beams)
        ]
        for texts in zip(*own, strict=True):
            scores = self._responder.log_likelihood_after(prompts, texts)
            for candidates, text, score in zip(found, texts, scores, strict=True):
                candidates.append(_Candidate(Written(text), score))
        return found

    def _best(self, candidates: list[_Candidate], log_probs: Tensor) -> Written:
        """Return the candidate likeliest under both; where CTC rules all of them out, under the decoder."""
        heard = self._ctc_log_likelihoods([one.written.text for one in candidates], log_probs)
        joint = [one.log_likelihood + ctc for one, ctc in zip(candidates, heard, strict=True)]
        if max(heard) == float("-inf"):
            joint = [one.log_likelihood for one in candidates]
        return candidates[joint.index(max(joint))].written

    def _ctc_log_likelihoods(self, texts: Sequence[str], log_probs: Tensor) -> list[float]:
        """Return log p of each text's spoken form over all its paths through the frames (f v+1), in nats."""
        targets = [
            torch.tensor(self._tokenizer.encode(self._spoken_form(text)), dtype=torch.int64) for text in texts
        ]
        num_frames = len(log_probs)
        losses = F.ctc_loss(
            log_probs[:, None].expand(-1, len(texts), -1),
            pad_sequence(targets, batch_first=True),
            torch.full((len(texts),), num_frames),
            torch.tensor([len(target) for target in targets]),
            blank=log_probs.shape[-1] - 1,
            reduction="none",
        )
        return (-losses).tolist()


def _as_sentences(text: str) -> tuple[str, str]:
    """Return a spoken form as it is written, as far as that is known without reading it: told, and asked."""
    text = text.strip()
    opened = f"{text[:1].upper()}{text[1:]}"
    return (f"{opened}.", f"{opened}?") if text else ("", "")
