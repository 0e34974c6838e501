"""Clock times: as they are told ("nove menos um quarto"), and as they are read out when written in digits.

Telling goes by the twelve-hour dial; what is written 16h30 is read "dezasseis e trinta", as at a station.
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.numbers import cardinal, decimal
from amalia_mm.portuguese.reading.rules import Rule, count_of, right_of, word_after, words_before
from amalia_mm.portuguese.tables import words_of

_QUARTER_MINUTES = {15: "um quarto", 30: "meia"}


def clock(hour: int, minute: int = 0) -> str:
    """Return a clock time without its article: "oito e meia", "nove menos um quarto", "meio-dia".

    Hours run from 0 to 23 and are said on the twelve-hour dial; after the half hour one counts back from the
    next hour. Values outside raise `ValueError`.
    """
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise ValueError(f"no clock shows {hour}:{minute}")
    if minute > 30:
        return f"{_hour(hour + 1)} menos {_minutes(60 - minute)}"
    return f"{_hour(hour)} e {_minutes(minute)}" if minute else _hour(hour)


def at_clock(hour: int, minute: int = 0) -> str:
    """Return when something happens: "às oito e meia", "à uma", "ao meio-dia"."""
    return f"{_article(hour, minute, 'à', 'às', 'ao')} {clock(hour, minute)}"


def from_clock(hour: int, minute: int = 0) -> str:
    """Return since when, or which train: "das oito e meia", "da uma", "do meio-dia"."""
    return f"{_article(hour, minute, 'da', 'das', 'do')} {clock(hour, minute)}"


def it_is_clock(hour: int, minute: int = 0) -> str:
    """Return what time it is: "são oito e meia", "é uma", "é meio-dia"."""
    return f"{_article(hour, minute, 'é', 'são', 'é')} {clock(hour, minute)}"


def _hour(hour: int) -> str:
    if hour in (0, 24):
        return "meia-noite"
    return "meio-dia" if hour == 12 else cardinal(hour % 12, feminine=True)


def _minutes(minute: int) -> str:
    return _QUARTER_MINUTES.get(minute) or cardinal(minute)


def _article(hour: int, minute: int, one: str, many: str, noon: str) -> str:
    head = clock(hour, minute).split()[0]
    if head == "meio-dia":
        return noon
    return one if head in ("uma", "meia-noite") else many


_DURATION_BEFORE = words_of(
    "demora demorou demoram demorar durante dura durou duram durar leva levou levam faltam falta há "
    "passaram esperei esperou esperámos cerca duração total"
)


_SPAN_FOLLOWS = re.compile(
    r" de (?!hoje|ontem|amanhã|segunda|terça|quarta|quinta|sexta|sábado|domingo|manhã|tarde|noite|\d)[a-zà-ÿ]"
)
_CLOCK_BEFORE = words_of("à às as da das pelas a até")


def _read_clock(found: re.Match[str]) -> str | None:
    """Return "dezasseis e trinta" for 16h30, "nove horas" for 9h, "duas horas e trinta minutos" for how long."""
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    if hour > 24 or minute > 59:
        return None
    hours = cardinal(hour, feminine=True)
    named = f"{hours} {'hora' if hour == 1 else 'horas'}"
    seconds = found.groupdict().get("second")
    second = f" e {count_of(int(seconds), 'segundo')}" if seconds else ""
    till = " às" if found["till"] else ""
    if minute == 0:
        return f"{named}{second}{till}"
    before = words_before(found, 2)
    is_point = bool(before) and before[-1] in _CLOCK_BEFORE
    is_span = (
        bool(_DURATION_BEFORE & set(before))
        or _SPAN_FOLLOWS.match(right_of(found)) is not None
        or (minute > 0 and re.search(r"\dh?\s?m(?:in)?$", found[0]) is not None and " " in found[0])
    )
    if (is_span and not is_point) or (before[-1:] == ["de"] and word_after(found) == "de"):
        return f"{named} e {count_of(minute, 'minuto')}{second}{till}"
    return f"{named if hour == 0 else hours} e {cardinal(minute)}{second}{till}"


def _read_lap(found: re.Match[str]) -> str:
    """Return the time of a race: "um minuto e quarenta e quatro vírgula zero oitenta e quatro segundos"."""
    said = []
    if found["hours"]:
        said.append(count_of(int(found["hours"]), "hora"))
    said.append(count_of(int(found["minutes"]), "minuto"))
    seconds, parts = found["seconds"], found["parts"]
    whole = f"{cardinal(int(seconds))} vírgula {decimal(parts)}" if parts else cardinal(int(seconds))
    said.append(f"{whole} {'segundo' if not parts and int(seconds) == 1 else 'segundos'}")
    return f"{' '.join(said[:-1])} e {said[-1]}"


def _say_minute(found: re.Match[str]) -> str | None:
    """Return the minute of a game: "aos trinta e oito minutos" for 38'; what else has a stroke stays a number."""
    if not {"aos", "ao", "minuto", "dos"} & set(words_before(found, 1)):
        return None
    return count_of(int(found["minute"]), "minuto")


def _say_strokes(found: re.Match[str]) -> str:
    """Return minutes and seconds written with strokes: 2'30'' and 10''."""
    seconds = count_of(int(found["seconds"]), "segundo")
    return f"{count_of(int(found['minutes']), 'minuto')} e {seconds}" if found["minutes"] else seconds


_ENDS = r"(?![^\W_])"
_TILL = r"(?P<till>\s?[-–—]\s?(?=\d{1,2}(?:[hH]|:\d\d)))?"
RULES = (
    Rule(
        re.compile(r"(?:(?P<minutes>\d{1,3})['’]\s?)?(?P<seconds>[0-5]?\d)(?:['’]{2}|(?<=['’]\d\d)\")(?!\w)"),
        _say_strokes,
    ),
    Rule(re.compile(r"(?P<minute>\d{1,3})['’](?![\w'’])"), _say_minute),
    Rule(
        re.compile(
            r"(?:(?P<hours>\d{1,3})\s?h\s?)?(?P<minutes>\d{1,2})\s?m(?:in)?\s?"
            rf"(?P<seconds>\d{{1,2}})(?:[,.](?P<parts>\d+))?\s?s{_ENDS}"
        ),
        _read_lap,
    ),
    Rule(
        re.compile(rf"(?P<hour>\d{{1,2}})\s?[hH](?:\s?(?P<minute>[0-5]\d)(?:\s?m(?:in)?)?)?{_ENDS}{_TILL}"),
        _read_clock,
    ),
    Rule(
        re.compile(
            r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?:\s?[hH])?(?![^\W_]|[:,.]\d)"
            + _TILL
        ),
        _read_clock,
    ),
    Rule(re.compile(rf"(?P<hour>\d{{1,2}})\.(?P<minute>[0-5]\d)\s?[hH]{_ENDS}{_TILL}"), _read_clock),
)
"""How times in digits are read: 1m44,084s, 16h30, 9h, 16:54, 16:54:10, 16.30h."""
