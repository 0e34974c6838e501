"""Sounds of a word from its marked spelling: ordered rules, the Lisbon standard.

Marked spelling is Portuguese spelling that says what ordinary spelling leaves open, with the marks that older
orthographies had: à è ò are open without stress ("aquècer", "acção" as "àção"), ü is a pronounced u ("agüentar"), é ê
ó ô tell the quality of a stressed vowel, and ç, z, ch or ks stand for x ("prócimo", "ezame", "táksi"). `spellings.py`
marks words; this file reads marks and knows no word.

Inside, a sound is one character: capital vowels are stressed, ß and ç are an s that never becomes z, J and W are the
nasal glides, ã is ɐ̃.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from amalia_mm.portuguese.phonology.phonemes import Phone
from amalia_mm.portuguese.phonology.stress import VOWELS, stressed_vowel, with_hiatus

_ANY = f"{VOWELS}AƐEIƆOUⱯÃẼĨÕŨ"
_V, _C = f"[{_ANY}]", f"[^{_ANY}]"
_SOFT = "eiéêíèïẽĩ"

_HARD_QU = re.compile(f"([qg])u(?=[{_SOFT}])")
_GLIDE_GU = re.compile("gu(?=[aoáâãàóôòõ])")
_SOFT_G = re.compile(f"g(?=[{_SOFT}])")
_SOFT_C = re.compile(f"c(?=[{_SOFT}])")
_DOUBLED = re.compile(f"([bdfglmnpt])\\1|(c)c(?![{_SOFT}])")  # spelling of the nineteenth century
_HARD = {"q": "k", "g": "ɡ"}


def simplified(spelling: str) -> str:
    """Return the spelling with one character a consonant: qu gu ch lh nh h c ç ss g j are resolved."""
    if "q" in spelling or "g" in spelling:
        spelling = _HARD_QU.sub(lambda match: _HARD[match[1]], spelling)
        spelling = spelling.replace("qu", "kw").replace("qü", "kw").replace("q", "k")
        spelling = _GLIDE_GU.sub("ɡw", spelling).replace("gü", "ɡw")
        spelling = _SOFT_G.sub("ʒ", spelling).replace("g", "ɡ")
    if "h" in spelling:
        spelling = spelling.replace("ch", "ʃ").replace("lh", "ʎ").replace("nh", "ɲ").replace("sh", "ʃ")
        spelling = spelling.replace("ph", "f").replace("h", "")
    if _DOUBLED.search(spelling):
        spelling = _DOUBLED.sub(lambda match: match[1] or match[2], spelling)
    if "c" in spelling:
        spelling = _SOFT_C.sub("ç", spelling).replace("c", "k")
    return spelling.replace("ss", "ß").replace("j", "ʒ").replace("y", "i").replace("ü", "u")


_STRESSED = str.maketrans("aáàâeéèêiíïoóòôuúʉãẽĩõũ", "AAAⱯEƐƐEIIIOƆƆOUUUÃẼĨÕŨ")
_UNACCENTED = str.maketrans("áéóíúâ", "àèòiuɐ")
_BEFORE_NASAL_ONSET = re.compile(f"[mn]{_V}|ɲ")
_HAS_OWN_QUALITY = re.compile(f"[mn](?!{_V})|[iu]|$")  # nasal, a diphthong

_NASAL = dict(
    zip(
        "aàɐeèêiïoòôuʉAⱯEƐIOƆU",
        ("ã",) * 3 + ("ẽ",) * 3 + ("ĩ",) * 2 + ("õ",) * 3 + ("ũ",) * 2 + tuple("ÃÃẼẼĨÕÕŨ"),
        strict=True,
    )
)
_DIPHTHONGS = {
    "ai": "àj",
    "ài": "àj",
    "ei": "ɐj",
    "êi": "ɐj",
    "èi": "ɐj",
    "oi": "ôj",
    "òi": "òj",
    "ôi": "ôj",
    "ui": "uj",
    "Ai": "Aj",
    "Ei": "Ɐj",
    "Ɛi": "Ɛj",
    "Oi": "Oj",
    "Ɔi": "Ɔj",
    "Ui": "Uj",
    "ũi": "ũJ",
    "Ũi": "ŨJ",
    "au": "àw",
    "àu": "àw",
    "eu": "êw",
    "êu": "êw",
    "èu": "èw",
    "Au": "Aw",
    "Eu": "Ew",
    "Ɛu": "Ɛw",
    "ou": "ô",
    "ôu": "ô",
    "òu": "ô",
    "Ou": "O",
    "Ɔu": "O",
    "ão": "ãW",
    "Ão": "ÃW",
    "ãe": "ãJ",
    "Ãe": "ÃJ",
    "õe": "õJ",
    "Õe": "ÕJ",
    "ãi": "ãJ",
    "Ãi": "ÃJ",
}
_VOICED = "bdɡvzʒmnɲlʎrʁ"

Rule = tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]]
"""A character without which the rule has nothing to do, the pattern, and what it becomes."""

_CONSONANTS: tuple[Rule, ...] = (
    ("x", re.compile("^x"), "ʃ"),
    ("x", re.compile(f"^((?:in)?[eE])x(?={_V})"), r"\1z"),  # exame, inexato
    ("x", re.compile("x$"), "ks"),
    ("x", re.compile(f"[EƐ]x(?={_C})"), "Eis"),  # texto, extra
    ("x", re.compile(f"x(?={_C})"), "s"),  # explicar
    ("x", re.compile("x"), "ʃ"),
    ("r", re.compile("rr+|^r|(?<=[nlsßçzʃ])r"), "ʁ"),
    ("s", re.compile(f"(?<={_V})s(?={_V})|(?<=tr[aAⱯ]n)s(?={_V})"), "z"),
    ("E", re.compile("E(?=[ʎɲʃʒ])"), "Ɐ"),  # Lisbon: espelho, lenha, desejo, fecho
)
_RHYMES: tuple[Rule, ...] = (
    ("m", re.compile("Õem$"), "ÕJãJ"),  # põem, compõem
    ("m", re.compile("([eêEƐ])m$"), lambda match: "ÃJ" if match[1].isupper() else "ãJ"),
    ("s", re.compile("([eêEƐ])ns$"), lambda match: "ÃJs" if match[1].isupper() else "ãJs"),
    ("m", re.compile("am$"), "ãW"),
    ("n", re.compile("en$"), "èn"),  # hífen
    ("n", re.compile(f"({_V})n(?!{_V}|$)"), lambda match: _NASAL.get(match[1], match[1])),
    ("n", re.compile("([AⱯEƐIOƆUaiu])n$"), lambda match: _NASAL[match[1]]),
    ("m", re.compile(f"({_V})m(?!{_V}|n)"), lambda match: _NASAL.get(match[1], match[1])),
    ("I", re.compile("Iu(?=s?$)"), lambda match: "Iw"),
    ("A", re.compile("Ao(?=s?$)"), "Aw"),
    ("Ɛ", re.compile("Ɛo(?=s?$)"), "Ɛw"),  # chapéo: spelling of the nineteenth century
)
_HALF_OPEN = re.compile("ai(?=[aeouàèòAƐEIƆOU])")  # maior: unstressed ai before a vowel
_DIPHTHONG = re.compile("[aàeêèoòôuAEƐOƆUũŨ]i|[aàeêèAEƐoôòOƆ]u|[ãÃõÕ][eio]")
_REDUCTION: tuple[Rule, ...] = (
    ("i", re.compile(f"(?<=[^{_ANY}w])i(?=(?:[aeo]s?|ãW|ãJ)$)"), "j"),  # relógio
    ("e", re.compile(f"(?<={_C})e(?=[ao]s?$)"), "j"),  # área
    ("u", re.compile(f"(?<={_C})u(?=[aeo]s?$)"), "w"),  # mútua
    ("o", re.compile(f"(?<={_C})o(?=[ae]s?$)"), "w"),  # mágoa
    ("e", re.compile(f"^e(?=[sz]{_C})"), "ɨ"),  # escola
    ("e", re.compile("^e|e(?=[aàeèêoòôɐuʉAƐEOƆUⱯÃẼÕŨãẽõũ])"), "i"),  # exame, teatro
    ("o", re.compile("^o(?=ʎ)"), "ô"),  # olhar
    ("o", re.compile("^o"), "ò"),  # objetivo
    ("l", re.compile(f"([aeo])l(?!{_V})"), lambda match: {"a": "àɫ", "e": "èɫ", "o": "ôɫ"}[match[1]]),
    ("l", re.compile(f"l(?!{_V}|[jw])"), "ɫ"),
    ("e", re.compile("e(?=[rx]$|[kp][tçßns])"), "è"),  # líder, tecnologia, secção
    ("a", re.compile("a(?=[rx]$|k[tçsß])"), "à"),  # açúcar, bactéria
    ("o", re.compile("o(?=[kp][tç])"), "ò"),
    ("o", re.compile("o(?=[rnx]$)"), "ô"),  # júnior
)
_CODA = re.compile(f"(?<!k)[sz](?=$|[^{_ANY}jw])")  # not in tórax
_CODA_VOICED = re.compile(f"[sz](?=[{_VOICED}])")
_PLAIN = str.maketrans("aeoïʉr", "ɐɨuiuɾ")
_SYMBOLS = {
    **{letter: letter for letter in "iɐɨuɛɔpbtdkɡfvszʃʒmnɲlɫʎɾʁjwĩẽõũ"},
    "à": "a",
    "è": "ɛ",
    "ê": "e",
    "ò": "ɔ",
    "ô": "o",
    "ã": "ɐ̃",
    "J": "j̃",
    "W": "w̃",
    "ß": "s",
    "ç": "s",
    "A": "a",
    "Ɐ": "ɐ",
    "Ɛ": "ɛ",
    "E": "e",
    "I": "i",
    "Ɔ": "ɔ",
    "O": "o",
    "U": "u",
    "Ã": "ɐ̃",
    "Ẽ": "ẽ",
    "Ĩ": "ĩ",
    "Õ": "õ",
    "Ũ": "ũ",
}
VOWEL_LETTERS = frozenset("iɐɨuàèêòôãẽĩõũAⱯƐEIƆOUÃẼĨÕŨ")
VOICED_LETTERS = frozenset("bdɡvzʒmnɲlɫʎɾʁ")
_STRESSED_LETTERS = frozenset("AⱯƐEIƆOUÃẼĨÕŨ")
_OPEN_OI = re.compile("i(?:as?|am|em|k[ao]s?|des?)$")  # joia, heroico, asteroide


def sounds(marked: str, quality: Callable[[str, int], str], is_stressed: bool = True) -> str:
    """Return the sounds of a word from its marked spelling, one character each (see the top of the file).

    Args:
        marked: The marked spelling in small letters.
        quality: Gives é ê ó or ô for the simplified spelling and the place of its stressed e or o.
        is_stressed: False for a clitic.
    """
    spelling = with_hiatus(simplified(marked))
    place = stressed_vowel(spelling) if is_stressed else -1
    if place >= 0:
        spelling = _with_stress(spelling, place, quality)
    spelling = spelling.translate(_UNACCENTED)
    for needed, pattern, becomes in _CONSONANTS:
        if needed in spelling:
            spelling = pattern.sub(becomes, spelling)
    for needed, pattern, becomes in _RHYMES:
        if needed in spelling:
            spelling = pattern.sub(becomes, spelling)
    if "ai" in spelling:
        spelling = _HALF_OPEN.sub("ɐj", spelling)
    spelling = _DIPHTHONG.sub(lambda match: _DIPHTHONGS.get(match[0], match[0]), spelling)
    for needed, pattern, becomes in _REDUCTION:
        if needed in spelling:
            spelling = pattern.sub(becomes, spelling)
    spelling = _CODA_VOICED.sub("ʒ", spelling)
    return _CODA.sub("ʃ", spelling).translate(_PLAIN)


def _with_stress(spelling: str, place: int, quality: Callable[[str, int], str]) -> str:
    vowel = spelling[place]
    if vowel in "eo" and not _HAS_OWN_QUALITY.match(spelling, place + 1):
        vowel = quality(spelling, place)
    elif vowel == "o" and _OPEN_OI.match(spelling, place + 1):
        vowel = "ó"
    capital = vowel.translate(_STRESSED)
    if vowel == "a" and _BEFORE_NASAL_ONSET.match(spelling, place + 1):
        capital = "Ɐ"
    return spelling[:place] + capital + spelling[place + 1 :]


def without_stress(found: str) -> str:
    """Return the same sounds, none of them stressed and none reduced: what -mente and -zinho do to their base."""
    return found.translate(_DEMOTED)


_DEMOTED = str.maketrans("AⱯƐEIƆOUÃẼĨÕŨ", "àɐèêiòôuãẽĩõũ")


def phones(found: str) -> tuple[Phone, ...]:
    """Return the sounds as phones, the first of them the start of a word."""
    return tuple(
        Phone(_SYMBOLS[letter], letter in _STRESSED_LETTERS, i == 0) for i, letter in enumerate(found)
    )
