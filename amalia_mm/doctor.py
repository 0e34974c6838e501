"""`amalia doctor`: what is installed, on which machine, what is missing, and how to get it.

Every look is allowed to fail: a broken package is what this command is there to show.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import amalia_mm

DISTRIBUTION = "amalia-mm"
TORCH_RANGE = ((2, 11), (2, 15))
TORCHAUDIO = (2, 11)
TORCHAUDIO_CUDA = "13.0"


@dataclass(frozen=True)
class Finding:
    """One row of the table. `remedy` is filled where something is missing or wrong."""

    subject: str
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Return everything that is worth knowing, in reading order."""
    return [
        Finding("amalia_mm", f"{amalia_mm.__version__} in {Path(amalia_mm.__file__).parent}"),
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        *_torch(),
        *_machine(),
        *_extras(),
        _espeak(),
        _model(),
    ]


def render(findings: list[Finding]) -> str:
    """Return the findings as a table for a person; a row with a remedy is marked and its remedy follows."""
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{'!' if finding.remedy else ' '} {finding.subject:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"  {'':<{width}}  -> {finding.remedy}")
    return "\n".join(lines) + "\n"


def torch_pair_problem(torch: str, torchaudio: str, cuda: str | None) -> str:
    """Return why a pair of versions is not supported, or "" where it is.

    torchaudio 2.11 is built for CUDA 13.0 and refuses a torch built for another one; it does not load beside
    the CPU-only build of torch 2.13.
    """
    numbers, audio_numbers = _numbers(torch), _numbers(torchaudio)
    if not TORCH_RANGE[0] <= numbers < TORCH_RANGE[1]:
        return "torch >= 2.11 and < 2.15 is supported"
    if audio_numbers != TORCHAUDIO:
        return "torchaudio 2.11 is supported"
    if cuda is not None and cuda != TORCHAUDIO_CUDA:
        return f"this torch is built for CUDA {cuda}; torchaudio 2.11 wants one built for {TORCHAUDIO_CUDA}"
    if cuda is None and numbers == (2, 13):
        return "the CPU-only torch 2.13 does not load torchaudio 2.11; take torch 2.14"
    return ""


def _numbers(version: str) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def _torch() -> Iterator[Finding]:
    remedy = f"pip install -c constraints.txt {DISTRIBUTION}"
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        yield Finding("torch", f"does not load: {error}", remedy)
        return
    yield Finding("torch", f"{torch.__version__} (CUDA {torch.version.cuda or 'none'})")
    try:
        torchaudio = importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        yield Finding("torchaudio", f"does not load: {_first_line(error)}", remedy)
    else:
        problem = torch_pair_problem(torch.__version__, torchaudio.__version__, torch.version.cuda)
        yield Finding("torchaudio", torchaudio.__version__, f"{problem}: {remedy}" if problem else "")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield Finding("gpu", ", ".join(names))
    else:
        yield Finding("gpu", "none; the processor is used")


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("processor", f"{cores} cores, {platform.machine()}, {platform.system()}")
    try:
        memory = importlib.import_module("psutil").virtual_memory()
        few = memory.available < 6 * 2**30
        yield Finding(
            "memory",
            f"{memory.available / 2**30:.1f} GB free of {memory.total / 2**30:.1f} GB",
            "the quickstart takes up to 6 GB: close other programs" if few else "",
        )
    except ImportError as error:
        yield Finding("memory", f"unknown: {error}", f"pip install {DISTRIBUTION}")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Finding("disk", f"{free:.1f} GB free here", "the quickstart writes up to 2 GB" if free < 2 else "")


def _extras() -> Iterator[Finding]:
    """Yield for the base and each extra whether its packages are here."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", f"{DISTRIBUTION} is not installed", "pip install -e . (or `make setup`)")
        return
    wanted: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"extra\s*==\s*[\"'](\w+)[\"']", requirement)
        name = re.match(r"[\w.-]+", requirement)
        wanted.setdefault(extra.group(1) if extra else "", []).append(name.group() if name else requirement)
    for extra, names in wanted.items():
        missing = [name for name in names if not _is_installed(name)]
        subject, package = (
            (f"extra {extra}", f"'{DISTRIBUTION}[{extra}]'") if extra else ("base", DISTRIBUTION)
        )
        if missing:
            yield Finding(subject, f"missing: {', '.join(missing)}", f"pip install {package}")
        else:
            yield Finding(subject, f"ready ({len(names)} packages)")


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _espeak() -> Finding:
    try:
        library = Path(importlib.import_module("espeakng_loader").get_library_path())
    except (ImportError, OSError, RuntimeError) as error:
        remedy = f"pip install '{DISTRIBUTION}[train]': it speaks the built-in corpus"
        return Finding("espeak-ng", f"missing: {_first_line(error)}", remedy)
    if not library.is_file():
        return Finding(
            "espeak-ng", f"no such file: {library}", "pip install --force-reinstall espeakng-loader"
        )
    return Finding("espeak-ng", f"{metadata.version('espeakng-loader')} ({library.name})")


def _model() -> Finding:
    named = os.environ.get("AMALIA_MODEL")
    try:
        from amalia_mm.resolve import resolve_model

        folder = resolve_model()
    except (ImportError, OSError) as error:
        return Finding("model", f"cannot look: {_first_line(error)}", f"pip install {DISTRIBUTION}")
    except ValueError as error:
        asked = f"$AMALIA_MODEL is {named}: " if named else ""
        return Finding("model", f"{asked}{_first_line(error)}", "make quickstart builds one; or give --model")
    return Finding("model", f"{folder} ({'$AMALIA_MODEL' if named else 'the default'})")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
