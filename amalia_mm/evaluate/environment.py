"""Where figures come from: commit, hardware, versions and command, for others to get them again."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

import amalia_mm
from amalia_mm.commit import own_commit


@dataclass(frozen=True)
class Environment:
    """The place of a measurement."""

    commit: str
    hardware: str
    software: str
    command: str


def read_environment(command: str | None = None) -> Environment:
    """Return where this process runs; `command` is what the user typed, where another program started it."""
    return Environment(own_commit(), _hardware(), _software(), command or shlex.join(sys.argv))


def own_peak_rss_gb() -> float:
    """Return the most memory this process has had so far."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    for line in lines:
        # Not getrusage: what it tells begins with the memory of the process that began this one.
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hardware() -> str:
    memory_gb = psutil.virtual_memory().total / 2**30
    parts = [_processor(), f"{num_cores()} cores", f"{memory_gb:.0f} GB"]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    return ", ".join(parts)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _software() -> str:
    return (
        f"amalia_mm {amalia_mm.__version__}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {platform.platform()}"
    )
