"""`amalia voice list | show | export | revoke | delete | detect`: the voices of a bank, and what a file says of itself.

Each action imports its room only when it is called. A passphrase is asked for, or read from a file or a variable; it is
no option, since other users of a machine see what commands are given.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from amalia_mm.commands.enrol import add_enrol
from amalia_mm.commands.voice_script import add_script
from amalia_mm.errors import InputError
from amalia_mm.terminal import note, path_column, result

if TYPE_CHECKING:
    from amalia_mm.voice.bank import Bank
    from amalia_mm.voice.pack import Passphrase

Actions = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
PASSPHRASE = "AMALIA_PASSPHRASE"
_COMPARED = {
    True: "ears heard the statement in it",
    False: "nobody compared it with the statement",
    None: "not known whether it was compared with the statement",
}
NOT_FOUND = 1
_BANK_HELP = "the bank folder (default: $AMALIA_BANK, else one in your own data folder)"
_NAME_HELP = "a voice as `list` names it, or the path of a .voice file"


def add_voice(commands: Actions) -> None:
    """Add the sub-command and its actions."""
    voice = commands.add_parser(
        "voice", help="voices of persons: what is kept, agreed to, revoked; watermarks"
    )
    actions = voice.add_subparsers(title="actions", metavar="ACTION", required=True)

    add_script(actions)
    _add_bank(add_enrol(actions), with_passphrase=True)
    listed = actions.add_parser("list", help="the voices of the bank, without opening them")
    _add_bank(listed)
    listed.set_defaults(run=_list)

    show = actions.add_parser("show", help="what is in a voice pack, and what its person agreed to")
    show.add_argument("name", help=_NAME_HELP)
    _add_bank(show, with_passphrase=True)
    show.set_defaults(run=_show)

    export = actions.add_parser(
        "export", help="recordings, texts and consent as files; speaker data too, if agreed to"
    )
    export.add_argument("name", help=_NAME_HELP)
    export.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new folder")
    _add_bank(export, with_passphrase=True)
    export.set_defaults(run=_export)

    revoke = actions.add_parser("revoke", help="silence a voice in this bank for good")
    revoke.add_argument("name", help=_NAME_HELP)
    revoke.add_argument("--by", required=True, help="who takes the voice back")
    revoke.add_argument("--yes", action="store_true", help="do not ask whether it is meant")
    _add_bank(revoke)
    revoke.set_defaults(run=_revoke)

    delete = actions.add_parser("delete", help="remove a voice and all that is derived from it")
    delete.add_argument("name", help=_NAME_HELP)
    delete.add_argument("--yes", action="store_true", help="do not ask whether it is meant")
    _add_bank(delete)
    delete.set_defaults(run=_delete)

    detect = actions.add_parser(
        "detect", help="whether a recording carries our watermark (exit code 0, else 1), and its manifest"
    )
    detect.add_argument("audio", type=Path)
    _add_bank(detect)
    detect.set_defaults(run=_detect)


def _add_bank(parser: argparse.ArgumentParser, with_passphrase: bool = False) -> None:
    parser.add_argument("--bank", type=Path, metavar="FOLDER", help=_BANK_HELP)
    if with_passphrase:
        add_passphrase(parser)


def add_passphrase(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Add the options of a passphrase: where it is read from, and the one that there is not."""
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"a file whose first line is the passphrase{of} (default: ${PASSPHRASE}, else it is asked for)",
    )
    # Without it, what begins --passphrase-file would be taken for it, and the passphrase for a path.
    parser.add_argument("--passphrase", nargs="?", action=_NotOnTheCommandLine, help=argparse.SUPPRESS)


class _NotOnTheCommandLine(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            "a passphrase is never given on the command line, where every program of this machine can read it, and the "
            f"shell remembers it: take --passphrase-file or ${PASSPHRASE}, or type it when it is asked for; and choose "
            "another one now"
        )


def open_bank(options: argparse.Namespace) -> Bank:
    """Return the bank that the options name."""
    from amalia_mm.voice.bank import Bank, default_folder

    return Bank(options.bank or default_folder())


