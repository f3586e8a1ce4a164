# SPDX-License-Identifier: MIT
"""The judge: compares what was expected with what was seen, and gives a verdict. Pure.

A scenario passes only on positive evidence. Every piece of evidence that is missing or
contradicts another one is a finding. Each finding belongs to an outcome, and the gravest one
is the scenario's.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.kernel_output.klog import Section, find_trouble
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import ChildEnd, LimitSet, ProgramOutput
from harness.kernel_output.records import (
    FIGURE_OF_POLICY,
    KillRecord,
    ParsedRecords,
    lines_of,
    split_prefix,
)
from harness.kernel_output.records import parse_log as parse_records_log
from harness.scenarios.catalogue import NO_LIMIT, SHIELD_ADJ, Enough, Run, Scenario, Victims, uid_of
from harness.scenarios.evidence import Decision, Meanwhile
from harness.targets.model import PAGE

SIGKILL = 9
# Between two checks of its usage a user may allocate 1 MB, and some pages of its processes'
# RSS may not be in the sum yet.
OVERSHOOT = 2_000_000
# What a child has besides the memory it was told to allocate: program, stack, heap.
CHILD_OVERHEAD = 3_000_000
# How much of a child's RSS may be missing from the kernel's count: 64 pages.
HELD_BACK = 64 * PAGE
# The program that runs a scenario's children, by trigger.
PROGRAMS = {"alloc": "oom_test_kernel", "daemon": "oom_test_daemon"}
_COMM_BYTES = 15


class Outcome(enum.Enum):
    """The outcomes of a scenario, gravest first; the values are the texts that are shown."""

    KERNEL_DIED = "kernel died"
    KERNEL_COMPLAINED = "kernel complained"
    ALLOCATION_FAILED = "allocation failed instead"
    NOT_KILLED = "not killed"
    WRONG_VICTIM = "wrong victim"
    TOO_MANY_KILLED = "too many killed"
    WRONG_ANSWER = "wrong answer"
    RECORDS_DISAGREE = "records disagree"
    INFRASTRUCTURE_FAILED = "infrastructure failed"
    NOTHING_TO_KILL = "nobody killed, as expected"
    PASSED = "killed as expected"

    @property
    def passed(self) -> bool:
        """Whether this outcome is the expected one."""
        return self in (Outcome.PASSED, Outcome.NOTHING_TO_KILL)


_GRAVITY = {outcome: number for number, outcome in enumerate(Outcome)}


@dataclass(frozen=True)
class ProgramRun:
    """The exit status and output of a program that has ended on the device."""

    status: int
    output: ProgramOutput


@dataclass(frozen=True)
class Observations:
    """All that was seen of one scenario.

    `runs` are by the run's name; `settings` are in the order of the scenario's steps.
    `section` is the scenario's part of the kernel log. `limits` is /proc/mm_limits while the
    survivors still held their memory, None if it could not be read. `daemon_calls` counts
    the daemon's calls that returned without an error, None if no daemon ran.
    `module_problems` says which module could not be loaded or unloaded. `died` says how the
    kernel died, and `problem` what went wrong outside the kernel. `decisions` are the kills
    with their candidates, None if the kernel does not report them; with `decisions_lost` the
    trace buffer overflowed.
    """

    nonce: str
    runs: Mapping[str, ProgramRun]
    settings: tuple[ProgramRun, ...]
    section: Section
    limits: tuple[LimitEntry, ...] | None
    daemon_calls: int | None = None
    module_problems: tuple[str, ...] = ()
    # The whole kernel log after the scenario, and data on each user's memory during it: not
    # judged here, but kept.
    log: str = ""
    meanwhile: Meanwhile | None = None
    decisions: tuple[Decision, ...] | None = None
    decisions_lost: bool = False
    died: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and the outcome to which it belongs."""

    outcome: Outcome
    text: str


@dataclass(frozen=True)
class ScenarioVerdict:
    """The verdict on one scenario under one policy and trigger."""

    scenario: str
    policy: str
    trigger: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    records: tuple[KillRecord, ...]

    @property
    def passed(self) -> bool:
        """Whether all evidence is there and agrees."""
        return self.outcome.passed

    @property
    def reasons(self) -> tuple[str, ...]:
        """The texts of the findings, gravest first."""
        return tuple(finding.text for finding in self.findings)


