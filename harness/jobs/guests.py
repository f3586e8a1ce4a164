# SPDX-License-Identifier: MIT
"""Guests that perform one scenario after another and are judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.core.errors import BootError
from harness.jobs.pool import Pool, Setup, label_of
from harness.kernel_output.klog import ahead_of_uptime, certain_lines
from harness.kernel_output.programs_output import ProgramOutput, Usage, parse_usage
from harness.kernel_output.records import COMM_BYTES
from harness.kernel_output.reports import find_reports
from harness.machine.session import Session
from harness.results.run_result import ScenarioResult
from harness.scenarios.catalogue import PROGRAMS, Modules, Scenario, uid_of
from harness.scenarios.evidence import Decision, ScenarioUsage, UsageSample, samples_of
from harness.scenarios.observations import Observations
from harness.scenarios.run import observe
from harness.scenarios.script import events_command, modules_command, uptime_command, watch_command
from harness.scenarios.verdict import Outcome, judge, judge_log
from harness.ui.events import Planned

# The kernel log at two points in time; each is judged as a scenario is.
_BOOT = "boot"
_WHOLE_LOG = "whole log"
_PREPARE_SECONDS = 60.0
# For fewer scenarios than this, a guest takes longer to start than it saves.
WORTH_A_GUEST = 4


@dataclass(frozen=True)
class Work:
    """A scenario to perform under a policy."""

    policy: str
    scenario: Scenario


@dataclass(frozen=True)
class Found:
    """One verdict; all verdicts of a run are sorted by `place`.

    `log` is the guest's kernel log up to then. If the verdict is on a log, `scenario` and
    `seen` are None. `watched` is what watch_memory has printed in this guest; a part of it
    may come after the verdict.
    """

    place: tuple[int, int]
    guest: int
    judged: ScenarioResult
    log: str
    scenario: Scenario | None = None
    seen: Observations | None = None
    watched: Sequence[Usage] = ()

    @property
    def samples(self) -> tuple[UsageSample, ...]:
        """How much memory each user used during the scenario, by the kernel log's clock."""
        if self.seen is None or self.seen.meanwhile is None:
            return ()
        return samples_of(
            self.seen.meanwhile, self.watched, self.judged.kills, ahead_of_uptime(self.log)
        )

    @property
    def usage(self) -> Iterator[ScenarioUsage]:
        """The samples with their scenario, if there are any."""
        samples = self.samples
        if samples and self.seen is not None and self.seen.meanwhile is not None:
            yield ScenarioUsage(
                scenario=self.judged.scenario,
                policy=self.judged.policy,
                trigger=self.judged.trigger,
                started=samples[0].time,
                samples=samples,
                peaks=self.seen.meanwhile.peaks,
            )

    @property
    def decisions(self) -> Iterator[Decision]:
        """The kernel's choices of victims, as far as it reported them."""
        if self.scenario is None or self.seen is None:
            return
        judged = self.judged
        names = names_in(self.scenario, judged.trigger, self.seen)
        for one in self.seen.decisions or ():
            yield replace(
                one,
                scenario=judged.scenario,
                policy=judged.policy,
                trigger=judged.trigger,
                candidates=tuple(
                    replace(each, comm=names.get(each.pid, "")) for each in one.candidates
                ),
            )


def names_in(scenario: Scenario, trigger: str, seen: Observations) -> dict[int, str]:
    """Return the names of the scenario's processes, by pid, shortened as the kernel does it."""
    program = PROGRAMS[trigger][:COMM_BYTES]
    names = {}
    for run in scenario.runs:
        output = seen.runs[run.name].output if run.name in seen.runs else ProgramOutput()
        if output.pid is not None:
            names[output.pid] = program
        for end in output.children:
            given = run.children[end.index].name if end.index < len(run.children) else None
            names[end.pid] = program if given is None else given[:COMM_BYTES]
    return names


def plan(work: Sequence[Work], count: int) -> tuple[Planned, ...]:
    """Return everything that `count` guests are judged for, in order."""
    guests = range(1, count + 1)
    return (
        *(Planned("", f"{_BOOT}{label_of(guest)}") for guest in guests),
        *(Planned(one.policy, one.scenario.name) for one in work),
        *(Planned("", f"{_WHOLE_LOG}{label_of(guest)}") for guest in guests),
    )


@dataclass
class _Guest:
    """A running guest."""

    number: int
    session: Session
    log: str = ""
    died: bool = False
    usage: list[Usage] = field(default_factory=list)
    # By uid: the limits that the present scenario sets.
    limits: Mapping[int, int] = field(default_factory=dict)


