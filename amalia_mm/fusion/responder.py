"""Conversations in, text out: renders prompts, hears their audio, runs the decoder to the end of its turn.

The engine of `assistant`, which cuts audio into pieces and knows where models live; this file knows neither.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.lora import gate_lora
from amalia_mm.text.beam import Hypothesis, Judge, beam_search
from amalia_mm.text.chat import Rendered, render_document, render_prompt
from amalia_mm.text.engine import Engine, Request
from amalia_mm.text.generate import pad_prompts
from amalia_mm.text.sampling import Sampling
from amalia_mm.text.stopping import StoppedStream
from amalia_mm.text.tokenizer import Tokenizer

MAX_DOCUMENTS = 16
"""Documents scored at once; their logits over the whole vocabulary are the largest thing in memory."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """A turn that was written; `is_cut` when it met its limit before it ended."""

    text: str
    is_cut: bool = False


@dataclass(frozen=True)
class Prompts:
    """Conversations, heard and ready to be gone on with."""

    embeddings: Tensor
    """(b t d), padded on the left."""
    documents: Tensor
    """(b t) int64, 0 on padding and 1 elsewhere."""

    @property
    def lengths(self) -> list[int]:
        """How many tokens each prompt has, padding not counted."""
        return self.documents.sum(dim=1).tolist()


class Responder:
    """Writes the next turn of conversations, and scores documents.

    Args:
        model: In evaluation mode, on its device, its parameters frozen.
        tokenizer: The tokenizer it was trained with.
    """

    def __init__(self, model: SpeechTextModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = next(model.parameters()).device
        self.geometry = model.geometry
        self._stop_ids = tokenizer.stop_ids

    def write(
        self,
        conversations: Sequence[Sequence[Turn]],
        waveforms: list[Tensor],
        rules: Sequence[Sampling],
        stop_strings: Sequence[str] = (),
    ) -> list[Written]:
        """Return each conversation's next turn.

        Args:
            conversations: The turns so far.
            waveforms: (n) each, those of the turns with audio, in order.
            rules: How the tokens of each turn are chosen, and how many at most.
            stop_strings: A turn ends before the first of them.

        Raises:
            InputError: A conversation does not fit the decoder's context, or a stop string is empty.
        """
        engine = self._engine(conversations, waveforms, rules)
        ids: list[list[int]] = [[] for _ in conversations]
        streams = [StoppedStream(self.tokenizer, stop_strings) for _ in conversations] if stop_strings else []
        texts = [""] * len(conversations)
        cut: set[int] = set()
        while events := engine.step():
            for row, event in ((event.handle, event) for event in events):
                new = [] if event.token is None else [event.token]
                ids[row] += new
                if streams:
                    texts[row] += streams[row].push(new)
                    if streams[row].is_stopped:
                        engine.cancel(row)
                        continue
                if event.end == "length":
                    cut.add(row)
        if not streams:
            return [self.written(each, row in cut) for row, each in enumerate(ids)]
        texts = [text + stream.flush() for text, stream in zip(texts, streams, strict=True)]
        return [Written(text.strip(), row in cut) for row, text in enumerate(texts)]

    def stream(
        self,
        turns: Sequence[Turn],
        waveforms: list[Tensor],
        sampling: Sampling,
        stop_strings: Sequence[str] = (),
    ) -> Iterator[str]:
        """Yield the text of the next turn as it is made; arguments and errors as `write`."""
        stream = StoppedStream(self.tokenizer, stop_strings)
        engine = self._engine([turns], waveforms, [sampling.for_row(0)])
        is_cut = False
        while not stream.is_stopped and (events := engine.step()):
            text = stream.push([event.token for event in events if event.token is not None])
            if text:
                yield text
            is_cut = events[-1].end == "length" and not stream.is_stopped
        rest = stream.flush()
        if rest:
            yield rest
        report_cuts(int(is_cut), 1)

    def prompts(self, conversations: Sequence[Sequence[Turn]], waveforms: list[Tensor]) -> Prompts:
        """Return conversations ready for `search` and `log_likelihood_after`; arguments as `write`."""
        return Prompts(*self._embed(self._render(conversations, waveforms), waveforms))

    def search(
        self,
        prompts: Prompts,
        limits: list[int],
        num_beams: int,
        num_wanted: int | None = None,
        judge: Judge | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the likeliest next turns of each prompt, the best first, each within its limit and the context.

        Arguments as `beam_search`.

        Raises:
            InputError: A prompt does not fit the decoder's context.
        """
        rooms = [self._room(length) for length in prompts.lengths]
        return beam_search(
            self.model.decoder,
            prompts.embeddings,
            documents=prompts.documents,
            stop_ids=self._stop_ids,
            num_beams=num_beams,
            limits=[min(limit, room) for limit, room in zip(limits, rooms, strict=True)],
            num_wanted=num_wanted,
            judge=judge,
            num_tokens=self.tokenizer.vocab_size,
        )

    def written(self, ids: Sequence[int], is_cut: bool) -> Written:
        """Return tokens as a turn."""
        return Written(self.tokenizer.decode(list(ids)).strip(), is_cut)

    @torch.no_grad()
    def log_likelihood_after(self, prompts: Prompts, texts: Sequence[str]) -> list[float]:
        """Return log p of one text after each prompt, the end of the turn included, in nats, as `search` counts it.

        A text that does not fit the decoder's context after its prompt has -inf.

        Raises:
            InputError: A prompt does not fit the decoder's context.
        """
        encoded = [self.tokenizer.encode(text) for text in texts]
        fits = [len(ids) < self._room(length) for ids, length in zip(encoded, prompts.lengths, strict=True)]
        kept = [ids if fit else [] for ids, fit in zip(encoded, fits, strict=True)]
        ids = pad_sequence([torch.tensor([*each, 0], device=self.device) for each in kept], batch_first=True)
        num_ids = torch.tensor([len(each) for each in kept], device=self.device)
        places = torch.arange(ids.shape[1], device=self.device)
        is_own, is_end = places < num_ids[:, None], places == num_ids[:, None]
        inputs = torch.cat([prompts.embeddings, self.model.decoder.embed(ids)], dim=1)[:, :-1]
        documents = torch.cat([prompts.documents, is_own.long()], dim=1)[:, :-1]
        hidden = self.model.decoder.hidden(inputs, documents=documents)[:, -ids.shape[1] :]
        log_probs = self.model.decoder.logits(hidden).float().log_softmax(dim=-1)
        written = log_probs.gather(-1, ids[..., None])[..., 0].where(is_own, 0.0)
        ended = log_probs[..., sorted(self._stop_ids)].logsumexp(dim=-1).where(is_end, 0.0)
        sums = (written + ended).sum(dim=1).tolist()
        return [score if fit else float("-inf") for score, fit in zip(sums, fits, strict=True)]

    @torch.no_grad()
    def log_likelihood(self, texts: Sequence[str]) -> list[float]:
        """Return log p of each text as a whole document, its end included, in nats.

        Raises:
            InputError: A text does not fit the decoder's context.
        """
        scores = [0.0] * len(texts)
        documents = [render_document(text, self.tokenizer) for text in texts]
        for rendered in documents:
            self._room(len(rendered.ids) - 1)
        self._open_gate([False])
        order = sorted(range(len(texts)), key=lambda item: len(documents[item].ids))
        for start in range(0, len(order), MAX_DOCUMENTS):
            items = order[start : start + MAX_DOCUMENTS]
            ids, has_loss, numbers = _pad_right([documents[item] for item in items], self.device)
            hidden = self.model.decoder.hidden(ids[:, :-1], documents=numbers[:, :-1])
            log_probs = self.model.decoder.logits(hidden).float().log_softmax(dim=-1)
            chosen = log_probs.gather(-1, rearrange(ids[:, 1:], "b t -> b t 1"))
            sums = (rearrange(chosen, "b t 1 -> b t").double() * has_loss[:, 1:]).sum(dim=1)
            for item, score in zip(items, sums.tolist(), strict=True):
                scores[item] = score
        return scores

    def pad_waveforms(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (k n) float32, right-padded with zeros, and (k) int64, on the model's device."""
        num_samples = torch.tensor([len(waveform) for waveform in waveforms], device=self.device)
        padded = pad_sequence(list(waveforms), batch_first=True)
        return padded.to(self.device), num_samples

    def _room(self, num_tokens: int) -> int:
        """Return how many tokens fit after `num_tokens`; `InputError` where they do not fit themselves."""
        most = self.model.decoder.config.max_positions
        if num_tokens >= most:
            raise InputError(
                "prompt",
                found=f"{num_tokens} tokens",
                wanted=f"fewer than the {most} of max_position_embeddings",
                remedy="shorten the text or use a model with a longer context",
            )
        return most - num_tokens

    def _engine(
        self, conversations: Sequence[Sequence[Turn]], waveforms: list[Tensor], rules: Sequence[Sampling]
    ) -> Engine:
        """Return an engine about to write the next turn of each conversation; the handle of each is its place."""
        prompts = self._render(conversations, waveforms)
        lengths = [len(prompt.ids) for prompt in prompts]
        limits = [
            min(rule.max_new_tokens, self._room(length)) for rule, length in zip(rules, lengths, strict=True)
        ]
        longest = max(length + limit for length, limit in zip(lengths, limits, strict=True))
        engine = Engine(
            self.model.decoder,
            len(prompts),
            longest,
            max_read=sum(lengths),
            num_tokens=self.tokenizer.vocab_size,
        )
        embeddings = self._embed(prompts, waveforms)[0] if waveforms else None
        for row, (prompt, rule, limit) in enumerate(zip(prompts, rules, limits, strict=True)):
            inputs: Tensor | list[int] = prompt.ids
            if embeddings is not None and any(prompt.is_audio):
                inputs = embeddings[row, -lengths[row] :]
            engine.add(Request(inputs, replace(rule, max_new_tokens=limit), self._stop_ids))
        return engine

    def _render(self, conversations: Sequence[Sequence[Turn]], waveforms: list[Tensor]) -> list[Rendered]:
        counts = iter(self._num_audio_tokens(waveforms))
        prompts = [
            render_prompt(turns, self.tokenizer, [next(counts) for turn in turns if turn.has_audio])
            for turns in conversations
        ]
        # Here, since an engine takes the weights as they are when it is made.
        self._open_gate([any(prompt.is_audio) for prompt in prompts])
        return prompts

    @torch.no_grad()
    def _embed(self, prompts: list[Rendered], waveforms: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the prompts as embeddings (b t d), padded on the left, and their document numbers (b t)."""
        ids, documents = (value.to(self.device) for value in pad_prompts([prompt.ids for prompt in prompts]))
        if not waveforms:
            return self.model.decoder.embed(ids), documents
        is_audio = documents.bool()
        is_audio[documents > 0] = torch.tensor(
            [flag for prompt in prompts for flag in prompt.is_audio], device=self.device
        )
        padded, num_samples = self.pad_waveforms(waveforms)
        num_tokens = torch.tensor(self._num_audio_tokens(waveforms), device=self.device)
        embeddings = self.model.embed_prompt(
            ids, is_audio, num_tokens, waveforms=padded, num_samples=num_samples
        )
        return embeddings, documents

    def _open_gate(self, are_heard: Sequence[bool]) -> None:
        """Let low-rank changes that act on what is heard act on these conversations, until others come."""
        gate = are_heard[0] if len(set(are_heard)) == 1 else torch.tensor(are_heard, device=self.device)
        gate_lora(self.model.decoder, gate)

    def _num_audio_tokens(self, waveforms: Sequence[Tensor]) -> list[int]:
        if not waveforms:
            return []
        if self.geometry is None:
            raise ValueError(f"{len(waveforms)} waveforms came to a model without an audio encoder")
        return [self.geometry.num_audio_tokens(len(waveform)) for waveform in waveforms]


def report_cuts(num_cut: int, total: int) -> None:
    """Warn that texts were cut: nothing is shortened in silence."""
    if num_cut:
        _log.warning(
            "%d of %d texts met the limit of their length before they ended, and are cut", num_cut, total
        )


def _pad_right(documents: Sequence[Rendered], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, loss mask and document numbers, (b t) each, right-padded with zeros."""
    ids = pad_sequence([torch.tensor(rendered.ids) for rendered in documents], batch_first=True)
    has_loss = pad_sequence([torch.tensor(rendered.has_loss) for rendered in documents], batch_first=True)
    numbers = pad_sequence(
        [torch.ones(len(rendered.ids), dtype=torch.long) for rendered in documents], batch_first=True
    )
    return ids.to(device), has_loss.to(device), numbers.to(device)
