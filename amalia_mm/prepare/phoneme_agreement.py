"""How far our sounds of words agree with espeak-ng's `pt`, and why not: the disagreements, sorted by rule.

espeak-ng is another description of European Portuguese, not the truth: each rule here says which side a Lisbon grammar
backs. It knows the notations of both sides and nothing of where the words come from.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.portuguese.g2p import word_ipa
from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.espeak import Speaker

_WORD = re.compile("[a-zàáâãçéêíóôõú]{2,}")
_SPOKEN_VOWEL = "aɐeɛiɨoɔu"
_NOTATION: tuple[tuple[str, str], ...] = (
    ("ˌ", ""),
    ("ɾə|ɹ|(?<![ʁr])r", "ɾ"),  # espeak's coda r has a vowel of its own after it
    ("ʊ̃", "w̃"),
    ("ʊ", "u"),
    ("õj(?!̃)", "õj̃"),
    ("ɐ̃ŋ|ɐ̃[nm](?![aɐeɛiɨoɔu])", "ɐ̃"),
    ("ɐ̃(?=ˈ?[nmɲ])", "ɐ"),  # the vowel before a nasal onset is raised, not nasal
    ("eɪŋ(?=ˈ?[ptkbdɡfvszʃʒlʁmnɾ])", "ẽ"),
    ("eɪm(?=ˈ?[pb])", "ẽ"),
    ("eɪŋ", "ɐ̃j̃"),
    ("eɪ", "ɐj"),
    ("ow(?![lt])", "o"),
    ("ɪ", "j"),
    ("ɑl", "aɫ"),
    ("l(?=ˈ?(?:[^aɐeɛiɨoɔuẽĩõũjwˈ]|$))", "ɫ"),
    ("(?<=[aɐeɛioɔ])u(?=$|[^aɐeɛiɨoɔuˈ])", "w"),
    ("ũŋ", "ũ"),
    ("u[ŋ]|um(?=ˈ?[pb])", "ũ"),
    ("i[ŋ]|im(?=ˈ?[pb])", "ĩ"),
    ("o[ŋ]|om(?=ˈ?[pb]|$)", "õ"),
)
_PATTERNS = tuple((re.compile(pattern), becomes) for pattern, becomes in _NOTATION)
_SEGMENT = re.compile("[^ˈ ]̃?")


@dataclass(frozen=True)
class Rule:
    """One kind of disagreement: what we say, what espeak says, and whom a Lisbon grammar backs.

    Patterns match the differing sounds, with the sounds before and after the difference at hand.
    """

    name: str
    ours: str
    theirs: str
    right: str
    why: str
    before: str = ".*"
    after: str = ".*"

    def fits(self, ours: str, theirs: str, before: str, after: str) -> bool:
        """Return whether this is the rule of a difference."""
        return all(
            re.fullmatch(pattern, found) is not None
            for pattern, found in (
                (self.ours, ours),
                (self.theirs, theirs),
                (self.before, before),
                (self.after, after),
            )
        )


RULES = (
    Rule(
        "unstressed e reduced",
        "ɨ|iɨ?|ɐ",
        "e|ɛ",
        "ours",
        "unstressed e is ɨ, initially i (Mateus & d'Andrade 2000, 2.2)",
    ),
    Rule(
        "unstressed a, o reduced",
        "ɐ|u",
        "a|o|ɔ",
        "ours",
        "unstressed a is ɐ and o is u; espeak has stress or a compound",
    ),
    Rule("nasal o kept", "õ", "ũ", "ours", "a nasal vowel does not reduce: condição has õ"),
    Rule("initial es-, ex-", "ɨ", "", "either", "initial ɨ before ʃ may be silent; we write it", after="ʃ.*"),
    Rule("initial ex-", "ɨ?ʃ", "e[sʃ]", "ours", "ex- before a consonant is as es-"),
    Rule(
        "coda s",
        "ʃ|ʒ",
        "s|z|",
        "ours",
        "an s that closes a syllable is ʃ or ʒ, after nasals and before c too",
    ),
    Rule(
        "open vowel in the plural",
        "ɛ|ɔ",
        "e|o",
        "ours",
        "-as, -es keep the vowel of the singular; so do menores, diversos",
    ),
    Rule("-os of nouns, ele, este", "e|o", "ɛ|ɔ", "ours", "este, neste, controlo, golo are closed in Lisbon"),
    Rule("Lisbon ɐ before palatals", "ɐ", "e|ɛ", "ours", "espelho, lenha, ideia: e is ɐ before a palatal"),
    Rule(
        "open after a lost consonant",
        "a|ɛ|ɔ",
        "ɐ|e|o|ɨp|u",
        "ours",
        "acção, eleger: open where a mute c or p was",
    ),
    Rule(
        "pretonic hiatus",
        "i|u",
        "j|w",
        "either",
        "before a stressed vowel i and u are a syllable; a glide in fast speech",
    ),
    Rule("posttonic glide", "j|w", "i|ɨ|u|o", "ours", "área, indústria: one syllable after the stress"),
    Rule("-ios", "ju", "iw", "ours", "vários is ˈvaɾjuʃ"),
    Rule("l in the coda", "ɫ", "w|u?l|", "ours", "Lisbon has a dark l; w is Brazilian"),
    Rule("ou", "o", "ow|uɫ|owl|uw|aw", "ours", "Lisbon has o"),
    Rule(
        "nasal vowel, no consonant",
        "ĩ|ẽ|õ|ũ|ɐ̃",
        "(?:i|e|o|u|ĩ|ẽ|õ|ũ|ɐ̃|ɐ)[nmŋ]",
        "ours",
        "a nasal vowel has no consonant after it",
    ),
    Rule("-em, -ens", "ɐ̃j̃", "ẽ|ɐ̃j?", "ours", "Lisbon has ɐ̃j̃ in quem, homens, bens"),
    Rule("oral before nh", "ɐ|u|i", "ɐ̃|ũ|ĩ", "ours", "the vowel before a nasal onset is not nasal"),
    Rule("dissimilated i", "ɨ", "i", "either", "ministro, difícil: i before a stressed i may be ɨ"),
    Rule(
        "irreducible e and e in líder",
        "ɛ|e",
        "ɨ",
        "ours",
        "líder, repórter, and stressed e in ser, ter, congresso",
    ),
    Rule(
        "initial and coda o",
        "ɔ|o",
        "u|ɔ|o",
        "ours",
        "initial o and o before l do not reduce: hospital, soldado",
    ),
    Rule(
        "final ɨ of foreign words",
        "ɨ",
        "",
        "either",
        "Madrid, sic: a stop at the end may have ɨ after it",
        after="",
    ),
    Rule("pronounced c", "k", "", "ours", "facto, pacto keep their c in Portugal"),
    Rule("muito", "ũj̃", "wĩ|uj", "ours", "the only nasal diphthong that is not written"),
)


@dataclass
class Agreement:
    """Words compared, words that agree, and the words of each rule that explains why others do not."""

    num_words: int = 0
    num_agreeing: int = 0
    num_explained: int = 0
    by_rule: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def add(self, word: str, ours: str, theirs: str) -> None:
        """Count one word, both sides in IPA."""
        self.num_words += 1
        left, right = _SEGMENT.findall(ours), _SEGMENT.findall(in_our_notation(theirs))
        if left == right:
            self.num_agreeing += 1
            return
        found = {_rule_of(*difference) for difference in _differences(left, right)}
        shown = f"{word} {ours} / {''.join(right)}"
        for rule in found:
            if rule is not None:
                self.by_rule.setdefault(rule.name, []).append(shown)
        if None in found:
            self.others.append(shown)
        elif all(rule is not None and rule.right != "espeak" for rule in found):
            self.num_explained += 1


def in_our_notation(theirs: str) -> str:
    """Return espeak's IPA in our symbols: what is only written otherwise is no disagreement."""
    theirs = unicodedata.normalize("NFC", theirs)
    for pattern, becomes in _PATTERNS:
        theirs = pattern.sub(becomes, theirs)
    return theirs


