# SPDX-License-Identifier: MIT
"""A run of the main job, as far as it has got: the data for every format of the results."""

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
    """The statuses that other tools distinguish, gravest first; the values are KernelCI's."""

    # The kernel did the wrong thing.
    FAILED = "FAIL"
    # The test did not work: nothing is known about the kernel.
    ERROR = "ERROR"
    # It was planned, and has no verdict.
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
    """A verdict, how long the scenario took, when it began, and its guest."""

    verdict: ScenarioVerdict
    seconds: float
    started: datetime | None = None
    guest: int = 1

    @property
    def status(self) -> Status:
        """The verdict's status for other tools."""
        return STATUS_OF[self.verdict.outcome]

    @property
    def place(self) -> Planned:
        """The entry of the plan to which the verdict belongs."""
        return Planned(self.verdict.policy, self.verdict.scenario)

    @property
    def end(self) -> ScenarioEnd:
        """The event that reports the verdict."""
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
    """A run, as far as it has got.

    `run` is a globally unique name. `planned` is all that is to be judged, in its order.
    `arch` and `machine` are the architecture of the kernel and the machine that it boots on,
    `emulator` is what emulates that machine, with its version. `release` is the booted
    kernel's, empty until it is known; `toolchain` built it. `origin` says where its source
    comes from, `repository` and `commit` identify the source in git, and `changed` are the
    files that differ from that commit. `kcidb_origin` is KernelCI's name for the sender of
    results. `problem` is what ended the run early. `finished` says that the run did all its
    work.
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
        """The verdicts that are no pass, gravest first."""
        failed = [one.verdict for one in self.judged if not one.verdict.passed]
        return tuple(sorted(failed, key=lambda verdict: _GRAVEST_FIRST.index(verdict.outcome)))

    @property
    def missing(self) -> tuple[Planned, ...]:
        """The planned entries without a verdict, in the plan's order."""
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
        """Whether the run finished, and everything planned was judged."""
        return self.finished and bool(self.judged) and not self.missing

    @property
    def passed(self) -> bool:
        """Whether the run is complete and nothing failed."""
        return self.complete and not self.failed and not self.problem

    @property
    def status(self) -> Status:
        """The status of the whole run: a fault of the kernel counts before all others."""
        found = {one.status for one in self.judged} - {Status.PASSED}
        if self.problem:
            found.add(Status.ERROR)
        if not self.complete:
            found.add(Status.MISSING)
        return next((status for status in Status if status in found), Status.PASSED)

    @property
    def reason(self) -> str:
        """Why the run is no pass; empty if it passed."""
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
