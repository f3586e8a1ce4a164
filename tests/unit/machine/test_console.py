# SPDX-License-Identifier: MIT
"""What the console's reader sees: trouble, silence, the machine's end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pexpect
import pytest
from fake_clock import FakeClock
from filelock import FileLock
from stand_ins import start_python

from harness.core.errors import BootError, DeviceError, HarnessError, InfrastructureError
from harness.core.lifetime import Health
from harness.machine import console as console_module
from harness.machine.console import _MOST_TRACE_SECONDS, _TRACE_SECONDS, Console
from harness.machine.session import check_machine
from harness.targets.linux_6_1 import LINUX_6_1

READY = "ready: (.*)"


Start = Callable[[str], Console]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a shell script in the machine's place; ends it after the test."""
    started: list[Console] = []

    def start(script: str) -> Console:
        started.append(Console(["sh", "-c", script], tmp_path / "console.log", Health()))
        return started[-1]

    yield start
    for console in started:
        if not console.ended:
            console.kill()
            console.close()


PANIC = "echo '[    1.000000] Kernel panic - not syncing: x';"


def test_guests_that_start_at_the_same_time_fork_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From Python 3.12 on filelock, which the cache uses, refuses a fork while another thread forks.
    spawn, at_it = pexpect.spawn, threading.Lock()

    def alone(*args: Any, **options: Any) -> Any:
        assert at_it.acquire(blocking=False), "two forks at a time"
        try:
            time.sleep(0.01)
            return spawn(*args, **options)
        finally:
            at_it.release()

    monkeypatch.setattr(pexpect, "spawn", alone)

    def start_one(number: int) -> None:
        console = Console(["true"], tmp_path / f"{number}.log", Health())
        console.expect_end()
        console.close()

    with FileLock(tmp_path / "lock"), ThreadPoolExecutor(4) as threads:
        list(threads.map(start_one, range(20)))


def test_a_marker_is_waited_for_and_the_log_is_whole(start: Start) -> None:
    console = start(r"printf 'a\r\nready: 6.1\r\n'; sleep 60")
    match = console.wait_for(READY, timeout=60, silence=60)
    assert match[1] == "6.1"
    console.kill()
    console.close()
    assert console.log.read_text() == "a\nready: 6.1\n"
    assert console.ended


def test_silence_is_noticed_and_said(start: Start) -> None:
    console = start("sleep 60")
    begun = time.monotonic()
    with pytest.raises(BootError, match=r"silent for 0\.5 s.*nothing at all"):
        console.wait_for(READY, timeout=600, silence=0.5)
    assert time.monotonic() - begun < 60


def test_a_boot_that_goes_on_for_ever_is_ended(start: Start) -> None:
    console = start("while :; do echo again; sleep 0.05; done")
    console.wait_for("again", timeout=60, silence=60)
    with pytest.raises(BootError, match=r"did not come up within 0\.5 s") as caught:
        console.wait_for(READY, timeout=0.5, silence=60)
    assert "again" in caught.value.tail


def test_a_machine_that_is_stopped_is_not_silent(start: Start) -> None:
    console = start("sleep 600")
    os.kill(console.pid, signal.SIGSTOP)
    caught: list[BootError] = []

    def wait() -> None:
        with pytest.raises(BootError, match=r"silent for 0\.5 s") as error:
            console.wait_for(READY, timeout=600, silence=0.5)
        caught.append(error.value)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while console.health.clock.beat() < 2:
        time.sleep(0.05)
    assert not caught
    os.kill(console.pid, signal.SIGCONT)
    waiting.join(60)
    assert caught
    assert console.health.clock.stood_still_since(0) >= 2


HARNESS = """
import os, sys
from pathlib import Path
from harness.core import patience
from harness.core.lifetime import Health
from harness.machine.console import Console

# So short a standstill as this is none otherwise.
patience._STILL = 1.0
console = Console(["sleep", "600"], Path(sys.argv[1]), Health())
begun = console.health.clock.now()
print("ready", flush=True)
sys.stdin.readline()
clock = console.health.clock
print(clock.stood_still_since(0), clock.now() - begun, flush=True)
console.kill()
os._exit(0)
"""


