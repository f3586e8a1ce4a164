# SPDX-License-Identifier: MIT
"""/proc/mm_limits: every user's limit, and what became of it, as typed entries."""

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
# No name can hold it: an empty one.
_EMPTY = r"\x00"


@dataclass(frozen=True)
class LimitEntry:
    """One user's line; sizes in bytes. Where nobody was killed, `last_pid` is 0.

    `last_uid` is there in the line of a range of users: what each of them gets
    that has no line of its own. `grace` is in seconds, `policy` is
    empty where it is the current one.
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
        """Whether the line is about a range of users, and not about one."""
        return self.last_uid is not None


def parse_mm_limits(text: str) -> tuple[LimitEntry, ...]:
    """The entries of /proc/mm_limits, in its order.

    Raises ValueError, naming the line, if the text does not have that file's
    form, is cut, or names a user twice.
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
    """The entry of one line."""
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
