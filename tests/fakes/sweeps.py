# SPDX-License-Identifier: MIT
"""Invented sweeps, for tests of what is made from sweeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from summaries import texts

from harness.sweep.cell import Build, Cell
from harness.sweep.result import Attempt, CellResult, SweepResult

STARTED = datetime(2026, 11, 28, 20, 15, tzinfo=UTC)
KERNELS = ("linux-6.1", "goldfish-3.4")
POLICIES = ("rss", "runtime", "badness")
BUILDS = (
    Build("linux-6.1", "", ("--kernel", "linux-6.1")),
    Build("linux-6.1", "debug", ("--kernel", "linux-6.1", "--debug")),
    Build("goldfish-3.4", "", ("--kernel", "goldfish-3.4")),
)
PASS = "PASS: 22 scenarios on 6.1.153-gfoom-0123456789ab"
WRONG = "FAIL: wrong victim in course (policy rss)"
LOST = "the worker was lost"


def emulator_test(build: Build, policy: str, trigger: str, repetition: int = 1) -> Cell:
    words = ("--policy", policy, "--trigger", trigger)
    return Cell(build, "emulator-test", words, policy, trigger, repetition=repetition, seconds=25.0)


def fuzz(build: Build, seed: int, repetition: int = 1) -> Cell:
    words = ("--seed", str(seed), "--rounds", "20")
    return Cell(build, "fuzz", words, seed=seed, repetition=repetition, seconds=60.0)


def boot_test(build: Build, file: str) -> Cell:
    return Cell(build, "boot-test", ("--file", file), file=file, seconds=90.0)


def cells(builds: Iterable[Build] = BUILDS) -> tuple[Cell, ...]:
    """Return the cells of a small portability matrix."""
    found: list[Cell] = []
    for build in builds:
        for trigger in ("alloc", "daemon"):
            found += [emulator_test(build, policy, trigger) for policy in POLICIES]
        found.append(fuzz(build, 7))
        found.append(Cell(build, "bench", ("--quick",), seconds=300.0))
        found += [boot_test(build, name) for name in ("test_limits.py", "test_syscalls.py")]
    return tuple(found)


def passed(cell: Cell, seconds: float = 24.3) -> CellResult:
    return ended(cell, 0, PASS, seconds)


def ended(cell: Cell, status: int | None, line: str, seconds: float = 24.3) -> CellResult:
    return CellResult(cell, (Attempt("tcp-1", STARTED, seconds, status, line, folder_of(cell)),))


def lost_once(result: CellResult) -> CellResult:
    """Return the same, after an attempt whose worker was lost."""
    return replace(result, attempts=(lost(), *result.attempts))


def lost_twice(cell: Cell) -> CellResult:
    return CellResult(cell, (lost(), replace(lost(), worker="tcp-2")))


def lost() -> Attempt:
    return Attempt("tcp-1", STARTED, 11.0, None, LOST)


def folder_of(cell: Cell) -> str:
    name = "".join(char if char.isalnum() or char in ".-" else "-" for char in cell.title)
    return f"cells/{name}"


def sweep(results: Sequence[CellResult], **changes: Any) -> SweepResult:
    fields: dict[str, Any] = {
        "run": "20261128-201500-sweep-portability-01234567",
        "file": "portability.toml",
        "sha256": "0" * 64,
        "command": ("./inv", "sweep", "docs/portability.toml"),
        "started": STARTED,
        "seconds": 1834.5,
        "workers": ("tcp-1", "tcp-2"),
        "cells": tuple(results),
        "finished": True,
    }
    return SweepResult(**{**fields, **changes})


def green() -> SweepResult:
    return sweep([passed(cell) for cell in cells()])


def changed(base: SweepResult, new: Iterable[CellResult]) -> SweepResult:
    """Return a sweep with other results for some of its cells."""
    others = {one.cell.title: one for one in new}
    return replace(base, cells=tuple(others.get(one.cell.title, one) for one in base.cells))


def one_wrong_victim() -> SweepResult:
    cell = emulator_test(BUILDS[0], "rss", "alloc")
    return changed(green(), [ended(cell, 1, WRONG)])


def one_lost_worker() -> SweepResult:
    twice = emulator_test(BUILDS[2], "runtime", "daemon")
    once = passed(emulator_test(BUILDS[1], "rss", "alloc"))
    return changed(green(), [lost_twice(twice), lost_once(once)])


def flaky() -> SweepResult:
    build = BUILDS[0]
    results = list(green().cells)
    results += [passed(emulator_test(build, "rss", "alloc", number)) for number in (2, 4)]
    results += [ended(emulator_test(build, "rss", "alloc", 3), 1, WRONG)]
    results += [passed(emulator_test(build, "badness", "daemon", number)) for number in (2, 3)]
    return sweep(results)


def many_seeds(count: int = 200) -> SweepResult:
    results = [passed(fuzz(BUILDS[0], seed), 61.0) for seed in range(1, count + 1)]
    results[16] = ended(
        fuzz(BUILDS[0], 17), 1, "FAIL: round 3 (seed 17003): a wrong user's process", 31.0
    )
    results[40] = lost_twice(fuzz(BUILDS[0], 41))
    results[99] = lost_once(passed(fuzz(BUILDS[0], 100), 60.0))
    results += [passed(emulator_test(build, "rss", "alloc")) for build in BUILDS]
    return sweep(results)


def running() -> SweepResult:
    done = 11
    base = one_wrong_victim()
    rest = [CellResult(one.cell) for one in base.cells[done:]]
    return replace(base, cells=(*base.cells[:done], *rest), finished=False, seconds=300.0)


def huge(count: int = 10_000) -> SweepResult:
    builds = [Build(f"linux-6.{number}", "", ("--kernel", "x")) for number in range(10)]
    results = [passed(fuzz(build, seed)) for build in builds for seed in range(count // 20)]
    files = [f"test_{number}.py" for number in range(count // 20)]
    results += [passed(boot_test(build, file)) for build in builds for file in files]
    results[5] = ended(results[5].cell, 1, WRONG)
    return sweep(results)


def hostile(script: str) -> SweepResult:
    """Return a sweep whose every name and line is a stranger's."""
    bad = f"{script}\x00\x1b[31m\u202e'\"&{{{{ 7 * 7 }}}}"
    build = Build(bad, bad, (bad,))
    cell = Cell(build, bad, (bad,), bad, bad, None, bad)
    attempts = (
        Attempt(bad, STARTED, 1.0, None, bad, "../../etc"),
        Attempt(bad, None, 1.0, 1, bad, bad, bad),
    )
    results = (CellResult(cell, attempts), CellResult(replace(cell, repetition=2)))
    return sweep(results, run=bad, file=bad, command=(bad,), workers=(bad,), problem=bad)


