# SPDX-License-Identifier: MIT
"""The judge: compares what was expected with what was seen, and gives a verdict. Pure.

A scenario passes only on positive evidence. Every piece of evidence that is missing or
contradicts another one is a finding. Each finding belongs to an outcome, and the gravest one
is the scenario's.
"""

from __future__ import annotations

import enum
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.kernel_output.klog import UNEXPLAINED, Allowed, Trouble, find_trouble
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import ChildEnd
from harness.kernel_output.records import (
    COMM_BYTES,
    FIGURE_OF_POLICY,
    KillRecord,
    lines_of,
    parse_log,
    split_prefix,
)
from harness.kernel_output.reports import find_reports
from harness.kernel_output.troubles import BY_CLOCK, trouble_in
from harness.scenarios.catalogue import (
    PROGRAMS,
    SHIELD_ADJ,
    Enough,
    Modules,
    Run,
    Scenario,
    Victims,
    uid_of,
)
from harness.scenarios.gaps import gaps
from harness.scenarios.observations import Case, Observations, child_name
from harness.targets.model import PAGE

# How far a user may get: some faults of 16 pages, for threads that are in one, or the pages of one
# page table in a fork (docs/design.md).
OVERSHOOT = 2_000_000
# What a child has besides the memory it was told to allocate: program, stack, heap.
CHILD_OVERHEAD = 3_000_000
# How much of a child's RSS may be missing from the kernel's count: 64 pages.
HELD_BACK = 64 * PAGE


