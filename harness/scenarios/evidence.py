# SPDX-License-Identifier: MIT
"""What a run saw beside its verdicts: memory over time, and how victims were chosen. Pure.

`usage.json` and `decisions.json` of a result folder. Times are those of the
kernel's log, in seconds since the guest's boot; sizes are bytes.
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
# Where a sum comes from. /proc is looked at from time to time, and memory that processes
# share counts for each of them. The other two are the kernel's own sums.
PROC, KILL_RECORD, PROC_MM_LIMITS = "/proc", "kill record", "/proc/mm_limits"


@dataclass(frozen=True)
class UsageSample:
    """What the processes of a user took at a time; `mm_max` is its limit, None for none.

    `source` is one of those above.
    """

    time: float
    uid: int
    rss: int
    mm_max: int | None
    source: str = PROC

    @property
    def is_kernels(self) -> bool:
        """Whether the kernel itself worked out the sum."""
        return self.source != PROC


@dataclass(frozen=True)
class Peak:
    """The largest sum that the kernel itself worked out for a user; it does not say when."""

    uid: int
    rss: int
    mm_max: int | None


@dataclass(frozen=True)
class ScenarioUsage:
    """The samples of one scenario; `started` is when it began, None where nobody knows.

    An empty `trigger` is the run's. `peaks` are of the users that had a limit at the end.
    """

    scenario: str
    policy: str
    trigger: str
    started: float | None
    samples: tuple[UsageSample, ...]
    peaks: tuple[Peak, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A process that could have been chosen: its policy's score, its memory, oom_score_adj.

    `comm` is its name, with its bytes as Latin-1 characters.
    """

    pid: int
    comm: str
    score: int
    rss: int
    adj: int


@dataclass(frozen=True)
class Decision:
    """Which process of a user the kernel chose, out of which.

    `chosen` is None where it chose nobody. `expected` is whom an independent model
    would have chosen, None where it was nobody; `agrees` says whether it agrees with the
    choice and with all scores, or was not asked. An empty `trigger` is the run's.
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
        """Whether the model would have chosen somebody else, or given other scores."""
        return not self.agrees


def usage_json(usage: Iterable[ScenarioUsage]) -> str:
    """The text of usage.json."""
    return json.dumps([asdict(one) for one in usage], indent=1) + "\n"


def decisions_json(decisions: Iterable[Decision]) -> str:
    """The text of decisions.json."""
    return json.dumps([asdict(one) for one in decisions], indent=1) + "\n"


def parse_usage(text: str) -> tuple[ScenarioUsage, ...]:
    """The samples in a usage.json, in its order; ValueError if it is none."""
    return tuple(_usage(fields) for fields in objects_in(loads(text, USAGE), USAGE))


def parse_decisions(text: str) -> tuple[Decision, ...]:
    """The decisions in a decisions.json, in its order; ValueError if it is none."""
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
