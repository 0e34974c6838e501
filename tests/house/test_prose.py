"""What the prose tells a person to run exists, and what it names is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from amalia_mm.cli import LIGHTNING, build_parser
from amalia_mm.errors import InputError
from amalia_mm.train.cli import main as lightning

ROOT = Path(__file__).parents[2]
PROSE = sorted([*ROOT.glob("*.md"), *(ROOT / "recipes").rglob("*.md"), *(ROOT / "configs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
OURS = re.compile(r"^(?:\./)?(?:amalia_mm|configs|recipes|tests|demos|\.ci)(?:/[\w.*-]+)*/?$")
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
SHELL = ("", "sh", "bash", "shell", "console")
# An ellipsis, a choice or a word in capitals stands for something the reader fills in.
OPEN = re.compile(r"…|\.\.\.|[|<>\[\]]|\b[A-Z]{2,}\b")


def label(path):
    return str(path.relative_to(ROOT))


def commands(text):
    """Every shell line of the fenced blocks and every inline piece that starts with one of our commands."""
    blocks = [body for language, body in FENCE.findall(text) if language in SHELL]
    lines = [line for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    lines += INLINE.findall(FENCE.sub("", text))
    for line in lines:
        line = re.sub(r"\s+#.*$", "", line.strip().removeprefix("$ "))
        for part in re.split(r"\s*(?:&&|;|\|)\s+", line):
            if re.match(r"(amalia|make)(\s|$)", part):
                yield part


def names(text):
    """Every path of ours that is named in inline code or linked to."""
    outside = FENCE.sub("", text)
    yield from (piece.split(":")[0] for piece in INLINE.findall(outside) if OURS.match(piece.split(":")[0]))
    for command in commands(text):
        yield from (word for word in command.split() if OURS.match(word) and not OPEN.search(word))


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["amalia"])


@pytest.mark.parametrize("path", PROSE, ids=label)
def test_every_command_is_one(path):
    for command in commands(path.read_text(encoding="utf-8")):
        words = shlex.split(command)
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            assert set(targets) <= TARGETS, f"{command}: no such target"
        elif len(words) > 1 and words[1] in LIGHTNING:
            if len(words) > 2:
                check_lightning(command, words)
        elif len(words) > 1 and not words[1].startswith("-"):
            check_sub_command(command, words)


def check_lightning(command, words):
    """The recipe is read and every option is one of it; nothing is built."""
    assert "-c" in words, f"{command}: which recipe?"
    given = [re.sub(r"\b[A-Z]{2,}\b", "runs/x", word) for word in words]
    try:
        lightning([*given[1:], "--print_config"])
    except SystemExit as done:
        if not done.code:
            return
    except InputError as error:
        pytest.fail(f"{command}: {error}")
    pytest.fail(f"{command}: the configuration was not printed")


def check_sub_command(command, words):
    parser, rest = build_parser(), words[1:]
    while rest and parser._subparsers is not None:
        choices = parser._subparsers._group_actions[0].choices
        assert rest[0] in choices, f"{command}: no such sub-command"
        parser, rest = choices[rest[0]], rest[1:]
    if not rest or OPEN.search(command):
        return  # it is named, not given to be run as it stands
    try:
        parser.parse_args(rest)
    except SystemExit:
        pytest.fail(f"{command}: does not parse")


@pytest.mark.parametrize("path", PROSE, ids=label)
def test_every_path_exists(path):
    text = path.read_text(encoding="utf-8")
    for name in names(text):
        assert list(ROOT.glob(name.removeprefix("./").rstrip("/"))), f"{name} is not there"
    for target in LINK.findall(text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"the link to {target} leads nowhere"


def test_a_wrong_command_or_path_would_be_seen(tmp_path, monkeypatch):
    wrong = ["amalia transcribe --modell x a.wav", "make nothing", "amalia fit -c recipes/gone/recipe.yaml"]
    wrong.append("amalia fit -c recipes/04_sft/recipe.yaml --trainer.most_steps 3")
    text = " ".join(f"`{command}`" for command in wrong) + "\n\n```sh\namalia shards stat x\n```\n"
    found = list(commands(text))
    assert found == ["amalia shards stat x", *wrong]
    path = ROOT / "sample.md"
    for command in found:
        monkeypatch.setattr(Path, "read_text", lambda *_, command=command, **__: f"`{command}`")
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test_every_command_is_one(path)
    assert list(names("`amalia_mm/gone.py`, `recipes/*/recipe.yaml` and `text`")) == [
        "amalia_mm/gone.py",
        "recipes/*/recipe.yaml",
    ]
