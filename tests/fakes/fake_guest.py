# SPDX-License-Identifier: MIT
"""Guests for the tests of jobs, in place of those on QEMU: they do what is expected of them.

A test changes what they do by the attributes of FakeGuests, before or while a job runs.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_ins import script
from world import World, told

from harness.build import equipment
from harness.core.errors import DeviceError, HarnessError
from harness.core.lifetime import Health
from harness.jobs import emulator_test, fuzz, guests, pool
from harness.kernel_output.klog import Section
from harness.machine.adb import ShellResult
from harness.machine.session import Boot
from harness.scenarios.catalogue import Scenario
from harness.scenarios.fuzz_round import PROGRAM
from harness.scenarios.observations import Observations

BOOT_LOG = "<6>[    0.000000] Booting Linux\n"
QEMU = "QEMU emulator version 7.2.22"
Change = Callable[[Scenario, Observations], Observations]


def at(name: str, change: Callable[[Observations], Observations]) -> Change:
    """Return the change of what is seen of one scenario alone."""
    return lambda scenario, seen: change(seen) if scenario.name == name else seen


def without_record(seen: Observations) -> Observations:
    """Have the kernel kill without a record of it."""
    return replace(seen, section=Section("", True, True))


def panicked(seen: Observations) -> Observations:
    """Have the kernel die."""
    return replace(seen, died="the kernel panicked", section=Section("", False, False))


def ctrl_c(*_: object) -> Any:
    """Have the user interrupt the job."""
    raise KeyboardInterrupt


def interrupt_main() -> None:
    """Send the signal of Ctrl-C to the main thread, from any thread."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def together(count: int) -> Callable[[], None]:
    """Return what `count` threads call the first time at the same time, or never."""
    barrier, first = threading.Barrier(count), iter(range(count))

    def meet() -> None:
        if next(first, None) is not None:
            barrier.wait(120)

    return meet


@dataclass(frozen=True)
class Opened:
    """How a guest was opened: from what and how, and the files that booted."""

    boot: Boot
    image: bytes
    initramfs: bytes


@dataclass(frozen=True)
class Round:
    """A round of the fuzz test: the folder of its guest, its seed and the share that fails."""

    guest: str
    seed: int
    failing: int


