# SPDX-License-Identifier: MIT
"""What tests have users do on a device, and what they see of it."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from harness.kernel_output.klog import ahead_of_uptime
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.records import KillRecord, lines_of, parse_log, split_prefix
from harness.machine.adb import Device, RunningCommand
from harness.scenarios.run import DEVICE_FOLDER, parse_limits
from harness.scenarios.script import uptime_command

APP, OTHER, FREE = 10070, 10071, 10072
PAGE, KIB, MIB = 4096, 1 << 10, 1 << 20
# Longer than anything here takes, even on a host that is many times slower or busier.
SECONDS = 300.0
PROC = "/proc/mm_limits"
POLICY = "/proc/sys/vm/mm_limits_policy"
TRIGGER = "/proc/sys/vm/mm_limits_trigger"
# The MiB that the `stuck` process has.
STUCK = 30
UNINTERRUPTIBLE = "/proc/uninterruptible"
HOLD = "/sys/module/uninterruptible/parameters/hold"
# A pipe that no process reads: a process that writes more than fits into it waits.
FULL = "/tmp/full"
PROTECTED_SU = "echo -1000 > /proc/$$/oom_score_adj; su --keep-oom-score"
MORE_SHARERS = r"mm_limits: pid=\d+ shared its memory with (\d+) processes more"
RT_THROTTLED = r"sched: RT throttling activated"
GIVEN_UP = r"mm_limits: pid=(\d+) has not exited within 5000 ms; going on without it"
# The kernel waits PATIENCE s for a victim; a reaction must be over EARLIER s before that ends.
PATIENCE, EARLIER = 5.0, 1.5
REACTED = "test: reacted"
# How many attempts a slow host has.
TRIES = 5
# Commands are repeated until this file exists.
CALM = "/tmp/calm"
KILLED = 128 + 9
# A pipe with the lines that lead a program to its next step.
LINES = "/tmp/lines"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Process:
    """A process of a user; the command `running` ends with it."""

    pid: int
    running: RunningCommand


class Log:
    """The kernel log, from the creation of this object on."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._mark = f"no_more {secrets.token_hex(8)}"
        device.mark_kernel_log(self._mark)

    @property
    def text(self) -> str:
        _, found, after = self._device.kernel_log().rpartition(self._mark)
        assert found
        return after.lstrip("\n")

    @property
    def records(self) -> tuple[KillRecord, ...]:
        parsed = parse_log(self.text, raw=True)
        assert parsed.torn == ()
        return parsed.records

    @property
    def ours(self) -> list[str]:
        """The lines about users and limits."""
        texts = [split_prefix(line).text for line, _ in lines_of(self.text)]
        return [text for text in texts if "uid=" in text or "mm_" in text]

    def said(self, expression: str) -> list[tuple[float, str]]:
        """Return each line that matches: its time, and the text of the last group."""
        lines = [split_prefix(line) for line, _ in lines_of(self.text)]
        found = [(line.time, re.fullmatch(expression, line.text)) for line in lines]
        return [(at, match[match.re.groups]) for at, match in found if match and at is not None]