def test_a_harness_that_is_stopped_notices_it(tmp_path: Path) -> None:
    """As by Ctrl-Z: the machine, which has a process group of its own, goes on."""
    process = start_python(HARNESS, tmp_path / "log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate("go on\n", timeout=120)
    whole = time.monotonic() - begun
    still, counted = map(float, output.split())
    assert still >= 2.5
    assert counted < whole - 1.5


def test_what_a_kernel_complains_of_after_a_standstill(start: Start, tmp_path: Path) -> None:
    go = tmp_path / "go"
    said = "[    1.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 33s! [sh:1]"
    console = start(f"while ! [ -e {go} ]; do sleep 0.05; done; echo '{said}'; sleep 600")
    os.kill(console.pid, signal.SIGSTOP)
    while console.health.clock.beat() < 1.5:
        time.sleep(0.05)
    os.kill(console.pid, signal.SIGCONT)
    go.touch()
    with pytest.raises(BootError, match=r"^soft lockup: .*\(the host stood still for \d+\.\d s\)"):
        console.wait_for(READY, timeout=600, silence=600)


def test_a_machine_that_is_stopped_for_ever_is_given_up(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "_MOST_STOPPED_SECONDS", 0.5)
    console = start("sleep 600")
    os.kill(console.pid, signal.SIGSTOP)
    with pytest.raises(DeviceError, match=r"has been stopped for 0\.5 s") as caught:
        console.wait_for(READY, timeout=600, silence=600)
    assert caught.value.hint == f"kill -CONT {console.pid} lets it go on"


def test_a_panic_is_the_first_cause_and_its_trace_is_shown(start: Start) -> None:
    console = start(f"{PANIC} echo '[    1.000001] Call trace: y'; sleep 600")
    begun = time.monotonic()
    with pytest.raises(BootError, match="kernel panic: Kernel panic - not syncing: x") as caught:
        console.wait_for(READY, timeout=600, silence=600)
    assert time.monotonic() - begun < 60
    assert "Call trace: y" in caught.value.tail
    assert caught.value.log == console.log


class Spoken:
    """A machine that prints what it is told to, when it is told to; its clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.clock, health = FakeClock(), Health()
        health.clock = self.clock
        os.mkfifo(folder / "words")
        self.console = Console(["cat", str(folder / "words")], folder / "console.log", health)
        self._words = (folder / "words").open("w")

    def say(self, line: str) -> None:
        """Print a line, and wait until the console has read it."""
        self._words.write(f"{line}\n")
        self._words.flush()
        until = time.monotonic() + 120
        while line not in self.console.tail(1):
            assert time.monotonic() < until
            time.sleep(0.001)

    def end(self) -> BootError:
        """Return the first cause of the console's end, which comes before the machine's."""
        assert self.console.health.pause(60), "no failure was noticed"
        self._words.close()
        with pytest.raises(BootError) as caught:
            self.console.health.check()
        self.console.close()
        return caught.value


@pytest.fixture
def spoken(tmp_path: Path) -> Spoken:
    return Spoken(tmp_path)


def test_a_trace_is_listened_to_while_it_comes(spoken: Spoken) -> None:
    """On a busy host it comes slowly; each line gives the next one as much time again."""
    spoken.say("[    1.000000] Kernel panic - not syncing: x")
    for number in range(1, 6):
        spoken.clock.time += 0.8 * _TRACE_SECONDS
        spoken.say(f"[    1.000001] frame {number}")
    assert not spoken.console.health.failed
    spoken.clock.time += 1.2 * _TRACE_SECONDS
    cause = spoken.end()
    assert "kernel panic" in cause.message
    assert "frame 5" in cause.tail


def test_a_trace_without_end_is_not_listened_to_for_ever(spoken: Spoken) -> None:
    spoken.say("[    1.000000] BUG: x")
    step = _TRACE_SECONDS / 2
    for number in range(round(_MOST_TRACE_SECONDS / step)):
        assert not spoken.console.health.failed
        spoken.clock.time += step
        spoken.say(f"again {number}")
    spoken.clock.time += step
    assert "kernel bug" in str(spoken.end())


@pytest.mark.parametrize(
    ("script", "error", "message", "tail"),
    [
        # The panic and not the end behind it.
        (PANIC, BootError, "kernel panic", "not syncing: x"),
        ("echo bye", BootError, "ended unasked", "bye"),
        ("echo no such machine; exit 1", BootError, "ended with status 1", "no such machine"),
        # This is not the kernel's fault.
        ("echo up; kill -9 $$", DeviceError, "killed by SIGKILL", "up"),
    ],
)
def test_why_a_machine_ended(
    start: Start, script: str, error: type[HarnessError], message: str, tail: str
) -> None:
    health = start(script).health
    assert health.pause(60), "no failure was noticed"
    with pytest.raises(error, match=message) as caught:
        health.check()
    assert tail in caught.value.tail


def test_an_end_that_was_asked_for_is_no_failure(start: Start) -> None:
    console = start("sleep 60")
    console.expect_end()
    console.kill()
    console.close()
    assert not console.health.failed


def test_a_line_in_pieces_and_a_last_line_without_end(start: Start) -> None:
    console = start("printf rea; sleep 0.3; printf 'dy: x'; sleep 0.1")
    with pytest.raises(BootError, match="ended unasked"):
        console.wait_for("nothing", timeout=60, silence=60)
    assert console.tail() == "ready: x"


def test_a_host_without_terminals_is_named_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise OSError("out of pty devices")

    monkeypatch.setattr(os, "openpty", none)
    for look in (
        lambda: check_machine(LINUX_6_1),
        lambda: Console(["true"], tmp_path / "log", Health()),
    ):
        with pytest.raises(InfrastructureError, match=r"no pseudo-terminals \(out of pty") as told:
            look()
        assert "devpts" in told.value.hint