@dataclass(frozen=True)
class _Case:
    """The input of all checks."""

    scenario: Scenario
    policy: str
    trigger: str
    seen: Observations
    parsed: ParsedRecords
    levels_tell: bool
    decisions_tell: bool

    @property
    def records(self) -> tuple[KillRecord, ...]:
        return self.parsed.records

    @property
    def whole(self) -> bool:
        """Whether the observations are complete, so that missing evidence is the kernel's fault."""
        return not self.seen.died and not self.seen.problem and self.seen.section.whole

    def children(self) -> Iterator[tuple[Run, ChildEnd]]:
        """Yield every child that a run reported, in the order of runs and children."""
        for run in self.scenario.runs:
            if run.name in self.seen.runs:
                for end in self.seen.runs[run.name].output.children:
                    yield run, end

    def killed(self) -> list[tuple[Run, ChildEnd]]:
        """Return the children that their run reports as killed."""
        return [(run, end) for run, end in self.children() if end.outcome == "killed"]

    def child_of(self, pid: int) -> tuple[Run, ChildEnd] | None:
        """Return the child with this pid, or None."""
        return next(((run, end) for run, end in self.children() if end.pid == pid), None)

    def strangers(self) -> list[KillRecord]:
        """Return the records of processes that are no child of a run: a parent, or any other.

        The list is empty if a run is missing: the victims may be its children.
        """
        runs = [self.seen.runs.get(run.name) for run in self.scenario.runs]
        if None in runs:
            return []
        started = {one.pid for run in runs if run is not None for one in run.output.started}
        known = started | {end.pid for _, end in self.children()}
        return [record for record in self.records if record.pid not in known]


def letters(scenario: Scenario, run: Run, policy: str) -> str:
    """Return how each child of `run` must end, in the form of the programs' option -e."""
    expected = scenario.expected[policy]
    if expected is None or expected.run != run.name:
        return "L" * len(run.children)
    if isinstance(expected, Enough):
        return "?" * len(run.children)
    return "".join("K" if index in expected.indexes else "L" for index in range(len(run.children)))


def judge(
    scenario: Scenario,
    policy: str,
    trigger: str,
    observations: Observations,
    *,
    levels_tell: bool = True,
    decisions_tell: bool = False,
) -> ScenarioVerdict:
    """Judge what was seen of `scenario` under `policy` and `trigger`.

    `levels_tell` says whether a line at KERN_WARNING or worse counts against the kernel,
    `decisions_tell` whether the kernel has to report its decisions.
    """
    parsed = parse_records_log(observations.section.text, raw=True)
    case = _Case(scenario, policy, trigger, observations, parsed, levels_tell, decisions_tell)
    findings = [*_kernel(case), *_strangers(case), *_infrastructure(case)]
    if case.whole:
        checks = (_allocations, _victims, _decisions, _answers, _records, _own_lines, _entries)
        findings += [finding for check in checks for finding in check(case)]
    findings.sort(key=lambda finding: _GRAVITY[finding.outcome])
    nobody = scenario.expected[policy] is None
    passed = Outcome.NOTHING_TO_KILL if nobody else Outcome.PASSED
    return ScenarioVerdict(
        scenario=scenario.name,
        policy=policy,
        trigger=trigger,
        outcome=findings[0].outcome if findings else passed,
        findings=tuple(findings),
        records=parsed.records,
    )


def judge_log(
    name: str,
    trigger: str,
    log: str,
    *,
    levels_tell: bool = True,
    reports: Sequence[str] = (),
    died: str = "",
) -> ScenarioVerdict:
    """Judge a kernel log that belongs to no scenario; the verdict has no policy.

    `reports` are the kernel's reports of its mistakes from other sources, and `died` says
    how it died. The reports count only if nothing else was found.
    """
    findings = tuple(Finding(Outcome.KERNEL_DIED, text) for text in (died,) if text)
    findings += tuple(_troubles(log, levels_tell))
    findings = findings or tuple(Finding(Outcome.KERNEL_COMPLAINED, text) for text in reports)
    return ScenarioVerdict(
        scenario=name,
        policy="",
        trigger=trigger,
        outcome=findings[0].outcome if findings else Outcome.NOTHING_TO_KILL,
        findings=findings,
        records=(),
    )


