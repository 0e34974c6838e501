"""What is read letter by letter: PSP pê-esse-pê, CD-ROM, "vitamina C", J. Saramago; and acronyms read as words.

`data/acronyms.tsv` knows how some are read (`*` by letters, `=` as the word that they look like, else as it says). Any
other word in capitals is read as a word where a Portuguese could pronounce it, and by its letters where not.
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.reading.rules import LETTER, Rule, left_of, right_of, words_before
from amalia_mm.portuguese.reading.sentence_end import ends_sentence
from amalia_mm.portuguese.tables import mapping, words_of

_NAMES = mapping("letters.tsv")
_PLAIN = str.maketrans("áàâãéêíóôõúüç", "aaaaeeiooouus")
_ACRONYMS = mapping("acronyms.tsv")
_UPPER = "A-ZÀ-ÖØ-Þ"
_ONSET = r"(?:[bcdfgpt][rl]|[vk]r|qu|gu|[bcdfghjlmnpqrstvxzkw]h?)"
_SYLLABLE = rf"(?:{_ONSET}?(?:[aeo][iu]|i[ao]|u[aei]|[aeiouy])(?:[lrszmnx](?![aeiou])|ns(?![aeiou]))?)"
_SAYABLE = re.compile(rf"(?!.*([aeiou])\1){_SYLLABLE}+[bcdfgptk]?")
_MOST_LETTERS = 6
"""As many letters or more are spelled by nobody: SUBSCRIÇÃO is loud, and no acronym."""
_HEAP = re.compile("[^aeiou]{5}|^[^aeiou]*$")
LETTER_CUES = words_of(
    "letra letras vitamina vitaminas hepatite grupo classe turma bloco plano opção alínea alíneas ponto anexo série "
    "tipo porta fila lote vogal consoante planos zona escalão secção linha categoria nota ala conjunto equipa quadro "
    "parte torre edifício módulo perfil lista nível variável eixo sala fator factor"
)
"""Words that a letter is the name of something after: sala N, plano S."""


def letter(char: str) -> str:
    """Return the name of a letter, Latin or Greek; the base letter's where it carries an accent."""
    char = char.lower()
    return _NAMES.get(char) or _NAMES.get(char.translate(_PLAIN)) or char


def by_letters(word: str) -> str:
    """Return a word letter by letter, as one word: "pê-esse-pê"."""
    return "-".join(letter(char) for char in word)


def is_sayable(word: str) -> bool:
    """Return whether a word in capitals has syllables that Portuguese has, or is too long or accented to be spelled."""
    word = word.lower()
    if _SAYABLE.fullmatch(word.translate(_PLAIN)) is not None:
        return True
    is_word = len(word) >= _MOST_LETTERS or word != word.translate(_PLAIN)
    return is_word and _HEAP.search(word.translate(_PLAIN)) is None


def acronym(word: str) -> str:
    """Return how a word in capitals is said; in small letters where it is a word."""
    reading = _ACRONYMS.get(word.upper())
    if reading is None:
        is_word = len(word) > 2 or word in _SHORT_WORDS or _ACCENTED.search(word) is not None
        reading = "=" if is_sayable(word) and is_word else "*"
    if reading == "*":
        return by_letters(word)
    return word.lower() if reading == "=" else reading


_SHORT_WORDS = words_of(
    "AO AOS DA DAS DE DO DOS EM NA NAS NO NOS OS AS UM UMA SE ME TE LHE EU TU JÁ LÁ SÓ ATÉ SÃO É"
)
_HEADING_WORDS = _SHORT_WORDS | words_of(
    "E A O À ÀS SEM COM POR QUE NÃO PARA SER TER ESTE OU IR SI TI LI AI UI OI AH OH EH EI"
)
_CRIES = words_of("EU TU AI UI OI AH OH EH EI UF")
"""Said alone: "AI!", "EU?"."""
_ACCENTED = re.compile("[ÁÂÀÃÉÊÍÓÔÕÚ]")
_WOMANS_ARTICLES = words_of("a à da na pela uma esta essa nesta desta")
_SENTENCE_STARTS = re.compile(r".*[.!?…:;]\s|.*[«“\"(—]", re.DOTALL)
_SENTENCE_STOPS = re.compile(r"[.!?…;]")
_PAUSE = re.compile(r"\s*(?:$|[.!?…])")
_SMALL_OR_DIGIT = re.compile(r"[a-zß-öø-ÿ\d]")


def _in_heading(found: re.Match[str]) -> bool:
    """Return whether the words on both sides, or two on one, are in capitals too: then it is loud, not short."""
    left = re.findall(rf"[{LETTER}]+", left_of(found))[-2:]
    right = re.findall(rf"[{LETTER}]+", right_of(found))[:2]
    return sum(map(_is_loud, (*left, *right))) >= 2


