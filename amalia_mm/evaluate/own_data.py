"""What a run was told of the user's own text and recordings: how much was taken, and why the rest was not.

Read from `corpus.json` and `speech.json`, which the corpus stages leave; in Portuguese, for the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amalia_mm.errors import InputError

_PARTS = {"train": "treino", "val": "validação", "test": "teste"}
_REASONS = {
    "no text (null)": "sem texto (null)",
    "an empty text": "texto vazio",
    "a conversation in which nobody answers": "conversa em que ninguém responde",
    "a piece of a longer document": "pedaços de documentos mais longos",
    "held out: said in a test recording": "postos de parte porque uma gravação de teste os diz",
    "a longer conversation in parts": "conversas longas, em partes",
    "a question with its answer that is too long": "perguntas com resposta longas de mais, deixadas de fora",
    "text beside a conversation is not read": "texto ao lado de uma conversa, que não se lê",
    "not a file that can be read": "o que não é um ficheiro",
    "repeated": "repetidas",
    "fewer than 2 words": "menos de 2 palavras",
    "more than 15 words": "mais de 15 palavras",
    "digits": "com algarismos",
    "symbols or letters that are not Portuguese": "com símbolos ou letras que não são do português",
}
_PATTERNS = {
    r"(\w+) '(.*)' taken as other": r"\1 «\2» tomada por outra",
    r"a file that is not (.*)": r"ficheiros que não são \1",
}


def own_data_lines(data: Path) -> list[str]:
    """Return sentences about the user's text and recordings; none where a run has only the built-in corpus.

    Raises:
        InputError: A summary is not JSON.
    """
    return [*text_lines(data), *speech_lines(data)]


def text_lines(data: Path) -> list[str]:
    """Return those about the text; as `own_data_lines`."""
    text = _read(data / "corpus.json").get("text", {}).get("own", {})
    if not any(any((text.get(name) or {}).values()) for name in ("documents", "conversations", "notes")):
        return []
    documents, conversations = sum(text["documents"].values()), sum(text["conversations"].values())
    spoken = sum(text["sentences_spoken"].values())
    return [
        f"Texto: {documents} documentos, {conversations} conversas; {spoken} frases ditas por vozes sintéticas"
        + _reasons("; notas", text["notes"])
        + _reasons("; frases que não são ditas", text["sentences_left_out"])
    ]


def speech_lines(data: Path) -> list[str]:
    """Return those about the recordings; as `own_data_lines`."""
    speech = _read(data / "speech.json").get("own", {})
    if not speech.get("recordings"):
        return []
    hours = ", ".join(
        f"{_PARTS.get(part, part)} {value:g} h".replace(".", ",") for part, value in speech["hours"].items()
    )
    lines = [
        f"Gravações: {speech['recordings']} ({hours})"
        + _reasons("; notas", speech["notes"])
        + (f"; {len(speech['bad'])} não puderam ser usadas" if speech["bad"] else "")
    ]
    both = speech.get("speakers_in_training_and_test", [])
    if both:
        lines.append(f"Pessoas ouvidas no treino e no teste: {len(both)}; o WER delas não é de voz nova")
    nameless = speech.get("without_a_speaker", {})
    if all(nameless.get(part) for part in ("train", "test")):
        lines.append(
            f"Gravações de teste sem o nome de quem fala: {nameless['test']}; "
            "não se sabe se essas vozes também foram ouvidas no treino"
        )
    return lines


def _reasons(title: str, counts: Mapping[str, int]) -> str:
    said = ", ".join(f"{_in_portuguese(reason)}: {count}" for reason, count in counts.items() if count)
    return f"{title}: {said}" if said else ""


def _in_portuguese(reason: str) -> str:
    for pattern, says in _PATTERNS.items():
        if found := re.fullmatch(pattern, reason):
            return found.expand(says)
    return _REASONS.get(reason, reason)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(path, found=error, wanted="JSON", remedy="run the corpus stage again") from None
    return found if isinstance(found, dict) else {}
