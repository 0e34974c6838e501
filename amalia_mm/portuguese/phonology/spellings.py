"""The marked spelling of a word, and the quality of its stressed e or o: what the ordinary spelling leaves open.

Words and classes of words stand in `data/spellings.txt` and `data/mid_vowels.txt`; `sounds.py` tells the marks. It
knows single words, not the words around them: `homographs.py` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from amalia_mm.portuguese.phonology.sounds import simplified


def read_rows(name: str) -> Iterator[list[str]]:
    """Yield the words of each line of a file of `data/` that is neither empty nor a comment."""
    text = files("amalia_mm.portuguese").joinpath("data", name).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield line.split()


def _read_spellings() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    whole, stems, bases = {}, {}, {}
    for row in read_rows("spellings.txt"):
        for entry in row:
            word, _, marks = entry.partition("=")
            if word.startswith("+"):
                bases[word[1:]] = marks
            elif word.endswith("-"):
                stems[word[:-1]] = marks[:-1]
            else:
                whole[word] = marks
    return whole, stems, bases


_WHOLE, _STEMS, _BASES = _read_spellings()
_LONGEST_STEM = max(map(len, _STEMS))

_OPEN_E = re.compile(
    "e(?=ç(?:ão|ões|on)|cion|tor(?:a|es|as|i|$)|tiv|tur[ao])"
)  # direção, colecionar, setor, objetivo
_NOT_OPEN_E = re.compile("^(?:leitur|competit|repetit|veget|[dr]etiv[eé])")
_MUTE = re.compile(
    "(dire|indire|obje|proje|aspe|respe|perspe|efe|afe|cole|corre|sele|prote|inspe|arquite|se(?=ctor)|ve(?=ctor)|dete|inse"
    "|infe|inje|refle(?=ct)|ele(?=ctr|ctiv)|le(?=ctiv|ccion)|traje|susce|rece|^re(?=ct[aoiâ])|perce|conce|exce(?=p[tç])|dece|te(?=ct[oó])"
    "|diale|intere|espe(?=ct[aá]c)|suspe|[^nf]?a(?=cç)|rea|intera|^ina(?=ctiv)|^a(?=ct[ioaur])|fra(?=c[cç]|ct[uá])|atra"
    "|(?:con|dis|ex|abs|sub|re|^|de)tra(?=c[cçt])|reda|transa|exa|pra(?=ct)|ba(?=pt)|ado(?=p[tç])|^no(?=ct)|^o(?=pt[ií]m)"
    "|fa(?=ctu[r]|ctor)|olfa|^a(?=cci))[cp](?=[cçt])"
)
_MUTE_AFTER_ACCENT = re.compile(
    "(?<=[óáé])[cp](?=tim|tric|ctr|tic[oa]|tulo|t[oa]s?$|tec)|(?<=é)c(?=tr)|(?<=i)p(?=to$)"
)
_GRAVE = {"a": "à", "e": "è", "o": "ò"}


def marked(word: str) -> str:
    """Return the marked spelling of a word in small letters; a word the rules read rightly is its own."""
    found = _WHOLE.get(word)
    if found is not None:
        return found
    if word[-1] == "s" and word[:-1] in _WHOLE:
        return f"{_WHOLE[word[:-1]]}s"
    if "ct" in word or "pt" in word or "cç" in word or "pç" in word or "cc" in word or "pc" in word:
        word = _MUTE.sub(lambda match: f"{match[1][:-1]}{_GRAVE[match[1][-1]]}", word)
        word = _MUTE_AFTER_ACCENT.sub("", word)
    for size in range(min(len(word), _LONGEST_STEM), 1, -1):
        stem = _STEMS.get(word[:size])
        if stem is not None:
            word = stem + word[size:]
            break
    if "e" in word and _NOT_OPEN_E.match(word) is None:
        word = _OPEN_E.sub("è", word)
    return word


_LOST_ACCENT = re.compile(
    "(?P<vowel>[aeiou])(?=[^aeiouáéíóúâêôãõç]+(?:ic|im|ul)a$)"  # única, última
    "|(?P<open>[ai])(?=vel$)"  # agradável, possível
    "|(?P<aria>[aeo])(?=ria$)"  # necessária, obrigatória
)
_ACUTE = {"a": "á", "e": "é", "i": "í", "o": "ó", "u": "ú"}


def base(word: str) -> str:
    """Return the marked spelling of what stands before -mente or -zinho, its written accent given back."""
    if word in _BASES:
        return _BASES[word]
    if word[-1:] == "s" and word[:-1] in _BASES:
        return f"{_BASES[word[:-1]]}s"
    return marked(_LOST_ACCENT.sub(lambda match: _ACUTE[match[0]], word))


def _read_qualities() -> tuple[dict[str, str], dict[str, str]]:
    words: dict[str, str] = {}
    endings: dict[str, str] = {}
    derived: dict[str, str] = {}
    for kind, *row in read_rows("mid_vowels.txt"):
        for entry in row:
            if kind == "êé":
                closed = "ô" if max(entry.rfind("o"), entry.rfind("u")) > entry.rfind("e") else "ê"
                before_a = re.sub("c$", "ç", entry)
                derived |= {simplified(before_a + end): closed for end in ("o", "a", "as", "am")}
                derived |= {
                    simplified(entry + end): {"ê": "é", "ô": "ó"}[closed] for end in ("e", "es", "em")
                }
            elif kind == "ôó":
                words[simplified(entry)] = "ô"
                derived |= {simplified(entry[:-1] + end): "ó" for end in ("os", "a", "as")}
            elif entry.startswith("-"):
                endings[simplified(entry[1:])] = kind
            else:
                words[simplified(entry)] = kind
    return derived | words, endings


_WORDS, _ENDINGS = _read_qualities()


def quality(spelling: str, place: int) -> str:
    """Return é, ê, ó or ô for the stressed e or o at this place of a simplified spelling without accents."""
    found = _known(spelling, place)
    if found is None and spelling[-1] in "sm":
        found = _known(spelling[:-1], place)
    if found is not None and (found in "éê") == (spelling[place] == "e"):
        return found
    if spelling[place] == "e":
        return "é"
    return "ô" if spelling[place + 1 :].rstrip("s")[-1:] == "o" else "ó"


def _known(spelling: str, place: int) -> str | None:
    found = _WORDS.get(spelling)
    if found is None:
        for start in range(max(0, place - 3), place + 1):
            found = _ENDINGS.get(spelling[start:])
            if found is not None:
                break
    return found
