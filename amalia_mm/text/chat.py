"""Turns to token ids: ChatML, the mask of what is learned, and runs of placeholders where audio goes.

The one place that knows the template. It is told how many tokens each clip takes; it never computes that.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import Tokenizer

TEMPLATE = "chatml-1"
"""Changes whenever the ids of the same turns change; part of the key of stored token counts."""

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "transcribe": (
            "Transcreve.",
            "Escreve o que ouves.",
            "Transcreve o que é dito.",
            "Passa isto a texto.",
        ),
        "answer": ("",),
        "translate_en": ("Traduz para inglês.", "Diz isto em inglês.", "Como se diz isto em inglês?"),
        "translate_pt": (
            "Traduz para português europeu.",
            "Diz isto em português de Portugal.",
            "Como se diz isto em português?",
        ),
        "summarise": ("Resume.", "Resume o que é dito.", "Do que se fala aqui, em poucas palavras?"),
        "continue": ("Continua.", "Continua o que é dito.", "Escreve o que vem a seguir."),
    }
)
"""Ways of asking for each task, put after the audio in the user's turn; the first one is what a task is asked by."""

PROMPTS: Mapping[str, str] = MappingProxyType(
    {task: INSTRUCTIONS[task][0] for task in ("transcribe", "answer")}
)
"""The instruction of tasks whose records do not hold it; part of the key of stored token counts."""


@dataclass(frozen=True)
class Rendered:
    """Token ids and two masks of the same length."""

    ids: list[int] = field(default_factory=list)
    has_loss: list[bool] = field(default_factory=list)
    """True where `ids[i]` is to be predicted: an assistant's words and the token that ends its turn."""
    is_audio: list[bool] = field(default_factory=list)
    """True on audio placeholders."""

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, ids: Sequence[int], *, has_loss: bool = False, is_audio: bool = False) -> None:
        self.ids.extend(ids)
        self.has_loss.extend([has_loss] * len(ids))
        self.is_audio.extend([is_audio] * len(ids))


def instruction(task: str, chosen_by: str | None = None) -> str:
    """Return what a task is asked by; with `chosen_by`, such as a seed and an id, one of several ways of asking.

    Raises:
        InputError: There is no such task.
    """
    if task not in INSTRUCTIONS:
        remedy = "choose one of them, or give an instruction of your own"
        raise InputError("task", found=repr(task), wanted=", ".join(INSTRUCTIONS), remedy=remedy)
    ways = INSTRUCTIONS[task]
    return ways[0] if chosen_by is None else random.Random(f"{task} {chosen_by}").choice(ways)


def read_in_place(turns: Sequence[Turn], heard: str) -> tuple[Turn, ...]:
    """Return a conversation as it is without ears: what is heard stands written, on a line before what is asked."""
    return tuple(
        Turn(turn.role, "\n".join(part for part in (heard, turn.text) if part)) if turn.has_audio else turn
        for turn in turns
    )


def render(turns: Sequence[Turn], tokenizer: Tokenizer, num_audio_tokens: Sequence[int] = ()) -> Rendered:
    """Return a whole conversation in ChatML, with loss on the assistant's turns.

    `<s><|im_start|>role\\ncontent<|im_end|>\\n...`; the audio of a turn stands before its text, as one run of
    `tokenizer.audio_id`. A tokenizer of a checkpoint may have a `chat_format` without `<s>`, or with a system turn
    for conversations that have none; the ids are those of transformers' `apply_chat_template`.

    Args:
        turns: At least one.
        tokenizer: Any.
        num_audio_tokens: The length of each run, one for each turn with audio, in order.

    Raises:
        ValueError: Other than one count for each turn with audio, or a count below 1.
    """
    rendered = Rendered()
    if tokenizer.chat_format.has_bos:
        rendered._add([tokenizer.bos_id])
    for turn, num_tokens in _with_counts(turns, tokenizer, num_audio_tokens):
        has_loss = turn.role == "assistant"
        given, said = _parts(turn, num_tokens > 0, tokenizer)
        rendered._add([tokenizer.im_start_id, *given])
        rendered._add([tokenizer.audio_id] * num_tokens, is_audio=True)
        rendered._add(said, has_loss=has_loss)
        rendered._add([tokenizer.im_end_id], has_loss=has_loss)
        rendered._add(tokenizer.newline_ids)
    return rendered


def render_prompt(
    turns: Sequence[Turn], tokenizer: Tokenizer, num_audio_tokens: Sequence[int] = ()
) -> Rendered:
    """Return the conversation as `render` does, with the assistant's next turn open for generation."""
    rendered = render(turns, tokenizer, num_audio_tokens)
    rendered._add([tokenizer.im_start_id, *_opening("assistant", tokenizer)])
    return rendered


def render_document(text: str, tokenizer: Tokenizer) -> Rendered:
    """Return a plain document between bos and eos, with loss on everything after bos."""
    rendered = Rendered()
    rendered._add([tokenizer.bos_id])
    rendered._add(tokenizer.encode(text), has_loss=True)
    rendered._add([tokenizer.eos_id], has_loss=True)
    return rendered


def _opening(role: str, tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode_recurring(f"{role}\n")


def _parts(turn: Turn, has_audio: bool, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids of a turn's role and of its content.

    Without audio between them both are one text, as in the template's one string: a tokenizer may have tokens
    across line breaks. Such a token counts as said, because what a model is given ends with the line break.
    """
    opening = _opening(turn.role, tokenizer)
    if has_audio:
        return opening, tokenizer.encode_recurring(turn.text)
    ids = tokenizer.encode_inside(f"{turn.role}\n{turn.text}")
    pairs = zip(ids, opening, strict=False)
    num_given = next((place for place, (a, b) in enumerate(pairs) if a != b), len(opening))
    return ids[:num_given], ids[num_given:]


def _with_counts(
    turns: Sequence[Turn], tokenizer: Tokenizer, num_audio_tokens: Sequence[int]
) -> Iterator[tuple[Turn, int]]:
    """Yield each turn that is written with the length of its audio run, 0 without audio."""
    num_clips = sum(turn.has_audio for turn in turns)
    if not turns:
        raise ValueError("0 turns to render; at least 1 is needed")
    if num_clips != len(num_audio_tokens):
        raise ValueError(f"{num_clips} turns with audio, but {len(num_audio_tokens)} counts of audio tokens")
    counts = iter(num_audio_tokens)
    for turn in tokenizer.chat_format.complete(turns):
        num_tokens = next(counts) if turn.has_audio else 0
        if turn.has_audio and num_tokens < 1:
            raise ValueError(f"an audio clip of {num_tokens} tokens; at least 1 is needed")
        yield turn, num_tokens