class Outcome(enum.Enum):
    """The outcomes of a scenario, gravest first; the values are the texts that are shown."""

    KERNEL_DIED = "kernel died"
    KERNEL_COMPLAINED = "kernel complained"
    ALLOCATION_FAILED = "allocation failed instead"
    NOT_KILLED = "not killed"
    WRONG_VICTIM = "wrong victim"
    TOO_MANY_KILLED = "too many killed"
    KILLED_LATE = "killed too late"
    WRONG_ANSWER = "wrong answer"
    RECORDS_DISAGREE = "records disagree"
    INFRASTRUCTURE_FAILED = "infrastructure failed"
    NOTHING_TO_KILL = "nobody killed, as expected"
    PASSED = "killed as expected"

    @property
    def passed(self) -> bool:
        """Whether this outcome is the expected one."""
        return self in (Outcome.PASSED, Outcome.NOTHING_TO_KILL)

    @property
    def rank(self) -> int:
        """Its place among the outcomes; the gravest has the lowest."""
        return list(Outcome).index(self)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and the outcome to which it belongs.

    `by_clock` says that a healthy kernel may have caused it, if its clock jumped meanwhile because
    the host stood still.
    """

    outcome: Outcome
    text: str
    by_clock: bool = False


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
    def by_clock(self) -> bool:
        """Whether it is no pass, and all that is wrong may be due to a clock that jumped."""
        return not self.passed and all(finding.by_clock for finding in self.findings)

    @property
    def complained(self) -> bool:
        """Whether the kernel died, or reports a trouble."""
        gravest = (Outcome.KERNEL_DIED, Outcome.KERNEL_COMPLAINED)
        return any(finding.outcome in gravest for finding in self.findings)

    def withdrawn(self, why: str) -> ScenarioVerdict:
        """Return that nothing is known of the kernel, with the reason; the findings are kept."""
        reason = Finding(Outcome.INFRASTRUCTURE_FAILED, why)
        findings = (reason, *self.findings)
        return replace(self, outcome=Outcome.INFRASTRUCTURE_FAILED, findings=findings)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The texts of the findings, gravest first."""
        return tuple(finding.text for finding in self.findings)


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
    expected = scenario.expected[policy]
    log = observations.section.text
    parsed = parse_log(log, raw=True)
    case = Case(scenario, policy, trigger, observations, parsed, decisions_tell)
    findings = _kernel(observations.died, log, levels_tell)
    findings += [Finding(Outcome.WRONG_VICTIM, text) for text in _strangers(case)]
    findings += [Finding(Outcome.INFRASTRUCTURE_FAILED, text, by_clock=True) for text in gaps(case)]
    if case.whole:
        if isinstance(expected, Enough):
            findings += _enough(case, expected)
        else:
            findings += _exactly(case, expected)
        checks: tuple[tuple[Outcome, Callable[[Case], Iterator[str]]], ...] = (
            (Outcome.ALLOCATION_FAILED, _allocations),
            (Outcome.WRONG_VICTIM, _decisions),
            (Outcome.KILLED_LATE, _lateness),
            (Outcome.WRONG_ANSWER, _answers),
            (Outcome.WRONG_ANSWER, _limits),
            (Outcome.RECORDS_DISAGREE, _decided),
            (Outcome.RECORDS_DISAGREE, _records),
            (Outcome.RECORDS_DISAGREE, _own_lines),
            (Outcome.RECORDS_DISAGREE, _entries),
        )
        findings += [Finding(outcome, text) for outcome, check in checks for text in check(case)]
        disagree = Outcome.RECORDS_DISAGREE
        findings += [Finding(disagree, text, by_clock=True) for text in _over(case)]
    findings.sort(key=lambda finding: finding.outcome.rank)
    passed = Outcome.NOTHING_TO_KILL if expected is None else Outcome.PASSED
    outcome = findings[0].outcome if findings else passed
    return ScenarioVerdict(scenario.name, policy, trigger, outcome, tuple(findings), parsed.records)


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

    `reports` are the kernel's reports of its mistakes from other sources, each with its kind, a
    colon and its title, and `died` says
    how it died. The reports count only if nothing else was found.
    """
    findings = _kernel(died, log, levels_tell)
    findings = findings or [
        Finding(Outcome.KERNEL_COMPLAINED, text, text.partition(": ")[0] in BY_CLOCK)
        for text in reports
    ]
    findings.sort(key=lambda finding: finding.outcome.rank)
    outcome = findings[0].outcome if findings else Outcome.NOTHING_TO_KILL
    return ScenarioVerdict(name, "", trigger, outcome, tuple(findings), records=())


def _kernel(died: str, log: str, levels_tell: bool) -> list[Finding]:
    """Check that the kernel lives, and reports no trouble."""
    findings = [Finding(Outcome.KERNEL_DIED, died, is_by_clock(died))] if died else []
    for trouble, by_clock in troubles_of(log, levels_tell=levels_tell):
        outcome = Outcome.KERNEL_DIED if trouble.fatal else Outcome.KERNEL_COMPLAINED
        findings.append(Finding(outcome, f"{trouble.kind}: {trouble.line.strip()}", by_clock))
    return findings


def troubles_of(
    log: str, allowed: Sequence[Allowed] = (), *, levels_tell: bool = True
) -> Iterator[tuple[Trouble, bool]]:
    """Yield the troubles in a log, and if a healthy kernel has each, too, when its clock jumps."""
    troubles = find_trouble(log, allowed, levels_tell=levels_tell)
    told = _lines_by_clock(log) if any(trouble.by_clock for trouble in troubles) else set()
    for trouble in troubles:
        in_report = trouble.kind == UNEXPLAINED and trouble.line in told
        yield trouble, trouble.by_clock or in_report


def _lines_by_clock(log: str) -> set[str]:
    """Return the lines of reports that a healthy kernel writes, too, when its clock jumps."""
    reports = (report for report in find_reports(log) if report.kind in BY_CLOCK)
    return {line for report in reports for line in report.text.splitlines()}


def is_by_clock(died: str) -> bool:
    """Return whether a session ended for what is a trouble only if the clock has not jumped."""
    # The console's name of the trouble comes first, then the kernel's words.
    found = trouble_in(died.partition(": ")[2])
    return found is not None and found.line.kind.by_clock


def _allocations(case: Case) -> Iterator[str]:
    """Check that no child's allocation failed: a limit kills, but refuses no memory."""
    for run, end in case.children():
        if end.outcome == "failed":
            yield f"{child_name(run, end.index)} was refused its {end.mem} bytes"


def _strangers(case: Case) -> Iterator[str]:
    """Check that only children of the scenario were killed, no run's parent and no other."""
    for record in case.strangers():
        who = f"pid {record.pid} ({record.comm!r})"
        yield f"{who} was killed, which is no child of this scenario"


def _decisions(case: Case) -> Iterator[str]:
    """Check that the model chooses the same victims, and that the candidates were right."""
    for decision in case.seen.decisions or ():
        chosen, known = decision.chosen, {candidate.pid for candidate in decision.candidates}
        if chosen != decision.expected:
            expected = f"pid {decision.expected}" if decision.expected else "nobody"
            yield (
                f"pid {chosen} was killed; of the {len(decision.candidates)} candidates"
                f" policy {decision.policy} has {expected} die"
            )
        for name, pid in _must_be_candidates(case, chosen):
            if pid not in known:
                yield f"{name} (pid {pid}) was no candidate when pid {chosen} was killed"
        for run, end in case.children():
            name = child_name(run, end.index)
            if uid_of(run.user) != decision.uid and end.pid in known:
                yield f"{name} (pid {end.pid}) was a candidate for what uid {decision.uid} uses"
            if case.elder_of(run, end) != end and end.pid in known:
                yield f"{name} (pid {end.pid}) was a candidate, but shares an older one's memory"
        for pid in decision.misjudged:
            yield f"pid {pid} has another score by policy {decision.policy}"


