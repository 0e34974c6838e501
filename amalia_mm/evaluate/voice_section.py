"""The part of a run's report about its voice, as HTML; it computes no figure of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import StrictUndefined

from amalia_mm.evaluate.own_voice_players import OwnVoiceTable
from amalia_mm.evaluate.round_trip import OWN_SPEECH, REFERENCE, SAID
from amalia_mm.evaluate.targets import written
from amalia_mm.evaluate.voice import MeasuredVoice
from amalia_mm.evaluate.voice_shown import ShownSentence

_SPEECH = {SAID: "do modelo", REFERENCE: "de referência"}
_IN_TURNS = "do modelo, várias vozes"
_GROUPS = {"seen_template": "em moldes conhecidos", "heldout_template": "em moldes novos"}
_VOCODERS = {"Vocos": "o da corrida, treinado", "GriffinLim": "Griffin-Lim, que não se treina"}


def render_voice(
    voice: MeasuredVoice | None, shown: Sequence[ShownSentence], own: Sequence[OwnVoiceTable]
) -> str:
    """Return the section of a report, empty where there is nothing to tell.

    Args:
        voice: The figures; None where the run does not speak.
        shown: Sentences to hear and see.
        own: Clips of own voices, a table for each list of them.
    """
    if voice is None and not own:
        return ""
    templates = Templates(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("amalia_mm.evaluate").joinpath("voice_section.html.jinja").read_text(encoding="utf-8")
    about: dict[str, Any] = {"voice": None}
    if voice is not None:
        name, heard = voice.round_trip["vocoder"], voice.round_trip.get(OWN_SPEECH)
        about = {
            "voice": voice,
            "vocoder": _VOCODERS.get(name, name),
            "rows": [
                *_rows(_SPEECH[SAID], voice.round_trip[SAID]),
                *(_rows(_IN_TURNS, voice.in_turns[SAID]) if voice.in_turns else ()),
                *_rows(_SPEECH[REFERENCE], voice.round_trip[REFERENCE]),
            ],
            "own_speech": None if heard is None else written(heard["dnsmos"]["ovr"], "points"),
            "first_audio": written(voice.first_audio_s, "milliseconds"),
            "real_time": written(voice.real_time, "ratio"),
        }
    return templates.from_string(source).render(**about, shown=shown, own=own)


def _rows(kind: str, figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    opinion = figures.get("dnsmos")
    groups = {name: row for name, row in figures.items() if name != "dnsmos"}
    return [
        {
            "kind": kind,
            "group": _GROUPS.get(group, group),
            "sentences": row["sentences"],
            "words": row["words"],
            "wer": _share(row["word_errors"], row["words"]),
            "cer": _share(row["character_errors"], row["characters"]),
            "dnsmos": "–" if opinion is None or number else written(opinion["ovr"], "points"),
        }
        for number, (group, row) in enumerate(groups.items())
    ]


def _share(errors: int, total: int) -> str:
    return written(errors / total if total else None, "share")
