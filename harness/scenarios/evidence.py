# SPDX-License-Identifier: MIT
"""What a run records besides its verdicts: memory over time, and the choice of victims. Pure.

It is in `usage.json` and `decisions.json` of a result folder. Times are those of the kernel
log, in seconds since the guest's boot; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.core import typed_json
from harness.core.typed_json import Count
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import Usage
from harness.kernel_output.records import KillRecord

USAGE = "usage.json"
DECISIONS = "decisions.json"
# Where a sum comes from. /proc is sampled, and memory that processes share counts for each of
# them. The other two are the kernel's own sums.
PROC, KILL_RECORD, PROC_MM_LIMITS = "/proc", "kill record", "/proc/mm_limits"


@dataclass(frozen=True)
class UsageSample:
    """The memory of a user's processes at a time; `mm_max` is its limit, None for none.

    `source` is PROC, KILL_RECORD or PROC_MM_LIMITS.
    """

    time: float
    uid: Count
    rss: Count
    mm_max: Count | None
    source: str = PROC

    @property
    def is_kernels(self) -> bool:
        """Whether the kernel itself computed the sum."""
        return self.source != PROC


@dataclass(frozen=True)
class Peak:
    """The largest sum that the kernel itself computed for a user; its time is unknown."""

    uid: Count
    rss: Count
    mm_max: Count | None


@dataclass(frozen=True)
class ScenarioUsage:
    """The samples of one scenario; `started` is when it began, None if unknown.

    An empty `trigger` means the run's. `peaks` are of the users that had a limit at the end.
    """

    scenario: str
    policy: str
    trigger: str = ""
    started: float | None = None
    samples: tuple[UsageSample, ...] = ()
    peaks: tuple[Peak, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A candidate for a kill: the kernel's score, and the inputs of that score.

    Memory is in bytes; `total` is the machine's memory and swap. Under the policy runtime the
    score is the CPU time, in ns. `comm` is its name, with its bytes as Latin-1 characters,
    empty if the harness did not start it. Older files have only `pid`, `comm`, `score`, `rss`
    and `adj`, its oom_score_adj.
    """

    pid: Count
    score: int
    rss: Count
    adj: int
    swap: Count = 0
    pgtables: Count = 0
    admin: bool = False
    total: Count = 0
    comm: str = ""


@dataclass(frozen=True)
class Decision:
    """The kernel's choice of a victim among the candidates, in the order of their comparison.

    `expected` is the pid that an independent model chooses (see oracle.py), None if it would
    choose none, and `misjudged` are the pids to which it gives another score than the kernel.
    `agrees` says whether the model agrees with the choice and with all scores. An empty
    `trigger` means the run's.
    """

    time: float
    uid: Count
    policy: str
    chosen: Count
    candidates: tuple[Candidate, ...]
    expected: Count | None
    misjudged: tuple[int, ...] = ()
    agrees: bool = True
    scenario: str = ""
    trigger: str = ""

    @property
    def is_disputed(self) -> bool:
        """Whether the model would have chosen another process, or computed other scores."""
        return not self.agrees or self.expected not in (None, self.chosen)


def parse_usage(text: str) -> tuple[ScenarioUsage, ...]:
    """Parse a usage.json; keep its order. Raises ValueError if it is malformed."""
    return typed_json.read(tuple[ScenarioUsage, ...], text, USAGE)


def parse_decisions(text: str) -> tuple[Decision, ...]:
    """Parse a decisions.json; keep its order. Raises ValueError if it is malformed."""
    return typed_json.read(tuple[Decision, ...], text, DECISIONS)


@dataclass(frozen=True)
class LimitChange:
    """A user's limit in bytes from `time` on (seconds since boot); None: no limit."""

    time: float
    uid: int
    mm_max: int | None


@dataclass(frozen=True)
class Meanwhile:
    """Data on the time between a scenario's begin and end, in seconds since boot.

    `read` are the entries of /proc/mm_limits at the time `read_at`, which is None if the file
    was not read.
    """

    begin: float
    end: float
    limits: tuple[LimitChange, ...] = ()
    read_at: float | None = None
    read: tuple[LimitEntry, ...] = ()

    @property
    def peaks(self) -> tuple[Peak, ...]:
        """The largest sum of each user that had a limit and used memory."""
        return tuple(Peak(one.uid, one.peak_rss, one.mm_max) for one in _of_users(self.read))


def samples_of(
    meanwhile: Meanwhile, seen: Iterable[Usage], kills: Sequence[KillRecord], ahead: float
) -> tuple[UsageSample, ...]:
    """Return all samples of a scenario, with the times of the kernel log, sorted by time.

    The kernel log's clock, which gives the times of kills, is `ahead` seconds ahead of the
    clock of all other times here. Of `seen`, only the samples within the scenario count.
    """
    usage = [one for one in seen if meanwhile.begin <= one.time <= meanwhile.end]
    found = [
        *samples(
            [replace(one, time=one.time + ahead) for one in usage],
            [replace(one, time=one.time + ahead) for one in meanwhile.limits],
        ),
        *(
            UsageSample(one.time, one.uid, one.user_rss, one.mm_max, KILL_RECORD)
            for one in kills
            if one.time is not None
        ),
    ]
    if meanwhile.read_at is not None:
        at = meanwhile.read_at + ahead
        found += [
            UsageSample(at, one.uid, one.rss, one.mm_max, PROC_MM_LIMITS)
            for one in _of_users(meanwhile.read)
        ]
    return tuple(sorted(found, key=lambda one: one.time))


def samples(usage: Iterable[Usage], limits: Sequence[LimitChange]) -> tuple[UsageSample, ...]:
    """Return a sample, with the limit of that time, for each usage and each change of a limit.

    Sorted by time. At the beginning no user has memory or a limit.
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


def _of_users(entries: Iterable[LimitEntry]) -> list[LimitEntry]:
    """Return the entries of single users (not ranges) that have had memory."""
    return [one for one in entries if not one.is_range and one.peak_rss]
