# SPDX-License-Identifier: MIT
"""What a run records besides its verdicts: memory over time, and the choice of victims. Pure.

It is in `usage.json` and `decisions.json` of a result folder. Times are those of the kernel
log, in seconds since the guest's boot; sizes are bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from harness.core.json_fields import Fields, loads, objects_in
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
    uid: int
    rss: int
    mm_max: int | None
    source: str = PROC

    @property
    def is_kernels(self) -> bool:
        """Whether the kernel itself computed the sum."""
        return self.source != PROC


@dataclass(frozen=True)
class Peak:
    """The largest sum that the kernel itself computed for a user; its time is unknown."""

    uid: int
    rss: int
    mm_max: int | None


@dataclass(frozen=True)
class ScenarioUsage:
    """The samples of one scenario; `started` is when it began, None if unknown.

    An empty `trigger` means the run's. `peaks` are of the users that had a limit at the end.
    """

    scenario: str
    policy: str
    trigger: str
    started: float | None
    samples: tuple[UsageSample, ...]
    peaks: tuple[Peak, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A candidate for a kill: its score by the policy, its RSS and oom_score_adj.

    `comm` is its name, with its bytes as Latin-1 characters.
    """

    pid: int
    comm: str
    score: int
    rss: int
    adj: int


@dataclass(frozen=True)
class Decision:
    """The kernel's choice of a victim among a user's candidates.

    `chosen` is None if the kernel chose no process. `expected` is the choice of an
    independent model (see oracle.py), None if it would choose none. `agrees` says whether
    the model agrees with the choice and with all scores; without a model it is True. An
    empty `trigger` means the run's.
    """

    scenario: str
    policy: str
    trigger: str
    time: float
    uid: int
    chosen: int | None
    expected: int | None
    candidates: tuple[Candidate, ...]
    agrees: bool = True

    @property
    def is_disputed(self) -> bool:
        """Whether the model would have chosen another process, or computed other scores."""
        return not self.agrees


def usage_json(usage: Iterable[ScenarioUsage]) -> str:
    """Return the text of usage.json."""
    return json.dumps([asdict(one) for one in usage], indent=1) + "\n"


def decisions_json(decisions: Iterable[Decision]) -> str:
    """Return the text of decisions.json."""
    return json.dumps([asdict(one) for one in decisions], indent=1) + "\n"


def parse_usage(text: str) -> tuple[ScenarioUsage, ...]:
    """Parse a usage.json; keep its order. Raises ValueError if it is malformed."""
    return tuple(_usage(fields) for fields in objects_in(loads(text, USAGE), USAGE))


def parse_decisions(text: str) -> tuple[Decision, ...]:
    """Parse a decisions.json; keep its order. Raises ValueError if it is malformed."""
    return tuple(_decision(fields) for fields in objects_in(loads(text, DECISIONS), DECISIONS))


def _usage(fields: Fields) -> ScenarioUsage:
    return ScenarioUsage(
        scenario=fields.text("scenario"),
        policy=fields.text("policy"),
        trigger=fields.text("trigger", ""),
        started=fields.number_or_none("started"),
        samples=tuple(
            UsageSample(
                time=one.number("time"),
                uid=one.size("uid"),
                rss=one.size("rss"),
                mm_max=one.size_or_none("mm_max"),
                source=one.text("source", PROC),
            )
            for one in fields.objects("samples")
        ),
        peaks=tuple(
            Peak(one.size("uid"), one.size("rss"), one.size_or_none("mm_max"))
            for one in fields.objects("peaks")
        ),
    )


def _decision(fields: Fields) -> Decision:
    chosen, expected = fields.size_or_none("chosen"), fields.size_or_none("expected")
    return Decision(
        scenario=fields.text("scenario"),
        policy=fields.text("policy"),
        trigger=fields.text("trigger", ""),
        time=fields.number("time"),
        uid=fields.size("uid"),
        chosen=chosen,
        expected=expected,
        agrees=fields.flag("agrees", expected in (None, chosen)),
        candidates=tuple(
            Candidate(
                pid=one.size("pid"),
                comm=one.text("comm"),
                score=one.whole("score"),
                rss=one.size("rss"),
                adj=one.whole("adj"),
            )
            for one in fields.objects("candidates")
        ),
    )


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
    """Return the usage between two times, in seconds since boot; both ends are included."""
    return tuple(one for one in usage if begin <= one.time <= end)


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
    """Return the entries of single users (not ranges) that have had memory."""
    return [one for one in entries if not one.is_range and one.peak_rss]
