# SPDX-License-Identifier: MIT
"""No more kills than must be, and no fewer: victims that do not exit, who waits meanwhile, bombs.

A victim is stuck by a module that is only for these tests
(modules/uninterruptible.c): who writes to its file waits, and no signal ends it.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from harness import modules as module_builds
from harness.adb import Device, RunningCommand
from harness.kernel import KernelBuild
from harness.klog import Allowed
from harness.proc_mm_limits import LimitEntry
from harness.records import KillRecord, lines_of, parse_log, split_prefix
from harness.scenario_run import DEVICE_FOLDER, parse_limits
from harness.workspace import Workspace

APP, OTHER, FREE = 10070, 10071, 10072
PAGE, KIB, MIB = 4096, 1 << 10, 1 << 20
LIMIT, STUCK = 40, 30
SECONDS = 30.0
# How long the kernel waits for a victim, and what a loaded machine may add to that.
PATIENCE, LATE = 5.0, 5.0
UNINTERRUPTIBLE = "/proc/uninterruptible"
HOLD = "/sys/module/uninterruptible/parameters/hold"
# Nobody reads the one, and nobody gets past the other before it is opened.
FULL = "/tmp/full"
PROTECTED_SU = "echo -1000 > /proc/$$/oom_score_adj; su --keep-oom-score"
GIVEN_UP = r"mm_limits: pid=(\d+) has not exited within 5000 ms; going on without it"
NOBODY = rf"mm_limits: uid={APP} is over its limit and has nobody left to kill: .*"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Process:
    """A process of a user; `running` ends with it."""

    pid: int
    running: RunningCommand


class Log:
    """The kernel's log from here on."""

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

    def said(self, expression: str) -> list[tuple[float, str]]:
        """Every line like this: when, and what its group is."""
        lines = [split_prefix(line) for line, _ in lines_of(self.text)]
        found = [(line.time, re.fullmatch(expression, line.text)) for line in lines]
        return [(at, match[match.re.groups]) for at, match in found if match and at is not None]


def eventually(look: Callable[[], Found | None], seconds: float = SECONDS) -> Found:
    """The first answer of `look` that is neither None nor False nor empty."""
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
    """Has the kernel look at every limit now; how many processes it has killed for them."""
    said = device.shell(f"{DEVICE_FOLDER}/oom_daemon -v -c 1 0.1").output
    found = re.search(r"my_oom_killer: ret=(\d+)", said)
    assert found is not None, said
    return int(found[1])


def rss(device: Device, pid: int) -> int:
    words = device.shell(f"cat /proc/{pid}/statm", check=False).output.split()
    return int(words[1]) * PAGE if len(words) == 7 else 0


@contextmanager
def process(
    device: Device, uid: int, command: str, *, protected: bool = False
) -> Iterator[Process]:
    """A process of the user, that executes `command`, and is not there any more afterwards."""
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
    """A process that has so much, and waits: for somebody who reads it all."""
    command = f"busybox dd if=/dev/zero bs={mib}M count=1 1<>{into}"
    with process(device, uid, command, protected=protected) as held:
        eventually(lambda: rss(device, held.pid) >= mib * MIB)
        yield held


@contextmanager
def climber(device: Device, uid: int, mib: int = 300) -> Iterator[Process]:
    """A process that takes a page at a time, more and more."""
    with process(
        device, uid, f"busybox dd if=/dev/zero of=/dev/null bs={mib}M count=1"
    ) as climbing:
        yield climbing


@pytest.fixture
def allowed() -> tuple[Allowed, ...]:
    return (Allowed(GIVEN_UP, "a victim was stuck; each test here counts these lines"),)


@pytest.fixture(scope="module")
def uninterruptible(workspace: Workspace, kernel: KernelBuild) -> Path:
    folder = Path(__file__).parent / "modules"
    return module_builds.build(workspace, kernel, folder).path("uninterruptible")


@pytest.fixture
def room(device: Device) -> Device:
    """The device, with a pipe that fills up."""
    device.shell(f"rm -f {FULL}; mkfifo -m 666 {FULL}")
    return device


@pytest.fixture
def stuck(room: Device, uninterruptible: Path) -> Iterator[Process]:
    """A process of APP that has STUCK MiB and cannot be ended before the test is over."""
    module = f"{DEVICE_FOLDER}/uninterruptible.ko"
    room.push(uninterruptible, module, 0o644)
    room.shell(f"insmod {module}")
    try:
        room.shell(f"chmod 666 {UNINTERRUPTIBLE}")
        with holder(room, APP, STUCK, into=UNINTERRUPTIBLE) as held:
            eventually(lambda: "State:\tD" in room.read_file(f"/proc/{held.pid}/status"))
            yield held
            let_go(room, held)
    finally:
        room.shell(f"echo 0 > {HOLD}; rmmod uninterruptible")


def let_go(device: Device, held: Process) -> None:
    device.shell(f"echo 0 > {HOLD}")
    held.running.wait(SECONDS)


