# SPDX-License-Identifier: MIT
"""A clock that goes as slowly as a machine that has to wait for a CPU."""

from __future__ import annotations

import os
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
        monkeypatch.setattr(time, "monotonic", lambda: self.time)

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