def _must_be_candidates(case: Case, chosen: int) -> Iterator[tuple[str, int]]:
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
        if case.elder_of(run, end) != end:
            continue
        if adj != SHIELD_ADJ and not (run.shielded and adj is None):
            yield child_name(run, end.index), end.pid


def _decided(case: Case) -> Iterator[str]:
    """Check that the kernel reports a decision for each kill in its log, and no others."""
    if case.seen.decisions is None:
        return
    decided = Counter(decision.chosen for decision in case.seen.decisions)
    recorded = Counter(record.pid for record in case.records if record.sharer_of is None)
    if decided != recorded:
        yield (
            f"events tell of {decided.total()} kills, the log of {recorded.total()}, or of others"
        )


def _exactly(case: Case, expected: Victims | None) -> Iterator[Finding]:
    """Check that the children that died are the expected ones."""
    order = {record.pid: number for number, record in reversed(list(enumerate(case.records)))}
    # In the order of their records; those without one come last.
    victims = sorted(case.killed(), key=lambda victim: order.get(victim[1].pid, len(order)))
    killed = [(run.name, end.index) for run, end in victims]
    wanted = [] if expected is None else [(expected.run, index) for index in expected.indexes]
    extra = [victim for victim in killed if victim not in wanted]
    missing = [victim for victim in wanted if victim not in killed]
    if not killed and missing and not case.strangers():
        # If one's end is not known, that is another finding.
        if {(run.name, end.index) for run, end in case.children()}.issuperset(missing):
            text = f"{_names(missing)} should have been killed"
            yield Finding(Outcome.NOT_KILLED, text, by_clock=True)
    elif extra and wanted and (missing or killed[0] not in wanted):
        # A task that runs while the guest is stopped has used CPU time all the while.
        text = f"{_names(killed)} died; {_names(wanted)} should have, alone"
        yield Finding(Outcome.WRONG_VICTIM, text, by_clock=case.policy == "runtime")
    elif missing and not case.strangers():
        text = f"{_names(missing)} should have been killed too"
        yield Finding(Outcome.NOT_KILLED, text, by_clock=True)
    elif extra:
        whom = f"only {_names(wanted)} should have" if wanted else "nobody should have"
        # The kernel waits for a victim's end, but not for ever.
        yield Finding(Outcome.TOO_MANY_KILLED, f"{_names(killed)} died; {whom}", by_clock=True)


def _enough(case: Case, expected: Enough) -> Iterator[Finding]:
    """Check that enough children of the run died, no more than necessary, and no others."""
    run = case.scenario.run(expected.run)
    if not any(who is run for who, _ in case.children()):
        return
    others = [(who.name, end.index) for who, end in case.killed() if who is not run]
    if others:
        yield Finding(Outcome.WRONG_VICTIM, f"{_names(others)} died, who had nothing to do with it")
    entry = _entry(case, run.user)
    largest = max((record.rss for record in case.records), default=0)
    if not any(who is run for who, _ in case.killed()):
        yield Finding(Outcome.NOT_KILLED, f"no child of {run.name} was killed", by_clock=True)
    elif entry is not None and entry.rss > entry.mm_max:
        yield Finding(
            Outcome.NOT_KILLED,
            f"{run.user} still uses {entry.rss} bytes, over its limit of {entry.mm_max}",
            by_clock=True,
        )
    elif entry is not None and entry.rss + largest + expected.slack <= entry.mm_max:
        yield Finding(
            Outcome.TOO_MANY_KILLED,
            f"{run.user} uses {entry.rss} bytes: with the largest victim ({largest}) alive it"
            f" would be within {entry.mm_max}",
            by_clock=True,
        )


