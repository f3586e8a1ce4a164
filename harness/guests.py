# SPDX-License-Identifier: MIT
"""Guests side by side, each of which performs one scenario after the other, and is judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psutil

from harness import equipment
from harness.built import Bootable
from harness.errors import InfrastructureError, UsageError
from harness.evidence import Candidate, Decision, ScenarioUsage
from harness.klog import certain_lines
from harness.lifetime import Health
from harness.programs_output import Usage, parse_usage
from harness.results import ResultFolder
from harness.scenario_run import modules_command, observe
from harness.scenario_script import events_command, watch_command
from harness.scenarios import Modules, Scenario, uid_of
from harness.session import Session, open_session
from harness.side_by_side import SideBySide
from harness.summary import Judged, Planned
from harness.targets import QemuMachine, Target
from harness.verdict import Observations, Outcome, judge, judge_log
from harness.workspace import Workspace, usable_cpus

# The kernel log at two times, which is judged as a scenario is.
_BOOT = "boot"
_WHOLE_LOG = "whole log"
_PREPARE_SECONDS = 60.0
_ENDED = "the run was ended"
# A guest for fewer scenarios than these would take longer to come than it saves.
_WORTH_A_GUEST = 4
# More would be a mistake, or somebody else's malice.
MOST_GUESTS = 64
# What a guest takes besides its memory, and what is left to all others.
_BESIDES_MIB = 256
_SPARED_MIB = 1024
_MIB = 1 << 20


@dataclass(frozen=True)
class Work:
    """A scenario that is to be performed under a policy."""

    policy: str
    scenario: Scenario


@dataclass(frozen=True)
class Setup:
    """What all guests have in common; with `stock` their kernel is one without limits."""

    ws: Workspace
    target: Target
    files: Bootable
    folder: ResultFolder
    trigger: str
    avd: str | None = None
    snapshot: bool = True
    stock: bool = False


@dataclass(frozen=True)
class Found:
    """One verdict, and where it belongs: `place` sorts all that a run finds.

    `log` is the guest's kernel log by then, and `seen` what was judged, but for logs.
    """

    place: tuple[int, int]
    guest: int
    judged: Judged
    log: str
    seen: Observations | None = None

    @property
    def usage(self) -> Iterator[ScenarioUsage]:
        """Who used how much memory meanwhile, if anybody did."""
        verdict = self.judged.verdict
        if self.seen is not None and self.seen.usage:
            yield ScenarioUsage(
                scenario=verdict.scenario,
                policy=verdict.policy,
                trigger=verdict.trigger,
                started=self.seen.usage[0].time,
                samples=self.seen.usage,
            )

    @property
    def decisions(self) -> Iterator[Decision]:
        """Whom the kernel chose, as far as it told."""
        verdict = self.judged.verdict
        names = {record.pid: record.comm for record in verdict.records}
        for one in (self.seen.decisions or ()) if self.seen is not None else ():
            yield Decision(
                scenario=verdict.scenario,
                policy=verdict.policy,
                trigger=verdict.trigger,
                time=one.time,
                uid=one.uid,
                chosen=one.chosen,
                expected=one.expected,
                candidates=tuple(
                    Candidate(each.pid, names.get(each.pid, ""), each.score, each.bytes, each.adj)
                    for each in one.candidates
                ),
            )


def plan(work: Sequence[Work], count: int) -> tuple[Planned, ...]:
    """Everything that so many guests are judged for, in its order."""
    guests = range(1, count + 1)
    return (
        *(Planned("", _named(_BOOT, guest)) for guest in guests),
        *(Planned(one.policy, one.scenario.name) for one in work),
        *(Planned("", _named(_WHOLE_LOG, guest)) for guest in guests),
    )


def count_of(text: str, target: Target, work: Sequence[Work]) -> int:
    """How many guests a person wants ("", "0": as many as make sense here).

    That is one for each CPU, as far as there is free memory for them, and work.
    Raises UsageError for what is no number, or too much.
    """
    if not (text.isascii() and (text.isdigit() or not text)):
        raise UsageError(f"not a number of guests: {text}", hint="--jobs 1")
    wanted = int(text or "0")
    if not isinstance(target.machine, QemuMachine):
        if wanted > 1:
            raise UsageError("an AVD runs once at a time", hint="--jobs 1")
        return 1
    if wanted > len(work):
        raise UsageError(
            f"{wanted} guests for {len(work)} scenarios", hint=f"--jobs {len(work)}, or fewer"
        )
    if wanted:
        return wanted
    free = psutil.virtual_memory().available // _MIB - _SPARED_MIB
    by_memory = free // (target.machine.memory_mib + _BESIDES_MIB)
    return max(1, min(usable_cpus(), by_memory, len(work) // _WORTH_A_GUEST))


def perform(setup: Setup, work: Sequence[Work], count: int, found: Callable[[Found], None]) -> bool:
    """Has `count` guests perform the work, and calls `found` with each verdict.

    `found` is called by one thread at a time. The answer is whether all was done:
    a kernel that died ends the work. Raises what booting raises, and
    DeviceError where a machine went away.
    """
    return _Guests(setup, count, found).run(work)


@dataclass
class _Guest:
    """A guest on its way."""

    number: int
    session: Session
    log: str = ""
    died: bool = False
    usage: list[Usage] = field(default_factory=list)
    # By uid, of the scenario that is performed: what the runs set.
    limits: Mapping[int, int] = field(default_factory=dict)


class _Guests:
    """All guests of a run."""

    def __init__(self, setup: Setup, count: int, found: Callable[[Found], None]) -> None:
        self._setup = setup
        self._board = setup.target.board
        self._reporter = setup.ws.reporter
        self._found = found
        self._lock = threading.Lock()
        self._healths: list[Health] = []
        self._ended = False
        self._side: SideBySide[_Guest, tuple[int, Work], bool] = SideBySide(
            self._open, self._do, count
        )

    def run(self, work: Sequence[Work]) -> bool:
        """Whether all of it was done."""
        # Closed, whatever happens: else the threads would outlive who asked for them.
        with closing(self._side.run(list(enumerate(work)), self._interrupt)) as results:
            lived = [lives for _, lives in results]
        return len(lived) == len(work) and all(lived)

    def _interrupt(self) -> None:
        """Wakes every thread that waits for its machine."""
        with self._lock:
            self._ended = True
            healths = tuple(self._healths)
        for health in healths:
            health.fail(InfrastructureError(_ENDED))

    def _started(self, health: Health) -> None:
        with self._lock:
            self._healths.append(health)
            ended = self._ended
        if ended:
            health.fail(InfrastructureError(_ENDED))

    @contextmanager
    def _open(self, index: int) -> Iterator[_Guest]:
        """A guest that is ready, and judged for its boot; at its end, for its whole log."""
        setup, number = self._setup, index + 1
        files = setup.files
        with open_session(
            setup.ws,
            files.image,
            files.initramfs,
            setup.target,
            folder=setup.folder.of_guest(number),
            expect_release=files.release,
            tools=files.tools,
            avd_name=setup.avd,
            snapshot=setup.snapshot,
            started=self._started,
            label=_named("", number),
        ) as session:
            guest = _Guest(number, session)
            self._prepare(guest)
            self._judge_log(guest, (0, number), _BOOT)
            watch = session.device.start(
                watch_command(), on_line=lambda line: self._take_usage(guest, line)
            )
            with closing(watch):
                yield guest
            if guest.died:
                return
            session.check()
            guest.log = session.device.kernel_log()
            self._judge_log(guest, (2, number), _WHOLE_LOG)

    def _prepare(self, guest: _Guest) -> None:
        """Loads the modules, has memory watched, and keeps the log of the boot."""
        device, setup = guest.session.device, self._setup
        equipment.bring(device, setup.files, setup.target)
        hung = self._board.hung_task_seconds
        commands = (
            f"echo {hung} > /proc/sys/kernel/hung_task_timeout_secs",
            "true" if setup.stock else modules_command(Modules(loaded=True)),
            "true" if setup.stock else f"{{ {events_command()}; }}",
            "busybox dmesg -r",
        )
        guest.log = device.shell(" && ".join(commands), timeout=_PREPARE_SECONDS).output

    def _do(self, guest: _Guest, work: tuple[int, Work]) -> bool:
        """Performs one scenario; whether the kernel is still there."""
        place, one = work
        guest.session.check()
        trigger, stock = self._setup.trigger, self._setup.stock
        guest.limits = {
            uid_of(run.user): run.limit for run in one.scenario.runs if run.limit and not stock
        }
        self._reporter.scenario_begin(
            one.scenario.name,
            one.policy,
            trigger,
            guest=guest.number,
            title=one.scenario.title,
        )
        begun, started = time.monotonic(), datetime.now(UTC)
        seen = observe(
            guest.session, one.scenario, one.policy, trigger, stock=stock, usage=guest.usage
        )
        guest.log = seen.log or guest.log
        verdict = judge(
            one.scenario, one.policy, trigger, seen, levels_tell=self._board.levels_tell
        )
        seconds = time.monotonic() - begun
        self._tell(guest, (1, place), Judged(verdict, seconds, started), seen)
        guest.died = verdict.outcome is Outcome.KERNEL_DIED
        if guest.died:
            self._side.stop()
        return not guest.died

    def _take_usage(self, guest: _Guest, line: str) -> None:
        """A line of watch_memory."""
        for usage in parse_usage(line):
            guest.usage.append(usage)
            limit = guest.limits.get(usage.uid)
            self._reporter.usage(usage.uid, usage.rss, limit, guest=guest.number)

    def _judge_log(self, guest: _Guest, place: tuple[int, int], name: str) -> None:
        """The verdict on the kernel log, which begins with the boot."""
        board, trigger = self._board, self._setup.trigger
        name = _named(name, guest.number)
        self._reporter.scenario_begin(name, "", trigger, guest=guest.number)
        log = guest.log if board.log_tells else certain_lines(guest.log)
        verdict = judge_log(name, trigger, log, levels_tell=board.boot_levels_tell)
        self._tell(guest, place, Judged(verdict, 0.0, datetime.now(UTC)))

    def _tell(
        self,
        guest: _Guest,
        place: tuple[int, int],
        judged: Judged,
        seen: Observations | None = None,
    ) -> None:
        with self._lock:
            self._found(Found(place, guest.number, judged, guest.log, seen))


def _named(name: str, guest: int) -> str:
    return name if guest == 1 else f"{name}, guest {guest}"
