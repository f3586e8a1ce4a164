# SPDX-License-Identifier: MIT
"""No more kills than necessary, and no fewer: stuck victims, waiting tasks, fork bombs.

A module that is only for these tests (modules/uninterruptible.c) makes a victim stuck: a process
that writes to its file waits, and no signal ends it. It may hold the lock of its address space
meanwhile, so that its memory cannot be given back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from conftest import Sticking
from device_work import (
    APP,
    FREE,
    GIVEN_UP,
    HOLD,
    KIB,
    MIB,
    OTHER,
    PAGE,
    PATIENCE,
    PROTECTED_SU,
    SECONDS,
    STUCK,
    Log,
    Process,
    ahead,
    ask,
    climber,
    entry_of,
    eventually,
    holder,
    in_time,
    let_go,
    process,
    reaction,
    rss,
    set_limit,
)

from harness.kernel_output.klog import Allowed
from harness.machine.adb import Device
from harness.scenarios.run import DEVICE_FOLDER

LIMIT = 40
# Seconds that a loaded machine may add to the kernel's patience.
LATE = 120.0
# How exactly, in seconds, the log's clock is known relative to /proc/uptime.
CLOCKS = 0.1
NOBODY = rf"mm_limits: uid={APP} is over its limit and has nobody left to kill: .*"


@pytest.fixture
def allowed() -> tuple[Allowed, ...]:
    return (Allowed(GIVEN_UP, "a victim was stuck; each test here counts these lines"),)


def test_the_memory_of_a_victim_that_does_not_exit_is_given_back(
    room: Device, sticking: Sticking
) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)
    with sticking(keeps=False) as stuck:
        with climber(room, APP, STUCK) as next_one:
            # It has the room of the victim, which is still there.
            assert next_one.running.wait(SECONDS).status == 0
            assert rss(room, stuck.pid) < MIB
        with climber(room, APP) as too_large:
            too_large.running.wait(SECONDS)
    assert [record.pid for record in log.records] == [stuck.pid, too_large.pid]


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
        # The kernel counts ticks, and on a busy host the one before a kill may have come late.
        assert PATIENCE / 2 <= given_up - first.time < PATIENCE + LATE
        assert given_up <= second.time < given_up + LATE
        # The rest fits into the limit, both while the stuck process counts again and without it.
        assert ask(room) == 0
        let_go(room, stuck)
        assert ask(room) == 0
        assert not small.running.ended
    assert [record.pid for record in log.records] == [stuck.pid, next_one.pid]
    assert len(log.said(GIVEN_UP)) == 1
    assert entry_of(room, APP).kills == 2


def test_a_victim_that_exits_in_time_is_not_given_up_on(room: Device, sticking: Sticking) -> None:
    def attempt() -> None:
        set_limit(room, APP, LIMIT)
        log = Log(room)
        with (
            sticking() as stuck,
            reaction(room, stuck.pid, f"echo 0 > {HOLD}") as lets_go,
            climber(room, APP, 25) as waits,
        ):
            status = waits.running.wait(SECONDS).status
            lets_go.over(log)
            # What it wanted now fits into the limit.
            assert status == 0
        assert [record.pid for record in log.records] == [stuck.pid]
        assert log.said(GIVEN_UP) == []

    in_time(attempt)


@contextmanager
def taker(device: Device, uid: int) -> Iterator[Process]:
    """Run a process that takes 8 MiB as soon as it reads a line of `go(uid)`, and prints when."""
    device.shell(f"rm -f {go(uid)}; mkfifo -m 666 {go(uid)}")
    take = "busybox dd if=/dev/zero of=/dev/null bs=8M count=1"
    when = r"read up rest < /proc/uptime && echo took=\$up"
    # A process that is killed, or gets no memory, prints nothing.
    with process(device, uid, f'sh -c "read go < {go(uid)} && {take} && {when}"') as taking:
        yield taking


def go(uid: int) -> str:
    return f"/tmp/go-{uid}"


def test_who_allocates_over_the_limit_waits_and_nobody_else(
    room: Device, sticking: Sticking
) -> None:
    in_time(lambda: others_take_what_they_want(room, sticking))


def others_take_what_they_want(room: Device, sticking: Sticking) -> None:
    set_limit(room, APP, LIMIT)
    set_limit(room, OTHER, 80)
    log = Log(room)
    # Lets both of them begin.
    begin = f"echo > {go(OTHER)}; echo > {go(FREE)}"
    with (
        sticking() as stuck,
        taker(room, OTHER) as other,
        taker(room, FREE) as free,
        reaction(room, stuck.pid, begin) as began,
        climber(room, APP) as waits,
    ):
        took = [
            float(one.running.wait_line("took=", SECONDS).partition("=")[2]) + ahead(room)
            for one in (other, free)
        ]
        waits.running.wait(SECONDS)
        began.over(log)
    first, second = log.records
    ((given_up, _),) = log.said(GIVEN_UP)
    assert (first.pid, second.pid) == (stuck.pid, waits.pid)
    assert first.time is not None
    assert second.time is not None
    assert given_up <= second.time
    # Both got all that they wanted while the climber waited.
    for time_taken in took:
        assert first.time - CLOCKS <= time_taken <= given_up + CLOCKS
    entry = entry_of(room, APP)
    # 8 pages each 200 ms, between two waits; and 16 faults before it fails in a system call.
    assert 0 < entry.overshoot <= (8 * int(PATIENCE / 0.2 + 1) + 16 + 1) * PAGE


def test_nobody_left_is_said_once_until_the_user_was_within_its_limit(room: Device) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)

    def allocate() -> None:
        """Take, in a protected process, more than a user can get without another check."""
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
            # The kernel also has to see that the user is within its limit again.
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
                    assert room.shell("echo here", timeout=SECONDS).output == "here\n"
                    time.sleep(0.1)
                eventually(lambda: log.records)
                room.shell(f"touch {stop}")
                # Within its limit, and with no more of its processes killed than necessary.
                eventually(lambda: limit * MIB // 2 < entry_of(room, APP).rss <= limit * MIB)
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
    """End all processes of APP, all at once, so that none is left to fork."""

    def gone() -> bool:
        # Protected: a shell is larger than each of the others, so it would be the victim.
        device.shell(f"{PROTECTED_SU} {APP} sh -c 'kill -9 -1'", check=False)
        return device.shell(f"pgrep -u {APP}", check=False).status != 0

    eventually(gone)
