"""Which of two readings a written word has, from the words beside it: o jogo / eu jogo, a sede / com sede.

It looks one word to either side, two for a few (ele para o carro / com ele para casa), and knows no grammar beyond
that; the pairs stand in `data/homographs.txt`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from amalia_mm.portuguese.numbers import cardinal
from amalia_mm.portuguese.phonology.spellings import read_rows
from amalia_mm.portuguese.reading.spelled import LETTER_CUES
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
    "à às ao aos cedo tarde sempre muito bem mal hoje amanhã com comigo contigo em te lhe o a os as um uma uns umas já "
    "agora logo tudo isto isso"
)
"""After a phrase's first word: no noun without an article has an article, a time or a pronoun after it."""
_AFTER_CRIED_NOUN = words_of("tens tem têm temos tinha há é foi era")
_AFTER_JOINED_VERB = words_of("o os um uma uns umas te lhe já")
_JOINING = words_of("e mas depois agora hoje amanhã")
_BEFORE_INFINITIVE = words_of("para vai vou vamos vão pode podem quer querem deve devem")
_LIKED = words_of("de do da dos das disto disso daquilo dele dela deles delas imenso tanto")
_WORDS_OF_GRAMMAR = words_of("para sobre deste desse desses")
"""Far more often a preposition or a demonstrative than a verb: only a clear neighbour makes a verb of them."""
_CLEAR = words_of("tu me te lhe lhes")
_NAMED = {"ele": "éle", "esse": "ésse"}
"""Pronouns that are spelled like letters: "a letra esse"."""
_NAMES_LETTERS = words_of("letra letras tamanho vitamina hepatite")
_NEVER_BEFORE_PRONOUNS = words_of("o do no ao um pelo da na à")
_NUMBERS = frozenset(
    word for number in (*range(2, 100), 100, 200, 300) for word in cardinal(number).split()
) - {"e", "um"}
_HAIR = words_of("o os do dos no nos ao aos um de com seu")
_NO_HAIR_AFTER = words_of("menos que qual outro outros meu teu seu nosso")
"""After "pelo": pelo menos, um pelo outro, troco o seu pelo meu."""
_MOULDED = words_of(
    "bolo bolos tarte tartes pudim pão queque queques muffins silicone alumínio barro vidro folha gelo sapato sapatos "
    "queijo chapéu ir"
)
_GREASE = words_of("unte untar unta unto untei untou enfarinhe enfarinhar forre forrar desenforme")
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
    return word in _PAIRS or word in _OTHERS


class Beside(NamedTuple):
    """The words beside a word in the same phrase, in small letters; None where the phrase ends."""

    before: str | None = None
    after: str | None = None
    before_that: str | None = None
    after_that: str | None = None


_ALONE = Beside()


def reading(word: str, beside: Beside = _ALONE, pos: str | None = None) -> str:
    """Return the marked spelling of a homograph, or the word itself where it sounds as it does alone.

    Args:
        word: In small letters.
        beside: The words on either side.
        pos: "V" for the verb, any other part of speech for the noun, None where the neighbours must tell.
    """
    if word in _OTHERS:
        return _OTHERS[word](word, beside, pos)
    noun, verb, is_verb = _PAIRS[word]
    if pos is not None:
        is_verb = pos == "V"
    elif word == "colher":
        is_verb = beside.before in _BEFORE_INFINITIVE
    elif word in _WORDS_OF_GRAMMAR:
        is_verb = beside.before in _CLEAR or (word == "para" and _stops(beside))
    else:
        is_verb = _is_verb(word, beside, is_verb)
    return verb if is_verb else noun


def _is_verb(word: str, beside: Beside, usually: bool) -> bool:
    """Return whether a word that is a noun and a first or third person is the verb, by its neighbours."""
    before, after, before_that, _ = beside
    if before == "que" and before_that is None and (after is None or after in _AFTER_CRIED_NOUN):
        return False  # "Que interesse!"
    if before in _BEFORE_NOUN or before in _BEFORE_VERB:
        return before not in _BEFORE_NOUN
    if before in _JOINING and after in _AFTER_JOINED_VERB:
        return True
    if before is None and after is not None:
        return (
            usually
            or after in _AFTER_FIRST_VERB
            or (word == "gosto" and after in _LIKED)
            or (word == "olho" and after == "para")
        )
    return usually


def _letter_or_pronoun(word: str, beside: Beside, pos: str | None) -> str:
    """Return the letter after what a letter names ("sala ene", "plano esse") and where no pronoun stands ("o ele")."""
    before, after, before_that, after_that = beside
    if pos is not None:
        return word
    is_of_one = word == "esse" and before_that in _NEVER_BEFORE_PRONOUNS
    is_named = before in LETTER_CUES and (after is None or after in _NUMBERS or is_of_one)
    is_numbered = after in _NUMBERS and (word == "esse" or (before is None and after_that is None))
    if before in _NAMES_LETTERS or before in _NEVER_BEFORE_PRONOUNS or is_named or is_numbered:
        return _NAMED[word]
    return word


def _thirst_or_seat(_word: str, beside: Beside, pos: str | None) -> str:
    before = beside.before
    return "sêde" if pos is None and before is not None and before not in _HEADQUARTERS_AFTER else "séde"


def _court_or_cut(_word: str, beside: Beside, pos: str | None) -> str:
    return "côrte" if pos is None and beside.before in _FEMININE else "córte"


def _hair_or_by(word: str, beside: Beside, pos: str | None) -> str:
    """Return the noun, "pêlo", after an article and "de"; the contraction as it is written elsewhere."""
    is_noun = pos == "N" if pos is not None else beside.before in _HAIR and beside.after not in _NO_HAIR_AFTER
    return word.replace("e", "ê", 1) if is_noun else word


def _mould_or_shape(word: str, beside: Beside, pos: str | None) -> str:
    """Return the mould, "fôrma", where something is baked in it or it is greased; else the shape, "fórma"."""
    before, after, before_that, after_that = beside
    is_baked = after in ("de", "do", "para") and after_that in _MOULDED
    is_mould = pos is None and (is_baked or before in _GREASE or before_that in _GREASE)
    return word.replace("o", "ô", 1) if is_mould else word


_OTHERS: dict[str, Callable[[str, Beside, str | None], str]] = {
    **dict.fromkeys(_NAMED, _letter_or_pronoun),
    **dict.fromkeys(("pelo", "pelos"), _hair_or_by),
    **dict.fromkeys(("forma", "formas"), _mould_or_shape),
    "sede": _thirst_or_seat,
    "corte": _court_or_cut,
}
"""Words with a rule of their own, which gives the marked spelling, or the word where its reading is the usual one."""


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