def frequent_words(paths: Iterable[Path], num_words: int) -> list[str]:
    """Return the most frequent words of text files, of at least two small letters and no hyphen, most frequent first.

    Raises:
        InputError: A file cannot be read, or there are fewer words than asked for.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            counts.update(word for word in words(path.read_text(encoding="utf-8")) if _WORD.fullmatch(word))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                path, found=str(error), wanted="a text file in UTF-8", remedy="correct the path"
            ) from error
    if len(counts) < num_words:
        raise InputError(
            "the text", found=f"{len(counts)} words", wanted=str(num_words), remedy="give more text"
        )
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:num_words]]


def compare(compared: Iterable[str], theirs: Callable[[str], str]) -> Agreement:
    """Return the agreement on words; `theirs` gives the other side's IPA of one."""
    agreement = Agreement()
    for word in compared:
        agreement.add(word, word_ipa(word), theirs(word))
    return agreement


def against_espeak(paths: Iterable[Path], num_words: int) -> Agreement:
    """Return how far our sounds of the most frequent words agree with espeak-ng's, which runs in its own process."""
    chosen = frequent_words(paths, num_words)
    with Speaker() as speaker:
        return compare(chosen, speaker.phonemes)


def _differences(left: list[str], right: list[str]) -> Iterable[tuple[str, str, str, str]]:
    """Yield what we have, what they have, and what we have before and after it."""
    for kind, i, j, k, m in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind != "equal":
            yield "".join(left[i:j]), "".join(right[k:m]), "".join(left[:i]), "".join(left[j:])


def _rule_of(ours: str, theirs: str, before: str, after: str) -> Rule | None:
    return next((rule for rule in RULES if rule.fits(ours, theirs, before, after)), None)
