# SPDX-License-Identifier: MIT
"""Reads a run back from its result folder: verdict.json and kills.json. Pure.

Fields that an older harness did not write are empty.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.core.json_fields import Fields, loads, objects_in
from harness.kernel_output.records import KillRecord
from harness.results.summary import STATUS_OF, Status
from harness.scenarios.verdict import Outcome

VERDICT = "verdict.json"
KILLS = "kills.json"
_RESULT_WORDS = ("PASS: ", "FAIL: ")
# The exceptions that end a run by a Ctrl-C or a signal.
_ENDED_BY: Mapping[str, str] = MappingProxyType(
    {"KeyboardInterrupt": "ended by Ctrl-C", "Terminated": "ended by a signal"}
)


class Word(enum.Enum):
    """The verdict on a run in words, which must not mislead a reader who reads nothing else."""

    PASSED = "PASS"
    FAILED = "FAIL"
    NO_VERDICT = "NO VERDICT"
    NOT_FINISHED = "NOT FINISHED"


_WORDS: Mapping[Status, Word] = MappingProxyType(
    {
        Status.FAILED: Word.FAILED,
        Status.ERROR: Word.NO_VERDICT,
        Status.MISSING: Word.NOT_FINISHED,
        Status.PASSED: Word.PASSED,
    }
)


@dataclass(frozen=True)
class ScenarioResult:
    """The result of a scenario or a log.

    `outcome` is None if it was planned and has no verdict. `seconds` is how long it took,
    None if unknown. `policy` is empty for a log. `kills` are the records, of which some may
    be missing: `kill_count` is how many there were.
    """

    scenario: str
    policy: str
    trigger: str
    outcome: Outcome | None = None
    reasons: tuple[str, ...] = ()
    seconds: float | None = None
    kill_count: int = 0
    kills: tuple[KillRecord, ...] = ()

    @property
    def status(self) -> Status:
        """The status for other tools."""
        return Status.MISSING if self.outcome is None else STATUS_OF[self.outcome]

    @property
    def word(self) -> Word:
        """The verdict on it alone."""
        return _WORDS[self.status]


@dataclass(frozen=True)
class DecodedReport:
    """A kernel report: its title, and its text with the places in the source."""

    title: str
    text: str


@dataclass(frozen=True)
class RunResult:
    """A run. `started` is in ISO 8601, as in the file.

    `emulator` is the emulator that the machine ran on, with its version. `stray_kills` are
    the records that belong to no scenario with a verdict.
    """

    passed: bool
    result: str
    finished: bool
    problem: str
    kernel: str
    policy: str
    trigger: str
    release: str = ""
    origin: str = ""
    commit: str | None = None
    changed: tuple[str, ...] = ()
    started: str = ""
    arch: str = ""
    machine: str = ""
    emulator: str = ""
    toolchain: str = ""
    scenarios: tuple[ScenarioResult, ...] = ()
    stray_kills: tuple[KillRecord, ...] = ()
    reports: tuple[DecodedReport, ...] = ()

    @property
    def word(self) -> Word:
        """The verdict: a fault of the kernel counts before all others, as in Summary.status."""
        if self.passed:
            return Word.PASSED
        found = {one.status for one in self.scenarios} - {Status.PASSED}
        if self.problem and not self.is_interrupted:
            found.add(Status.ERROR)
        if not self.finished or not self.count:
            found.add(Status.MISSING)
        return _WORDS[next((one for one in Status if one in found), Status.ERROR)]

    @property
    def is_interrupted(self) -> bool:
        """Whether a Ctrl-C or a signal ended the run, and no failure."""
        return self.problem in _ENDED_BY

    @property
    def end(self) -> str:
        """What ended the run early, as text for people; empty if nothing did."""
        return _ENDED_BY.get(self.problem, self.problem)

    @property
    def reason(self) -> str:
        """The verdict without its first word, as text for people."""
        reason = self.result
        for word in _RESULT_WORDS:
            reason = reason.removeprefix(word)
        return _ENDED_BY.get(reason, reason)

    @property
    def count(self) -> int:
        """How many scenarios and logs have a verdict."""
        return sum(one.outcome is not None for one in self.scenarios)


def parse_run(verdict: str, kills: str | None = None) -> RunResult:
    """Parse the text of a verdict.json and, if there is one, of its kills.json.

    Raises ValueError if they are malformed or contradict themselves.
    """
    fields = Fields(loads(verdict, VERDICT), VERDICT)
    source = fields.object("source")
    run = RunResult(
        passed=fields.flag("passed"),
        result=fields.text("result"),
        finished=fields.flag("finished"),
        problem=fields.text("problem", ""),
        kernel=fields.text("kernel"),
        policy=fields.text("policy"),
        trigger=fields.text("trigger"),
        release=fields.text("release", ""),
        origin=source.text("origin", ""),
        commit=source.text_or_none("commit"),
        changed=source.texts("changed files"),
        started=fields.text("started", ""),
        arch=fields.text("arch", ""),
        machine=fields.text("machine", ""),
        emulator=fields.text("emulator", ""),
        toolchain=fields.text("toolchain", ""),
        reports=tuple(
            DecodedReport(one.text("title"), one.text("text"))
            for one in fields.objects("kernel reports")
        ),
    )
    records = [] if kills is None else _kills(kills)
    judged = [_judged(one, records) for one in fields.objects("scenarios")]
    missing = [
        ScenarioResult(one.text("scenario"), one.text("policy"), run.trigger)
        for one in fields.objects("missing")
    ]
    # A page that shows PASS above a failure is worse than no page.
    failed = [one.scenario for one in judged if one.word is not Word.PASSED]
    if run.passed and (failed or missing or not judged or not run.finished or run.problem):
        raise ValueError(f"{VERDICT}: says that all passed, and that it did not")
    strays = tuple(record for _, record in records)
    return replace(run, scenarios=(*judged, *missing), stray_kills=strays)


def _judged(fields: Fields, records: list[tuple[str, KillRecord]]) -> ScenarioResult:
    """Parse one verdict; take its records from the front of `records`, which is in run order."""
    name, outcome = fields.text("scenario"), fields.text("outcome")
    if outcome not in Outcome.__members__:
        raise ValueError(f"{fields.what}: there is no outcome {outcome!r}")
    if Outcome[outcome].passed != fields.flag("passed"):
        raise ValueError(f"{fields.what}: {outcome} and passed contradict each other")
    own: list[KillRecord] = []
    count = fields.size("kills")
    while len(own) < count:
        if not records or records[0][0] != name:
            break
        own.append(records.pop(0)[1])
    return ScenarioResult(
        scenario=name,
        policy=fields.text("policy"),
        trigger=fields.text("trigger"),
        outcome=Outcome[outcome],
        reasons=fields.texts("reasons"),
        seconds=fields.number("seconds"),
        kill_count=count,
        kills=tuple(own),
    )


def _kills(text: str) -> list[tuple[str, KillRecord]]:
    """Parse the records in a kills.json, each with its scenario."""
    return [
        (fields.text("scenario"), _record(fields))
        for fields in objects_in(loads(text, KILLS), KILLS)
    ]


def _record(fields: Fields) -> KillRecord:
    return KillRecord(
        time=fields.number_or_none("time"),
        uid=fields.size("uid"),
        user_rss=fields.size("user_rss"),
        mm_max=fields.size("mm_max"),
        pid=fields.size("pid"),
        rss=fields.size("rss"),
        figure=fields.whole_or_none("figure"),
        policy=fields.text("policy"),
        trigger=fields.text("trigger"),
        sharer_of=fields.size_or_none("sharer_of"),
        comm=fields.text("comm"),
        dry_run=fields.flag("dry_run", False),
    )


def first_reason(scenarios: Sequence[ScenarioResult]) -> str:
    """Return the first reason of the gravest failure; empty if no scenario failed."""
    gravity = list(Outcome)
    failed = [one for one in scenarios if one.outcome is not None and not one.outcome.passed]
    worst = min(failed, key=lambda one: gravity.index(one.outcome or gravity[-1]), default=None)
    return worst.reasons[0] if worst is not None and worst.reasons else ""
