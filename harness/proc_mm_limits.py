# SPDX-License-Identifier: MIT
"""/proc/mm_limits: every user's limit, and what became of it, as typed entries."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.records import unescape

COLUMNS = ("uid", "mm_max", "rss", "peak_rss", "overshoot", "kills", "last_pid", "last_comm")
_LINE = re.compile(r"([0-9]+)[ \t]+" * (len(COLUMNS) - 2) + r"([0-9]+)[ \t](.*)")


@dataclass(frozen=True)
class LimitEntry:
    """One user's line; sizes in bytes. Where nobody was killed, `last_pid` is 0."""

    uid: int
    mm_max: int
    rss: int
    peak_rss: int
    overshoot: int
    kills: int
    last_pid: int
    last_comm: str


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
    if len({entry.uid for entry in entries}) != len(entries):
        raise ValueError("/proc/mm_limits names a user twice")
    return entries


def _entry(line: str) -> LimitEntry:
    """The entry of one line. A name may hold or begin with spaces, so it takes the rest."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a line of /proc/mm_limits: {line!r}")
    uid, mm_max, rss, peak_rss, overshoot, kills, last_pid = map(int, match.groups()[:-1])
    last_comm = "" if last_pid == 0 else unescape(match[len(COLUMNS)])
    return LimitEntry(uid, mm_max, rss, peak_rss, overshoot, kills, last_pid, last_comm)