def _troubles(log: str, levels_tell: bool) -> list[Finding]:
    """Return the findings for the kernel's own reports of trouble, gravest first."""
    found = [
        Finding(
            Outcome.KERNEL_DIED if trouble.fatal else Outcome.KERNEL_COMPLAINED,
            f"{trouble.kind}: {trouble.line.strip()}",
        )
        for trouble in find_trouble(log, levels_tell=levels_tell)
    ]
    return sorted(found, key=lambda finding: _GRAVITY[finding.outcome])


def _kernel(case: _Case) -> Iterator[Finding]:
    """Check that the kernel lives, and reports no trouble."""
    if case.seen.died:
        yield Finding(Outcome.KERNEL_DIED, case.seen.died)
    yield from _troubles(case.seen.section.text, case.levels_tell)


def _allocations(case: _Case) -> Iterator[Finding]:
    """Check that no child's allocation failed: a limit kills, but refuses no memory."""
    for run, end in case.children():
        if end.outcome == "failed":
            yield Finding(
                Outcome.ALLOCATION_FAILED,
                f"{_name(run, end.index)} was refused its {end.mem} bytes",
            )


def _strangers(case: _Case) -> Iterator[Finding]:
    """Check that only children of the scenario were killed, no run's parent and no other."""
    for record in case.strangers():
        yield Finding(
            Outcome.WRONG_VICTIM,
            f"pid {record.pid} ({record.comm!r}) was killed, which is no child of this scenario",
        )


def _victims(case: _Case) -> Iterator[Finding]:
    """Check that the expected victims died, and no other children."""
    expected = case.scenario.expected[case.policy]
    if isinstance(expected, Enough):
        yield from _enough(case, expected)
    else:
        yield from _exactly(case, expected)


def _decisions(case: _Case) -> Iterator[Finding]:
    """Check that the model chooses the same victims, and that the candidates were right."""
    if case.seen.decisions is None:
        return
    for decision in case.seen.decisions:
        if decision.chosen != decision.expected:
            expected = f"pid {decision.expected}" if decision.expected else "nobody"
            yield Finding(
                Outcome.WRONG_VICTIM,
                f"pid {decision.chosen} was killed; of the {len(decision.candidates)} candidates"
                f" policy {decision.policy} has {expected} die",
            )
        known = {candidate.pid for candidate in decision.candidates}
        for name, pid in _must_be_candidates(case, decision.chosen):
            if pid not in known:
                yield Finding(
                    Outcome.WRONG_VICTIM,
                    f"{name} (pid {pid}) was no candidate when pid {decision.chosen} was killed",
                )
        for name, pid in _others(case, decision.uid):
            if pid in known:
                yield Finding(
                    Outcome.WRONG_VICTIM,
                    f"{name} (pid {pid}) was a candidate for what uid {decision.uid} uses",
                )
        for pid in decision.misjudged:
            yield Finding(
                Outcome.WRONG_VICTIM, f"pid {pid} has another score by policy {decision.policy}"
            )
    decided = Counter(decision.chosen for decision in case.seen.decisions)
    recorded = Counter(record.pid for record in case.records if record.sharer_of is None)
    if decided != recorded:
        yield Finding(
            Outcome.RECORDS_DISAGREE,
            f"events tell of {decided.total()} kills, the log of {recorded.total()}, or of others",
        )


def _must_be_candidates(case: _Case, chosen: int) -> Iterator[tuple[str, int]]:
    """Yield the children that must have been candidates beside the chosen one.

    This is not taken from the kernel's events: the children allocate one after the other, so
    those before the victim had their memory.
    """
    victim = case.child_of(chosen)
    if victim is None or victim[0].together:
        return
    run, killed = victim
    for end in case.seen.runs[run.name].output.children:
        if end.index >= min(killed.index, len(run.children)) or end.outcome != "lived":
            continue
        adj = run.children[end.index].adj
        if adj != SHIELD_ADJ and not (run.shielded and adj is None):
            yield _name(run, end.index), end.pid


def _others(case: _Case, uid: int) -> Iterator[tuple[str, int]]:
    """Yield the children of all users but `uid`."""
    for run, end in case.children():
        if uid_of(run.user) != uid:
            yield _name(run, end.index), end.pid


