# SPDX-License-Identifier: MIT
"""Runs a scenario on a device, and hands back what was seen of it.

Nothing is judged here: what does not come, or comes wrong, is missing from the
observations or stands in them as it came.
"""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePosixPath

from harness.adb import Device, RunningCommand
from harness.errors import BootError, DeviceError, HarnessError
from harness.klog import Section, marker, section
from harness.proc_mm_limits import COLUMNS, LimitEntry, parse_mm_limits
from harness.programs_output import holding_line, parse_output
from harness.scenarios import (
    NO_LIMIT,
    SHIELD_ADJ,
    Child,
    Modules,
    Run,
    Scenario,
    SetLimit,
    Step,
    uid_of,
)
from harness.session import Session
from harness.verdict import PROGRAMS, Observations, ProgramRun, letters

DEVICE_FOLDER = PurePosixPath("/data/local/tmp")
MODULES = ("set_mm_limits", "my_oom_killer")
_PROC = "/proc/mm_limits"
_POLICY = "/proc/sys/vm/mm_limits_policy"
_TRIGGER = "/proc/sys/vm/mm_limits_trigger"
_DAEMON_POLICY = "/sys/module/my_oom_killer/parameters/policy"

# The level of our own lines in the kernel's log. Without one an old kernel makes
# them warnings of its own.
_NOTICE = "<5>"
# What a line with a command's status begins with.
_STATUS = "status: "
# The daemon's name among what runs; no scenario's run is called so.
_DAEMON = "(daemon)"
# How often the daemon looks, and how long it gets to act on a last step: some rounds.
_DAEMON_SECONDS = 0.1
_DAEMON_ROUNDS_SECONDS = 0.6
# The children are quiet for this long before they count as settled.
_SETTLE_MS = 100
# For the daemon's first kill: long where one must come, short where none may.
_KILL_WAIT_SECONDS = 10.0
_NO_KILL_WAIT_SECONDS = 0.4
# A program gives up by itself before we do: then its output says how far it came.
_PROGRAM_SECONDS = 25
_WAIT_SECONDS = 40.0
_SHELL_SECONDS = 20.0
# Long enough to ask whether something has ended already.
_POLL_SECONDS = 0.1


@dataclass
class _Seen:
    """What has been seen so far; each part is there from when it is known."""

    runs: dict[str, ProgramRun] = field(default_factory=dict)
    settings: list[ProgramRun] = field(default_factory=list)
    module_problems: list[str] = field(default_factory=list)
    limits: tuple[LimitEntry, ...] | None = None
    daemon_calls: int | None = None
    log: str = ""
    section: Section = field(default_factory=lambda: Section("", False, False))


def run_command(
    run: Run, policy: str, trigger: str, scenario: Scenario, *, nonce: str, until: str
) -> str:
    """The device's shell command, for root, that runs an oom test program as the user."""
    words = [
        f"./{PROGRAMS[trigger]}",
        *("-m", nonce),
        *("-e", letters(scenario, run, policy)),
        *("-s", str(_SETTLE_MS)),
        *("-t", str(_PROGRAM_SECONDS)),
        *("-u", until),
    ]
    if trigger == "daemon":
        words += ["-w", f"{_kill_wait(run, policy, scenario):g}"]
    if run.together:
        words.append("-a")
    words += [run.user, str(run.limit), *map(child_argument, run.children)]
    program = shlex.join(words)
    if not run.shielded:
        return f"cd {DEVICE_FOLDER} && exec su {uid_of(run.user)} {program}"
    return (
        f"cd {DEVICE_FOLDER} && echo {SHIELD_ADJ} > /proc/$$/oom_score_adj"
        f" && exec su --keep-oom-score {uid_of(run.user)} {program}"
    )


def child_argument(child: Child) -> str:
    """One child as the oom test programs want it."""
    words = [str(child.size)]
    if child.cpu_ms:
        words.append(f"cpu={child.cpu_ms}")
    if child.adj is not None:
        words.append(f"adj={child.adj}")
    if child.name is not None:
        words.append("name=" + "".join(f"\\x{ord(character):02x}" for character in child.name))
    return ",".join(words)


def _kill_wait(run: Run, policy: str, scenario: Scenario) -> float:
    """How long the daemon may take until its first kill, in seconds."""
    expected = scenario.expected[policy]
    last = scenario.steps[-1]
    if expected is None or expected.run != run.name or last is not run:
        return _NO_KILL_WAIT_SECONDS
    return _KILL_WAIT_SECONDS


