"""Text brought to the few forms that the reading rules know, and a read text with its punctuation in place.

Markup is refused, since to read around it would leave out what it asks for.
"""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5

from amalia_mm.errors import InputError
from amalia_mm.portuguese.reading.rules import LETTER

PUNCTUATION = '.,?!;:…—«»“”"()'
"""What stays in a read text beside letters and spaces; hyphens and apostrophes stay inside words."""

_MARKUP = re.compile(r"</?[A-Za-z][\w:.-]{0,60}(?:\s[^<>]{0,500})?/?>|<!--|<!\[CDATA\[|<[?!][A-Za-z]")
_ENTITY = re.compile(r"&(?P<name>[A-Za-z]{2,8}\d?;)|&#(?:\d{1,7}|[xX][0-9A-Fa-f]{1,6});")
_SMILEY = re.compile(r"(?<!\S)(?:[:;=][-'’o]?[()DPp\[\]|*]|<3|\^_?\^)(?=\s|$|[.,!?])")
_EMOJI = (
    "[\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d]"
)
_PICTURE = re.compile(
    rf"[\U0001F1E6-\U0001F1FF]{{2}}|{_EMOJI}[\uFE0E\uFE0F]?[\U0001F3FB-\U0001F3FF]?"
    rf"(?:\u200D{_EMOJI}\uFE0F?[\U0001F3FB-\U0001F3FF]?)*"
)
_ALIKE = {
    **dict.fromkeys("\u2010\u2011\u2043", "-"),
    **dict.fromkeys("\u2015\u2500\u2501\u2022\u00b7\u25aa\u25cf", "—"),
    **dict.fromkeys("\u02bc\u00b4\u2032`\u2018\u201b", "’"),
    **dict.fromkeys("\u201e\u201f\u301d\u301e\u2033", '"'),
    **dict.fromkeys("[{", "("),
    **dict.fromkeys("]}", ")"),
    "|": ", ",
    "\u00ad": "",
    "\n": "\n",
    "\u2039": "«",
    "\u203a": "»",
    "\u02da": "°",
    "\u00b5": "µ",
    "\u03bc": "µ",
}
_UNLIKE_LETTERS = frozenset("ªº℃™©®§…")


class _Alike(dict[int, str]):
    """A translation table that makes spaces, dashes, quotes, letters and digits of many kinds alike."""

    def __missing__(self, codepoint: int) -> str:
        char = chr(codepoint)
        category = unicodedata.category(char)
        made = char
        if char.isspace():
            made = " "
        elif category == "Nd":
            made = str(unicodedata.digit(char))
        elif category in ("Cf", "Cc") or char in "\ufe0e\ufe0f\u20e3":
            made = ""
        elif category[0] == "L" and char not in _UNLIKE_LETTERS:
            plain = unicodedata.normalize("NFKC", char)
            made = plain if plain.isascii() else char
        self[codepoint] = made
        return made


_TABLE = _Alike({ord(char): alike for char, alike in _ALIKE.items()})
_MARKDOWN = re.compile(
    r"^[ \t]*(?:#{1,6}|>)[ \t]+|\*{2,3}|(?<!\S)\*(?=[^\W\d])|(?<=[^\W\d])\*(?!\w)|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)",
    re.MULTILINE,
)
_PARAGRAPH = re.compile(r"(?<=[^\s.!?:;…,—-])[ \t]*\n(?:[ \t]*\n)+")
_ITEM = re.compile(r"^[ \t]*[-*+—–][ \t]+", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*([A-Za-z]|\d{1,3}|[ivx]{2,5})\)(?=\s)", re.MULTILINE)
_PLURAL = re.compile(rf"(?<=[{LETTER}])\((s|es|is)\)(?![{LETTER}])")


def _unescaped(found: re.Match[str]) -> str:
    """Return the sign that an HTML entity stands for; what only looks like one ("Tom&Jerry;") as it is."""
    name = found["name"]
    return html.unescape(found[0]) if name is None else html5.get(name, found[0])


def cleaned(text: str, left_out: list[str]) -> str:
    """Return the text in one kind of space, dash, quote and digit; pictures and smileys are moved to `left_out`.

    What HTML writes for a sign ("&amp;", "&#233;") becomes the sign. The end of a paragraph
    that has no point gets one. Signs of layout (soft hyphens, zero-width characters, the asterisks of Markdown) are no
    part of what is read and go without mention.

    Raises:
        InputError: There is markup in the text: SSML, HTML, XML.
    """
    markup = _MARKUP.search(text)
    if markup:
        raise InputError(
            "text",
            found=f"markup: {markup[0]}",
            wanted="plain text",
            remedy="take the tags out; pauses are written with commas and points",
        )

    def leave_out(found: re.Match[str]) -> str:
        left_out.append(found[0])
        return " "

    text = _ENTITY.sub(_unescaped, text)
    text = _SMILEY.sub(leave_out, _PICTURE.sub(leave_out, unicodedata.normalize("NFC", text)))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2029", "\n\n")
    text = _MARKDOWN.sub("", text.translate(_TABLE))
    text = _PARAGRAPH.sub(".\n", _NUMBERED.sub(r"\1),", _ITEM.sub("— ", text)))
    return " ".join(_PLURAL.sub(r"\1", text).split())


_TIDYING = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        (r"[.…](?:\s?[.…])+", "…"),
        (r"[-–—]{2,}|–|(?<= )-(?= )", "—"),
        (rf"(?<![{LETTER}])-|-(?![{LETTER}])", " "),
        (rf"(?<![{LETTER}])['’]+|['’]+(?![{LETTER}])", " "),
        (r"\s+", " "),  # from here on there is one space at most, so that what follows takes linear time
        (r"\( ?\)|« ?»|“ ?”|\" ?\"", ""),
        (r" ?—(?: ?—)* ?", " — "),
        (r" +([,;:.?!…)»”])", r"\1"),
        (r"([(«“]) +", r"\1"),
        (rf"(?<=[{LETTER}])([(«“])", r" \1"),
        (r"([,;:.?!…)»”])(?=[^\W\d_]|[(«“])", r"\1 "),
        (r",(?:\s*,)+", ","),
        (r",\s*([.;:?!…])", r"\1"),
        (r"([.;:?!…(])\s*,", r"\1"),
        (r"\s+", " "),
    )
)


def tidied(text: str) -> str:
    """Return a read text with its punctuation in place: no space before a comma, one after it, brackets in pairs."""
    text = _paired(text)
    for pattern, instead in _TIDYING:
        text = pattern.sub(instead, text)
    return text.strip().lstrip(",;: ").removesuffix(" —")


def _paired(text: str) -> str:
    """Return the text without brackets that have no partner: those of "a)", of a page that begins inside one."""
    kept, opened = list(text), []
    for place, char in enumerate(text):
        if char == "(":
            opened.append(place)
        elif char == ")":
            if opened:
                opened.pop()
            else:
                kept[place] = " "
    for place in opened:
        kept[place] = " "
    return "".join(kept)