def _exactly(case: _Case, expected: Victims | None) -> Iterator[Finding]:
    """Check that the children that died are the expected ones."""
    wanted = [] if expected is None else [(expected.run, index) for index in expected.indexes]
    killed = [(run.name, end.index) for run, end in _in_order_of_death(case)]
    extra = [victim for victim in killed if victim not in wanted]
    missing = [victim for victim in wanted if victim not in killed]
    if not killed and missing and not case.strangers():
        if _has_ended(case, missing):
            yield Finding(Outcome.NOT_KILLED, f"{_names(missing)} should have been killed")
    elif extra and wanted and (missing or killed[0] not in wanted):
        yield Finding(
            Outcome.WRONG_VICTIM, f"{_names(killed)} died; {_names(wanted)} should have, alone"
        )
    elif missing and not case.strangers():
        yield Finding(Outcome.NOT_KILLED, f"{_names(missing)} should have been killed too")
    elif extra:
        whom = f"only {_names(wanted)} should have" if wanted else "nobody should have"
        yield Finding(Outcome.TOO_MANY_KILLED, f"{_names(killed)} died; {whom}")


def _has_ended(case: _Case, victims: Sequence[tuple[str, int]]) -> bool:
    """Return whether the ends of all of these are known; if not, that is another finding."""
    known = {(run.name, end.index) for run, end in case.children()}
    return set(victims) <= known


def _enough(case: _Case, expected: Enough) -> Iterator[Finding]:
    """Check that enough children of the run died, no more than necessary, and no others."""
    run = case.scenario.run(expected.run)
    if not any(who is run for who, _ in case.children()):
        return
    others = [(who.name, end.index) for who, end in case.killed() if who is not run]
    if others:
        yield Finding(Outcome.WRONG_VICTIM, f"{_names(others)} died, who had nothing to do with it")
    entry = _entry(case, run.user)
    if not any(who is run for who, _ in case.killed()):
        yield Finding(Outcome.NOT_KILLED, f"no child of {run.name} was killed")
    elif entry is not None and entry.rss > entry.mm_max:
        yield Finding(
            Outcome.NOT_KILLED,
            f"{run.user} still uses {entry.rss} bytes, over its limit of {entry.mm_max}",
        )
    elif entry is not None:
        largest = max((record.rss for record in case.records), default=0)
        if entry.rss + largest + expected.slack <= entry.mm_max:
            yield Finding(
                Outcome.TOO_MANY_KILLED,
                f"{run.user} uses {entry.rss} bytes: with the largest victim ({largest}) alive it"
                f" would be within {entry.mm_max}",
            )


def _in_order_of_death(case: _Case) -> list[tuple[Run, ChildEnd]]:
    """Return the killed children in the order of their records; those without one come last."""
    order = {record.pid: number for number, record in reversed(list(enumerate(case.records)))}
    return sorted(case.killed(), key=lambda victim: order.get(victim[1].pid, len(order)))


def _answers(case: _Case) -> Iterator[Finding]:
    """Check that every set_mm_limits() returned what it must, and that modules were (un)loaded."""
    for problem in case.seen.module_problems:
        yield Finding(Outcome.WRONG_ANSWER, problem)
    for step, seen in zip(case.scenario.settings, case.seen.settings, strict=False):
        answer = _only(seen.output.limits)
        if answer is not None and not _as_expected(seen):
            got = answer.ret if answer.ret >= 0 else f"errno {answer.errno}"
            yield Finding(
                Outcome.WRONG_ANSWER,
                f"{step.caller} sets {step.user} to {step.limit}: {step.expect} was expected,"
                f" it returned {got}",
            )
    for run in case.scenario.runs:
        seen_run = case.seen.runs.get(run.name)
        answer = None if seen_run is None else _only(seen_run.output.limits)
        if run.limit and answer is not None and answer.ret != 0:
            yield Finding(
                Outcome.WRONG_ANSWER,
                f"{run.name} could not set its limit: it returned {answer.ret},"
                f" errno {answer.errno}",
            )


def _as_expected(seen: ProgramRun) -> bool:
    """Return whether the program's own checks all passed."""
    done = seen.output.done
    return seen.status == 0 and done is not None and done.passed == done.total


