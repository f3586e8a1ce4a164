# SPDX-License-Identifier: MIT
"""A kernel log or a console as the report page shows it: classified lines, in blocks. Pure.

Each line has its number in the file. Long runs of ordinary lines are folded. All lines are in
blocks, small enough that a browser can skip the layout of those that are out of view.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from harness.kernel_output.klog import find_trouble
from harness.kernel_output.records import KillRecord, lines_of, parse_log, split_prefix
from harness.kernel_output.reports import KernelReport, find_reports

# Lines shown before and after a special line.
_CONTEXT = 5
# A run of at least this many ordinary lines is folded.
_LEAST_FOLDED = 40
_LARGEST_BLOCK = 500
# The most lines of a log on a page, about 6 MB: a kernel that repeats itself writes far more.
MOST_LINES = 50_000
# A log with this many lines is slow to lay out in a browser.
_LONG = 5000
_MARKERS = ("goldfish-oom: begin ", "goldfish-oom: end ")


class Sort(enum.Enum):
    """The sort of a line; the value is the word shown beside it."""

    ORDINARY = ""
    KILL = "kill"
    MARKER = "mark"
    REPORT = "report"
    TROUBLE = "trouble"


_WORTH = (Sort.REPORT, Sort.TROUBLE, Sort.KILL)


@dataclass(frozen=True)
class LogLine:
    """One line, without its line end. `number` counts from 1."""

    number: int
    sort: Sort
    text: str
    record: KillRecord | None = None


@dataclass(frozen=True)
class Block:
    """Consecutive lines; a `folded` block is closed until the reader opens it."""

    lines: tuple[LogLine, ...]
    folded: bool


@dataclass(frozen=True)
class Log:
    """A log; the names of its lines begin with `key`, and `title` is its heading.

    `left_out` is how many earlier lines were dropped because the log is too long.
    """

    key: str
    title: str
    lines: tuple[LogLine, ...]
    reports: tuple[KernelReport, ...]
    left_out: int = 0

    @property
    def is_long(self) -> bool:
        """Whether a browser should lay out only the blocks in view."""
        return len(self.lines) >= _LONG

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All lines in blocks."""
        return tuple(_blocks(self.lines))

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """The sorts worth a look, each with the name of its first line on the page."""
        found: dict[Sort, str] = {}
        for line in self.lines:
            found.setdefault(line.sort, f"{self.key}{line.number}")
        return tuple((sort.value, found[sort]) for sort in _WORTH if sort in found)


def read_log(key: str, title: str, text: str, reasons: Collection[str] = (), skip: int = 0) -> Log:
    """Return the log in `text`; lines that the verdict's `reasons` quote are trouble.

    The first `skip` lines are left out, but counted: line numbers are those of the file.
    If the log is too long for a page, its end is kept.
    """
    lines = [line for line, _ in lines_of(text)][skip:]
    left_out = max(len(lines) - MOST_LINES, 0)
    first = skip + left_out
    lines = lines[left_out:]
    kept = "".join(f"{line}\n" for line in lines)
    reports = find_reports(kept)
    reported = set(_report_lines(lines, reports))
    trouble = {found.line for found in find_trouble(kept, levels_tell=False)}
    trouble |= {line for line in lines if line and _is_quoted(line, reasons)}
    told = []
    for place, line in enumerate(lines):
        record = _record(line)
        if record is not None:
            sort = Sort.KILL
        elif place in reported:
            sort = Sort.REPORT
        elif line in trouble:
            sort = Sort.TROUBLE
        elif split_prefix(line).text.startswith(_MARKERS):
            sort = Sort.MARKER
        else:
            sort = Sort.ORDINARY
        told.append(LogLine(first + place + 1, sort, line, record))
    placed = tuple(replace(report, begin=first + report.begin) for report in reports)
    return Log(key, title, tuple(told), placed, left_out)


def lines_known(console: str, kernel_log: str) -> int:
    """Return how many of a console's first lines are in the kernel log, too, by their times.

    A console goes on after the point where the kernel log could no longer be read.
    """
    times = (split_prefix(line).time for line, _ in lines_of(kernel_log))
    last = max((time or 0.0 for time in times), default=-1.0)
    lines = lines_of(console)
    for number, (line, _) in enumerate(lines):
        time = split_prefix(line).time
        if time is not None and time > last:
            return number
    return len(lines) if last >= 0 else 0


def _is_quoted(line: str, reasons: Collection[str]) -> bool:
    """Return whether a reason quotes the line: it names the trouble, and ends with the line."""
    return any(reason.endswith(f": {line.strip()}") for reason in reasons)


def _record(line: str) -> KillRecord | None:
    # Most lines hold no record, and this check is cheap.
    if "uRSS=" not in line:
        return None
    return next(iter(parse_log(f"{line}\n").records), None)


def _report_lines(lines: Sequence[str], reports: Collection[KernelReport]) -> Iterator[int]:
    """Yield the indexes of all lines of reports, without other lines in between."""
    for report in reports:
        place = report.begin
        for text in report.text.removesuffix("\n").split("\n"):
            while place < len(lines) and lines[place] != text:
                place += 1
            if place < len(lines):
                yield place
            place += 1


def _blocks(lines: Sequence[LogLine]) -> Iterator[Block]:
    """Yield all lines in blocks of at most _LARGEST_BLOCK lines, each shown or folded."""
    shown = _shown(lines)
    for is_shown, group in groupby(lines, lambda line: line.number in shown):
        run = tuple(group)
        folded = not is_shown and len(run) >= _LEAST_FOLDED
        for start in range(0, len(run), _LARGEST_BLOCK):
            yield Block(run[start : start + _LARGEST_BLOCK], folded)


def _shown(lines: Sequence[LogLine]) -> set[int]:
    """Return the numbers of the special lines and of the last line, with their context."""
    special = [line.number for line in lines if line.sort is not Sort.ORDINARY]
    special += [line.number for line in lines[-1:]]
    return {number for one in special for number in range(one - _CONTEXT, one + _CONTEXT + 1)}
