# SPDX-License-Identifier: MIT
"""What a run saw beside its verdicts: memory over time, and how victims were chosen. Pure.

`usage.json` and `decisions.json` of a result folder. Times are those of the
kernel's log, in seconds since the guest's boot; sizes are bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from harness.core.json_fields import Fields, loads, objects_in

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
