# SPDX-License-Identifier: MIT
"""The kernel log: the section of each scenario, and what is wrong in it.

A scenario's section lies between two marker lines with a fresh nonce. Trouble is what the table in
`troubles` lists (an oops, a wrongly held lock, a hung task), and every line at KERN_WARNING or
worse that is not explained here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.kernel_output.records import (
    ParsedRecords,
    kernel_line,
    lines_of,
    parse_log,
    split_prefix,
)
from harness.kernel_output.troubles import trouble_in

# KERN_WARNING is 4; a lower number is worse.
_WARNING = 4
# The beginning of a line that states the value of /proc/uptime at the time of writing.
UPTIME = "goldfish-oom: uptime "
_UPTIME = re.compile(re.escape(UPTIME) + r"([0-9]+\.[0-9]+)")


@dataclass(frozen=True)
class Section:
    """The lines between two markers; `text` keeps their line ends.

    Without `has_begin` the log has already lost the section's beginning. Without `has_end` its
    end was never written: the kernel or the device went away before.
    """

    text: str
    has_begin: bool
    has_end: bool

    @property
    def whole(self) -> bool:
        """Whether the section is complete."""
        return self.has_begin and self.has_end


@dataclass(frozen=True)
class Trouble:
    """One line of a log that a healthy kernel does not write.

    `fatal` means that the kernel does not go on after it, `certain` that only a broken kernel
    writes it.
    """

    kind: str
    line: str
    fatal: bool = False
    certain: bool = False
    # Whether a healthy kernel writes it, too, when its clock jumps.
    by_clock: bool = False


@dataclass(frozen=True)
class Allowed:
    """A harmless line at KERN_WARNING or worse, and why it is harmless."""

    expression: str
    reason: str


# The kind of a line at KERN_WARNING or worse that no table explains.
UNEXPLAINED = "warning"

# Written by our own code. The judge of a scenario decides whether the line belongs there.
OWN_LINES: tuple[Allowed, ...] = (
    Allowed(
        r"mm_limits: table full: dropped uid=\d+, mm_max=\d+",
        "an entry was evicted; a scenario that fills the table expects it",
    ),
    Allowed(
        r"mm_limits: uid=\d+ is over its limit and has nobody left to kill: uRSS=\d+, mm_max=\d+",
        "all that is left is protected; a scenario that protects all expects it",
    ),
)

# Written by a healthy kernel on this machine.
BOOT_LINES: tuple[Allowed, ...] = (
    Allowed(
        r"CPU\d+: Spectre v2: firmware did not set auxiliary control register IBE bit,"
        r" system vulnerable",
        "there is no firmware below QEMU's -kernel that would set the bit",
    ),
    Allowed(
        r"hrtimer: interrupt took \d+ ns",
        "the host did not run the emulated CPU meanwhile; said once, about the host's load",
    ),
    Allowed(
        r"\w+: loading out-of-tree module taints kernel\.",
        "our modules are built out of tree, on purpose",
    ),
    Allowed(
        r"\*\*(?:\*{20,}| .* )\*\*",
        "the box that says that addresses are shown, which SLUB's debugging does",
    ),
    Allowed(
        r"(?:Lock dependency validator: Copyright .*"
        r"|\.\.\. (?:MAX_LOCK\w+|C\w+HASH_SIZE): +\d+"
        r"| memory used (?:by lock dependency info|for stack traces): \d+ kB"
        r"| per task-struct memory footprint: \d+ bytes)",
        "lockdep, presenting itself",
    ),
)

_ALLOWED = tuple(re.compile(allowed.expression) for allowed in (*OWN_LINES, *BOOT_LINES))


def marker(edge: str, nonce: str) -> str:
    """Return the text of a marker line; `edge` is "begin" or "end"."""
    return f"goldfish-oom: {edge} {nonce}"


def section(log: str, nonce: str) -> Section:
    """Return the part of `log` between the markers with `nonce`, without the markers.

    If the begin marker is missing, the section starts with the log. If the end marker is
    missing, it reaches to the log's end.
    """
    begin, end = marker("begin", nonce), marker("end", nonce)
    kept: list[str] = []
    has_begin = has_end = False
    for line, whole in lines_of(log):
        text = split_prefix(line).text.rstrip()
        if text == begin:
            has_begin = True
            kept.clear()
        elif text == end:
            has_end = True
            break
        else:
            kept.append(line + ("\n" if whole else ""))
    return Section("".join(kept), has_begin, has_end)


def ahead_of_uptime(log: str) -> float:
    """Return by how many seconds the log's times are ahead of /proc/uptime.

    The log's clock starts at another moment of the boot. Returns 0.0 if no line states both
    times. Of several lines the smallest difference counts, because a line that was written late
    gives too large a difference.
    """
    found = []
    for line in (split_prefix(line) for line, _ in lines_of(log) if UPTIME in line):
        uptime = _UPTIME.fullmatch(line.text.rstrip())
        if uptime and line.time is not None:
            found.append(line.time - float(uptime[1]))
    return min(found, default=0.0)


def find_trouble(
    log: str, allowed: Sequence[Allowed] = (), *, levels_tell: bool = True
) -> tuple[Trouble, ...]:
    """Return what a healthy kernel would not have written, in the log's order.

    Lines with a level are judged by the table and, with `levels_tell`, by level. Lines with only
    a time (a console) are judged by the table. Lines with neither, or with a facility, come from a
    user's program and do not count. `allowed` adds to the lines that are explained here.
    """
    explained = (*_ALLOWED, *(re.compile(line.expression) for line in allowed))
    found = (_trouble(line, explained) for line, _ in lines_of(log))
    return tuple(one for one in found if one and (levels_tell or one.kind != UNEXPLAINED))


def certain_lines(log: str) -> str:
    """Return the lines of `log` that only a broken kernel writes."""
    return "".join(f"{trouble.line}\n" for trouble in find_trouble(log) if trouble.certain)


def _trouble(line: str, explained: Sequence[re.Pattern[str]]) -> Trouble | None:
    """Return what is wrong with one line, or None."""
    told = kernel_line(line)
    if told is None or any(pattern.fullmatch(told.text) for pattern in explained):
        return None
    found = trouble_in(told.text)
    is_warning = told.priority is not None and told.priority <= _WARNING and told.text.strip()
    if not (found or is_warning):
        return None
    # The victim's user chooses its name, which must not count as trouble of the kernel. Torn
    # records are left to the judge of records.
    if parse_log(f"{line}\n") != ParsedRecords((), ()):
        return None
    if found is None:
        return Trouble(UNEXPLAINED, line)
    kind = found.line.kind
    return Trouble(kind.name, line, kind.fatal, kind.certain, kind.by_clock)