def _answers(case: Case) -> Iterator[str]:
    """Check that every set_mm_limits() returned what it must, and that modules were (un)loaded."""
    yield from case.seen.module_problems
    for step, seen in zip(case.scenario.settings, case.seen.settings, strict=False):
        answer, done = seen.answer, seen.output.done
        # The program knows what it must return, and checks that.
        passed = seen.status == 0 and done is not None and done.passed == done.total
        if answer is not None and not passed:
            got = answer.ret if answer.ret >= 0 else f"errno {answer.errno}"
            what = f"{step.caller} sets {step.user} to {step.limit}"
            yield f"{what}: {step.expect} was expected, it returned {got}"
    for run, seen in case.ran():
        answer = seen.answer
        if run.limit and answer is not None and answer.ret != 0:
            why = f"it returned {answer.ret}, errno {answer.errno}"
            yield f"{run.name} could not set its limit: {why}"


def _records(case: Case) -> Iterator[str]:
    """Check that every kill has one record, every record a kill, and each is plausible."""
    for line in case.parsed.torn:
        yield f"a torn record: {line.strip()}"
    counts = Counter(record.pid for record in case.records)
    for run, end in case.killed():
        if counts[end.pid] != 1:
            yield f"{child_name(run, end.index)} was killed and has {counts[end.pid]} records"
    for record in case.records:
        for flaw in (*_own_flaws(case, record), *_flaws_of_victim(case, record)):
            yield f"the record of pid {record.pid}: {flaw}"


def _own_flaws(case: Case, record: KillRecord) -> Iterator[str]:
    """Yield what is wrong with one record regardless of its victim."""
    if record.user_rss <= record.mm_max:
        yield f"uRSS {record.user_rss} does not exceed mm_max {record.mm_max}"
    if record.rss > record.user_rss:
        yield f"pRSS {record.rss} exceeds uRSS {record.user_rss}"
    if record.policy != case.policy:
        yield f"policy {record.policy}, not {case.policy}"
    if record.trigger not in _triggers(case):
        yield f"trigger {record.trigger}, which was not in use"
    if (record.figure is None) != (FIGURE_OF_POLICY[case.policy] is None):
        yield f"figure {record.figure}"
    if record.policy == "runtime" and record.figure is not None and record.figure <= 0:
        yield f"total_run_time {record.figure}"


def _lateness(case: Case) -> Iterator[str]:
    """Check that no user that grew got far beyond its limit, before a kill or behind it."""
    for record in case.records:
        most = OVERSHOOT + _brought_along(case, record.uid)
        if record.trigger != "alloc" or record.mm_max not in _limits_of(case, record.uid):
            continue
        if record.user_rss > record.mm_max + most:
            yield (
                f"uRSS {record.user_rss} of the record of pid {record.pid} is far above mm_max"
                f" {record.mm_max}: noticed late"
            )
    # A limit that is lowered, or that nothing can keep, is exceeded by any amount.
    stuck = {uid_of(user) for user in case.scenario.nobody_left}
    if case.trigger == "daemon" or case.scenario.settings:
        return
    for entry in case.seen.limits or ():
        if entry.uid not in stuck and entry.overshoot > OVERSHOOT + _brought_along(case, entry.uid):
            yield f"uid {entry.uid} got {entry.overshoot} bytes beyond its limit"


def _brought_along(case: Case, uid: int) -> int:
    """Return how much a user can get at once, by a process that becomes its with its memory."""
    return sum(
        child.size + CHILD_OVERHEAD
        for run in case.scenario.runs
        for child in run.children
        if child.is_late and uid_of(run.user_of(child)) == uid
    )


def _triggers(case: Case) -> tuple[str, ...]:
    """Return the triggers that a record may name."""
    if case.trigger == "daemon":
        return ("syscall",)
    return ("alloc", "set") if case.scenario.settings else ("alloc",)


def _flaws_of_victim(case: Case, record: KillRecord) -> Iterator[str]:
    """Yield what of one record does not fit its victim, if that is a child of a run."""
    victim = case.child_of(record.pid)
    if victim is None:
        return
    run, end = victim
    if end.outcome != "killed" or end.status & 0x7F != signal.SIGKILL:
        yield f"{child_name(run, end.index)} {end.outcome} with status {end.status}"
    if record.uid != uid_of(run.user):
        yield f"uid {record.uid}, but it is a process of {run.user}"
    if record.mm_max not in _limits_of(case, uid_of(run.user)):
        yield f"mm_max {record.mm_max} was never the limit of {run.user}"
    if case.has_finished(run, end.pid) and record.rss < end.mem - HELD_BACK:
        yield f"pRSS {record.rss} of a child that has all of its {end.mem}"
    if end.index < len(run.children):
        yield from _flaws_of_child(case, record, run, end)


