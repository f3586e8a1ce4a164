# SPDX-License-Identifier: MIT
"""A guess of how long the cells of a matrix take: what was measured, or what the last run took."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harness.core.boot_tests import boot_test_files
from harness.core.errors import EXIT_FAILED, EXIT_PASSED
from harness.results.run_result import VERDICT, RunResult, parse_run
from harness.sweep import result
from harness.sweep.cell import Cell
from harness.sweep.matrix_file import Work

# Measured on two cores of 2020, in seconds. A build is that of a kernel that is not in the cache.
BUILD = 240.0
EMULATOR_TEST = 9.0
EMULATOR_TEST_ALL = 24.0
# How many times as long the scenarios take that wait for a daemon.
DAEMON = 1.35
# Of a run with a few scenarios: to begin, and for each scenario.
SCENARIOS_BEGIN = 2.0
SCENARIO = 0.5
# A fuzz run boots its guest.
FUZZ_BEGIN = 5.0
FUZZ_ROUND = 2.5
BENCH = 1600.0
BENCH_QUICK = 300.0
BOOT_TEST_FILE = 120.0
# How many times as long a debug kernel takes.
DEBUG = 4.0

# The rounds of a fuzz run that says neither rounds nor minutes.
ROUNDS = 1

_COMMAND = "command.txt"
# How many of the last sweeps, and of the last runs of a kernel and policy, are looked at.
_MOST = 20
# Options that make a run another one: as many of each as the cell has.
_TELLING = ("--config", "--debug", "--patch", "--scenario", "--source", "--toolchain")


def seconds_of(work: Work, policy: str, file: str, *, daemon: bool, debug: bool) -> float:
    """Return a guess of how long a cell takes, in seconds, with everything built."""
    if work.task == "emulator-test":
        seconds = EMULATOR_TEST_ALL if policy == "all" else EMULATOR_TEST
        if work.scenarios:
            seconds = min(seconds, SCENARIOS_BEGIN + SCENARIO * len(work.scenarios))
        seconds *= DAEMON if daemon else 1
    elif work.task == "fuzz":
        rounds = FUZZ_ROUND * (work.rounds or ROUNDS)
        seconds = FUZZ_BEGIN + (rounds if work.minutes is None else 60 * work.minutes)
    elif work.task == "bench":
        seconds = BENCH_QUICK if work.quick else BENCH
    else:
        files = 1 if file else len(boot_test_files())
        seconds = BOOT_TEST_FILE * files
    return seconds * (DEBUG if debug else 1)


def from_results(cells: Sequence[Cell], results: Path) -> tuple[Cell, ...]:
    """Return the cells with the time of the last run of each in `results`, where there is one.

    That is the same cell in a sweep's matrix.json, or an emulator-test's verdict.json, of which
    the scenarios' seconds are added up. Files that cannot be read are ignored.
    """
    swept = _swept(results)
    tested = {kind: tuple(_runs(*kind, results)) for kind in {_kind(cell) for cell in cells}}
    return tuple(
        replace(
            cell,
            seconds=swept.get(cell.line) or _tested(cell, tested[_kind(cell)]) or cell.seconds,
        )
        for cell in cells
    )


def wall_seconds(cells: Sequence[Cell], guests: int) -> float:
    """Return how long the cells take on one machine, on so many guests side by side."""
    each = [cell.seconds for cell in cells]
    alone = sum(cell.seconds for cell in cells if not cell.is_bundled)
    return max(*each, sum(each) / guests, alone) if len(each) > 1 else sum(each)


def side_by_side(cells: Collection[Cell], guests: int) -> int:
    """Return how many of the cells run at a time on one machine that has room for so many guests.

    One of its workers builds, so of the cells that build for themselves it is one.
    """
    bundled = sum(cell.is_bundled for cell in cells)
    return min(guests, bundled + (bundled < len(cells)))


def _swept(results: Path) -> dict[str, float]:
    """Return how long each command took that had a verdict in one of the last sweeps."""
    found: dict[str, float] = {}
    for file in sorted(results.glob(f"*/{result.MATRIX}"), reverse=True)[:_MOST]:
        with suppress(OSError, ValueError):
            for one in result.read(file.read_bytes()).cells:
                if one.last is not None and one.last.status in (EXIT_PASSED, EXIT_FAILED):
                    found.setdefault(one.cell.line, one.last.seconds)
    return found


def _kind(cell: Cell) -> tuple[str, str]:
    return cell.build.kernel, cell.policy


def _tested(cell: Cell, runs: Sequence[RunResult]) -> float:
    """Return how long the scenarios took in the last run of this emulator-test; 0: no such run."""
    for run in runs:
        if run.finished and _is_same(cell, run):
            return sum(one.seconds for one in run.judged)
    return 0.0


def _runs(kernel: str, policy: str, results: Path) -> Iterator[RunResult]:
    """Yield the last runs of emulator-test with this kernel and policy, the last one first."""
    files = results.glob(f"*-{kernel}-{policy}*/{VERDICT}") if policy else ()
    for file in sorted(files, reverse=True)[:_MOST]:
        with suppress(OSError, ValueError):
            run = parse_run(file.read_text(encoding="utf-8"))
            command = (file.parent / _COMMAND).read_text(encoding="utf-8")
            yield replace(run, command=tuple(shlex.split(command)))


def _is_same(cell: Cell, run: RunResult) -> bool:
    words, ran = cell.command, run.command
    if (run.kernel, run.policy, run.trigger) != (cell.build.kernel, cell.policy, cell.trigger):
        return False
    # The run may have more words, such as the number of guests.
    return set(words) <= set(ran) and all(words.count(one) == ran.count(one) for one in _TELLING)
