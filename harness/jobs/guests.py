# SPDX-License-Identifier: MIT
"""Guests that perform one scenario after another and are judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.core.errors import BootError, HarnessError
from harness.core.patience import AFTERWARDS, NOTICEABLE
from harness.jobs.pool import Pool, Setup, label_of
from harness.kernel_output.klog import ahead_of_uptime, certain_lines, find_trouble
from harness.kernel_output.programs_output import ProgramOutput, Usage, parse_usage
from harness.kernel_output.records import COMM_BYTES
from harness.kernel_output.reports import find_reports
from harness.machine.adb import RunningCommand
from harness.machine.session import ATTEMPTS, Session
from harness.results.folder import KERNEL_LOG
from harness.results.run_result import ScenarioResult
from harness.scenarios.catalogue import PROGRAMS, Modules, Scenario, uid_of
from harness.scenarios.evidence import Decision, ScenarioUsage, UsageSample, samples_of
from harness.scenarios.observations import Observations
from harness.scenarios.run import observe
from harness.scenarios.script import events_command, modules_command, uptime_command, watch_command
from harness.scenarios.verdict import Outcome, ScenarioVerdict, is_by_clock, judge, judge_log
from harness.targets.model import Target
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


@dataclass(frozen=True)
class Machines:
    """The machines of a run's guests: that of the first one, and that of the others.

    There are `count` guests, of which `at_once` run side by side.
    """

    first: Target
    others: Target
    count: int
    at_once: int

    @classmethod
    def of(cls, target: Target, work: Sequence[Work], at_once: int) -> Machines:
        """Return the machines for some work.

        Two CPUs are emulated only for the scenarios that need them, where the target allows it:
        each would have to wait for the other. So there are at least two guests then.
        """
        alone = target.with_one_cpu()
        needs = {one.scenario.two_cpus for one in work}
        first = target if True in needs else alone
        others = alone if False in needs else target
        return cls(first, others, at_once if first is others else max(at_once, 2), at_once)

    @property
    def are_alike(self) -> bool:
        """Whether all guests have the same machine."""
        return self.first is self.others

    @property
    def in_turn(self) -> bool:
        """Whether the guests run one after the other."""
        return self.count > self.at_once

    @property
    def title(self) -> str:
        """A description for people."""
        return self.first.machine.title + ("" if self.are_alike else ", 1 CPU from guest 2 on")


@dataclass
class _Guest:
    """A running guest. `machine` ends its session; `restarts` counts further sessions."""

    number: int
    machine: ExitStack
    session: Session
    watch: RunningCommand | None = None
    restarts: int = 0
    log: str = ""
    # The log up to the last attempt of which the kernel did not complain, and was not lost.
    good_log: str = ""
    # Whether its log up to a restart was no pass, which has been told.
    log_failed: bool = False
    died: bool = False
    usage: list[Usage] = field(default_factory=list)
    # By uid: the limits that the present scenario sets.
    limits: Mapping[int, int] = field(default_factory=dict)

    def stop_watching(self) -> None:
        """Stop to watch the memory of its users."""
        if self.watch is not None:
            self.watch.close()
            self.watch = None

    @property
    def gone(self) -> bool:
        """Whether its session has ended."""
        try:
            self.session.check()
        except HarnessError:
            return True
        return False


@dataclass(frozen=True)
class _Attempt:
    """A scenario as it was performed: when it began, what was seen, and the verdict on it.

    `stood_still` is for how many seconds the host stood still during the attempt. `lately` counts
    the time before it, too, as far as a kernel may still complain of it.
    """

    begun: float
    started: datetime
    seen: Observations
    verdict: ScenarioVerdict
    stood_still: float
    lately: float

    @property
    def doubtful(self) -> str:
        """Why this is no verdict on the kernel; empty if it is one."""
        verdict = self.verdict
        still = self.lately if verdict.complained else self.stood_still
        if still < NOTICEABLE or not verdict.by_clock:
            return ""
        found = ": ".join((verdict.outcome.value, *verdict.reasons[:1]))
        return f"{stood_still(still)}: {found}"

    @property
    def complained(self) -> bool:
        """Whether the guest's kernel complained because the host stood still.

        Its log is then no longer that of a healthy kernel, and the console ends the session soon.
        """
        if self.lately < NOTICEABLE:
            return False
        found = find_trouble(self.seen.log, levels_tell=False)
        return self.verdict.complained or any(trouble.by_clock for trouble in found)


def stood_still(seconds: float) -> str:
    """Return the words for a host that stood still for so long."""
    return f"the host stood still for {seconds:.1f} s"


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
        self._pool = self._pool_of(())

    def _pool_of(self, numbers: Sequence[int]) -> Pool[_Guest, tuple[int, Work], bool]:
        return Pool(self._setup, self._open, self._do, self._choose, numbers)

    def run(self, work: Sequence[Work]) -> bool:
        """Perform the work; return whether all of it was done: a kernel that died ends it.

        Errors of booting pass through. Raise DeviceError if a machine went away.
        """
        lived: list[bool] = []
        for numbers in self._setup.turns:
            self._pool = self._pool_of(numbers)
            self._pool.run(enumerate(work), lived.append)
            if self._died.is_set() or not all(lived):
                return False
        return len(lived) == len(work)

    def _choose(self, number: int, left: Sequence[tuple[int, Work]]) -> int | None:
        """Return the index of the work that a guest takes next; None if there is none for it.

        The first guest may have more CPUs than the others. Then it does only what needs them: for
        all else it takes longer.
        """
        if self._setup.further is None:
            return 0 if left else None
        is_first = self._setup.boot_of(number) is self._setup.boot
        fit = (index for index, (_, one) in enumerate(left) if one.scenario.two_cpus == is_first)
        return next(fit, None)

    @contextmanager
    def _open(self, number: int) -> Iterator[_Guest]:
        """Open a guest that is ready, and judge its boot; at its end, judge its whole log."""
        with ExitStack() as machine:
            guest = _Guest(number, machine, machine.enter_context(self._pool.session(number)))
            self._prepare(guest)
            self._judge_log(guest, (0, number), _BOOT)
            self._watch(guest)
            died = ""
            try:
                try:
                    yield guest
                    if guest.watch is not None and guest.watch.ended and not guest.died:
                        self._reporter.say(f"memory was not watched to the end{label_of(number)}")
                finally:
                    guest.stop_watching()
                if guest.died:
                    return
                guest.session.check()
                guest.log = guest.session.device.kernel_log()
            except BootError as error:
                # The kernel died outside the scenarios.
                died = error.message
                self._died.set()
                self._pool.stop()
        if not guest.log_failed:
            # The console also has what the kernel printed after the log was read.
            console = self._setup.folder.console_of(number)
            self._judge_log(guest, (2, number), _WHOLE_LOG, console, died)

    def _restart(self, guest: _Guest) -> None:
        """Start the guest anew after the host stood still; its log up to then is judged first.

        It is judged up to the last attempt of which the kernel did not complain. Log and console of
        then are kept.
        """
        guest.stop_watching()
        guest.machine.close()
        log, guest.log = guest.log, guest.good_log
        if not (guest.log_failed or self._verdict_on_log(guest, _WHOLE_LOG).passed):
            guest.log_failed = True
            self._judge_log(guest, (2, guest.number), _WHOLE_LOG)
        guest.restarts += 1
        folder, number = self._setup.folder, guest.number
        folder.put(KERNEL_LOG, log, folder.of_guest(number))
        folder.set_logs_aside(number, f"stood-still-{guest.restarts}")
        guest.usage = []
        guest.session = guest.machine.enter_context(self._pool.session(guest.number))
        self._prepare(guest)
        self._watch(guest)

    def _watch(self, guest: _Guest) -> None:
        """Start to watch the memory of the guest's users."""
        guest.watch = guest.session.device.start(
            watch_command(), on_line=lambda line: self._take_usage(guest, line)
        )

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
        guest.log = device.shell(" && ".join(commands), timeout=_PREPARE_SECONDS, kept=True).output
        guest.good_log = guest.log

    def _do(self, guest: _Guest, work: tuple[int, Work]) -> bool:
        """Perform one scenario; return whether the kernel is still alive."""
        place, one = work
        self._check(guest)
        stock = self._stock
        guest.limits = {
            uid_of(run.user): run.limit for run in one.scenario.runs if run.limit and not stock
        }
        # From before it is told: whoever sees the event may stop this harness at once.
        begun = time.monotonic()
        self._begin(guest, one.scenario.name, one.policy, one.scenario.title)
        last, set_aside = self._attempt(guest, one, begun), []
        while why := last.doubtful:
            set_aside.append(why)
            name = f"{one.scenario.name} {one.policy}{label_of(guest.number)}"
            again = len(set_aside) < ATTEMPTS
            self._reporter.say(f"{name}: {why}; {'judged again' if again else 'no verdict'}")
            if guest.gone or last.complained:
                self._restart(guest)
            guest.good_log = guest.log
            if not again:
                last = replace(last, verdict=last.verdict.withdrawn(set_aside.pop()))
                break
            last = self._attempt(guest, one, time.monotonic())
        seconds = time.monotonic() - last.begun
        judged = replace(
            ScenarioResult.of(last.verdict, seconds, last.started, guest.number),
            stood_still=round(last.stood_still, 1),
            set_aside=tuple(set_aside),
        )
        if judged.passed and judged.stood_still:
            still = f"{stood_still(judged.stood_still)} meanwhile, without effect"
            self._reporter.say(f"{one.scenario.name} {one.policy}: {still}")
        self._tell(guest, (1, place), judged, one.scenario, last.seen)
        guest.died = judged.outcome is Outcome.KERNEL_DIED
        if guest.died:
            self._pool.stop()
        elif last.complained and judged.passed:
            self._restart(guest)
        guest.good_log = guest.log
        return not guest.died

    def _check(self, guest: _Guest) -> None:
        """Raise the first cause if the session ended; start it anew if the host stood still."""
        try:
            guest.session.check()
        except BootError as error:
            still = guest.session.stood_still_since(time.monotonic() - AFTERWARDS)
            if still < NOTICEABLE or not is_by_clock(error.message):
                raise
            where = label_of(guest.number).removeprefix(", ") or "the guest"
            self._reporter.say(f"{where} is started anew: {error.message}")
            self._restart(guest)

    def _attempt(self, guest: _Guest, one: Work, begun: float) -> _Attempt:
        """Perform and judge a scenario, which has begun at `begun` (time.monotonic())."""
        started = datetime.now(UTC)
        seen = observe(guest.session, one.scenario, one.policy, self._trigger, stock=self._stock)
        if self._pool.ended:
            # The run was ended meanwhile, so what was seen is not judged: this raises.
            guest.session.check()
        guest.log = seen.log or guest.log
        verdict = judge(
            one.scenario,
            one.policy,
            self._trigger,
            seen,
            levels_tell=self._board.levels_tell,
            decisions_tell=self._board.decisions_tell and not self._stock,
        )
        stood_still = guest.session.stood_still_since(begun)
        lately = guest.session.stood_still_since(begun - AFTERWARDS)
        return _Attempt(begun, started, seen, verdict, stood_still, lately)

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
        """Judge the kernel log, which begins with the boot, and the console; report the verdict."""
        name += label_of(guest.number)
        self._begin(guest, name)
        verdict = self._verdict_on_log(guest, name, console, died)
        still = guest.session.stood_still_since(0.0)
        if verdict.by_clock and still >= NOTICEABLE:
            # There is no scenario to repeat.
            verdict = verdict.withdrawn(stood_still(still))
        judged = ScenarioResult.of(verdict, 0.0, datetime.now(UTC), guest.number)
        self._tell(guest, place, judged)

    def _verdict_on_log(
        self, guest: _Guest, name: str, console: Path | None = None, died: str = ""
    ) -> ScenarioVerdict:
        board = self._board
        log = guest.log if board.log_tells else certain_lines(guest.log)
        said = ""
        if board.log_tells and console is not None and console.is_file():
            said = console.read_text(encoding="utf-8", errors="replace")
        return judge_log(
            name,
            self._trigger,
            log,
            levels_tell=board.boot_levels_tell,
            reports=[f"{report.kind}: {report.title}" for report in find_reports(said)],
            died=died,
        )

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