def settings_command(steps: Sequence[SetLimit], nonce: str) -> str:
    """The device's shell command, for root, that makes these calls of set_mm_limits().

    Each as its caller; a line with its status follows the output of each.
    """
    commands = [f"cd {DEVICE_FOLDER}"]
    for step in steps:
        words = ["./test_set_mm_limits", "-m", nonce, "-e", step.expect]
        words += [str(uid_of(step.user)), str(step.limit)]
        commands.append(f"su {uid_of(step.caller)} {shlex.join(words)}; echo {_STATUS}$?")
    return "; ".join(commands)


def split_settings(output: str) -> list[ProgramRun]:
    """The calls that a `settings_command` has made, from its output."""
    parts = re.split(rf"^{_STATUS}(\d+)\n", output, flags=re.MULTILINE)
    return [
        ProgramRun(int(status), parse_output(text))
        for text, status in zip(parts[::2], parts[1::2], strict=False)
    ]


def modules_command(step: Modules) -> str:
    """The device's shell command, for root, that loads or unloads the modules."""
    if step.loaded:
        return " && ".join(f"insmod {DEVICE_FOLDER}/{name}.ko" for name in MODULES)
    return " && ".join(f"rmmod {name}" for name in reversed(MODULES))


def load_modules(device: Device) -> None:
    """Loads the modules that the syscalls need."""
    device.shell(modules_command(Modules(loaded=True)), timeout=_SHELL_SECONDS)


def parse_limits(device: Device) -> tuple[LimitEntry, ...]:
    """The device's /proc/mm_limits; DeviceError if it does not have its form."""
    return _limits_in(device.read_file(_PROC))


def _limits_in(text: str) -> tuple[LimitEntry, ...]:
    try:
        return parse_mm_limits(text)
    except ValueError as error:
        raise DeviceError(str(error)) from error


def observe(session: Session, scenario: Scenario, policy: str, trigger: str) -> Observations:
    """Runs `scenario` on the session's device. Never raises a HarnessError.

    What the kernel did wrong and what went wrong around it is told apart: a
    BootError is the kernel's (a panic, an oops, a hang), others are not.
    """
    nonce = secrets.token_hex(8)
    seen = _Seen()
    died = problem = ""
    try:
        _Stage(session.device, scenario, policy, trigger, nonce, seen).perform()
    except HarnessError as error:
        problem = _one_line(error)
        try:
            session.check()
        except BootError as cause:
            died, problem = _one_line(cause), ""
        except HarnessError as cause:
            problem = _one_line(cause)
    return Observations(
        nonce=nonce,
        runs=seen.runs,
        settings=tuple(seen.settings),
        section=seen.section,
        limits=seen.limits,
        daemon_calls=seen.daemon_calls,
        module_problems=tuple(seen.module_problems),
        log=seen.log,
        died=died,
        problem=problem,
    )


def _one_line(error: HarnessError) -> str:
    """The error, and what a command said last; a whole log is left to the log."""
    last = [] if error.log is not None else error.tail.strip().splitlines()[-1:]
    return ": ".join([error.message, *(line.strip() for line in last)])


