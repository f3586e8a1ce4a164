# SPDX-License-Identifier: MIT
"""A run of the main job, as far as it has got: the one model of it.

All formats of the results are made from it, and verdict.json, with kills.json, is read back
into it.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from harness.core import typed_json
from harness.core.typed_json import Count
from harness.kernel_output.records import KillRecord
from harness.kernel_output.reports import GuestReport
from harness.scenarios.verdict import Outcome, ScenarioVerdict
from harness.ui.events import Planned, ScenarioEnd

VERDICT = "verdict.json"
KILLS = "kills.json"
KCIDB_ORIGIN = "goldfish_oom"
# The exceptions that end a run by a Ctrl-C, a signal, or a save under --watch.
_ENDED_BY: Mapping[str, str] = MappingProxyType(
    {
        "KeyboardInterrupt": "ended by Ctrl-C",
        "Terminated": "ended by a signal",
        "Abandoned": "ended by a save",
    }
)


class Status(enum.Enum):
    """The statuses that other tools distinguish, gravest first; the values are KernelCI's."""

    # The kernel did the wrong thing.
    FAILED = "FAIL"
    # The test did not work: nothing is known about the kernel.
    ERROR = "ERROR"
    # It was planned, and has no verdict.
    MISSING = "MISS"
    PASSED = "PASS"

    @property
    def word(self) -> str:
        """The verdict in words, which must not mislead a reader who reads nothing else."""
        return _WORDS.get(self, self.value)


_WORDS: Mapping[Status, str] = MappingProxyType(
    {Status.ERROR: "NO VERDICT", Status.MISSING: "NOT FINISHED"}
)


@dataclass(frozen=True)
class ScenarioResult:
    """A scenario or a log with its verdict; `policy` is empty for a log.

    `seconds` is how long it took, `started` when it began. `lost` is how many of its kills
    have no record any more, because kills.json lacks them. `stood_still` is for how many seconds
    the host stood still meanwhile. `set_aside` says why earlier attempts at it are no verdict.
    """

    scenario: str
    policy: str
    trigger: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    kills: tuple[KillRecord, ...] = ()
    seconds: float = 0.0
    started: datetime | None = None
    guest: Count = 1
    lost: int = 0
    stood_still: float = 0.0
    set_aside: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        verdict: ScenarioVerdict,
        seconds: float,
        started: datetime | None = None,
        guest: int = 1,
    ) -> ScenarioResult:
        """Return the result of a scenario with this verdict."""
        return cls(
            scenario=verdict.scenario,
            policy=verdict.policy,
            trigger=verdict.trigger,
            outcome=verdict.outcome,
            reasons=verdict.reasons,
            kills=verdict.records,
            seconds=round(seconds, 3),
            started=started,
            guest=guest,
        )

    @property
    def passed(self) -> bool:
        """Whether all evidence is there and agrees."""
        return self.outcome.passed

    @property
    def status(self) -> Status:
        """The status for other tools."""
        if self.outcome is Outcome.INFRASTRUCTURE_FAILED:
            return Status.ERROR
        return Status.PASSED if self.passed else Status.FAILED

    @property
    def place(self) -> Planned:
        """The entry of the plan to which the verdict belongs."""
        return Planned(self.policy, self.scenario)

    @property
    def kill_count(self) -> int:
        """How many kills there were, with those whose record is lost."""
        return len(self.kills) + self.lost

    @property
    def end(self) -> ScenarioEnd:
        """The event that reports the verdict."""
        return ScenarioEnd(
            scenario=self.scenario,
            policy=self.policy,
            trigger=self.trigger,
            outcome=self.outcome.name,
            passed=self.passed,
            reasons=self.reasons,
            seconds=self.seconds,
            guest=self.guest,
        )


@dataclass(frozen=True)
class RunResult:
    """A run, as far as it has got.

    `run` is a globally unique name. `planned` is all that is to be judged, in its order.
    `arch` and `machine` are the architecture of the kernel and the machine that it boots on,
    `emulator` is what emulates that machine, with its version. `release` is the booted
    kernel's, empty until it is known; `toolchain` built it. `origin` says where its source
    comes from, `repository` and `commit` identify the source in git, and `changed` are the
    files that differ from that commit. `kcidb_origin` is KernelCI's name for the sender of
    results. `problem` is what ended the run early. `finished` says that the run did all its
    work. `stray_kills` are the records that belong to no scenario with a verdict.

    What a file does not hold, and an older harness did not write, is empty.
    """

    kernel: str
    policy: str
    trigger: str
    command: tuple[str, ...] = ()
    run: str = ""
    started: datetime | None = None
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
    judged: tuple[ScenarioResult, ...] = ()
    reports: tuple[GuestReport, ...] = ()
    problem: str = ""
    finished: bool = False
    stray_kills: tuple[KillRecord, ...] = ()

    @property
    def failed(self) -> tuple[ScenarioResult, ...]:
        """The verdicts that are no pass, gravest first."""
        failed = [one for one in self.judged if not one.passed]
        return tuple(sorted(failed, key=lambda one: one.outcome.rank))

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
    def is_interrupted(self) -> bool:
        """Whether a Ctrl-C or a signal ended the run, and no failure."""
        return self.problem in _ENDED_BY

    @property
    def status(self) -> Status:
        """The status of the whole run: a fault of the kernel counts before all others."""
        found = {one.status for one in self.judged} - {Status.PASSED}
        if self.problem:
            found.add(Status.MISSING if self.is_interrupted else Status.ERROR)
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
        return f"{'PASS' if self.passed else 'FAIL'}: {self._why}"

    @property
    def headline(self) -> str:
        """The last line without its first word, as text for people."""
        return _ENDED_BY.get(self._why, self._why)

    @property
    def end(self) -> str:
        """What ended the run early, as text for people; empty if nothing did."""
        return _ENDED_BY.get(self.problem, self.problem)

    @property
    def _why(self) -> str:
        if not self.passed:
            return self.reason
        # The rest are logs that belong to no scenario.
        scenarios = sum(1 for one in self.judged if one.policy)
        return f"{scenarios} {'scenario' if scenarios == 1 else 'scenarios'} on {self.release}"


