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
    ("ow", "o"),
    ("ɪ", "j"),
    ("ɑ", "a"),
    ("l(?=ˈ?(?:[^aɐeɛiɨoɔuẽĩõũjwˈ]|$))", "ɫ"),
    ("(?<=[aɐeɛioɔ])u(?=$|[^aɐeɛiɨoɔuˈ])", "w"),
    ("ũŋ|ũm(?=ˈ?[pb])", "ũ"),
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


_NASAL = "(?:ɐ̃|ẽ|ĩ|õ|ũ)"
RULES = (
    Rule("foreign word", ".*", r".*(?:\(en\)|:|ː).*", "either", "espeak reads it as English"),
    Rule("unstressed e", "ɨ|i|ii", "e|ɛ|ɨ|", "ours", "unstressed e is ɨ, before a vowel and initially i"),
    Rule("unstressed a, o", "ɐ|u", "a|o|ɔ", "ours", "unstressed a is ɐ and o is u"),
    Rule("nasal o", "õʃ?", "ũs?", "ours", "a nasal vowel does not reduce: condição has õ"),
    Rule(
        "initial ɨʃ",
        "ɨ?[ʃʒ]?",
        "|e[sʃ]?|ʃ",
        "either",
        "estar, explicar: the ɨ may be silent; we write it",
        before="",
    ),
    Rule(
        "coda s",
        "ʃ|ʒ|ʃs?",
        "s|z|",
        "ours",
        "an s that closes a syllable is ʃ or ʒ, after nasals and before c too",
    ),
    Rule(
        "sc",
        "(?:ɨ|i)?ʃ",
        "e|i|ɨ|",
        "ours",
        "crescer, descer: Lisbon has ʃs, and e before it does not open",
        after="s.*",
    ),
    Rule("nasal and coda s", f"{_NASAL}ʃ", f"{_NASAL}s?", "ours", "construção: õʃ"),
    Rule(
        "open e, o",
        "ɛ|ɔ",
        "e|o|ɨ|u",
        "ours",
        "the lexicon's: novas as nova, maiores as maior, congresso; initial o",
    ),
    Rule(
        "closed e, o",
        "e|o",
        "ɛ|ɔ|ɨ|u",
        "ours",
        "the lexicon's: este, controlo, cabelo, ser; o before l does not reduce",
    ),
    Rule("Lisbon ɐ before palatals", "ɐ", "e|ɛ", "ours", "espelho, lenha, ideia: e is ɐ before a palatal"),
    Rule(
        "ɐj before x",
        "ɐj",
        "e|ɐ",
        "ours",
        "texto, sexta: Lisbon has ɐj before ʃ and a consonant",
        after="ʃ.*",
    ),
    Rule("open a", "a", "ɐ", "ours", "accented a, or where a mute c or p was (acção), or before -mente"),
    Rule(
        "mute c or p",
        "ɛ|ɔ|a|",
        "ɨp|up|ɛp|ɔp|ɐp|p",
        "ours",
        "excepção, adopção, óptimo, baptizar: the p of the old spelling is mute",
    ),
    Rule(
        "glide before the stress",
        "i|u",
        "j|w",
        "either",
        "nacional: a vowel in careful, a glide in fast speech",
    ),
    Rule(
        "glide after the stress", "j|w", "i|ɨ|u|o", "ours", "área, indústria: one syllable after the stress"
    ),
    Rule("-ios", "ju", "iw", "ours", "vários is ˈvaɾjuʃ"),
    Rule("coda l", "ɫ", "w|u?l|", "ours", "Lisbon has a dark l; w is Brazilian"),
    Rule("ou", "o", "ow|uɫ|owl|uw|aw", "ours", "Lisbon has o"),
    Rule(
        "nasal vowel, no consonant",
        _NASAL,
        f"(?:{_NASAL}|[ieouɐ])[nmŋ]",
        "ours",
        "a nasal vowel has no consonant after it",
    ),
    Rule("-em, -ens, -ãe", "ɐ̃j̃|j̃", "ẽ|em|ɐ̃j?|ɨ|j", "ours", "Lisbon has ɐ̃j̃ in quem, homens, mãe"),
    Rule("vowel before a nasal onset", "ɐn?|u|i|mɐ", "ɐ̃|ũ|ĩ|", "ours", "junho, canal: it is oral"),
    Rule("i before i", "ɨ", "i", "either", "ministro, difícil: i before a stressed i may be ɨ"),
    Rule("ɨ after a final stop", "ɨ", "", "either", "Madrid, SIC: foreign words may have it", after=""),
    Rule("pronounced c", "a?k", "ɐ?", "ours", "facto, pacto, característica keep their c in Portugal"),
    Rule("initial ess", "i", "ʃ", "ours", "essencial: the s of ess- is of the next syllable", before=""),
    Rule("proib-", "ui", "oj", "ours", "proibir: o and i are two syllables"),
    Rule("io in two syllables", "o|ɔ|u", "w", "ours", "anteriormente, teor: no diphthong", before=".*i"),
    Rule("-uo", "w", "", "ours", "indivíduo is ĩdiˈvidwu", after="u.*"),
    Rule("-uo, its end", "", "u", "ours", "indivíduo is ĩdiˈvidwu", before=".*wu"),
    Rule("muito", "ũj̃", "wĩ|uj", "ours", "the only nasal diphthong that is not written"),
    Rule("gue, gui", "", "w", "ours", "sangue, ninguém, sportinguista: the u is silent", before=".*ɡ"),
    Rule("reuni-", "i?u", "e?w", "ours", "reunir, reunião: e and u are two syllables"),
    Rule("ʁ after s", "ʁ", "ɾ", "ours", "Israel: r after l, n, s is ʁ"),
)


@dataclass
class Agreement:
    """Words compared, words that agree, words every difference of which is of a rule, and the words of each rule."""

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
        else:
            self.num_explained += 1


def in_our_notation(theirs: str) -> str:
    """Return espeak's IPA in our symbols: what is only written otherwise is no disagreement."""
    theirs = unicodedata.normalize("NFC", theirs)
    for pattern, becomes in _PATTERNS:
        theirs = pattern.sub(becomes, theirs)
    return theirs


def frequent_words(paths: Iterable[Path], num_words: int) -> list[str]:
    """Return the most frequent words of text files, of two letters or more and no hyphen, most frequent first.

    Of a .tsv file the last column is text.

    Raises:
        InputError: A file cannot be read, or there are fewer words than asked for.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                path, found=str(error), wanted="a text file in UTF-8", remedy="correct the path"
            ) from error
        texts = (line.rpartition("\t")[2] if path.suffix == ".tsv" else line for line in lines)
        counts.update(word for text in texts for word in words(text) if _WORD.fullmatch(word))
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
