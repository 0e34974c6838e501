"""Which of two readings a written word has, from the words beside it: o jogo / eu jogo, a sede / com sede.

It looks one word to either side and knows no grammar beyond that; the pairs stand in `data/homographs.txt`.
"""

from __future__ import annotations

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
    return word in _PAIRS or word in ("sede", "corte")


def reading(word: str, before: str | None = None, after: str | None = None, pos: str | None = None) -> str:
    """Return the marked spelling of a homograph.

    Args:
        word: In small letters.
        before: The word before it in the same phrase; None where a phrase begins.
        after: The word after it in the same phrase.
        pos: "V" for the verb, any other part of speech for the noun, None where the neighbours must tell.
    """
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
        is_verb = before in _CLEAR or (word == "para" and before in ("não", "nunca"))
    elif before in _BEFORE_VERB and before not in _BEFORE_NOUN:
        is_verb = True
    elif before in _BEFORE_NOUN:
        is_verb = False
    elif before is None and after is not None:
        is_verb = is_verb or after in _AFTER_FIRST_VERB or (word == "gosto" and after in _LIKED)
    return verb if is_verb else noun
