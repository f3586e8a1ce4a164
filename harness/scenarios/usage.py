# SPDX-License-Identifier: MIT
"""How much memory each user used while a scenario ran, beside its limit. Pure.

Most samples are sums over the guest's /proc, which watch_memory reads from time to time.
What came and went between two of its looks is in the kernel's own sums: at each kill,
when /proc/mm_limits was read, and the largest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import Usage
from harness.kernel_output.records import KillRecord
from harness.scenarios.evidence import KILL_RECORD, PROC_MM_LIMITS, Peak, UsageSample


@dataclass(frozen=True)
class LimitChange:
    """A user's limit in bytes, from `time` on (seconds since boot); None: it has none."""

    time: float
    uid: int
    mm_max: int | None


@dataclass(frozen=True)
class Meanwhile:
    """What happened between the begin and the end of a scenario, in seconds since boot.

    `read` is what /proc/mm_limits said at the time `read_at`, None where it said nothing.
    """

    begin: float
    end: float
    limits: tuple[LimitChange, ...] = ()
    read_at: float | None = None
    read: tuple[LimitEntry, ...] = ()

    @property
    def peaks(self) -> tuple[Peak, ...]:
        """The largest sum of each user that had a limit, and used anything."""
        return tuple(Peak(one.uid, one.peak_rss, one.mm_max) for one in _of_users(self.read))


def samples_of(
    meanwhile: Meanwhile, seen: Iterable[Usage], kills: Sequence[KillRecord], ahead: float
) -> tuple[UsageSample, ...]:
    """All that is known of a scenario, by the kernel log's clock and in its order.

    That clock, by which the kills are told, is ahead of all others by so much. What
    was `seen` may have been at another time.
    """
    by_proc = samples(
        [
            replace(one, time=one.time + ahead)
            for one in between(tuple(seen), meanwhile.begin, meanwhile.end)
        ],
        [replace(one, time=one.time + ahead) for one in meanwhile.limits],
    )
    kernels = [*_at_kills(kills), *_as_read(meanwhile, ahead)]
    return tuple(sorted([*by_proc, *kernels], key=lambda one: one.time))


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


def _at_kills(kills: Iterable[KillRecord]) -> list[UsageSample]:
    return [
        UsageSample(one.time, one.uid, one.user_rss, one.mm_max, KILL_RECORD)
        for one in kills
        if one.time is not None
    ]


def _as_read(meanwhile: Meanwhile, ahead: float) -> list[UsageSample]:
    if meanwhile.read_at is None:
        return []
    at = meanwhile.read_at + ahead
    return [
        UsageSample(at, one.uid, one.rss, one.mm_max, PROC_MM_LIMITS)
        for one in _of_users(meanwhile.read)
    ]


def _of_users(entries: Iterable[LimitEntry]) -> list[LimitEntry]:
    """The entries of single users that have had any memory."""
    return [one for one in entries if not one.is_range and one.peak_rss]
