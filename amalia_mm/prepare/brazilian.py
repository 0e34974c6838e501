"""European Portuguese rewritten with Brazilian forms, contrast by contrast: a sentence in, and as Brazil has it out.

Words change by the strong rows of `portuguese/data/contrasts.tsv` whose two members agree in gender and number;
grammar by a rule for each contrast (the G numbers are those that grammars of the two varieties are compared by). It
rewrites the built-in sentences and their like; it is no translator, and knows no splits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache

from amalia_mm.portuguese.contrast import load_contrasts, plural

PROGRESSIVE, ENCLISIS, ADDRESS, POSSESSIVE = "G1", "G4", "G13", "G16"
"""estar a + infinitive; clitics after the verb; tu; the article before possessives."""
CONTRACTION, ACCUSATIVE, DIRECTION, CLEFT, EXISTENCE, INFINITIVE = (
    "grammar/contraction",
    "grammar/accusative",
    "grammar/going_to_place",
    "grammar/what_is_it",
    "grammar/there_is",
    "grammar/infinitive_clitic",
)
PRETERITE = "falámos"

_OTHER_AGREEMENT = frozenset(
    (
        *(
            "frigorífico",
            "portagem",
            "berbequim",
            "alcatifa",
            "biberão",
            "palhinha",
            "berma",
            "curgete",
            "bagageira",
        ),
        *("casa de banho", "pastilha elástica", "tosta mista", "máquina de lavar loiça", "guarda-redes"),
    )
)
"""Rows whose Brazilian member has another gender or number, so that what stands around it would change too."""
_INSTEAD = {
    "calças de ganga": "calças jeans",
    "trabalhos de casa": "deveres de casa",
    "mil milhões": "um bilhão",
}
"""What the table has in another number, or without what the sentence needs."""

_THIRD = {
    "queres": "quer",
    "podes": "pode",
    "gostas": "gosta",
    "precisas": "precisa",
    "lembras": "lembra",
    "tens": "tem",
    "dás": "dá",
    "consegues": "consegue",
    "sabes": "sabe",
    "pensas": "pensa",
    "estás": "está",
    "vais": "vai",
    "fazes": "faz",
    "viste": "viu",
    "ouviste": "ouviu",
    "puseste": "pôs",
    "recebeste": "recebeu",
}
_POSSESSIVES = (
    "|".join(
        f"{stem}{ending}"
        for stem, endings in (("meu", " s"), ("teu", " s"), ("seu", " s"), ("nosso", " s"), ("nossa", " s"))
        for ending in map(str.strip, endings.split(" "))
    )
    + "|minhas?|tuas?|suas?"
)
_BARE = {"": "", "d": "de ", "n": "em ", "pel": "por "}
_PRONOUNS = {"o": "ele", "a": "ela", "os": "eles", "as": "elas"}
_CLITICS = "me|te|lhes?|nos|se"


Rewrite = Callable[[re.Match[str]], str]


@dataclass(frozen=True)
class _Rule:
    """One contrast of grammar: what is European about a text, and what stands there in Brazil."""

    contrast: str
    european: re.Pattern[str]
    brazilian: Rewrite


def to_brazilian(text: str, left_out: Collection[str] = ()) -> tuple[str, frozenset[str]]:
    """Return a text with Brazilian forms, and the contrasts that were found in it.

    Args:
        text: European Portuguese.
        left_out: Contrasts to leave as they are; they are not among those returned.
    """
    found: set[str] = set()

    def rewrite(match: re.Match[str], contrast: str, brazilian: Rewrite) -> str:
        if contrast in left_out:
            return match[0]
        found.add(contrast)
        after = brazilian(match)
        return after[:1].upper() + after[1:] if match[0][:1].isupper() else after

    for rule in _grammar():
        text = rule.european.sub(lambda m, rule=rule: rewrite(m, rule.contrast, rule.brazilian), text)
    forms, pattern = _words()

    def change(match: re.Match[str]) -> str:
        contrast, brazilian = forms[match[0].lower()]
        return rewrite(match, contrast, lambda _: brazilian)

    return pattern.sub(change, text), frozenset(found)


@cache
def _grammar() -> tuple[_Rule, ...]:
    persons = "|".join((*_THIRD, r"\w{2,}aste"))
    rules: tuple[tuple[str, str, Rewrite], ...] = (
        (ADDRESS, rf"\b((?:já|não|ainda não|nunca) )?({persons})(?:-({_CLITICS}))?\b", _address),
        (ADDRESS, r"\bnão te esqueças\b", lambda _: "não se esqueça"),
        (ADDRESS, r"\bcontigo\b|(?<=\bvou )consigo\b", lambda _: "com você"),
        (ADDRESS, r"\bpara (?:si|ti)\b", lambda _: "para você"),
        (
            PROGRESSIVE,
            r"\b(est(?:ou|á|amos|ão|ava)|continu(?:o|a|am)|and(?:o|a|am)) a (\w+)([aei])r\b",
            _gerund,
        ),
        (INFINITIVE, rf"\b(\w+r)-({_CLITICS})\b", _clitic_first),
        (INFINITIVE, r"\b(\w+)([áêí])-l([oa]s?)\b", _infinitive),
        (ENCLISIS, rf"\b(\w+[^\Wr])-({_CLITICS})\b", _clitic_first),
        (ACCUSATIVE, r"\b(\w+[aeiouç])-(os?|as?)\b", lambda m: f"{m[1]} {_PRONOUNS[m[2].lower()]}"),
        (POSSESSIVE, rf"\b(d|n|pel|)(?:o|a)s? ({_POSSESSIVES})\b", lambda m: _BARE[m[1].lower()] + m[2]),
        (POSSESSIVE, rf"\b(?:aos?|às?) ({_POSSESSIVES})\b", lambda m: f"a {m[1]}"),
        (CONTRACTION, r"\bn(uma?|uns|umas)\b", lambda m: f"em {m[1]}"),
        (CONTRACTION, r"\bd(uma?|uns|umas)\b", lambda m: f"de {m[1]}"),
        (
            DIRECTION,
            r"\b(vou|vamos|vai|vão|fui|fomos|foi|ir|cheguei|chegou|chegámos) (ao|à)(?! (?:meio|meia|noite|tarde))\b",
            lambda m: f"{m[1]} {'no' if m[2].lower() == 'ao' else 'na'}",
        ),
        (CLEFT, r"\b(que|onde|quando|como|quem|horas|quanto|quantos|quantas) é que\b", lambda m: m[1]),
        (EXISTENCE, r"^há(?= )(?! (?:\w+ ){1,2}(?:minutos?|horas?|dias?|anos?|meses)\b)", lambda _: "tem"),
        (PRETERITE, r"\b(\w{2,})ámos\b", lambda m: f"{m[1]}amos"),
    )
    return tuple(
        _Rule(name, re.compile(european, re.IGNORECASE), brazilian) for name, european, brazilian in rules
    )


def _clitic_first(match: re.Match[str]) -> str:
    return f"{match[2]} {match[1][:1].lower()}{match[1][1:]}"


def _address(match: re.Match[str]) -> str:
    adverb, verb, clitic = match[1] or "", match[2].lower(), match[3]
    third = _THIRD.get(verb) or verb.removesuffix("aste") + "ou"
    before = "" if clitic is None else ("se " if clitic.lower() == "te" else f"{clitic} ")
    return f"você {adverb.lower()}{before}{third}"


def _gerund(match: re.Match[str]) -> str:
    return f"{match[1]} {match[2]}{match[3][0]}ndo"


def _infinitive(match: re.Match[str]) -> str:
    return f"{match[1]}{ {'á': 'ar', 'ê': 'er', 'í': 'ir'}[match[2].lower()] } {_PRONOUNS[match[3].lower()]}"


@cache
def _words() -> tuple[dict[str, tuple[str, str]], re.Pattern[str]]:
    """Return contrast and Brazilian form by European one, and a pattern of them all, the longest first."""
    forms: dict[str, tuple[str, str]] = {}
    for row in load_contrasts():
        name = row.european[0]
        if row.flag == "S" and row.brazilian and name not in _OTHER_AGREEMENT:
            for european, brazilian in _inflected(name, _INSTEAD.get(name, row.brazilian[0])):
                forms.setdefault(european.lower(), (name, brazilian))
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])", re.IGNORECASE)
    return forms, pattern


def _inflected(european: str, brazilian: str) -> Iterator[tuple[str, str]]:
    """Yield the pair as it stands, in the plural and, of adjectives, in the feminine."""
    pairs = [(european, brazilian)]
    if european.endswith("o") and brazilian[-1] in "oe" and " " not in european:
        pairs.append((european[:-1] + "a", brazilian[:-1] + "a" if brazilian.endswith("o") else brazilian))
    for one, other in pairs:
        yield one, other
        yield plural(one), plural(other)
