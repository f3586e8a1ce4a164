# SPDX-License-Identifier: MIT
"""matrix.html: a sweep as a page, and the sweep before it to compare it with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from urllib.parse import quote

from harness.core.errors import InfrastructureError
from harness.core.text import public
from harness.report.files import read_text, replace_file
from harness.report.page import local_time
from harness.report.report import REPORT
from harness.report.template import render
from harness.results.fuzz_result import FUZZ
from harness.results.run_result import Status
from harness.sweep import view
from harness.sweep.result import MATRIX, Attempt, SweepResult, read

PAGE = "matrix.html"
# What a cell's link leads to: the first of these that its folder has, else the folder.
_FILES = (REPORT, FUZZ, "bench.svg", "bench.json", "junit.xml", "output.txt")
_MEANING: Mapping[Status, str] = MappingProxyType(
    {
        Status.PASSED: "",
        Status.FAILED: "A kernel did something wrong.",
        Status.ERROR: "A cell without a verdict says nothing about its kernel.",
        Status.MISSING: "What was not run is no pass.",
    }
)
# So many cells have details on the page; the others are in the matrix alone.
_MOST_DETAILED = 300
_IN_NAME = "-sweep-"


def write(folder: Path, sweep: SweepResult, before: SweepResult | None = None) -> Path:
    """Write the page of a sweep into its folder, and return its path.

    `before` is an earlier sweep to compare it with. Raise InfrastructureError if the page
    cannot be written.
    """
    return replace_file(folder / PAGE, page(folder, sweep, before))


def page(folder: Path, sweep: SweepResult, before: SweepResult | None = None) -> str:
    """Return the page of the sweep in `folder`."""
    done = sum(1 for one in sweep.cells if one.status is not Status.MISSING)
    is_running = not sweep.finished and not sweep.problem
    shown = view.build(sweep, before, lambda attempt: _link(folder, attempt))
    return render(
        "matrix",
        sweep=sweep,
        view=shown,
        detailed=frozenset(one.number for one in shown.told[:_MOST_DETAILED]),
        word=Status.MISSING.word if is_running else sweep.status.word,
        meaning=_MEANING[sweep.status],
        headline=_headline(sweep, done, is_running),
        is_running=is_running,
        done=done,
        has_failed=Status.FAILED in sweep.counts,
        counts=tuple((status, view.counted({status: n})) for status, n in sweep.counts.items()),
        facts=tuple(_facts(sweep)),
        command=public(shlex.join(sweep.command)),
        took=view.took,
        public=public,
        local_time=local_time,
    )


def find_before(results: Path, sweep: SweepResult) -> SweepResult | None:
    """Return the newest other finished sweep of the same file in `results`; None if there is none.

    A folder that cannot be read is passed over.
    """
    try:
        folders = sorted(results.iterdir(), reverse=True)
    except OSError:
        return None
    for folder in folders:
        if _IN_NAME in folder.name:
            found = _read(folder)
            if found and found.finished and found.file == sweep.file and _is_earlier(found, sweep):
                return found
    return None


def _is_earlier(one: SweepResult, other: SweepResult) -> bool:
    """Return whether one began before the other, as far as that is known."""
    is_later = one.started and other.started and one.started > other.started
    return one.run != other.run and not is_later


def _read(folder: Path) -> SweepResult | None:
    """Return the sweep in a folder; None if there is none that can be read."""
    try:
        text = read_text(folder / MATRIX)
        return read(text) if text is not None else None
    except (ValueError, InfrastructureError):
        return None


def _headline(sweep: SweepResult, done: int, is_running: bool) -> str:
    """Return the last line without its first word; of a sweep that runs, how far it has got."""
    if not is_running:
        return sweep.last_line.partition(": ")[2]
    return f"{done:,} of {len(sweep.cells):,} cells are done"


def _facts(sweep: SweepResult) -> Iterator[tuple[str, str]]:
    """Yield what is known of the sweep as a whole."""
    yield "matrix", sweep.file
    if sweep.started is not None:
        yield "started", local_time(sweep.started)
        if not sweep.finished:
            yield "this page is of", local_time(sweep.started + timedelta(seconds=sweep.seconds))
    yield "took" if sweep.finished else "has taken", view.took(sweep.seconds)
    if sweep.workers:
        yield f"workers ({len(sweep.workers)})", ", ".join(sweep.workers)


def _link(folder: Path, attempt: Attempt) -> str:
    """Return the link to an attempt's files from the page; empty if there are none here."""
    name = PurePosixPath(attempt.folder)
    # A matrix.json may come from a stranger.
    if not attempt.folder or name.is_absolute() or ".." in name.parts:
        return ""
    try:
        found = {one.name for one in (folder / name).iterdir()}
    except (OSError, ValueError):
        return ""
    file = next((one for one in _FILES if one in found), "")
    return f"./{quote(os.fsencode(str(name)))}/{file}"
