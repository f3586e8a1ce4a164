# SPDX-License-Identifier: MIT
"""A model of core.c, written in another way: over sets, without bits or order.

The rules are those of the contract. An mm is counted once, for the oldest process that uses it.
It is credited while all its users are dying, for a limited time. No process is killed whose mm a
protected process uses, or that was sent SIGKILL before. The largest score wins, then the larger
RSS, then the younger process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

ULONG_MAX = 2**64 - 1
GIVEN_UP = 1
PAGE = 4096


@dataclass
class Mm:
    """An mm; `dying` is None, the time when it began to die, or "given up" (core.c: GIVEN_UP)."""

    rss: int
    dying: int | str | None = None


@dataclass(frozen=True)
class Process:
    """A process; `mm` is an index, or None if the process has no mm any more."""

    uid: int
    mm: int | None
    is_protected: bool = False
    is_dying: bool = False
    score: int = 0


@dataclass(frozen=True)
class Result:
    usage: int
    dying: int
    victim: int | None
    is_over: bool
    given_up: int = field(default=0)


def look(
    processes: Sequence[Process], mms: Sequence[Mm], uid: int, limit: int, now: int, patience: int
) -> Result:
    """Look at `uid` once; update the times in `mms`."""
    users = {
        index: [number for number, process in enumerate(processes) if process.mm == index]
        for index in {process.mm for process in processes if process.mm is not None}
    }
    owned = {
        index: min(numbers)
        for index, numbers in users.items()
        if processes[min(numbers)].uid == uid
    }
    credited, given_up = set(), 0
    for index in owned:
        mm = mms[index]
        if mm.dying is None and all(processes[number].is_dying for number in users[index]):
            mm.dying = now
        if isinstance(mm.dying, int):
            if now - mm.dying < patience:
                credited.add(index)
            else:
                mm.dying = "given up"
                given_up += 1
    usage = min(sum(mms[index].rss for index in owned.keys() - credited), ULONG_MAX)
    candidates = [
        (processes[owner].score, mms[index].rss, owner)
        for index, owner in owned.items()
        if mms[index].dying is None
        and not any(processes[number].is_protected for number in users[index])
    ]
    return Result(
        usage=usage,
        dying=min(sum(mms[index].rss for index in credited), ULONG_MAX),
        victim=max(candidates)[2] if candidates else None,
        is_over=limit != ULONG_MAX and usage * PAGE > limit,
        given_up=given_up,
    )


def badness(rss: int, swap: int, pgtables: int, admin: bool, adj: int, total: int) -> int:
    """Return the badness as before Linux 4.17: three percent less for an administrator."""
    return rss + swap + pgtables - (3 * (total // 100) if admin else 0) + adj * (total // 1000)