def _records(case: _Case) -> Iterator[Finding]:
    """Check that every kill has one record, every record a kill, and each is plausible."""
    for line in case.parsed.torn:
        yield Finding(Outcome.RECORDS_DISAGREE, f"a torn record: {line.strip()}")
    counts = Counter(record.pid for record in case.records)
    for run, end in case.killed():
        if counts[end.pid] != 1:
            yield Finding(
                Outcome.RECORDS_DISAGREE,
                f"{_name(run, end.index)} was killed and has {counts[end.pid]} records",
            )
    for record in case.records:
        for flaw in _flaws(case, record):
            yield Finding(Outcome.RECORDS_DISAGREE, f"the record of pid {record.pid}: {flaw}")


def _flaws(case: _Case, record: KillRecord) -> Iterator[str]:
    """Yield what is wrong with one record."""
    yield from _own_flaws(case, record)
    victim = case.child_of(record.pid)
    if victim is None:
        return
    run, end = victim
    child = run.children[end.index] if end.index < len(run.children) else None
    if end.outcome != "killed" or end.status & 0x7F != SIGKILL:
        yield f"{_name(run, end.index)} {end.outcome} with status {end.status}"
    if record.uid != uid_of(run.user):
        yield f"uid {record.uid}, but it is a process of {run.user}"
    limits = _limits_set(case.scenario, run.user)
    if record.mm_max not in limits:
        yield f"mm_max {record.mm_max} was never the limit of {run.user}"
    if record.rss > end.mem + CHILD_OVERHEAD:
        yield f"pRSS {record.rss} of a child that allocated {end.mem}"
    if _finished(case, run, end.pid) and record.rss < end.mem - HELD_BACK:
        yield f"pRSS {record.rss} of a child that has all of its {end.mem}"
    if child is None:
        return
    name = PROGRAMS[case.trigger][:_COMM_BYTES] if child.name is None else child.name
    if record.comm != name:
        yield f"comm {record.comm!r}, but it is called {name!r}"
    used = child.cpu_time(record.policy)
    if record.policy == "runtime" and (record.figure or 0) < used * 1_000_000:
        yield f"total_run_time {record.figure} of a child that used {used} ms"


def _own_flaws(case: _Case, record: KillRecord) -> Iterator[str]:
    """Yield what is wrong with one record regardless of its victim."""
    if record.user_rss <= record.mm_max:
        yield f"uRSS {record.user_rss} does not exceed mm_max {record.mm_max}"
    if record.rss > record.user_rss:
        yield f"pRSS {record.rss} exceeds uRSS {record.user_rss}"
    if record.trigger == "alloc" and record.user_rss > record.mm_max + OVERSHOOT:
        yield f"uRSS {record.user_rss} is far above mm_max {record.mm_max}: noticed late"
    if record.policy != case.policy:
        yield f"policy {record.policy}, not {case.policy}"
    if record.trigger not in _triggers(case):
        yield f"trigger {record.trigger}, which was not in use"
    if (record.figure is None) != (FIGURE_OF_POLICY[case.policy] is None):
        yield f"figure {record.figure}"
    if record.policy == "runtime" and record.figure is not None and record.figure <= 0:
        yield f"total_run_time {record.figure}"
    if record.sharer_of is not None:
        yield f"sharer of pid {record.sharer_of}, but nobody shares memory here"


def _triggers(case: _Case) -> tuple[str, ...]:
    """Return the triggers that a record may name."""
    if case.trigger == "daemon":
        return ("syscall",)
    return ("alloc", "set") if case.scenario.settings else ("alloc",)


def _limits_set(scenario: Scenario, user: str) -> set[int]:
    """Return all limits that the scenario sets for a user."""
    by_runs = {run.limit for run in scenario.runs if run.user == user}
    by_settings = {
        step.limit
        for step in scenario.settings
        if step.user == user and isinstance(step.limit, int)
    }
    return by_runs | by_settings


def _finished(case: _Case, run: Run, pid: int) -> bool:
    """Return whether the child had allocated everything when it was killed."""
    return any(done.pid == pid for done in case.seen.runs[run.name].output.finished)


