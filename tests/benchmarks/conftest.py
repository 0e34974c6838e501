"""Rows of the benchmarks: both sides, the ratio, what it must be; `runs/bench/bench.json` keeps them.

A folder is a suite: `make bench SUITE=decoder` runs tests/benchmarks/decoder. Rows of other suites, and of benchmarks
that were not run, stay in the file with the commit and the machine they were measured on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "runs" / "bench" / "bench.json"
_ROWS = pytest.StashKey[list["Row"]]()


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    suite: str
    id: str
    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    op: Literal[">=", "<="]
    must: float
    commit: str
    machine: str

    @property
    def holds(self) -> bool:
        return self.ratio >= self.must if self.op == ">=" else self.ratio <= self.must

    def __str__(self) -> str:
        verdict = "" if self.holds else "   MISSED"
        return (
            f"{self.id:20} ours {self.ours:>10.4g}  peer {self.peer:>10.4g}  {self.unit:12} "
            f"ratio {self.ratio:6.3f}  must {self.op} {self.must}{verdict}   {self.name}"
        )


class Bench:
    """Takes the rows of one benchmark file."""

    def __init__(self, suite: str, rows: list[Row]) -> None:
        self._suite = suite
        self._rows = rows

    def row(
        self,
        id: str,  # noqa: A002 (the field's name in bench.json)
        name: str,
        *,
        ours: float,
        peer: float,
        unit: str,
        ratio: float,
        op: Literal[">=", "<="],
        must: float,
    ) -> None:
        """Record a row, then fail if it misses what it must be: what was measured is kept in any case.

        Args:
            id: The row's name in the table; one row each.
            name: What was compared, with the settings of both sides.
            ours: Our figure, in `unit`.
            peer: The peer's, or the limit of the machine.
            unit: Of both figures.
            ratio: The median over pairs; not the ratio of the medians.
            op: Which way `must` bounds the ratio.
            must: The bound.
        """
        from amalia_mm.evaluate.environment import read_environment

        environment = read_environment()
        machine = f"{environment.hardware}; {environment.software}"
        row = Row(self._suite, id, name, ours, peer, unit, ratio, op, must, environment.commit, machine)
        self._rows.append(row)
        assert row.holds, str(row)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Both sides get every core, unlike in the tests."""
    import torch

    from amalia_mm.evaluate.environment import num_cores

    before = torch.get_num_threads()
    torch.set_num_threads(num_cores())
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    """Where a benchmark leaves its rows; the suite is the folder it lies in."""
    return Bench(request.path.parent.name, request.config.stash.setdefault(_ROWS, []))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    rows = session.config.stash.get(_ROWS, [])
    if not rows:
        return
    new = {(row.suite, row.id): asdict(row) for row in rows}
    before = json.loads(BENCH.read_text(encoding="utf-8")) if BENCH.is_file() else []
    kept = {(row["suite"], row["id"]): row for row in before}
    BENCH.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(list((kept | new).values()), indent=2, ensure_ascii=False)
    BENCH.write_text(text + "\n", encoding="utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(_ROWS, [])
    if rows:
        terminalreporter.section("ours beside a peer")
        for row in rows:
            terminalreporter.line(str(row))
        terminalreporter.line(f"commit {rows[0].commit}, {rows[0].machine}")
        terminalreporter.line(f"written to {BENCH}")
