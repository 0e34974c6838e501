"""What people type on telephones, in full: "tb vens? bjs" também vens? beijinhos; and o/a, (a) "ou a".

Only what nothing else is written like, in `data/messages.tsv`: "n" may be a number, and a capital a name.
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.reading.rules import LETTER, Rule, any_of, left_of, word_before
from amalia_mm.portuguese.tables import mapping

_FULL = mapping("messages.tsv")
_FULL |= {word.capitalize(): said.capitalize() for word, said in _FULL.items() if len(word) > 2}
SHORT = frozenset(_FULL)
"""What is shortened."""


def _say_other_gender(found: re.Match[str]) -> str | None:
    """Return "ou" and the feminine form for "/a" and "(a)" right after a masculine one; None after anything else."""
    if not left_of(found)[-1:].isalpha():
        return None
    masculine, many = word_before(found).lower(), "s" if "as" in found[0] else ""
    for ending, feminine in ((f"ore{many}" if many else "or", "ora"), (f"o{many}", "a")):
        if masculine.endswith(ending):
            return f"ou {masculine[: -len(ending)]}{feminine}{many}"
    return None


RULES = (
    Rule(
        re.compile(rf"(?:{any_of(list(_FULL))})(?![{LETTER}\d'’-])(?!\.[{LETTER}\d])"),
        lambda found: _FULL[found[0]],
    ),
    Rule(re.compile(r"q(?= [a-zà-ÿ]{2})"), lambda _: "que"),
)
"""How what is typed short is read."""

OTHER_GENDER = Rule(re.compile(rf"/as?(?![{LETTER}'’-])|\(as?\)"), _say_other_gender)
"""How the feminine form beside a masculine one is read: aluno/a, caro(a)."""
