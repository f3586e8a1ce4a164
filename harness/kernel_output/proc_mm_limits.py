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
    r"(?P<uid>[0-9]+)(?:-(?P<last>[0-9]+))?[ \t]+"
    + r"([0-9]+)[ \t]+" * 6
    + r"(?P<policy>[A-Za-z0-9_]+|-)[ \t]+([01])[ \t]+([0-9]+)[ \t]+(?P<comm>[!-~]+)"
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
    mm_max, rss, peak_rss, overshoot, kills, grace = map(int, match.groups()[2:8])
    last_pid = int(match[11])
    return LimitEntry(
        uid=int(match["uid"]),
        mm_max=mm_max,
        rss=rss,
        peak_rss=peak_rss,
        overshoot=overshoot,
        kills=kills,
        last_pid=last_pid,
        last_comm="" if last_pid == 0 or match["comm"] == _EMPTY else unescape(match["comm"]),
        last_uid=int(match["last"]) if match["last"] else None,
        grace=grace,
        policy=match["policy"].removeprefix("-"),
        dry_run=match[10] == "1",
    )