class FakeGuests:
    """All guests of a job. Without a change, every scenario and every round passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tools: Path) -> None:
        # The kernel log when a guest is open.
        self.log = BOOT_LOG
        # What watch_memory prints while scenarios run, and when it is ended.
        self.watched = ["usage: time=1.000000, uid=10070, rss=4096"]
        self.late: list[str] = []
        # Called when a guest boots, with its folder's name and the job's `started`.
        self.boot: Callable[[str, Callable[[Health], None]], None] = lambda _name, _started: None
        # What a look at the machine raises.
        self.cause: HarnessError | None = None
        # For how many seconds the host has stood still lately.
        self.stood_still = 0.0
        # What is seen of a scenario, on our kernel and on the stock one.
        self.change: Change = lambda _, seen: seen
        self.change_stock: Change = lambda _, seen: seen
        # By the seed of a round: processes that die without a record.
        self.deaths: dict[int, list[int]] = {}
        # The seeds of rounds after which a user is above its limit.
        self.above: set[int] = set()
        # Called when a round begins.
        self.begin_round: Callable[[], None] = lambda: None
        # What kmemleak can find, lost in the boot and in rounds; None: the kernel has no kmemleak.
        self.lost: list[str] | None = None
        # What was done with the guests.
        self.opened: list[Opened] = []
        self.commands: list[str] = []
        self.rounds: list[Round] = []
        _provide_tools(tools, monkeypatch)
        monkeypatch.setattr(equipment, "build", self.build)
        for job in (emulator_test, fuzz):
            monkeypatch.setattr(job, "check_machine", lambda *_: None)
        monkeypatch.setattr(pool, "open_session", self._open_session)
        monkeypatch.setattr(guests, "observe", self._observe)

    def machine_goes(self, seen: Observations) -> Observations:
        """Have the machine be killed."""
        self.cause = DeviceError("the machine (QEMU) was killed by SIGKILL")
        return replace(seen, problem=self.cause.message, runs={})

    def build(self, *_: object) -> equipment.Equipment:
        raise AssertionError("nothing is to be built here")

    @contextmanager
    def _open_session(
        self,
        _ws: object,
        boot: Boot,
        folder: Path,
        *,
        started: Callable[[Health], None],
        label: str,
    ) -> Iterator[Any]:
        self.opened.append(Opened(boot, boot.image.read_bytes(), boot.initramfs.read_bytes()))
        # For its logs, as a real one.
        folder.mkdir(parents=True, exist_ok=True)
        self.boot(folder.name, started)
        device = FakeDevice(self, folder.name)
        yield SimpleNamespace(
            device=device,
            check=self._check,
            folder=folder,
            stood_still_since=lambda moment: self.stood_still,
        )

    def _check(self) -> None:
        if self.cause is not None:
            raise self.cause

    def _observe(
        self, _session: object, scenario: Scenario, policy: str, trigger: str, *, stock: bool
    ) -> Observations:
        seen = World(scenario, policy, trigger).observe()
        return self.change_stock(scenario, seen) if stock else self.change(scenario, told(seen))


class FakeDevice:
    """The device of one guest, as adb sees it. Jobs push nothing to it: sessions do."""

    def __init__(self, guests: FakeGuests, name: str) -> None:
        self._guests = guests
        self._name = name
        self._log = guests.log
        # What kmemleak has not been told to forget, and what its last scan found.
        self._forgotten: set[str] = set()
        self._found: list[str] = []

    def shell(self, command: str, **_options: object) -> ShellResult:
        self._guests.commands.append(command)
        words = shlex.split(command)
        if "kmemleak" in words[-1]:
            return self._kmemleak(words[0], words[1])
        if f"./{PROGRAM}" in words:
            return self._round(words[words.index(f"./{PROGRAM}") :])
        if "dmesg -c" in command:
            self._log = ""
        # Where a job asks for something, it asks for the log.
        return ShellResult(0, self._log)

    def kernel_log(self) -> str:
        return self._log

    def mark_kernel_log(self, text: str) -> None:
        self._log += f"<5>[    1.000000] {text}\n"

    def start(self, _command: str, *, on_line: Callable[[str], None]) -> Any:
        for line in self._guests.watched:
            on_line(line)
        late = self._guests.late
        return SimpleNamespace(close=lambda: list(map(on_line, late)), ended=False)

    def _round(self, words: list[str]) -> ShellResult:
        """Do what the program of the fuzz test does; its processes may die without a record."""
        option = dict(zip(words[1:-1:2], words[2::2], strict=False))
        seed = int(words[-1])
        self._guests.begin_round()
        self._guests.rounds.append(Round(self._name, seed, int(option["-f"])))
        lines = [f"death: pid={pid}, uid=10070, adj=0" for pid in self._guests.deaths.get(seed, ())]
        settled = int(seed not in self._guests.above)
        lines += ["counts: calls=2", f"ends: settled={settled}, ended=1, protected=1, mistakes=0"]
        lines += [f"done: program={PROGRAM}, marker={option['-m']}, checks=1/1"]
        return ShellResult(0, "\n".join(lines) + "\n")

    def _kmemleak(self, program: str, word: str) -> ShellResult:
        """Do what the kernel does with `test -e`, `echo scan`, `echo clear` and `cat`."""
        lost = self._guests.lost
        if program == "test":
            return ShellResult(int(lost is None), "")
        if word == "scan":
            self._found = [one for one in lost or () if one not in self._forgotten]
        elif word == "clear":
            self._forgotten.update(self._found)
            self._found = []
        said = "".join(f"unreferenced object {one}\n  comm x\n" for one in self._found)
        return ShellResult(0, said if program == "cat" else "")


def _provide_tools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a QEMU that only says its version, and an adb, first on PATH."""
    folder.mkdir()
    script(folder / "qemu-system-arm", f"echo '{QEMU}'")
    script(folder / "adb", "exit 1")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