def eventually(look: Callable[[], Found | None], seconds: float = SECONDS) -> Found:
    """Return the first answer of `look` that is neither None nor False nor empty."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, look
        time.sleep(0.05)
    return found


def set_limit(device: Device, uid: int, mib: int) -> None:
    device.shell(f"echo uid={uid} max={mib}M > /proc/mm_limits")


def entry_of(device: Device, uid: int) -> LimitEntry:
    (entry,) = [entry for entry in parse_limits(device) if entry.uid == uid]
    return entry


def ask(device: Device) -> int:
    """Have the kernel check every limit now; return how many processes it has killed."""
    said = device.shell(f"{DEVICE_FOLDER}/oom_daemon -v -c 1 0.1").output
    found = re.search(r"my_oom_killer: ret=(\d+)", said)
    assert found is not None, said
    return int(found[1])


def rss(device: Device, pid: int) -> int:
    said = device.shell(f"cat /proc/{pid}/statm", check=False)
    return int(said.output.split()[1]) * PAGE if said.status == 0 else 0


@contextmanager
def process(
    device: Device, uid: int, command: str, *, protected: bool = False
) -> Iterator[Process]:
    """Run a process of the user that executes `command`; kill it afterwards."""
    running = device.start(
        f"{PROTECTED_SU if protected else 'su'} {uid} sh -c 'echo pid=$$; exec {command}'"
    )
    with closing(running):
        pid = int(running.wait_line(re.compile(r"pid=\d+"), SECONDS).partition("=")[2])
        try:
            yield Process(pid, running)
        finally:
            device.shell(f"kill -9 {pid}", check=False)


@contextmanager
def holder(
    device: Device, uid: int, mib: int, *, into: str = FULL, protected: bool = False
) -> Iterator[Process]:
    """Run a process that has `mib` MiB, and waits for a reader of all of it.

    Raise TooLateError if it was killed before anybody saw that it has them.
    """
    command = f"busybox dd if=/dev/zero bs={mib}M count=1 1<>{into}"
    with process(device, uid, command, protected=protected) as held:
        eventually(lambda: held.running.ended or rss(device, held.pid) >= mib * MIB)
        if held.running.ended:
            raise TooLateError(held.running.output)
        yield held


@contextmanager
def climber(device: Device, uid: int, mib: int = 300) -> Iterator[Process]:
    """Run a process that takes more and more memory, a page at a time, outside system calls."""
    touch = f"{DEVICE_FOLDER}/bench_work touch {mib * MIB // PAGE} 1"
    with process(device, uid, touch) as climbing:
        yield climbing


def let_go(device: Device, held: Process) -> None:
    """Let the `stuck` process go on: if it was killed, it is gone afterwards."""
    device.shell(f"echo 0 > {HOLD}")
    held.running.wait(SECONDS)


class TooLateError(Exception):
    """The host was too slow: what was seen says nothing about the kernel."""


def in_time(attempt: Callable[[], None]) -> None:
    """Repeat an attempt until it is done in time, while the kernel waits for a victim."""
    for _ in range(TRIES):
        try:
            return attempt()
        except TooLateError:
            continue
    raise AssertionError(f"too late in each of {TRIES} tries: the host is slow, or the kernel")


@contextmanager
def reaction(device: Device, victim: int, commands: str) -> Iterator[Reaction]:
    """Run commands on the device as soon as the victim is sent its signal.

    Sent from a busy host, they could take as long as the kernel waits.
    """
    killed = f"busybox dmesg | grep -q 'pid={victim},.*trigger=alloc'"
    over = f"echo '<5>{REACTED}' > /dev/kmsg; echo {REACTED}"
    with closing(
        device.start(f"echo watches; until {killed}; do :; done; {commands}; {over}")
    ) as running:
        running.wait_line("watches", SECONDS)
        yield Reaction(running)


@dataclass(frozen=True)
class Reaction:
    """Commands that the device runs as soon as a victim is sent its signal."""

    running: RunningCommand

    def over(self, log: Log) -> str:
        """Return their output; raise TooLateError if the kernel may have given up on the victim."""
        self.running.wait_line(REACTED, SECONDS)
        ((done, _),) = log.said(f"({REACTED})")
        at = log.records[0].time
        assert at is not None
        if done > at + PATIENCE - EARLIER:
            raise TooLateError
        return self.running.output


def is_over(uid: int, mib: int) -> str:
    """Return the command that waits until the user has more than `mib` MiB."""
    shown = f"$(grep '^{uid} ' {PROC} | cut -d ' ' -f 3)"
    return f"until [ {shown} -gt {mib * MIB} ]; do :; done"


def ahead(device: Device) -> float:
    """Return by how much the log's clock is ahead of /proc/uptime; on a busy host it is more."""
    log = Log(device)
    device.shell(uptime_command())
    return ahead_of_uptime(log.text)


def last_time(device: Device) -> float:
    """Return when the last line of the kernel log was written."""
    time_of = split_prefix(device.kernel_log().rstrip("\n").rpartition("\n")[2]).time
    assert time_of is not None
    return time_of


def first_record(log: Log) -> KillRecord:
    return eventually(lambda: log.records)[0]


def kills_more(device: Device, uids: Sequence[int], more: int) -> None:
    """Wait until the kernel has killed `more` more processes of each user."""
    before = {uid: entry_of(device, uid).kills for uid in uids}
    eventually(lambda: all(entry_of(device, uid).kills >= before[uid] + more for uid in uids))


@dataclass(frozen=True)
class Storm:
    """Processes of a user, one after another in each of several shells."""

    shells: tuple[RunningCommand, ...]

    @property
    def ended(self) -> Counter[tuple[int, int]]:
        """The pid and the status of each process that has ended."""
        output = "".join(shell.output for shell in self.shells)
        found = re.findall(r"^ended=(\d+) status=(\d+)$", output, re.MULTILINE)
        return Counter((int(pid), int(status)) for pid, status in found)

    @property
    def killed(self) -> Counter[int]:
        """How often each pid was killed, when all is over; no process may have ended otherwise."""
        assert all(shell.ended for shell in self.shells)
        assert {status for _, status in self.ended} == {KILLED}
        return Counter({pid: times for (pid, _), times in self.ended.items()})


