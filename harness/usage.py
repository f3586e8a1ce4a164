# SPDX-License-Identifier: MIT
"""How much memory each user used while a scenario ran, beside its limit. Pure.

Memory is as the guest's /proc has it: what processes share counts for each of
them, and the limits' own sums have no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.evidence import UsageSample
from harness.programs_output import Usage


@dataclass(frozen=True)
class LimitChange:
    """A user's limit in bytes, from `time` on (seconds since boot); None: it has none."""

    time: float
    uid: int
    mm_max: int | None


def between(usage: Iterable[Usage], begin: float, end: float) -> tuple[Usage, ...]:
    """Those of a time, in seconds since boot; both ends belong to it."""
    return tuple(one for one in usage if begin <= one.time <= end)


def samples(usage: Iterable[Usage], limits: Sequence[LimitChange]) -> tuple[UsageSample, ...]:
    """What was seen, each time with the limit by then; a change of a limit is one, too.

    Sorted by time. At the beginning nobody uses anything, and nobody has a limit.
    """
    events: list[Usage | LimitChange] = sorted([*usage, *limits], key=lambda event: event.time)
    rss: dict[int, int] = {}
    mm_max: dict[int, int | None] = {}
    found = []
    for event in events:
        if isinstance(event, Usage):
            rss[event.uid] = event.rss
        else:
            mm_max[event.uid] = event.mm_max
        uid = event.uid
        found.append(UsageSample(event.time, uid, rss.get(uid, 0), mm_max.get(uid)))
    return tuple(found)
