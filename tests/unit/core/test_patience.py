# SPDX-License-Identifier: MIT
"""A clock that goes as slowly as a machine that has to wait for a CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness.core.patience import MachineClock

SECOND = 1_000_000_000


class Machine:
    """A process with threads, as the host's kernel tells of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc = folder
        self.time = 100.0
        self.asleep = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.time)
        # How late the second of two clocks is read, each time.
        self.late: list[float] = []
        clocks = {time.CLOCK_MONOTONIC: self._monotonic_late, time.CLOCK_BOOTTIME: self._boot_time}
        monkeypatch.setattr(time, "clock_gettime", lambda clock: clocks[clock]())

    def _monotonic_late(self) -> float:
        return self.time + (self.late.pop() if self.late else 0.0)

    def _boot_time(self) -> float:
        return self.time + self.asleep

    def is_in_state(self, state: str) -> None:
        """It runs (R, S), or is stopped (T)."""
        (self.proc / "7").mkdir(exist_ok=True)
        (self.proc / "7" / "stat").write_text(f"7 (a) T (b) {state} 1 7 7 0 -1\n")

    def waited(self, **seconds: float) -> None:
        """Each thread has waited for so long by now."""
        for thread, waited in seconds.items():
            folder = self.proc / "7" / "task" / thread
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "schedstat").write_text(f"123 {int(waited * SECOND)} 9\n")

    def clock(self) -> MachineClock:
        """A clock that follows it."""
        clock = MachineClock(self.proc)
        clock.follow(7)
        return clock


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_without_a_machine_it_is_the_time(machine: Machine) -> None:
    clock = MachineClock(machine.proc)
    machine.time += 5
    assert clock.now() == 105.0


def test_what_a_thread_had_no_cpu_for_does_not_count(machine: Machine) -> None:
    machine.waited(a=1, b=3)
    clock = machine.clock()
    machine.time += 10
    machine.waited(a=5, b=3.5)
    assert clock.now() == 106.0
    machine.time += 10
    machine.waited(a=5, b=12.5)
    assert clock.now() == 107.0
    # Not more than there was.
    machine.time += 1
    machine.waited(a=9)
    assert clock.now() == 107.0


def test_a_machine_that_has_a_cpu_or_wants_none_meets_its_limits(machine: Machine) -> None:
    machine.waited(a=1)
    clock = machine.clock()
    machine.time += 60
    assert clock.now() == 160.0


def test_threads_come_and_go(machine: Machine) -> None:
    machine.waited(a=1)
    clock = machine.clock()
    machine.time += 10
    (machine.proc / "7" / "task" / "a" / "schedstat").unlink()
    machine.waited(b=4)
    assert clock.now() == 106.0


@pytest.mark.parametrize("text", ["", "x y z", "1"])
def test_where_the_kernel_does_not_say_all_counts(machine: Machine, text: str) -> None:
    machine.waited(a=1)
    (machine.proc / "7" / "task" / "a" / "schedstat").write_text(text)
    clock = machine.clock()
    machine.time += 10
    assert clock.now() == 110.0


def test_a_real_process_without_work_loses_next_to_nothing() -> None:
    clock = MachineClock()
    clock.follow(os.getpid())
    before = clock.now()
    time.sleep(0.2)
    assert clock.now() - before >= 0


# --- a host that stands still ---------------------------------------------------


def beaten(clock: MachineClock, machine: Machine, seconds: float) -> None:
    """Let time go by, in which a thread looks at the machine as often as it should."""
    for _ in range(round(seconds * 10)):
        machine.time += 0.1
        clock.beat()


@pytest.mark.parametrize("state", ["T", "t"])
def test_time_in_which_the_machine_is_stopped_does_not_count(machine: Machine, state: str) -> None:
    machine.waited(a=1)
    machine.is_in_state("S")
    clock = machine.clock()
    beaten(clock, machine, 2)
    assert (clock.beat(), clock.stood_still_since(0)) == (0, 0)
    before = clock.now()
    machine.is_in_state(state)
    beaten(clock, machine, 30)
    assert clock.beat() == pytest.approx(30)
    assert clock.now() == pytest.approx(before)
    machine.is_in_state("R")
    beaten(clock, machine, 2)
    assert clock.beat() == 0
    assert clock.now() == pytest.approx(before + 2, abs=0.11)
    assert clock.stood_still_since(0) == pytest.approx(30, abs=0.11)
    # As a whole, also for who began in the middle of it; not for who began behind it.
    assert clock.stood_still_since(115) == clock.stood_still_since(0)
    assert clock.stood_still_since(machine.time - 1) == 0


def test_time_in_which_the_harness_is_stopped_does_not_count(machine: Machine) -> None:
    machine.waited(a=1)
    clock = machine.clock()
    beaten(clock, machine, 1)
    machine.time += 30
    # Whoever looks first: not only the thread of the beats.
    assert clock.now() == pytest.approx(102)
    assert clock.stood_still_since(100) == pytest.approx(30)
    beaten(clock, machine, 1)
    machine.time += 17
    assert clock.stood_still_since(131.5) == pytest.approx(17)
    assert clock.stood_still_since(0) == pytest.approx(47)
    assert clock.stood_still_since(machine.time) == 0


def test_a_host_that_is_only_busy_does_not_stand_still(machine: Machine) -> None:
    machine.waited(a=1)
    clock = machine.clock()
    beaten(clock, machine, 1)
    for _ in range(10):
        machine.time += 4
        clock.beat()
    assert clock.stood_still_since(0) == 0
    # The limits end at last, also if each beat is late.
    assert clock.now() == pytest.approx(111)


def test_where_nobody_looks_again_and_again_all_time_counts(machine: Machine) -> None:
    machine.waited(a=1)
    clock = machine.clock()
    machine.time += 30
    assert clock.now() == 130
    beaten(clock, machine, 1)
    clock.end_beats()
    machine.time += 30
    assert clock.now() == pytest.approx(161)
    assert clock.stood_still_since(0) == 0


def test_a_suspended_host_stood_still(machine: Machine) -> None:
    """The clock for time limits stood still as well; the guest's clock does not jump."""
    machine.waited(a=1)
    clock = machine.clock()
    beaten(clock, machine, 1)
    machine.asleep += 3600
    beaten(clock, machine, 1)
    assert clock.now() == pytest.approx(102)
    assert clock.stood_still_since(0) == pytest.approx(3600)


def test_a_clock_that_is_read_late_is_no_suspension(machine: Machine) -> None:
    machine.waited(a=1)
    machine.late = [3.0, 3.0]
    clock = machine.clock()
    machine.late = [3.0] * 6
    beaten(clock, machine, 1)
    assert clock.stood_still_since(0) == 0


def test_a_real_process_that_is_stopped() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            clock = MachineClock()
            clock.follow(process.pid)
            clock.beat()
            begun = clock.now()
            process.send_signal(signal.SIGSTOP)
            while clock.beat() < 0.5:
                time.sleep(0.01)
            assert clock.now() - begun < 0.4
            process.send_signal(signal.SIGCONT)
            while clock.beat():
                time.sleep(0.01)
            assert clock.stood_still_since(0) >= 0.5
        finally:
            process.kill()