@contextmanager
def storm(
    device: Device, users: Mapping[int, Sequence[int]], beside: Sequence[str] = ()
) -> Iterator[dict[int, Storm]]:
    """Have each user's processes take so many MiB all the time; repeat the commands of `beside`.

    A process that has all its memory waits: none ends by itself. The last ones are killed for a
    limit of one page.
    """

    def repeat(work: str) -> RunningCommand:
        loop = f"{{ while [ ! -e {CALM} ]; do {work}; done; }} 2>/dev/null"
        return stack.enter_context(closing(device.start(loop)))

    device.shell(f"rm -f {CALM}; [ -p {FULL} ] || mkfifo -m 666 {FULL}")
    with ExitStack() as stack:
        storms = {
            uid: Storm(
                tuple(
                    repeat(
                        f"su {uid} busybox dd if=/dev/zero bs={mib}M count=1 1<>{FULL} & "
                        "p=$!; wait $p; echo ended=$p status=$?"
                    )
                    for mib in sizes
                )
            )
            for uid, sizes in users.items()
        }
        others = [repeat(work) for work in beside]
        try:
            yield storms
        finally:
            device.shell(f"touch {CALM}")
            for other in others:
                other.wait(SECONDS)
            device.shell(f"echo alloc > {TRIGGER}")
            for uid, stormy in storms.items():
                device.shell(f"echo uid={uid} max={PAGE} > {PROC}")
                for shell in stormy.shells:
                    shell.wait(SECONDS)


def killed_of(records: Sequence[KillRecord], uid: int) -> Counter[int]:
    """Return how many records each process of the user has."""
    return Counter(record.pid for record in records if record.uid == uid)


class Scene:
    """A situation that `program` holds; `processes` are in the order of their output."""

    def __init__(self, device: Device, program: str, running: RunningCommand) -> None:
        self.device = device
        self._running = running
        self._step = 0
        self.pid = int(self._running.wait_line(f"{program}: ", SECONDS).rpartition("=")[2])

    def next_step(self) -> None:
        """Lead to the next step, and wait until it is reached."""
        if self._step > 0:
            self._send_line()
        self.reach_step()

    def reach_step(self) -> None:
        """Wait until the next step is reached, to which somebody else leads."""
        self._step += 1
        self._running.wait_line(f"waiting: step={self._step}", SECONDS)

    def go_on(self) -> None:
        """Lead beyond this step, without waiting."""
        self._send_line()

    def end(self) -> None:
        """Lead beyond the last step; fail unless all went as the program was told."""
        self._send_line()
        self.ended()

    def ended(self) -> None:
        """Wait until the program has ended by itself."""
        result = self._running.wait(SECONDS)
        assert result.status == 0, result.output

    def ended_or_killed(self) -> int:
        """Wait until the program has ended; return 0 or KILLED."""
        result = self._running.wait(SECONDS)
        assert result.status in (0, KILLED), result.output
        return result.status

    @property
    def is_over(self) -> bool:
        """Whether the program has ended."""
        return self._running.ended

    def killed(self) -> None:
        """Wait until the program has been killed."""
        assert self._running.wait(SECONDS).status == KILLED

    def said(self, line: str) -> str:
        """Wait for a line that begins with this, and return it."""
        return self._running.wait_line(line, SECONDS)

    def _send_line(self) -> None:
        self.device.shell(f"echo > {LINES}")

    @property
    def processes(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"^process: pid=(\d+)", self.output, re.M)]

    @property
    def process(self) -> int:
        (pid,) = self.processes
        return pid

    @property
    def output(self) -> str:
        return self._running.output


@contextmanager
def play(
    device: Device,
    *words: str | int,
    program: str = "who_pays",
    user: int | None = None,
    reach: bool = True,
) -> Iterator[Scene]:
    """Have the program build a situation; nothing of it is left afterwards.

    Wait for its first step, unless `reach` is False. `user` starts the program, by default
    root.
    """
    command = " ".join(map(str, (f"./{program}", *words)))
    if user is not None:
        command = f"su {user} {command}"
    running = device.start(
        f"rm -f {LINES}; mkfifo {LINES}; cd {DEVICE_FOLDER}"
        # adbd's shell is protected, and so would be the program that it starts.
        # Nor is it to have adbd's priority.
        f" && echo 0 > /proc/$$/oom_score_adj && toybox chrt -o -p $$ 0 && {command} <>{LINES}"
    )
    with closing(running):
        scene = Scene(device, program, running)
        try:
            if reach:
                scene.next_step()
            yield scene
        finally:
            if not running.ended:
                device.shell(f"kill -9 {scene.pid}", check=False)
