"""`amalia phonemes`: how a text sounds in Lisbon, and how far that agrees with espeak-ng.

It imports its rooms only when it is called.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.errors import InputError
from amalia_mm.terminal import note, result

if TYPE_CHECKING:
    from amalia_mm.prepare.phoneme_agreement import Agreement

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]

_EXAMPLES = 3


def add_phonemes(commands: Commands) -> None:
    """Add `phonemes` to the sub-commands."""
    phonemes = commands.add_parser("phonemes", help="how a text sounds in Lisbon, in IPA or SAMPA")
    phonemes.add_argument("text", nargs="?", metavar="TEXT")
    phonemes.add_argument("--sampa", action="store_true", help="in SAMPA for Portuguese instead of IPA")
    phonemes.add_argument(
        "--against-espeak",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="compare the most frequent words of text files with espeak-ng's, and sort what differs by rule",
    )
    phonemes.add_argument("--words", type=int, default=2000, help="how many words to compare")
    phonemes.set_defaults(run=_phonemes)


def _phonemes(options: argparse.Namespace) -> int:
    if (options.text is None) == (options.against_espeak is None):
        found = "neither" if options.text is None else "both"
        remedy = 'amalia phonemes "Bom dia!", or give files'
        raise InputError("phonemes", found=found, wanted="TEXT or --against-espeak", remedy=remedy)
    if options.against_espeak is not None:
        return _against_espeak(options)
    from amalia_mm.portuguese.g2p import utterance
    from amalia_mm.portuguese.phonology.phonemes import ipa, sampa
    from amalia_mm.portuguese.spoken import reading

    found = reading(options.text)
    if found.told:
        note(f"amalia: {found.told}")
    result((sampa if options.sampa else ipa)(utterance(found.text)))
    return 0


def _against_espeak(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.phoneme_agreement import against_espeak

    if options.words < 1:
        raise InputError("--words", found=options.words, wanted="at least 1", remedy="change it")
    for line in lines(against_espeak(options.against_espeak, options.words)):
        result(line)
    return 0


def lines(agreement: Agreement) -> list[str]:
    """Return the table of an agreement: one line a rule, most words first, tab-separated."""
    from amalia_mm.prepare.phoneme_agreement import RULES

    rules = sorted(RULES, key=lambda rule: -len(agreement.by_rule.get(rule.name, [])))
    return [
        f"{agreement.num_words} words\t{agreement.num_agreeing} agree\t{agreement.num_explained} differ by rules "
        f"alone\t{len(agreement.others)} otherwise",
        *(
            f"{len(found)}\t{rule.name}\tright: {rule.right}\t{rule.why}\t{'; '.join(found[:_EXAMPLES])}"
            for rule in rules
            if (found := agreement.by_rule.get(rule.name))
        ),
        *(f"1\tno rule\t{shown}" for shown in agreement.others),
    ]