def _own_lines(case: _Case) -> Iterator[Finding]:
    """Check the other lines of our kernel code: each that must come came once, and no other."""
    texts = [split_prefix(line) for line, _ in lines_of(case.seen.section.text)]
    said = [line.text for line in texts if line.priority is not None and line.from_kernel]
    for words, users in (
        ("is over its limit and has nobody left to kill", case.scenario.nobody_left),
        ("table full: dropped", case.scenario.dropped),
    ):
        lines = [text for text in said if text.startswith("mm_limits: ") and words in text]
        for user in users:
            about = [
                text for text in lines if f"uid={uid_of(user)}" in text.replace(",", "").split()
            ]
            if len(about) != 1:
                yield Finding(
                    Outcome.RECORDS_DISAGREE,
                    f"the kernel said {len(about)} times, not once, of {user}: {words}",
                )
        if len(lines) > len(users):
            yield Finding(Outcome.RECORDS_DISAGREE, f"the kernel said unasked: {lines[-1]}")


def _entries(case: _Case) -> Iterator[Finding]:
    """Check that /proc/mm_limits shows the limits that were set, and the kills."""
    if case.seen.limits is None:
        return
    for user, limit in case.scenario.limits.items():
        entry = _entry(case, user)
        if (None if entry is None else entry.mm_max) != limit:
            has = "no entry" if entry is None else f"the limit {entry.mm_max}"
            yield Finding(Outcome.WRONG_ANSWER, f"{user} has {has}, not {limit or 'none'}")
    for entry in case.seen.limits:
        yield from _entry_flaws(case, entry)


def _entry_flaws(case: _Case, entry: LimitEntry) -> Iterator[Finding]:
    """Check that one entry agrees with the records, and that its user is within its limit."""
    records = [record for record in case.records if record.uid == entry.uid]
    last = records[-1] if records else None
    flaws = []
    if entry.kills != len(records):
        flaws.append(f"{entry.kills} kills, but there are {len(records)} records")
    if entry.last_pid != (last.pid if last else 0):
        flaws.append(f"last_pid {entry.last_pid}")
    if entry.last_comm != (last.comm if last else ""):
        flaws.append(f"last_comm {entry.last_comm!r}")
    if entry.peak_rss < max((record.user_rss for record in records), default=0):
        flaws.append(f"peak_rss {entry.peak_rss} is below a record's uRSS")
    users = {uid_of(user): user for user in case.scenario.nobody_left}
    if case.scenario.runs and entry.rss > entry.mm_max and entry.uid not in users:
        victims = case.scenario.expected[case.policy]
        # For an Enough expectation, _enough() has said so already.
        if not isinstance(victims, Enough):
            flaws.append(f"rss {entry.rss} is still over the limit of {entry.mm_max}")
    for flaw in flaws:
        yield Finding(Outcome.RECORDS_DISAGREE, f"/proc/mm_limits, uid {entry.uid}: {flaw}")


def _entry(case: _Case, user: str) -> LimitEntry | None:
    """Return a user's entry of /proc/mm_limits, or None."""
    uid = uid_of(user)
    return next((entry for entry in case.seen.limits or () if entry.uid == uid), None)


def _infrastructure(case: _Case) -> Iterator[Finding]:
    """Check that all evidence is there: programs ran to their end, nothing was cut."""
    for text in _gaps(case):
        yield Finding(Outcome.INFRASTRUCTURE_FAILED, text)


def _gaps(case: _Case) -> Iterator[str]:
    """Yield what evidence is missing, or belongs to another run."""
    seen = case.seen
    if seen.problem:
        yield seen.problem
    if not seen.section.whole:
        yield "the scenario's part of the kernel log is not whole"
    yield from _decision_gaps(case)
    if seen.limits is None:
        yield "/proc/mm_limits could not be read"
    if case.trigger == "daemon" and not seen.daemon_calls:
        yield "the daemon did not call the killer"
    if len(seen.settings) != len(case.scenario.settings):
        yield f"{len(seen.settings)} of {len(case.scenario.settings)} limits were set"
    for step, setting in zip(case.scenario.settings, seen.settings, strict=False):
        yield from _setting_gaps(
            f"test_set_mm_limits {step.user} {step.limit}", case, step.limit, setting
        )
    for run in case.scenario.runs:
        if run.name in seen.runs:
            yield from _run_gaps(case, run, seen.runs[run.name])
        else:
            yield f"{run.name} did not run"


