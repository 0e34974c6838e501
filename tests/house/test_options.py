"""The options of our sub-commands are written in one way, and whoever writes another is told which."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from amalia_mm.cli import LIGHTNING, build_parser, main


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every sub-command of ours, by the words that call it."""
    if parser._subparsers is None:
        yield name.strip(), parser
        return
    for word, child in parser._subparsers._group_actions[0].choices.items():  # type: ignore[union-attr]
        yield from leaves(child, f"{name} {word}")


OURS = {name: parser for name, parser in leaves(build_parser()) if name not in LIGHTNING}


def test_words_of_an_option_are_joined_by_hyphens() -> None:
    """`evaluate` had --text_weight where `prepare corpus` had --split-by; LightningCLI's options name attributes."""
    assert len(OURS) >= 20
    options = {(name, option) for name, parser in OURS.items() for option in parser._option_string_actions}
    assert not {(name, option) for name, option in options if "_" in option}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["evaluate", "--text_weight", "2"],
            "amalia evaluate: .*--text_weight (it is written --text-weight)",
        ),
        (["tokenizer", "--vocab_size=320"], "amalia tokenizer: .*(it is written --vocab-size)"),
        (
            ["prepare", "corpus", "x", "--format", "mls", "--output", "y", "--split_by", "a"],
            "written --split-by",
        ),
        (["transcribe", "--modell", "x", "a.wav"], "written --model"),
        (["shards", "stats", "x", "--colour"], "arguments: --colour; `amalia shards stats --help` lists"),
    ],
)
def test_a_wrong_option_names_the_right_one(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1
    assert all(part in told for part in says.split(".*")), told
