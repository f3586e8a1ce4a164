# SPDX-License-Identifier: MIT
"""A parser for /proc/mm_limits, which returns one typed entry for each limit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.kernel_output.records import unescape

COLUMNS = (
    *("uid", "mm_max", "rss", "peak_rss", "overshoot", "kills"),
    *("grace", "policy", "dry_run", "last_pid", "last_comm"),
)
_LINE = re.compile(
    r"(?P<uid>[0-9]+)(?:-(?P<last_uid>[0-9]+))?[ \t]+"
    + "".join(rf"(?P<{name}>[0-9]+)[ \t]+" for name in COLUMNS[1:7])
    + r"(?P<policy>[A-Za-z0-9_]+|-)[ \t]+(?P<dry_run>[01])[ \t]+"
    + r"(?P<last_pid>[0-9]+)[ \t]+(?P<last_comm>[!-~]+)"
)
# How the kernel writes an empty name. No other name looks like this.
_EMPTY = r"\x00"


@dataclass(frozen=True)
class LimitEntry:
    """A line of the file, about one user or a range of users.

    Sizes are in bytes, `grace` is in seconds. `last_pid` is 0 if no process was killed.
    `last_uid` is only set in the line of a range; that line holds for each user of the range
    that has no line of its own. `policy` is empty if the current policy applies.
    """

    uid: int
    mm_max: int
    rss: int
    peak_rss: int
    overshoot: int
    kills: int
    last_pid: int
    last_comm: str
    last_uid: int | None = None
    grace: int = 0
    policy: str = ""
    dry_run: bool = False

    @property
    def is_range(self) -> bool:
        """Whether the line is about a range of users, not about a single one."""
        return self.last_uid is not None


def parse_mm_limits(text: str) -> tuple[LimitEntry, ...]:
    """Return the entries of /proc/mm_limits, in its order.

    Raises ValueError, naming the line, if the text does not have that file's form, is truncated,
    or names a user twice.
    """
    if not text.endswith("\n"):
        raise ValueError("/proc/mm_limits has no line end at its end: it is cut or empty")
    header, *lines = text[:-1].replace("\r", "").split("\n")
    if tuple(header.split()) != COLUMNS:
        raise ValueError(f"/proc/mm_limits begins with {header!r}, not with its columns' names")
    entries = tuple(_entry(line) for line in lines)
    users = [entry.uid for entry in entries if not entry.is_range]
    if len(set(users)) != len(users):
        raise ValueError("/proc/mm_limits names a user twice")
    return entries


def _entry(line: str) -> LimitEntry:
    """Return the entry of one line."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a line of /proc/mm_limits: {line!r}")
    numbers = {name: int(match[name]) for name in (*COLUMNS[:7], "last_pid")}
    has_name = numbers["last_pid"] != 0 and match["last_comm"] != _EMPTY
    return LimitEntry(
        **numbers,
        last_comm=unescape(match["last_comm"]) if has_name else "",
        last_uid=int(match["last_uid"]) if match["last_uid"] else None,
        policy=match["policy"].removeprefix("-"),
        dry_run=match["dry_run"] == "1",
    )
