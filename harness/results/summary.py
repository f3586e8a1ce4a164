# SPDX-License-Identifier: MIT
"""A run of the main job, as far as it has come: what every form of the results is made from."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from harness.kernel_output.reports import GuestReport
from harness.scenarios.verdict import Outcome, ScenarioVerdict
from harness.ui.events import Planned, ScenarioEnd

KCIDB_ORIGIN = "goldfish_oom"
_GRAVEST_FIRST = tuple(Outcome)


class Status(enum.Enum):
    """What other people's tools tell apart, gravest first; the values are KernelCI's."""

    # The kernel did the wrong thing.
    FAILED = "FAIL"
    # The test did not work: nothing is known about the kernel.
    ERROR = "ERROR"
    # It was planned, and did not happen.
    MISSING = "MISS"
    PASSED = "PASS"


STATUS_OF: Mapping[Outcome, Status] = MappingProxyType(
    {
        Outcome.KERNEL_DIED: Status.FAILED,
        Outcome.KERNEL_COMPLAINED: Status.FAILED,
        Outcome.ALLOCATION_FAILED: Status.FAILED,
        Outcome.NOT_KILLED: Status.FAILED,
        Outcome.WRONG_VICTIM: Status.FAILED,
        Outcome.TOO_MANY_KILLED: Status.FAILED,
        Outcome.WRONG_ANSWER: Status.FAILED,
        Outcome.RECORDS_DISAGREE: Status.FAILED,
        Outcome.INFRASTRUCTURE_FAILED: Status.ERROR,
        Outcome.NOTHING_TO_KILL: Status.PASSED,
        Outcome.PASSED: Status.PASSED,
    }
)


@dataclass(frozen=True)
class Judged:
    """A verdict, the seconds that the scenario took, when it began, and on which guest."""

    verdict: ScenarioVerdict
    seconds: float
    started: datetime | None = None
    guest: int = 1

    @property
    def status(self) -> Status:
        """What the verdict is to other people's tools."""
        return STATUS_OF[self.verdict.outcome]

    @property
    def place(self) -> Planned:
        """Which part of the plan this is."""
        return Planned(self.verdict.policy, self.verdict.scenario)

    @property
    def end(self) -> ScenarioEnd:
        """The event that tells of it."""
        verdict = self.verdict
        return ScenarioEnd(
            scenario=verdict.scenario,
            policy=verdict.policy,
            trigger=verdict.trigger,
            outcome=verdict.outcome.name,
            passed=verdict.passed,
            reasons=verdict.reasons,
            seconds=self.seconds,
            guest=self.guest,
        )


@dataclass(frozen=True)
class Summary:
    """A run, as far as it has come.

    `run` is a name that no other run has, anywhere. `planned` is all that is to
    be judged, in its order. `arch` and `machine` say what the kernel is for and
    boots on, `emulator` what plays that machine, with its version. `release` is the
    booted kernel's, empty before that is known; `toolchain` built it. `origin` says
    where its source is from, `repository` and `commit` which one that is in git, and
    `changed` which files are not as in it. `kcidb_origin` is what KernelCI calls the
    sender of results.
    `problem` is what ended the run before its time. `finished` says that all of
    it was done.
    """

    kernel: str
    policy: str
    trigger: str
    command: tuple[str, ...]
    run: str
    started: datetime
    planned: tuple[Planned, ...] = ()
    arch: str = ""
    machine: str = ""
    emulator: str = ""
    release: str = ""
    toolchain: str = ""
    origin: str = ""
    repository: str | None = None
    commit: str | None = None
    changed: tuple[str, ...] = ()
    kcidb_origin: str = KCIDB_ORIGIN
    judged: tuple[Judged, ...] = ()
    reports: tuple[GuestReport, ...] = ()
    problem: str = ""
    finished: bool = False

    @property
    def failed(self) -> tuple[ScenarioVerdict, ...]:
        """The verdicts that are not a pass, the gravest first."""
        failed = [one.verdict for one in self.judged if not one.verdict.passed]
        return tuple(sorted(failed, key=lambda verdict: _GRAVEST_FIRST.index(verdict.outcome)))

    @property
    def missing(self) -> tuple[Planned, ...]:
        """What was planned and has no verdict, in its order."""
        judged = Counter(one.place for one in self.judged)
        missing = []
        for place in self.planned:
            if judged[place]:
                judged[place] -= 1
            else:
                missing.append(place)
        return tuple(missing)

    @property
    def complete(self) -> bool:
        """Whether the run came to its end, and everything was judged."""
        return self.finished and bool(self.judged) and not self.missing

    @property
    def passed(self) -> bool:
        """Whether all was done and nothing failed."""
        return self.complete and not self.failed and not self.problem

    @property
    def status(self) -> Status:
        """What the run is as a whole: a kernel's fault counts before all others."""
        found = {one.status for one in self.judged} - {Status.PASSED}
        if self.problem:
            found.add(Status.ERROR)
        if not self.complete:
            found.add(Status.MISSING)
        return next((status for status in Status if status in found), Status.PASSED)

    @property
    def reason(self) -> str:
        """Why it is no pass; empty where it is one."""
        if self.passed:
            return ""
        if self.failed:
            first = self.failed[0]
            where = f"{first.scenario} (policy {first.policy})" if first.policy else first.scenario
            return f"{first.outcome.value} in {where}"
        return self.problem or "the run did not finish"

    @property
    def last_line(self) -> str:
        """PASS, or FAIL with the reason."""
        if not self.passed:
            return f"FAIL: {self.reason}"
        # The rest are logs that belong to no scenario.
        scenarios = sum(1 for one in self.judged if one.verdict.policy)
        many = "scenario" if scenarios == 1 else "scenarios"
        return f"PASS: {scenarios} {many} on {self.release}"