class _Source(msgspec.Struct, frozen=True):
    """The source of the kernel, as verdict.json has it."""

    origin: str = ""
    commit: str | None = None
    changed: tuple[str, ...] = msgspec.field(default=(), name="changed files")


class _Entry(msgspec.Struct, frozen=True):
    """What a scenario in verdict.json has other than ScenarioResult."""

    scenario: str
    passed: bool
    outcome: str
    kills: Count


class _Told(msgspec.Struct, frozen=True):
    """What verdict.json has other than RunResult."""

    passed: bool
    result: str
    finished: bool
    source: _Source = _Source()
    reports: tuple[GuestReport, ...] = msgspec.field(default=(), name="kernel reports")
    scenarios: tuple[dict[str, Any], ...] = ()
    missing: tuple[Planned, ...] = ()


# In the order of verdict.json; the rest of a RunResult is in other files of the run.
_FIELDS = (
    *("passed", "result", "finished", "problem", "kernel", "release", "started", "arch"),
    *("machine", "emulator", "toolchain", "source", "policy", "trigger", "kernel reports"),
    *("scenarios", "missing"),
)


def verdict_json(run: RunResult) -> str:
    """Return the text of verdict.json."""
    told = msgspec.to_builtins(run) | {
        "passed": run.passed,
        "result": run.last_line,
        "source": _Source(run.origin, run.commit, run.changed),
        "kernel reports": run.reports,
        "scenarios": [_entry(one) for one in run.judged],
        "missing": run.missing,
    }
    return typed_json.to_text({name: told[name] for name in _FIELDS})


def _entry(one: ScenarioResult) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(one)
    del told["lost"]
    known = {"passed": one.passed, "outcome": one.outcome.name, "kills": one.kill_count}
    return told | known


def kills_json(run: RunResult) -> str:
    """Return the text of kills.json: all records, each with its scenario."""
    return typed_json.to_text(
        [{"scenario": one.scenario, **asdict(kill)} for one in run.judged for kill in one.kills]
    )


def parse_run(verdict: str, kills: str | None = None) -> RunResult:
    """Parse the text of a verdict.json and, if there is one, of its kills.json.

    Raises ValueError if they are malformed or contradict themselves.
    """
    value = typed_json.parse(verdict, VERDICT)
    told = typed_json.from_value(_Told, value, VERDICT)
    records = [] if kills is None else _records(kills)
    judged = tuple(_judged(one, records) for one in told.scenarios)
    run = replace(
        typed_json.from_value(RunResult, value, VERDICT),
        origin=told.source.origin,
        commit=told.source.commit,
        changed=told.source.changed,
        reports=told.reports,
        planned=(*(one.place for one in judged), *told.missing),
        judged=judged,
        stray_kills=tuple(record for _, record in records),
    )
    # A page that shows PASS above a failure is worse than no page.
    if run.passed != told.passed:
        raise ValueError(f"{VERDICT}: says that all passed, and that it did not")
    return run


def _judged(value: Mapping[str, object], records: list[tuple[str, KillRecord]]) -> ScenarioResult:
    """Parse one verdict; take its records from the front of `records`, which is in run order."""
    entry = typed_json.from_value(_Entry, value, f"{VERDICT}: scenarios")
    if entry.outcome not in Outcome.__members__:
        raise ValueError(f"{VERDICT}: there is no outcome {entry.outcome!r}")
    outcome = Outcome[entry.outcome]
    if outcome.passed != entry.passed:
        raise ValueError(f"{VERDICT}: {entry.outcome} and passed contradict each other")
    own: list[KillRecord] = []
    while len(own) < entry.kills and records and records[0][0] == entry.scenario:
        own.append(records.pop(0)[1])
    known = {"outcome": outcome, "kills": own, "lost": entry.kills - len(own)}
    return typed_json.from_value(ScenarioResult, {**value, **known}, f"{VERDICT}: {entry.scenario}")


class _OfScenario(msgspec.Struct, frozen=True):
    """What a record in kills.json has other than KillRecord."""

    scenario: str


def _records(text: str) -> list[tuple[str, KillRecord]]:
    """Parse the records in a kills.json, each with its scenario."""
    value = typed_json.parse(text, KILLS)
    names = typed_json.from_value(list[_OfScenario], value, KILLS)
    records = typed_json.from_value(list[KillRecord], value, KILLS)
    return [(one.scenario, record) for one, record in zip(names, records, strict=True)]


def first_reason(run: RunResult) -> str:
    """Return the first reason of the gravest failure; empty if no scenario failed."""
    return next((reason for one in run.failed[:1] for reason in one.reasons), "")