def _limits_of(case: Case, uid: int) -> set[int | str]:
    """Return all limits that a user has had."""
    steps = [step for step in case.scenario.steps if not isinstance(step, Modules)]
    return {step.limit for step in steps if uid_of(step.user) == uid}


def _flaws_of_child(case: Case, record: KillRecord, run: Run, end: ChildEnd) -> Iterator[str]:
    """Yield what of one record does not fit what its victim was told to be."""
    size = sum(run.children[index].size for index in run.shared(end.index))
    if record.rss > size + CHILD_OVERHEAD:
        yield f"pRSS {record.rss} of a child that allocated {size}"
    elder = case.elder_of(run, end)
    if record.sharer_of != (None if elder == end else elder.pid):
        yield f"sharer of pid {record.sharer_of}, but its memory is child {elder.index}'s"
    name = run.children[end.index].name
    name = PROGRAMS[case.trigger][:COMM_BYTES] if name is None else name
    if record.comm != name:
        yield f"comm {record.comm!r}, but it is called {name!r}"
    # A sharer's record has the figure of the child whose memory it shares.
    used = run.children[elder.index].cpu_time(record.policy)
    if record.policy == "runtime" and (record.figure or 0) < used * 1_000_000:
        yield f"total_run_time {record.figure} of a child that used {used} ms"


def _own_lines(case: Case) -> Iterator[str]:
    """Check the other lines of our kernel code: each that must come came once, and no other."""
    texts = [split_prefix(line) for line, _ in lines_of(case.seen.section.text)]
    said = [line.text for line in texts if line.priority is not None and line.from_kernel]
    for words, users in (
        ("is over its limit and has nobody left to kill", case.scenario.nobody_left),
        ("table full: dropped", case.scenario.dropped),
    ):
        lines = [text for text in said if text.startswith("mm_limits: ") and words in text]
        for user in users:
            uid = f"uid={uid_of(user)}"
            about = sum(uid in text.replace(",", "").split() for text in lines)
            if about != 1:
                yield f"the kernel said {about} times, not once, of {user}: {words}"
        if len(lines) > len(users):
            yield f"the kernel said unasked: {lines[-1]}"


def _limits(case: Case) -> Iterator[str]:
    """Check that /proc/mm_limits shows the limits that were set."""
    if case.seen.limits is None:
        return
    for user, limit in case.scenario.limits.items():
        entry = _entry(case, user)
        if (None if entry is None else entry.mm_max) != limit:
            has = "no entry" if entry is None else f"the limit {entry.mm_max}"
            yield f"{user} has {has}, not {limit or 'none'}"


def _entries(case: Case) -> Iterator[str]:
    """Check that each entry of /proc/mm_limits agrees with the kill records."""
    for entry in case.seen.limits or ():
        for flaw in _entry_flaws(case, entry):
            yield f"/proc/mm_limits, uid {entry.uid}: {flaw}"


def _entry_flaws(case: Case, entry: LimitEntry) -> Iterator[str]:
    """Yield what of one entry does not fit the records."""
    records = [record for record in case.records if record.uid == entry.uid]
    chosen = [record for record in records if record.sharer_of is None]
    last_pid, last_comm = (chosen[-1].pid, chosen[-1].comm) if chosen else (0, "")
    if entry.kills != len(records):
        yield f"{entry.kills} kills, but there are {len(records)} records"
    if entry.last_pid != last_pid:
        yield f"last_pid {entry.last_pid}"
    if entry.last_comm != last_comm:
        yield f"last_comm {entry.last_comm!r}"
    if entry.peak_rss < max((record.user_rss for record in records), default=0):
        yield f"peak_rss {entry.peak_rss} is below a record's uRSS"


def _over(case: Case) -> Iterator[str]:
    """Check that no user is over its limit at the end."""
    # For an Enough expectation, _enough() says so.
    if not case.scenario.runs or isinstance(case.scenario.expected[case.policy], Enough):
        return
    may_be_over = {uid_of(user) for user in case.scenario.nobody_left}
    for entry in case.seen.limits or ():
        if entry.rss > entry.mm_max and entry.uid not in may_be_over:
            over = f"rss {entry.rss} is still over the limit of {entry.mm_max}"
            yield f"/proc/mm_limits, uid {entry.uid}: {over}"


def _entry(case: Case, user: str) -> LimitEntry | None:
    """Return a user's entry of /proc/mm_limits, or None."""
    uid = uid_of(user)
    return next((entry for entry in case.seen.limits or () if entry.uid == uid), None)


def _names(victims: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"child {index} of {run}" for run, index in victims)
