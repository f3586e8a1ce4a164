# SPDX-License-Identifier: MIT
"""The judge's check of the evidence: what of it is missing, cut, or belongs to another run. Pure.

If something is wrong here, nothing is known about the kernel.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

from harness.kernel_output.programs_output import ChildEnd
from harness.scenarios.catalogue import NO_LIMIT, PROGRAMS, Run, SetLimit, uid_of
from harness.scenarios.observations import Case, ProgramRun, child_name


def gaps(case: Case) -> Iterator[str]:
    """Check that all evidence is there: programs ran to their end, nothing was cut."""
    seen = case.seen
    if seen.problem:
        yield seen.problem
    if not seen.section.whole:
        yield "the scenario's part of the kernel log is not whole"
    yield from _of_decisions(case)
    if seen.limits is None:
        yield "/proc/mm_limits could not be read"
    if case.trigger == "daemon" and not seen.daemon_calls:
        yield "the daemon did not call the killer"
    if len(seen.settings) != len(case.scenario.settings):
        yield f"{len(seen.settings)} of {len(case.scenario.settings)} limits were set"
    for step, setting in zip(case.scenario.settings, seen.settings, strict=False):
        yield from _of_setting(case, step, setting)
    for run in case.scenario.runs:
        if run.name in seen.runs:
            yield from _of_run(case, run, seen.runs[run.name])
        else:
            yield f"{run.name} did not run"


def _of_decisions(case: Case) -> Iterator[str]:
    """Yield what is missing of the kernel's decisions."""
    if case.seen.decisions_lost:
        yield "the kernel's trace was too small for its decisions"
    elif case.decisions_tell and case.seen.decisions is None:
        yield "the kernel did not tell its decisions"


def _of_setting(case: Case, step: SetLimit, seen: ProgramRun) -> Iterator[str]:
    """Yield what is missing of a call of test_set_mm_limits."""
    what = f"test_set_mm_limits {step.user} {step.limit}"
    yield from _of_program(what, "test_set_mm_limits", 1, case.seen.nonce, seen)
    if seen.answer is None:
        yield f"{what} did not say what the syscall returned"
    elif step.limit not in (NO_LIMIT, seen.answer.mm_max):
        yield f"{what} set {seen.answer.mm_max}"


def _of_run(case: Case, run: Run, seen: ProgramRun) -> Iterator[str]:
    """Yield what is missing of a run of an oom test program."""
    output = seen.output
    if output.pid in {record.pid for record in case.strangers()}:
        # It was killed itself, which is another finding.
        return
    checks = len(run.children) + bool(run.limit)
    yield from _of_program(run.name, PROGRAMS[case.trigger], checks, case.seen.nonce, seen)
    if output.uid != uid_of(run.runner):
        yield f"{run.name} ran as uid {output.uid}, not as {run.runner}"
    calls = {(call.uid, call.mm_max) for call in output.limits}
    if calls != ({(uid_of(run.user), run.limit)} if run.limit else set()):
        yield f"{run.name} did not set the limit {run.limit}"
    sizes = [(end.index, end.mem) for end in output.children]
    if sizes != [(index, child.size) for index, child in enumerate(run.children)]:
        yield f"{run.name} did not say how each of its {len(run.children)} children ended"
    if output.holding is None or output.holding.marker != case.seen.nonce:
        yield f"{run.name} never held its memory"
    for end in output.children:
        if end.index < len(run.children):
            yield from _of_child(case, run, end, seen)


def _of_child(case: Case, run: Run, end: ChildEnd, seen: ProgramRun) -> Iterator[str]:
    """Yield what is missing of one child, or contradicts its end."""
    name = child_name(run, end.index)
    lived, killed = end.outcome == "lived", end.outcome == "killed"
    if end.outcome not in ("lived", "killed", "failed"):
        yield f"{name} ended with status {end.status}"
    if lived and end.status != 0:
        yield f"{name} is said to have lived and ended with status {end.status}"
    if killed and end.status & 0x7F != signal.SIGKILL:
        yield f"{name} is said to have been killed and ended with status {end.status}"
    taker = uid_of(run.taker_of(run.children[end.index]))
    # The daemon may kill at any time, even before the child has printed anything.
    speaks = case.trigger == "alloc" or case.has_finished(run, end.pid)
    for what, happened, needed in (
        ("start", seen.output.started, lived or (killed and speaks)),
        ("finish", seen.output.finished, lived),
    ):
        times = [one for one in happened if one.pid == end.pid]
        if len(times) > 1 or (needed and not times):
            yield f"{name} said {len(times)} times that it did {what} to allocate"
        if any((one.uid, one.mem) != (taker, end.mem) for one in times):
            yield f"{name} did not {what} to allocate what it was told to"


def _of_program(what: str, program: str, total: int, nonce: str, seen: ProgramRun) -> Iterator[str]:
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