def leave(root: Path, found: SweepResult, name: str = "20261128-201500-sweep-portability") -> Path:
    """Make the folder of a sweep, with the files of its cells."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    files = {"emulator-test": "report.html", "fuzz": "fuzz.json", "bench": "bench.svg"}
    for one in found.cells:
        place = folder / folder_of(one.cell)
        if one.last is not None and one.last.folder == folder_of(one.cell):
            place.mkdir(parents=True, exist_ok=True)
            (place / files.get(one.cell.task, "output.txt")).write_text("<title>a run</title>\n")
    return folder


@st.composite
def sweeps(draw: st.DrawFn) -> SweepResult:
    """Generate any sweep."""
    builds = draw(
        st.lists(st.builds(Build, texts(), texts(), st.tuples(texts())), min_size=1, max_size=3)
    )
    cell = st.builds(
        Cell,
        st.sampled_from(builds),
        st.sampled_from(("emulator-test", "fuzz", "bench", "boot-test")) | texts(),
        st.tuples(texts()),
        texts(),
        texts(),
        st.none() | st.integers(0, 2**63),
        texts(),
        st.integers(1, 3),
    )
    times = st.sampled_from((None, STARTED, STARTED.astimezone(timezone(timedelta(hours=5.5)))))
    attempt = st.builds(
        Attempt,
        texts(),
        times,
        st.floats(0, 1e6),
        st.sampled_from((None, 0, 1, 2, 3, 130)),
        texts(),
        texts(),
        texts(),
    )
    results = st.builds(CellResult, cell, st.lists(attempt, max_size=3).map(tuple))
    unique = st.lists(results, max_size=8, unique_by=lambda one: one.cell.title)
    return sweep(
        draw(unique),
        run=draw(texts()),
        file=draw(texts()),
        sha256=draw(texts()),
        command=tuple(draw(st.lists(texts(), max_size=3))),
        started=draw(times),
        seconds=draw(st.floats(0, 1e7)),
        workers=tuple(draw(st.lists(texts(), max_size=2))),
        problem=draw(st.just("") | texts()),
        finished=draw(st.booleans()),
    )
