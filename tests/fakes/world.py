# SPDX-License-Identifier: MIT
"""A simulated kernel and device, which do what a scenario expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.kernel_output.klog import Section
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import (
    Allocation,
    ChildEnd,
    Done,
    Holding,
    LimitSet,
    ProgramOutput,
)
from harness.kernel_output.records import (
    FIGURE_OF_POLICY,
    KillRecord,
    format_record,
    parse_log,
)
from harness.scenarios.catalogue import (
    MB,
    OFFENDER,
    POLICIES,
    PROGRAMS,
    Child,
    Run,
    Scenario,
    SetLimit,
    Victims,
    uid_of,
)
from harness.scenarios.evidence import Candidate, Decision
from harness.scenarios.observations import Observations, ProgramRun

NONCE = "5f0c12ab"
ERRNOS = {"EPERM": 1, "EINVAL": 22, "ENOSPC": 28, "ENOSYS": 38}

# An example of a scenario, beside those of the catalogue: two children cross the limit, one after
# the other, and the death of either alone would not be enough.
TWO_VICTIMS = Scenario(
    name="two-victims",
    title="two children cross the limit, one after the other",
    steps=(
        Run(
            "main",
            OFFENDER,
            (
                Child(2 * MB, adj=0),
                Child(17 * MB, sure_ms=150, adj=0),
                Child(30 * MB, sure_ms=150, adj=0),
            ),
            limit=16 * MB,
            shielded=True,
        ),
    ),
    expected=dict.fromkeys(POLICIES, Victims("main", (1, 2))),
    limits={OFFENDER: 16 * MB},
)


@dataclass
class World:
    """A kernel and a device that do exactly what the scenario expects."""

    scenario: Scenario
    policy: str
    trigger: str

    def __post_init__(self) -> None:
        self.next_pid = 200
        self.records: list[KillRecord] = []

    def observe(self) -> Observations:
        runs = {run.name: self.run(run) for run in self.scenario.runs}
        settings = tuple(self.set_limit(step) for step in self.scenario.settings)
        lines = [f"<3>[   12.000000] {format_record(record)}" for record in self.records]
        lines += [
            f"<3>[   12.500000] mm_limits: uid={uid_of(user)} is over its limit and has nobody"
            " left to kill: uRSS=60000000, mm_max=40000000"
            for user in self.scenario.nobody_left
        ]
        lines += [
            f"<3>[   12.600000] mm_limits: table full: dropped uid={uid_of(user)}, mm_max=5"
            for user in self.scenario.dropped
        ]
        return Observations(
            nonce=NONCE,
            runs=runs,
            settings=settings,
            section=Section("".join(line + "\n" for line in lines), True, True),
            limits=self.entries(),
            daemon_calls=7 if self.trigger == "daemon" else None,
        )

    def pid(self) -> int:
        self.next_pid += 1
        return self.next_pid

    def victims(self, run: Run) -> tuple[int, ...]:
        expected = self.scenario.expected[self.policy]
        if expected is None or expected.run != run.name:
            return ()
        if isinstance(expected, Victims):
            return expected.indexes
        return tuple(range(len(run.children) - 30))

    def run(self, run: Run) -> ProgramRun:
        parent = self.pid()
        dead = self.victims(run)
        ends, started, finished = [], [], []
        pids = [self.pid() for _ in run.children]
        for index, (pid, child) in enumerate(zip(pids, run.children, strict=True)):
            uid = uid_of(run.taker_of(child))
            killed = index in dead
            status = 9 if killed else 0
            ends.append(ChildEnd(index, pid, child.size, "killed" if killed else "lived", status))
            started.append(Allocation(pid, uid, child.size))
            if not killed or self.trigger == "daemon":
                finished.append(Allocation(pid, uid, child.size))
            if killed:
                self.kill(run, index, pids)
        checks = len(run.children) + bool(run.limit)
        output = ProgramOutput(
            limit_uid=uid_of(run.user),
            uid=uid_of(run.runner),
            pid=parent,
            limits=(LimitSet(uid_of(run.user), run.limit, 0, 0),) if run.limit else (),
            started=tuple(started),
            finished=tuple(finished),
            holding=Holding(NONCE, len(ends) - len(dead)),
            children=tuple(ends),
            done=Done(PROGRAMS[self.trigger], NONCE, checks, checks),
        )
        return ProgramRun(0, output)

    def kill(self, run: Run, index: int, pids: Sequence[int]) -> None:
        elder = run.elder_of(index)
        child = run.children[elder]
        size = sum(run.children[number].size for number in run.shared(index))
        limit = self.scenario.limits[run.user]
        assert limit is not None
        figures = {"runtime": child.cpu_time("runtime") * 10**6 + 12345678}
        has_figure = FIGURE_OF_POLICY[self.policy] is not None
        rss = size if self.trigger == "daemon" else min(size, limit)
        by_alloc = "set" if self.scenario.settings else "alloc"
        self.records.append(
            KillRecord(
                time=12.0,
                uid=uid_of(run.user),
                user_rss=max(limit, rss) + 4096,
                mm_max=limit,
                pid=pids[index],
                rss=rss,
                figure=figures.get(self.policy, 1234) if has_figure else None,
                policy=self.policy,
                trigger="syscall" if self.trigger == "daemon" else by_alloc,
                sharer_of=None if elder == index else pids[elder],
                comm=PROGRAMS[self.trigger] if child.name is None else child.name,
            )
        )

    def set_limit(self, step: SetLimit) -> ProgramRun:
        limit = 2**32 - 1 if step.limit == "max" else int(step.limit)
        errno = ERRNOS.get(step.expect, 0)
        ret = -1 if errno else int(step.expect)
        output = ProgramOutput(
            limits=(LimitSet(uid_of(step.user), limit, ret, errno),),
            done=Done("test_set_mm_limits", NONCE, 1, 1),
        )
        return ProgramRun(0, output)

    def entries(self) -> tuple[LimitEntry, ...]:
        entries = []
        for user, limit in self.scenario.limits.items():
            if limit is None:
                continue
            records = [record for record in self.records if record.uid == uid_of(user)]
            chosen = [record for record in records if record.sharer_of is None]
            over = user in self.scenario.nobody_left
            entries.append(
                LimitEntry(
                    uid=uid_of(user),
                    mm_max=limit,
                    rss=limit + 20_000_000 if over else limit - 1_000_000,
                    peak_rss=max((record.user_rss for record in records), default=limit),
                    overshoot=4096 if records else 0,
                    kills=len(records),
                    last_pid=chosen[-1].pid if chosen else 0,
                    last_comm=chosen[-1].comm if chosen else "",
                )
            )
        return tuple(entries)


def weighed(pid: int) -> Candidate:
    """Return a candidate like all others."""
    return Candidate(pid, 1, 4096, 0, total=250_000 * 4096)


def told(seen: Observations) -> Observations:
    """Return `seen` with the kernel's decisions, each among all children of the user's runs.

    Those that died because they share a victim's memory were no candidates.
    """
    records = parse_log(seen.section.text, raw=True).records
    sharers = {record.pid for record in records if record.sharer_of is not None}
    candidates = {
        uid: tuple(
            weighed(end.pid)
            for run in seen.runs.values()
            for end in run.output.children
            if run.output.limit_uid == uid and end.pid not in sharers
        )
        for uid in {record.uid for record in records}
    }
    decisions = tuple(
        Decision(
            time=record.time or 0.0,
            uid=record.uid,
            policy=record.policy,
            chosen=record.pid,
            candidates=candidates[record.uid],
            expected=record.pid,
        )
        for record in records
        if record.pid not in sharers
    )
    return replace(seen, decisions=decisions)