class Scenarios:
    """The scenarios of a run, which guests share. On a stock kernel nothing has limits.

    `found` is called with each verdict, by one thread at a time.
    """

    def __init__(self, setup: Setup, trigger: str, found: Callable[[Found], None]) -> None:
        self._setup = setup
        self._trigger = trigger
        self._stock = not setup.boot.target.patched
        self._board = setup.boot.target.board
        self._reporter = setup.ws.reporter
        self._found = found
        self._lock = threading.Lock()
        self._died = threading.Event()
        self._pool = Pool(setup, self._open, self._do)

    def run(self, work: Sequence[Work]) -> bool:
        """Perform the work; return whether all of it was done: a kernel that died ends it.

        Errors of booting pass through. Raise DeviceError if a machine went away.
        """
        lived: list[bool] = []
        self._pool.run(enumerate(work), lived.append)
        return len(lived) == len(work) and all(lived) and not self._died.is_set()

    @contextmanager
    def _open(self, number: int) -> Iterator[_Guest]:
        """Open a guest that is ready, and judge its boot; at its end, judge its whole log."""
        with self._pool.session(number) as session:
            guest = _Guest(number, session)
            self._prepare(guest)
            self._judge_log(guest, (0, number), _BOOT)
            watch = session.device.start(
                watch_command(), on_line=lambda line: self._take_usage(guest, line)
            )
            died = ""
            try:
                with closing(watch):
                    yield guest
                    if watch.ended and not guest.died:
                        self._reporter.say(f"memory was not watched to the end{label_of(number)}")
                if guest.died:
                    return
                session.check()
                guest.log = session.device.kernel_log()
            except BootError as error:
                # The kernel died outside the scenarios.
                died = error.message
                self._died.set()
                self._pool.stop()
        # The console also has what the kernel printed after the log was read.
        console = self._setup.folder.console_of(number)
        self._judge_log(guest, (2, number), _WHOLE_LOG, console, died)

    def _prepare(self, guest: _Guest) -> None:
        """Load the modules, turn on the kernel's events, and keep the log of the boot."""
        device, hung = guest.session.device, self._board.hung_task_seconds
        commands = (
            f"echo {hung} > /proc/sys/kernel/hung_task_timeout_secs",
            "true" if self._stock else modules_command(Modules(loaded=True)),
            "true" if self._stock else f"{{ {events_command()}; }}",
            f"{{ {uptime_command()}; }}",
            "busybox dmesg -r",
        )
        guest.log = device.shell(" && ".join(commands), timeout=_PREPARE_SECONDS).output

    def _do(self, guest: _Guest, work: tuple[int, Work]) -> bool:
        """Perform one scenario; return whether the kernel is still alive."""
        place, one = work
        guest.session.check()
        trigger, stock = self._trigger, self._stock
        guest.limits = {
            uid_of(run.user): run.limit for run in one.scenario.runs if run.limit and not stock
        }
        self._begin(guest, one.scenario.name, one.policy, one.scenario.title)
        begun, started = time.monotonic(), datetime.now(UTC)
        seen = observe(guest.session, one.scenario, one.policy, trigger, stock=stock)
        if self._pool.ended:
            # The run was ended meanwhile, so what was seen is not judged: this raises.
            guest.session.check()
        guest.log = seen.log or guest.log
        verdict = judge(
            one.scenario,
            one.policy,
            trigger,
            seen,
            levels_tell=self._board.levels_tell,
            decisions_tell=self._board.decisions_tell and not stock,
        )
        seconds = time.monotonic() - begun
        judged = ScenarioResult.of(verdict, seconds, started, guest.number)
        self._tell(guest, (1, place), judged, one.scenario, seen)
        guest.died = verdict.outcome is Outcome.KERNEL_DIED
        if guest.died:
            self._pool.stop()
        return not guest.died

    def _take_usage(self, guest: _Guest, line: str) -> None:
        """Take a line of watch_memory: keep its samples, and report them."""
        for usage in parse_usage(line):
            guest.usage.append(usage)
            if not self._stock:
                limit = guest.limits.get(usage.uid)
                self._reporter.usage(usage.uid, usage.rss, limit, guest=guest.number)

    def _judge_log(
        self,
        guest: _Guest,
        place: tuple[int, int],
        name: str,
        console: Path | None = None,
        died: str = "",
    ) -> None:
        """Judge the kernel log, which begins with the boot, and the console."""
        board = self._board
        name += label_of(guest.number)
        self._begin(guest, name)
        log = guest.log if board.log_tells else certain_lines(guest.log)
        said = ""
        if board.log_tells and console is not None and console.is_file():
            said = console.read_text(encoding="utf-8", errors="replace")
        verdict = judge_log(
            name,
            self._trigger,
            log,
            levels_tell=board.boot_levels_tell,
            reports=[f"{report.kind}: {report.title}" for report in find_reports(said)],
            died=died,
        )
        judged = ScenarioResult.of(verdict, 0.0, datetime.now(UTC), guest.number)
        self._tell(guest, place, judged)

    def _begin(self, guest: _Guest, name: str, policy: str = "", title: str = "") -> None:
        """Report that a scenario begins, except on the stock kernel."""
        if not self._stock:
            self._reporter.scenario_begin(
                name, policy, self._trigger, guest=guest.number, title=title
            )

    def _tell(
        self,
        guest: _Guest,
        place: tuple[int, int],
        judged: ScenarioResult,
        scenario: Scenario | None = None,
        seen: Observations | None = None,
    ) -> None:
        with self._lock:
            self._found(Found(place, guest.number, judged, guest.log, scenario, seen, guest.usage))
