# SPDX-License-Identifier: MIT
"""What was seen of one scenario, and the questions about it that more than one check asks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.kernel_output.klog import Section
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import ChildEnd, LimitSet, ProgramOutput
from harness.kernel_output.records import KillRecord, ParsedRecords
from harness.scenarios.catalogue import Run, Scenario
from harness.scenarios.evidence import Decision, Meanwhile


@dataclass(frozen=True)
class ProgramRun:
    """The exit status and output of a program that has ended on the device."""

    status: int
    output: ProgramOutput

    @property
    def answer(self) -> LimitSet | None:
        """Its call of set_mm_limits(); None if there is not exactly one."""
        return self.output.limits[0] if len(self.output.limits) == 1 else None


@dataclass
class Observations:
    """All that was seen of one scenario; a field is set as soon as it is known.

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
    runs: Mapping[str, ProgramRun] = field(default_factory=dict)
    settings: tuple[ProgramRun, ...] = ()
    section: Section = field(default_factory=lambda: Section("", has_begin=False, has_end=False))
    limits: tuple[LimitEntry, ...] | None = None
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
class Case:
    """The input of all checks: a scenario, how it was run, and what was seen of it."""

    scenario: Scenario
    policy: str
    trigger: str
    seen: Observations
    parsed: ParsedRecords
    decisions_tell: bool

    @property
    def records(self) -> tuple[KillRecord, ...]:
        """The kill records in the scenario's part of the kernel log."""
        return self.parsed.records

    @property
    def whole(self) -> bool:
        """Whether the observations are complete, so that missing evidence is the kernel's fault."""
        return not self.seen.died and not self.seen.problem and self.seen.section.whole

    def ran(self) -> Iterator[tuple[Run, ProgramRun]]:
        """Yield every run that ended, with what was seen of it, in the scenario's order."""
        for run in self.scenario.runs:
            if run.name in self.seen.runs:
                yield run, self.seen.runs[run.name]

    def children(self) -> Iterator[tuple[Run, ChildEnd]]:
        """Yield every child that a run reported, in the order of runs and children."""
        return ((run, end) for run, seen in self.ran() for end in seen.output.children)

    def killed(self) -> list[tuple[Run, ChildEnd]]:
        """Return the children that their run reports as killed."""
        return [(run, end) for run, end in self.children() if end.outcome == "killed"]

    def child_of(self, pid: int) -> tuple[Run, ChildEnd] | None:
        """Return the child with this pid, or None."""
        return next(((run, end) for run, end in self.children() if end.pid == pid), None)

    def elder_of(self, run: Run, end: ChildEnd) -> ChildEnd:
        """Return the child whose memory a child shares: itself, if it is no sharer."""
        if end.index >= len(run.children):
            return end
        elder = run.elder_of(end.index)
        ends = self.seen.runs[run.name].output.children
        return next((one for one in ends if one.index == elder), end)

    def has_finished(self, run: Run, pid: int) -> bool:
        """Return whether the child had allocated everything when it was killed."""
        return any(done.pid == pid for done in self.seen.runs[run.name].output.finished)

    def strangers(self) -> list[KillRecord]:
        """Return the records of processes that are no child of a run: a parent, or any other.

        The list is empty if a run is missing: the victims may be its children.
        """
        ran = [seen.output for _, seen in self.ran()]
        if len(ran) < len(self.scenario.runs):
            return []
        known = {child.pid for output in ran for child in output.started}
        known |= {end.pid for _, end in self.children()}
        return [record for record in self.records if record.pid not in known]


def child_name(run: Run, index: int) -> str:
    """Return the name of a run's child in the texts of findings."""
    return f"child {index} of {run.name}"
