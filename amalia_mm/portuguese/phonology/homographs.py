"""Which of two readings a written word has, from the words beside it: o jogo / eu jogo, a sede / com sede.

It looks one word to either side, two for "para" (ele para o carro / com ele para casa), and knows no grammar beyond
that; the pairs stand in `data/homographs.txt`.
"""

from __future__ import annotations

from typing import NamedTuple

from amalia_mm.portuguese.phonology.spellings import read_rows
from amalia_mm.portuguese.tables import words_of

_BEFORE_VERB = words_of(
    "eu não nunca já também só se me te lhe nos vos lhes que quem ele ela você tu eles elas vocês ainda"
)
_BEFORE_NOUN = words_of(
    "o a os as um uma uns umas do da dos das no na nos nas ao à aos às pelo pela pelos pelas num numa dum "
    "duma este esta esse essa aquele aquela meu minha teu tua seu sua nosso nossa vosso vossa de em com "
    "sem por para sob cada qualquer algum alguma nenhum nenhuma muito muita todo toda mesmo mesma bom boa "
    "grande novo nova primeiro"
)
_AFTER_FIRST_VERB = words_of(
    "à às ao aos cedo tarde sempre muito bem mal hoje amanhã com comigo contigo em te lhe"
)
_BEFORE_INFINITIVE = words_of("para vai vou vamos vão pode podem quer querem deve devem")
_LIKED = words_of("de do da dos das disto disso daquilo dele dela deles delas imenso tanto")
_WORDS_OF_GRAMMAR = words_of("para sobre deste desse desses")
"""Far more often a preposition or a demonstrative than a verb: only a clear neighbour makes a verb of them."""
_CLEAR = words_of("tu me te lhe lhes")
_NAMED = {"ele": "éle", "esse": "ésse"}
"""Pronouns that are spelled like letters: "a letra esse"."""
_NAMES_LETTERS = words_of("letra letras tamanho vitamina hepatite")
_WHO_STOPS = words_of("ele ela você ninguém")
_AGENTS = words_of(
    "pai mãe condutor condutora motorista polícia guarda professor professora árbitro maquinista senhor senhora "
    "menino menina rapaz rapariga homem mulher cão médico médica"
)
_PREPOSITIONS = words_of("com de por a em até sobre para entre sem contra perante desde dele dela")
_NOT_STOPPED = words_of(
    "mim ti si nós vós ele ela eles elas sempre onde lá cá além casa quem que quê nada isso isto"
)
_STOPS_AT = words_of("em à às ao aos no na nos nas num numa e mas logo imediatamente bruscamente subitamente")
_FEMININE = words_of("a à na da uma pela esta essa aquela sua nossa toda")
_HEADQUARTERS_AFTER = words_of(
    "a na da à pela uma sua nova nossa vossa minha tua cuja esta essa antiga actual atual"
)


def _read() -> dict[str, tuple[str, str, bool]]:
    found = {}
    for word, noun, verb in read_rows("homographs.txt"):
        found[word] = (noun.rstrip("*"), verb.rstrip("*"), verb.endswith("*"))
    return found


_PAIRS = _read()


def is_homograph(word: str) -> bool:
    """Return whether the word has two readings."""
    return word in _PAIRS or word in ("sede", "corte") or word in _NAMED


class Beside(NamedTuple):
    """The words beside a word in the same phrase, in small letters; None where the phrase ends."""

    before: str | None = None
    after: str | None = None
    before_that: str | None = None
    after_that: str | None = None


_ALONE = Beside()


def reading(word: str, beside: Beside = _ALONE, pos: str | None = None) -> str:
    """Return the marked spelling of a homograph.

    Args:
        word: In small letters.
        beside: The words on either side.
        pos: "V" for the verb, any other part of speech for the noun, None where the neighbours must tell.
    """
    before, after = beside.before, beside.after
    if word in _NAMED:
        return _NAMED[word] if before in _NAMES_LETTERS else word
    if word == "sede":
        return "sêde" if pos is None and before is not None and before not in _HEADQUARTERS_AFTER else "séde"
    if word == "corte":
        return "côrte" if pos is None and before in _FEMININE else "córte"
    noun, verb, is_verb = _PAIRS[word]
    if pos is not None:
        is_verb = pos == "V"
    elif word == "colher":
        is_verb = before in _BEFORE_INFINITIVE
    elif word in _WORDS_OF_GRAMMAR:
        is_verb = before in _CLEAR or (word == "para" and _stops(beside))
    elif before in _BEFORE_VERB and before not in _BEFORE_NOUN:
        is_verb = True
    elif before in _BEFORE_NOUN:
        is_verb = False
    elif before is None and after is not None:
        is_verb = is_verb or after in _AFTER_FIRST_VERB or (word == "gosto" and after in _LIKED)
    return verb if is_verb else noun


def _stops(beside: Beside) -> bool:
    """Return whether "para" is a form of "parar", by who stops and where."""
    before, after, before_that, after_that = beside
    if before in ("não", "nunca"):
        return True
    if after is None:
        return before is not None  # "O carro para.": a preposition has something after it
    if after in _STOPS_AT or (after == "de" and after_that is not None and after_that.endswith("r")):
        return True
    is_agent = before in _AGENTS and before_that in ("o", "a")
    is_subject = before in _WHO_STOPS and before_that not in _PREPOSITIONS
    return (is_agent or is_subject) and after not in _NOT_STOPPED