def read_passphrase(options: argparse.Namespace, is_new: bool = False) -> Passphrase:
    """Return the passphrase from the file that the options name, the variable, or the keyboard.

    Args:
        options: With `passphrase_file`.
        is_new: It will be needed again: on the keyboard it is typed twice.

    Raises:
        InputError: It is empty, the file cannot be read or may be read by others, there is no keyboard, or the two
            differ.
    """
    from amalia_mm.voice.pack import Passphrase

    if options.passphrase_file is not None:
        return Passphrase(_first_line(options.passphrase_file), str(options.passphrase_file))
    if PASSPHRASE in os.environ:
        return Passphrase(os.environ[PASSPHRASE], f"${PASSPHRASE}")
    wanted = f"a keyboard, --passphrase-file or ${PASSPHRASE}"
    if not sys.stdin.isatty():
        raise InputError("the passphrase", found="no keyboard", wanted=wanted, remedy="give one of them")
    typed = getpass("Passphrase: ")
    if is_new and getpass("Again: ") != typed:
        remedy = "run the same again"
        raise InputError("the passphrase", found="two that differ", wanted="the same twice", remedy=remedy)
    return Passphrase(typed)


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # some editors begin a file with a mark
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "bytes that are no text"
        wanted = "a file whose first line is the passphrase"
        raise InputError("--passphrase-file", found=found, wanted=wanted, remedy="check the path") from None
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        wanted, remedy = "a file for its owner alone", f"chmod 600 {path}"
        found = f"mode {stat.S_IMODE(mode):o}"
        raise InputError(path, field="mode", found=found, wanted=wanted, remedy=remedy)
    return lines[0] if lines else ""


def _list(options: argparse.Namespace) -> int:
    bank = open_bank(options)
    packs = bank.packs()
    for pack in packs:
        state = pack.problem or ("revoked" if pack.is_revoked else "")
        result("\t".join((path_column(pack.name), pack.created, pack.voice_id, state)).rstrip("\t"))
    note(f"{len(packs)} in {bank.folder}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from amalia_mm.voice.consent import Use

    bank = open_bank(options)
    bank.find(options.name)
    opened = bank.look(options.name, read_passphrase(options))
    voice, consent = opened.voice, opened.voice.consent
    adapters = voice.speaker.adapters
    size = "none" if adapters is None else f"{len(adapters) / 1e6:.1f} MB"
    rows = {
        "voice": opened.voice_id,
        "enrolled": opened.created.isoformat(),
        "person": consent.person,
        "agreed to": ", ".join(sorted(consent.uses)),
        "from": consent.given.isoformat(),
        "until": consent.until.isoformat(),
        "decides later": consent.decides_later,
        "consent clip": _COMPARED[consent.is_compared],
        "recordings": f"{len(voice.clips)}, {voice.seconds() / 60:.1f} minutes",
        "embedding": f"{len(voice.speaker.embedding)} numbers",
        "adapters": size,
        "made for": ", ".join(f"{part} {value[:12]}" for part, value in voice.speaker.made_for.items())
        or "-",
        "may speak": "yes" if bank.covers(opened, Use.SPEECH) else "no",
    }
    for field, value in rows.items():
        result(f"{field}\t{value}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from amalia_mm.voice.own_voice import EMBEDDING
    from amalia_mm.voice.private_files import check_new_folder

    bank = open_bank(options)
    bank.find(options.name)
    check_new_folder(options.to)
    files = bank.export(options.name, read_passphrase(options), options.to)
    result(f"{options.to}\t{len(files)} files")
    if EMBEDDING not in files:
        note("without the speaker data: consent does not cover export, has expired, or was revoked")
    note(
        "they are not encrypted, and `amalia voice delete` does not know of them: keep them as you keep the voice"
    )
    return 0


def _revoke(options: argparse.Namespace) -> int:
    bank = open_bank(options)
    if not _is_meant(options, f"Silence the voice {options.name} here, for good?"):
        return NOT_FOUND
    voice_id = bank.revoke(options.name, options.by)
    result(f"{options.name}\t{voice_id}\trevoked")
    note("copies on other machines have to be revoked there; `amalia voice delete` removes this one")
    return 0


def _delete(options: argparse.Namespace) -> int:
    bank = open_bank(options)
    if not _is_meant(options, f"Remove the voice {options.name} and all that is derived from it?"):
        return NOT_FOUND
    for path in bank.delete(options.name):
        result(f"{path_column(path)}\tremoved")
    note("what was exported, backed up or copied to other machines is still there: remove it as well")
    return 0


def _is_meant(options: argparse.Namespace, question: str) -> bool:
    if options.yes:
        return True
    if not sys.stdin.isatty():
        wanted, remedy = "an answer", "run it in a terminal, or add --yes"
        raise InputError(f"amalia voice: {question}", found="no keyboard", wanted=wanted, remedy=remedy)
    sys.stderr.write(f"{question} [yes/no] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("yes", "sim"):
        return True
    note("nothing was changed")
    return False


def _detect(options: argparse.Namespace) -> int:
    from amalia_mm.voice.provenance import read_manifest
    from amalia_mm.voice.spoken_file import detect_file

    found = detect_file(options.audio)
    said = "found" if found.is_marked else "not found"
    result(f"watermark\t{said}\t{found.score:.2f}, and {found.wanted:.2f} is needed")
    manifest = read_manifest(options.audio, open_bank(options).signing_folder)
    result(f"manifest\t{'none' if manifest is None else manifest.told()}")
    return 0 if found.is_marked else NOT_FOUND
