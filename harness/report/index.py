# SPDX-License-Identifier: MIT
"""The folders below results/ as rows of the index page. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from msgspec import Struct

from harness.core.text import public
from harness.results.run_result import RunResult, first_reason

_TIME = re.compile(r"(\d{8}-\d{6})-.*", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A folder, and what it holds; the defaults are for one without a verdict.

    `why` is the reason for the run's verdict, or says what the folder is otherwise.
    `page` is the name of the page that the folder holds, empty if it has none. `bytes_name` is
    the folder's name as the file system stores it. `kernel`, `policy` and `trigger` are as in
    the options.
    """

    bytes_name: bytes
    why: str
    page: str
    is_run: bool = False
    verdict: str = "no result"
    kernel: str = ""
    policy: str = ""
    trigger: str = ""

    @property
    def name(self) -> str:
        """The folder's name, readable."""
        return self.bytes_name.decode(errors="backslashreplace")

    @property
    def link(self) -> str:
        """The link to the folder's page, or to the folder if it has none."""
        return f"./{quote(self.bytes_name)}/{self.page}"

    @property
    def time(self) -> str:
        """The start time, from the folder's name; empty if the name has none."""
        return time_of(self.name)


def entry_of(name: bytes, run: RunResult, page: str) -> Entry:
    """Return the row of a run."""
    why = run.headline
    if not run.passed:
        reason = first_reason(run)
        why = f"{why}: {reason}" if reason and reason not in why else why
    return Entry(
        name,
        public(why),
        page,
        is_run=True,
        verdict=run.status.word,
        kernel=run.kernel,
        policy=run.policy,
        trigger=run.trigger,
    )


class Sweep(Struct, frozen=True):
    """What a matrix.json says of a whole sweep: `result` is its last line."""

    verdict: str
    result: str
    file: str


def sweep_entry_of(name: bytes, sweep: Sweep, page: str) -> Entry:
    """Return the row of a sweep."""
    why = f"sweep of {sweep.file}: {sweep.result}"
    return Entry(name, public(why), page, is_run=True, verdict=sweep.verdict)


def time_of(name: str) -> str:
    """Return the time that a result's name begins with, as text; empty if it has none."""
    found = _TIME.fullmatch(name)
    try:
        return datetime.strptime(found[1], "%Y%m%d-%H%M%S").isoformat(" ") if found else ""
    except ValueError:
        return ""


def ordered(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the newest first, and last, by name, the entries whose name has no time."""
    by_name = sorted(entries, key=lambda entry: entry.bytes_name)
    return (
        *(entry for entry in reversed(by_name) if entry.time),
        *(entry for entry in by_name if not entry.time),
    )


def filters_of(entries: Sequence[Entry]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the columns to filter by, each with its values in `entries`."""
    columns = ("kernel", "policy", "verdict")
    values = {what: {getattr(entry, what) for entry in entries} - {""} for what in columns}
    return tuple((what, tuple(sorted(found))) for what, found in values.items())