def _decision_gaps(case: _Case) -> Iterator[str]:
    """Yield what is missing of the kernel's decisions."""
    if case.seen.decisions_lost:
        yield "the kernel's trace was too small for its decisions"
    elif case.decisions_tell and case.seen.decisions is None:
        yield "the kernel did not tell its decisions"


def _setting_gaps(what: str, case: _Case, limit: int | str, seen: ProgramRun) -> Iterator[str]:
    """Yield what is missing of a call of test_set_mm_limits."""
    yield from _done_gaps(what, "test_set_mm_limits", 1, case.seen.nonce, seen)
    answer = _only(seen.output.limits)
    if answer is None:
        yield f"{what} did not say what the syscall returned"
    elif limit != NO_LIMIT and answer.mm_max != limit:
        yield f"{what} set {answer.mm_max}"


def _run_gaps(case: _Case, run: Run, seen: ProgramRun) -> Iterator[str]:
    """Yield what is missing of a run of an oom test program."""
    output = seen.output
    killed = {record.pid for record in case.strangers()}
    if output.pid in killed:
        return
    checks = len(run.children) + bool(run.limit)
    yield from _done_gaps(run.name, PROGRAMS[case.trigger], checks, case.seen.nonce, seen)
    if output.uid != uid_of(run.user):
        yield f"{run.name} ran as uid {output.uid}, not as {run.user}"
    if bool(run.limit) != bool(output.limits) or any(
        (call.uid, call.mm_max) != (uid_of(run.user), run.limit) for call in output.limits
    ):
        yield f"{run.name} did not set the limit {run.limit}"
    sizes = [(end.index, end.mem) for end in output.children]
    if sizes != [(index, child.size) for index, child in enumerate(run.children)]:
        yield f"{run.name} did not say how each of its {len(run.children)} children ended"
    if output.holding is None or output.holding.marker != case.seen.nonce:
        yield f"{run.name} never held its memory"
    for end in output.children:
        yield from _child_gaps(case, run, end, seen)


def _child_gaps(case: _Case, run: Run, end: ChildEnd, seen: ProgramRun) -> Iterator[str]:
    """Yield what is missing of one child, or contradicts its end."""
    name = _name(run, end.index)
    if end.outcome not in ("lived", "killed", "failed"):
        yield f"{name} ended with status {end.status}"
    if end.outcome == "lived" and end.status != 0:
        yield f"{name} is said to have lived and ended with status {end.status}"
    if end.outcome == "killed" and end.status & 0x7F != SIGKILL:
        yield f"{name} is said to have been killed and ended with status {end.status}"
    for what, happened in (("start", seen.output.started), ("finish", seen.output.finished)):
        times = [one for one in happened if one.pid == end.pid]
        # The daemon may kill at any time, even before the child has printed anything.
        speaks = case.trigger == "alloc" or _finished(case, run, end.pid)
        killed = end.outcome == "killed" and speaks
        needed = end.outcome == "lived" or (what == "start" and killed)
        if len(times) > 1 or (needed and not times):
            yield f"{name} said {len(times)} times that it did {what} to allocate"
        if any((one.uid, one.mem) != (uid_of(run.user), end.mem) for one in times):
            yield f"{name} did not {what} to allocate what it was told to"


def _done_gaps(what: str, program: str, total: int, nonce: str, seen: ProgramRun) -> Iterator[str]:
    """Yield what shows that a program was not of this run, or did not do all its checks."""
    done = seen.output.done
    for line in seen.output.strange:
        yield f"{what} printed a torn line: {line}"
    if done is None:
        yield f"{what} did not run to its end (status {seen.status})"
        return
    if done.program != program or done.marker != nonce:
        yield f"{what} ended as {done.program} with marker {done.marker}: not this run's"
    if done.total != total:
        yield f"{what} made {done.total} checks, not {total}"
    if seen.status != (0 if done.passed == done.total else 1):
        yield f"{what} passed {done.passed} of {done.total} checks and ended with {seen.status}"
    if done.passed != done.total:
        yield f"{what} passed only {done.passed} of {done.total} checks"


def _only(limits: tuple[LimitSet, ...]) -> LimitSet | None:
    """Return the only call, or None if there is not exactly one."""
    return limits[0] if len(limits) == 1 else None


def _name(run: Run, index: int) -> str:
    return f"child {index} of {run.name}"


def _names(victims: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"child {index} of {run}" for run, index in victims)