@dataclass
class _Stage:
    """One scenario on its way; `seen` collects what comes."""

    device: Device
    scenario: Scenario
    policy: str
    trigger: str
    nonce: str
    seen: _Seen
    running: dict[str, RunningCommand] = field(default_factory=dict)

    @property
    def until(self) -> str:
        """The file that tells the programs to end."""
        return f"{DEVICE_FOLDER}/end-{self.nonce}"

    def perform(self) -> None:
        """All of it. Raises the first failure; what was seen then stands in `seen`."""
        self._begin()
        try:
            self._act()
        except DeviceError:
            # The log tells more, if there is still somebody who can be asked for it.
            self.device.health.check()
            self._end()
            raise
        self._end()

    def _act(self) -> None:
        """The steps, and the end of all runs."""
        try:
            with self._daemon():
                self._perform_steps()
                self._settle()
                self._end_runs()
        finally:
            for command in self.running.values():
                command.close()

    def _begin(self) -> None:
        """No limits, the policy and trigger that are to be tested, the log's marker.

        In one command: each costs the guest a shell, and the time of several.
        """
        on_alloc = "alloc" if self.trigger == "alloc" else "none"
        by_daemon = self.policy if self.trigger == "daemon" else ""
        header = COLUMNS[0]
        remove = f"[ $uid = {header} ] || ./test_set_mm_limits -e 0 $uid {NO_LIMIT} || exit"
        commands = [
            f"cd {DEVICE_FOLDER}",
            # All of the file first: reading on while entries go would miss some.
            f"for uid in $(busybox cut -d ' ' -f 1 {_PROC}); do {remove}; done",
            f"echo {on_alloc} > {_TRIGGER}",
            f"echo {self.policy} > {_POLICY}",
            f"echo {by_daemon} > {_DAEMON_POLICY}",
            f"echo {shlex.quote(_NOTICE + marker('begin', self.nonce))} > /dev/kmsg",
            f"cat {_TRIGGER} {_POLICY} {_PROC}",
        ]
        answer = self.device.shell(" && ".join(commands), timeout=_SHELL_SECONDS).output
        lines = answer.splitlines()[-3:]
        if lines != [on_alloc, self.policy, " ".join(COLUMNS)]:
            raise DeviceError(
                f"the kernel did not take trigger {on_alloc}, policy {self.policy} and no limits",
                tail="\n".join(lines),
            )

    def _perform_steps(self) -> None:
        """The steps in order; calls that follow each other go in one command."""
        for kind, group in groupby(self.scenario.steps, type):
            if kind is SetLimit:
                self._set_limits([step for step in group if isinstance(step, SetLimit)])
            else:
                for step in group:
                    self._do(step)

    def _do(self, step: Step) -> None:
        if isinstance(step, Run):
            self._start(step)
        elif isinstance(step, Modules):
            self._change_modules(step)

    def _set_limits(self, steps: Sequence[SetLimit]) -> None:
        command = settings_command(steps, self.nonce)
        done = self.device.shell(command, timeout=_SHELL_SECONDS, check=False)
        self.seen.settings += split_settings(done.output)

    def _start(self, run: Run) -> None:
        """Starts a run, and waits until it holds, or has ended: that is for the judge."""
        command = run_command(
            run, self.policy, self.trigger, self.scenario, nonce=self.nonce, until=self.until
        )
        running = self.device.start(command)
        self.running[run.name] = running
        try:
            running.wait_line(re.compile(rf"^{holding_line(self.nonce)}$"), timeout=_WAIT_SECONDS)
        except DeviceError:
            self.device.health.check()
            running.wait(_POLL_SECONDS)

    def _change_modules(self, step: Modules) -> None:
        command = modules_command(step)
        done = self.device.shell(command, timeout=_SHELL_SECONDS, check=False)
        if done.status != 0:
            self.seen.module_problems.append(f"{command}: {done.output.strip()}")

    def _settle(self) -> None:
        """Gives a daemon the time to act on the last step, or to wrongly do so."""
        if self.trigger == "daemon" and not isinstance(self.scenario.steps[-1], Run):
            time.sleep(_DAEMON_ROUNDS_SECONDS)

    def _end_runs(self) -> None:
        """Reads what the kernel says of the survivors, then lets them end."""
        command = f"cat {_PROC} && : > {self.until}"
        answer = self.device.shell(command, timeout=_SHELL_SECONDS).output
        self.seen.limits = _limits_in(answer)
        for name, running in self.running.items():
            if name != _DAEMON:
                result = running.wait(_WAIT_SECONDS)
                self.seen.runs[name] = ProgramRun(result.status, parse_output(result.output))

    def _end(self) -> None:
        """The log's marker, and the log. By busybox: see Device.kernel_log()."""
        end = shlex.quote(_NOTICE + marker("end", self.nonce))
        command = f"rm {self.until} && echo {end} > /dev/kmsg && busybox dmesg -r"
        self.seen.log = self.device.shell(command, timeout=_SHELL_SECONDS).output
        self.seen.section = section(self.seen.log, self.nonce)

    @contextmanager
    def _daemon(self) -> Iterator[None]:
        """The daemon runs within, if it is the trigger; its calls are counted."""
        if self.trigger != "daemon":
            yield
            return
        daemon = self.device.start(
            f"cd {DEVICE_FOLDER} && echo $$ && exec ./oom_daemon -v {_DAEMON_SECONDS:g}"
        )
        self.running[_DAEMON] = daemon
        pid = daemon.wait_line(re.compile(r"^\d+$"), timeout=_WAIT_SECONDS)
        daemon.wait_line("my_oom_killer: ", timeout=_WAIT_SECONDS)
        yield
        self.device.shell(f"kill {pid}", timeout=_SHELL_SECONDS)
        result = daemon.wait(_WAIT_SECONDS)
        calls = re.findall(r"^my_oom_killer: ret=\d+, errno=0$", result.output, re.MULTILINE)
        self.seen.daemon_calls = len(calls) if result.status == 0 else 0
