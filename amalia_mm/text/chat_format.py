"""What a checkpoint's chat template adds to plain ChatML, found out by rendering it.

The templates of EuroLLM's family are ChatML with small differences: with or without `<s>`, a system turn of their own
where the conversation has none, contents trimmed. `chat.py` renders those; a template that does anything else is
refused, because a model would read other tokens than those it was trained with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.errors import InputError

if TYPE_CHECKING:
    from amalia_mm.batch import Turn  # which loads torch, and tokenizers are needed without

BOS, IM_START, IM_END = "<s>", "<|im_start|>", "<|im_end|>"

TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""What `chat.render` writes, as a Jinja template for tokenizers that come without one."""

_SYSTEM, _ASKED, _SAID = "Fala  português.", " Quanto é\n2 + 2?\n", "\n4.  "
"""Contents with spaces and lines at their ends, where templates differ."""
_PROBES = (
    (("user", _ASKED),),
    (("system", _SYSTEM), ("user", _ASKED)),
    (("user", _ASKED), ("assistant", _SAID)),
    (("system", _SYSTEM), ("user", _ASKED), ("assistant", _SAID), ("user", "E 3?")),
    (("user", "Olá."), ("assistant", "Bom dia."), ("user", "E 3?"), ("assistant", "9.")),
)


@dataclass(frozen=True)
class ChatFormat:
    """The differences from plain ChatML."""

    has_bos: bool = True
    """Whether a conversation begins with `<s>`."""
    system: str | None = None
    """The content of the system turn put before a conversation that has none; None: no such turn."""
    trims: bool = False
    """Whether spaces and line breaks at both ends of a content are left out."""

    def complete(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns that are written: with the system turn, and trimmed where the template does so."""
        from amalia_mm.batch import Turn

        whole = list(turns)
        if self.system is not None and (not turns or turns[0].role != "system"):
            whole = [Turn("system", self.system), *whole]
        if self.trims:
            whole = [Turn(turn.role, turn.text.strip(), turn.has_audio) for turn in whole]
        return whole

    def text(self, turns: Sequence[Turn], open_turn: bool, bos: str = BOS) -> str:
        """Return a conversation without audio as one string, specials spelt out."""
        blocks = [f"{IM_START}{turn.role}\n{turn.text}{IM_END}\n" for turn in self.complete(turns)]
        end = f"{IM_START}assistant\n" if open_turn else ""
        return (bos if self.has_bos else "") + "".join(blocks) + end


def read_chat_format(template: str, where: Path, bos: str, eos: str) -> ChatFormat:
    """Return how a Jinja chat template differs from plain ChatML.

    Args:
        template: The template's text.
        where: The file it stands in.
        bos: What `bos_token` stands for in it.
        eos: What `eos_token` stands for in it.

    Raises:
        InputError: The template cannot be rendered, or writes something that `ChatFormat` cannot say.
    """

    from amalia_mm.batch import Turn

    probes = [[Turn(role, text) for role, text in probe] for probe in _PROBES]  # pyright: ignore[reportArgumentType]

    def render(turns: Sequence[Turn], open_turn: bool) -> str:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        try:
            texts, _ = render_jinja_template(
                conversations=[messages],  # pyright: ignore[reportArgumentType]
                chat_template=template,
                add_generation_prompt=open_turn,
                bos_token=bos,
                eos_token=eos,
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise _refused(
                where, f"{type(error).__name__}: {error}", "a template that can be rendered"
            ) from error
        return texts[0]

    first = render(probes[0], False)
    has_bos = bool(bos) and first.startswith(bos)
    system = re.match(r"<\|im_start\|>system\n(.*?)<\|im_end\|>\n", first.removeprefix(bos), re.DOTALL)
    trims = f"{IM_START}user\n{_ASKED.strip()}{IM_END}" in first
    chat_format = ChatFormat(has_bos, system.group(1) if system else None, trims)
    for turns in probes:
        for open_turn in (False, True):
            theirs, ours = render(turns, open_turn), chat_format.text(turns, open_turn, bos)
            if theirs != ours:
                start = max(0, _first_difference(theirs, ours) - 20)
                found, wanted = repr(theirs[start : start + 60]), repr(ours[start : start + 60])
                raise _refused(where, f"a template that writes {found}", f"ChatML, {wanted}")
    return chat_format


def _first_difference(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _refused(where: Path, found: str, wanted: str) -> InputError:
    remedy = "use a ChatML checkpoint; or remove the template, and conversations are written as plain ChatML"
    return InputError(where, field="chat_template", found=found, wanted=wanted, remedy=remedy)