def first_record(log: Log) -> KillRecord:
    return eventually(lambda: log.records)[0]


def test_a_victim_that_does_not_exit_is_given_up_on_and_not_before(
    room: Device, stuck: Process
) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)
    with holder(room, APP, 2) as small, climber(room, APP) as next_one:
        next_one.running.wait(SECONDS)
        first, second = log.records
        assert (first.pid, second.pid) == (stuck.pid, next_one.pid)
        ((given_up, pid),) = log.said(GIVEN_UP)
        assert int(pid) == stuck.pid
        assert first.time is not None
        assert second.time is not None
        assert PATIENCE - 0.01 <= given_up - first.time < PATIENCE + LATE
        assert given_up <= second.time < given_up + LATE
        # What is left fits. Also when the one that is stuck counts again, and when it is gone.
        assert ask(room) == 0
        let_go(room, stuck)
        assert ask(room) == 0
        assert not small.running.ended
    assert [record.pid for record in log.records] == [stuck.pid, next_one.pid]
    assert len(log.said(GIVEN_UP)) == 1
    assert entry_of(room, APP).kills == 2


def test_a_victim_that_exits_in_time_is_not_given_up_on(room: Device, stuck: Process) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)
    with climber(room, APP, 25) as waits:
        assert first_record(log).pid == stuck.pid
        let_go(room, stuck)
        # What it wanted fits now.
        assert waits.running.wait(SECONDS).status == 0
    assert [record.pid for record in log.records] == [stuck.pid]
    assert log.said(GIVEN_UP) == []


def test_who_allocates_over_the_limit_waits_and_nobody_else(room: Device, stuck: Process) -> None:
    set_limit(room, APP, LIMIT)
    set_limit(room, OTHER, 80)
    log = Log(room)
    with climber(room, APP) as waits:
        assert first_record(log).pid == stuck.pid
        with holder(room, OTHER, 50), holder(room, FREE, 50):
            # They had all that they wanted while it waited.
            assert log.said(GIVEN_UP) == []
            assert not waits.running.ended
        waits.running.wait(SECONDS)
    entry = entry_of(room, APP)
    # 8 pages each 200 ms; and before, the credit and what its counters held back.
    most = int(PATIENCE / 0.2) * 8 + 2 * 64
    assert 0 < entry.overshoot <= 2 * most * PAGE
    assert [record.pid for record in log.records] == [stuck.pid, waits.pid]


def test_nobody_left_is_said_once_until_the_user_was_within_its_limit(room: Device) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)

    def allocate() -> None:
        """More than a user can be given before it is looked at again, by one who may not die."""
        with process(
            room, APP, "busybox dd if=/dev/zero of=/dev/null bs=5M count=1", protected=True
        ) as done:
            assert done.running.wait(SECONDS).status == 0

    with holder(room, APP, STUCK, protected=True):
        for times in (1, 2):
            with holder(room, APP, 20, protected=True) as much:
                assert len(log.said(NOBODY)) == times
                for _ in range(3):
                    allocate()
                assert ask(room) == 0
                assert len(log.said(NOBODY)) == times
                room.shell(f"kill -9 {much.pid}")
                much.running.wait(SECONDS)
            # That it is within its limit again has to be seen, too.
            allocate()
            assert len(log.said(NOBODY)) == times
    assert log.records == ()
    assert log.said(GIVEN_UP) == []


def test_a_fork_bomb_hurts_nobody_else(room: Device) -> None:
    stop = "/tmp/stop"
    limit = 16
    room.shell(f"rm -f {stop}")
    set_limit(room, APP, limit)
    set_limit(room, OTHER, 100)
    log = Log(room)
    bomb = f"{DEVICE_FOLDER}/fork_bomb {256 * KIB} {stop}"
    with holder(room, OTHER, 20) as bystander, holder(room, FREE, 20) as other:
        try:
            with closing(room.start(bomb, user=APP)):
                over = time.monotonic() + 10
                while time.monotonic() < over:
                    assert room.shell("echo here", timeout=10).output == "here\n"
                    time.sleep(0.1)
                room.shell(f"touch {stop}")
                # Within its limit, and no more of it dead than that takes.
                eventually(lambda: limit * MIB // 2 < entry_of(room, APP).rss <= limit * MIB, 10)
        finally:
            defuse(room)
        entry = entry_of(room, APP)
        for held in (bystander, other):
            assert not held.running.ended
            assert rss(room, held.pid) >= 20 * MIB
    records = log.records
    assert {record.uid for record in records} == {APP}
    assert len(records) == entry.kills > 0
    assert len({record.pid for record in records}) == len(records)
    assert log.said(GIVEN_UP) == []


def defuse(device: Device) -> None:
    """Ends all processes of APP: at once, so that none is left to fork."""

    def gone() -> bool:
        # A shell is larger than each of the others: it would be the one who dies.
        device.shell(f"{PROTECTED_SU} {APP} sh -c 'kill -9 -1'", check=False)
        return device.shell(f"pgrep -u {APP}", check=False).status != 0

    eventually(gone)
