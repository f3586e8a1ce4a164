# SPDX-License-Identifier: MIT
"""The report page and the index as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType

from harness.core.text import public
from harness.report.index import Entry, filters_of
from harness.report.template import render
from harness.report.view import Page
from harness.results.run_result import RunResult, Status

_MEANING: Mapping[Status, str] = MappingProxyType(
    {
        Status.PASSED: "All that was planned was done, and the kernel did what was expected.",
        Status.FAILED: "The kernel did something wrong.",
        Status.ERROR: "The test itself did not work: nothing is known about the kernel.",
        Status.MISSING: "The run was cut off: what is missing is no pass.",
    }
)


def report(name: str, run: RunResult, page: Page, command: str, started: str) -> str:
    """Return the page of the run in the folder `name`; `started` is its start time as text."""
    return render(
        "report",
        name=name,
        run=run,
        page=page,
        command=public(command),
        when=started,
        meaning=_MEANING[run.status],
        ended="" if run.end == run.headline else public(run.end),
        counts=_counts(run),
        facts=_facts(run),
    )


def index(entries: Sequence[Entry]) -> str:
    """Return the page that lists all results."""
    return render("index", entries=entries, filters=filters_of(entries))


def local_time(moment: datetime) -> str:
    """Return a time in the local time zone, for people; in its own where there is none."""
    with suppress(ValueError, OverflowError, OSError):
        moment = moment.astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z")


def _counts(run: RunResult) -> str:
    """Return a sentence that counts the verdicts of each kind."""
    statuses = [one.status for one in run.judged] + [Status.MISSING] * len(run.missing)
    if not statuses:
        return "Nothing was judged."
    words = {
        Status.PASSED: "passed",
        Status.FAILED: "failed",
        Status.ERROR: "without a verdict",
        Status.MISSING: "not judged",
    }
    count = Counter(statuses)
    told = ", ".join(f"{count[status]} {words[status]}" for status in words if count[status])
    return f"{len(statuses)} scenarios and logs: {told}."


def _facts(run: RunResult) -> list[tuple[str, str]]:
    facts = [
        ("kernel release", run.release),
        ("source", public(run.origin)),
        ("commit", run.commit or ""),
        ("toolchain", run.toolchain),
        ("machine", ", ".join(word for word in (run.machine, run.arch) if word)),
        ("emulator", run.emulator),
        ("changed files", ", ".join(run.changed)),
    ]
    # A source that is no git tree has no commit, and older harnesses recorded less.
    return [(what, value) for what, value in facts if value or what in ("kernel release", "source")]
