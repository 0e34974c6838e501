"""Whether the point of an abbreviation ends a sentence: "Ele é prof. Gosta muito." and "o prof. Silva".

What tells is the word with a capital after it: a known name goes on, a word that opens sentences (`data/openers.tsv`,
the ending of a verb, a verb with its pronoun: "Liga-lhe") ends. Any other is taken for a name that nobody listed ("sr.
Pertunhas"), but after a form of "ser", which has a trade there and no person.
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.reading.people import is_name
from amalia_mm.portuguese.reading.rules import right_of, word_after, word_before
from amalia_mm.portuguese.tables import rows, words_of

CAPITAL = "A-ZÀ-ÖØ-Þ"
"""What stands between brackets for any capital."""

_SENTENCE_ENDS = re.compile(rf"\s*$|\s+[«“\"(—-]*\s*[{CAPITAL}]")
_OPENERS = frozenset(word for (word,) in rows("openers.tsv"))
_VERB = re.compile("(?:mente|[aei]u|ou|ei|[ae]va|avam|aram|eram|iram|amos|emos|imos|ámos)$|-[a-z]+$")
_TITLES = words_of("Dr Dra Eng Prof Sr Sra D Dom Dona Senhor Senhora Doutor Doutora Professor Engenheiro")
_BEFORE_TRADES = words_of("é és sou era foi fui ser sendo são somos seja como")
_MASTERS = words_of("o os do dos ao aos no nos pelo pelos um este esse aquele meu nosso senhor sr.")


def ends_sentence(found: re.Match[str]) -> bool:
    """Return whether the point that a match ends with may be that of the sentence as well."""
    return bool(_SENTENCE_ENDS.match(right_of(found)))


def is_before_opener(found: re.Match[str]) -> bool:
    """Return whether the word after a match is one that opens sentences, with a capital, and nobody's name."""
    word = word_after(found)
    if not word[:1].isupper() or is_name(word):
        return False
    return word in _OPENERS or _VERB.search(word) is not None


def is_title(found: re.Match[str]) -> bool:
    """Return whether a shortened title belongs to the capital after it: "o eng. Costa", not "o eng. Está bem."."""
    if is_name(word_after(found)):
        return True
    return not is_before_opener(found) and word_before(found).lower() not in _BEFORE_TRADES


def is_sure_title(found: re.Match[str]) -> bool:
    """Return whether what may be a word ("cor.") must be a title: a man's article before, a name or a title after."""
    name = word_after(found)
    return word_before(found).lower() in _MASTERS and (is_name(name) or name in _TITLES)