def _is_shouted(found: re.Match[str]) -> bool:
    """Return whether a word stands in a heading, or in a sentence without small letters and digits: "EU VOU."."""
    if _in_heading(found):
        return True
    sentence = _SENTENCE_STARTS.sub("", left_of(found)) + " " + _SENTENCE_STOPS.split(right_of(found))[0]
    words = re.findall(rf"[{LETTER}]+", sentence)
    return _SMALL_OR_DIGIT.search(sentence) is None and any(map(_is_loud, words))


def _is_loud(word: str) -> bool:
    return len(word) > 1 and word.isupper() and word not in _ACRONYMS


_FIRST_PERSON = re.compile(
    r" (?:não |já |também |nunca |só |ainda |me )?"
    r"(?:sou|vou|estou|dou|quero|tenho|gosto|posso|preciso|sei|fui|fiz)(?!\w)"
)


def _is_cry(found: re.Match[str]) -> bool:
    """Return whether a word in capitals is all that is said, but for an "e" before it: "AI!", "E EU?"."""
    return found["word"] in _CRIES and (
        _PAUSE.match(right_of(found)) is not None and words_before(found, 2) in ([], ["e"], ["só"])
    )


def _say_capitals(found: re.Match[str]) -> str:
    """Return an acronym as it is said, a loud word in small letters; EU is the Union after "a", else often "eu"."""
    word, plural = found["word"], found["plural"]
    if word == "EU":
        before = words_before(found, 1)
        if before and before[0] in _WOMANS_ARTICLES:
            return acronym(word)
        if _FIRST_PERSON.match(right_of(found)):
            return "eu"
    is_numbered = re.match(r"-?\d", right_of(found)) is not None  # SI-4
    if _is_cry(found) or (word in _HEADING_WORDS and not is_numbered and _is_shouted(found)):
        return word.lower()
    if word not in _ACRONYMS and _in_heading(found) and is_sayable(word):
        return word.lower()
    return acronym(word) + (plural or "")


def _say_row(found: re.Match[str]) -> str:
    """Return single capitals with spaces between as one word of letters; a sentence's first A or O is an article."""
    letters = found[0].split()
    if letters[0] in ("A", "O") and len(letters) > 2 and not left_of(found).strip():
        return f"{letters[0]} {by_letters(''.join(letters[1:]))}"
    return by_letters("".join(letters))


def _say_dotted(found: re.Match[str]) -> str:
    letters = found[0].replace(".", "").replace(" ", "")
    reading = acronym(letters) if letters in _ACRONYMS else by_letters(letters)
    may_end = not right_of(found).strip() if len(letters) == 2 else ends_sentence(found)
    return f"{reading}." if found[0].endswith(".") and may_end else reading


def _say_initial(found: re.Match[str]) -> str | None:
    """Return the letter of a name's initial; not where it ends a sentence ("a vitamina C. Depois")."""
    before = words_before(found, 1)
    if before and (before[0] in LETTER_CUES or before[0] in ("e", "ou")):
        return None
    return letter(found[0][0])


def _say_letter(found: re.Match[str]) -> str | None:
    char = found[0]
    if char.lower() not in "aeoàéóê":
        return letter(char)
    before = words_before(found, 1)
    is_named = bool(before) and before[0] in LETTER_CUES and char.lower() in "aeo"
    after = found.string[found.end() : found.end() + 2].removeprefix("-")[:1]
    is_item = (
        after == ")"
        or after.isdecimal()
        or _CHAIN.search(left_of(found)) is not None
        or (char.isupper() and left_of(found)[-1:].isdecimal())  # H2O
        or (char.isupper() and _FROM_TO.match(right_of(found)) is not None)
    ) and char.lower() in "aeo"
    if is_named or is_item:
        return letter(char)
    return char.lower() if char.isupper() and before and _is_shouted(found) else None


_FROM_TO = re.compile(rf" a [{_UPPER}](?![{LETTER}])")  # de A a Z
_CHAIN = re.compile(rf"(?:^|[^{LETTER}])[{_UPPER}]-$")
_ENDS = rf"(?![{LETTER}])"
RULES = (
    Rule(re.compile(rf"[{_UPPER}]\.(?=\d)"), lambda found: letter(found[0][0])),
    Rule(re.compile(rf"(?:[{_UPPER}]\. ?){{2,}}(?:[{_UPPER}](?![{LETTER}.]))?(?<! )"), _say_dotted),
    Rule(re.compile(rf"[{_UPPER}]\.(?= [{_UPPER}])"), _say_initial),
    Rule(re.compile(rf"(?:[A-Z] ){{2,}}[A-Z]{_ENDS}(?![.'’-])|[B-DF-NP-Z] [A-Z]{_ENDS}(?![.'’-])"), _say_row),
    Rule(re.compile(rf"(?P<word>[{_UPPER}]{{2,}})(?P<plural>s)?{_ENDS}"), _say_capitals),
    Rule(re.compile(rf"[{LETTER}](?!['’]?[{LETTER}])"), _say_letter),
)
"""How letters and words in capitals are read."""
