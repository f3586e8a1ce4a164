# SPDX-License-Identifier: MIT
"""A sweep, as far as it has got: the one model of it, which matrix.json holds. Pure.

All other formats of a sweep are made from it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from harness.core import typed_json
from harness.core.errors import EXIT_FAILED, EXIT_INFRASTRUCTURE, EXIT_PASSED
from harness.core.typed_json import Count
from harness.results.run_result import Status
from harness.sweep.cell import Cell

MATRIX = "matrix.json"
# Other cells do not change the verdict on the sweep any more.
_FOUND = (Status.FAILED, Status.ERROR)


@dataclass(frozen=True)
class Attempt:
    """One try at a cell.

    `worker` is the name of the machine's worker, `started` when it began, `seconds` how long it
    took. `status` is the exit status of its command; None if that never came, because the worker
    was lost or the run was cancelled. `line` is the command's last line, or why there is none.
    `folder` is its result folder, relative to that of the sweep; empty if it has none. `kernel` is
    the release of the kernel that it was to boot; empty if it built that for itself.
    """

    worker: str
    started: datetime | None = None
    seconds: float = 0.0
    status: int | None = None
    line: str = ""
    folder: str = ""
    kernel: str = ""


@dataclass(frozen=True)
class CellResult:
    """A cell with its attempts, the last of which counts; none before it has run."""

    cell: Cell
    attempts: tuple[Attempt, ...] = ()

    @property
    def last(self) -> Attempt | None:
        """The attempt that counts."""
        return self.attempts[-1] if self.attempts else None

    @property
    def status(self) -> Status:
        """The verdict. A lost worker is an error: nothing is known about the kernel."""
        if self.last is None:
            return Status.MISSING
        if self.last.status == EXIT_PASSED:
            return Status.PASSED
        return Status.FAILED if self.last.status == EXIT_FAILED else Status.ERROR

    @property
    def headline(self) -> str:
        """The last line of what ran, as text for people; what is known if nothing ran."""
        return self.last.line if self.last is not None else "not run"


@dataclass(frozen=True)
class SweepResult:
    """A sweep, as far as it has got.

    `run` is a globally unique name. `file` is the name of the matrix's file, `sha256` the digest
    of its content, `code` the key of the version that all cells are run with. `cells` has each cell
    of the matrix in its order. `problem` is what ended the sweep early, `finished` says that no
    cell is left to run.
    """

    run: str
    file: str
    sha256: str
    command: tuple[str, ...] = ()
    started: datetime | None = None
    seconds: float = 0.0
    workers: tuple[str, ...] = ()
    cells: tuple[CellResult, ...] = ()
    problem: str = ""
    finished: bool = False
    code: str = ""

    @property
    def counts(self) -> dict[Status, Count]:
        """How many cells have each status, gravest first; only those that occur."""
        found = Counter(one.status for one in self.cells)
        return {status: found[status] for status in Status if found[status]}

    @property
    def passed(self) -> bool:
        """Whether every cell has passed."""
        return self.finished and set(self.counts) == {Status.PASSED}

    @property
    def status(self) -> Status:
        """The verdict on all cells, as far as it is known: the gravest of them."""
        known = next(iter(self.counts), Status.MISSING)
        return known if self.finished or known in _FOUND else Status.MISSING

    @property
    def exit_status(self) -> int:
        """0 if all passed, 1 if a kernel did something wrong, else 3."""
        if self.passed:
            return EXIT_PASSED
        return EXIT_FAILED if Status.FAILED in self.counts else EXIT_INFRASTRUCTURE

    @property
    def last_line(self) -> str:
        """PASS, or FAIL with how many cells have which verdict."""
        counts = self.counts
        if self.passed:
            number = counts[Status.PASSED]
            return f"PASS: {number} {'cell' if number == 1 else 'cells'}"
        told = ", ".join(f"{number} {status.word}" for status, number in counts.items())
        return f"FAIL: of {len(self.cells)} cells {told}"

    def flaky(self) -> frozenset[str]:
        """Return the titles of the cells whose repetitions did not all come out the same."""
        kinds: dict[Cell, set[Status]] = {}
        for one in self.cells:
            kinds.setdefault(same_cell(one.cell), set()).add(one.status)
        # What has no verdict says nothing about the kernel.
        unknown = {Status.MISSING, Status.ERROR}
        known = {cell for cell, found in kinds.items() if len(found - unknown) > 1}
        return frozenset(one.cell.title for one in self.cells if same_cell(one.cell) in known)


def same_cell(cell: Cell) -> Cell:
    """Return what is the same for all repetitions of a cell: its first repetition, unguessed."""
    return replace(cell, repetition=1, seconds=0.0)


def read(text: str | bytes) -> SweepResult:
    """Parse a matrix.json; ValueError if it is malformed."""
    return typed_json.read(SweepResult, text, MATRIX)


def to_text(sweep: SweepResult) -> str:
    """Return the sweep as its matrix.json, which read() reads.

    Before the fields of a SweepResult it has `passed`, `verdict` and `result`: whether every
    cell has passed, the verdict in words, and the last line.
    """
    known = {"passed": sweep.passed, "verdict": sweep.status.word, "result": sweep.last_line}
    return typed_json.to_text(known | msgspec.to_builtins(sweep), exact=True)
