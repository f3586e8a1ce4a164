# SPDX-License-Identifier: MIT
"""The folders below results/ as rows of the index page. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from harness.core.text import public
from harness.results.run_result import RunResult, first_reason

_NO_RUN = "no result"
_TIME = re.compile(r"(\d{8}-\d{6})-.*", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A folder; `run` is None where it is no run of the main job, and `why` says what it is.

    `has_page` says that it holds a report.html. `bytes_name` is the folder's name as the
    file system has it.
    """

    bytes_name: bytes
    run: RunResult | None
    why: str
    has_page: bool

    @property
    def name(self) -> str:
        """The folder's name, readable."""
        return self.bytes_name.decode(errors="backslashreplace")

    @property
    def link(self) -> str:
        """Where it leads: to its page if it has one."""
        folder = f"./{quote(self.bytes_name)}/"
        return f"{folder}report.html" if self.has_page else folder

    @property
    def time(self) -> str:
        """When it began, by its name; empty where that does not say."""
        return time_of(self.name)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return _NO_RUN if self.run is None else self.run.word.value

    @property
    def kernel(self) -> str:
        """The kernel's name, as in the options."""
        return "" if self.run is None else self.run.kernel

    @property
    def policy(self) -> str:
        """The policy, as in the options."""
        return "" if self.run is None else self.run.policy

    @property
    def trigger(self) -> str:
        """The trigger, as in the options."""
        return "" if self.run is None else self.run.trigger


def entry_of(name: bytes, run: RunResult, has_page: bool) -> Entry:
    """The row of a run."""
    why = run.reason
    if not run.passed:
        reason = first_reason(run.scenarios)
        why = f"{why}: {reason}" if reason and reason not in why else why
    return Entry(name, run, public(why), has_page)


def time_of(name: str) -> str:
    """The time that a result's name begins with, in words; empty if it does not."""
    found = _TIME.fullmatch(name)
    try:
        return datetime.strptime(found[1], "%Y%m%d-%H%M%S").isoformat(" ") if found else ""
    except ValueError:
        return ""


def ordered(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The newest first; behind them, by name, those whose name has no time."""
    by_name = sorted(entries, key=lambda entry: entry.bytes_name)
    return (
        *(entry for entry in reversed(by_name) if entry.time),
        *(entry for entry in by_name if not entry.time),
    )


def filters_of(entries: Sequence[Entry]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What can be chosen by, and the values that each has here."""
    choices = {
        "kernel": {entry.kernel for entry in entries},
        "policy": {entry.policy for entry in entries},
        "verdict": {entry.verdict for entry in entries},
    }
    return tuple((what, tuple(sorted(values - {""}))) for what, values in choices.items())
