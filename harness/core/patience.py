# SPDX-License-Identifier: MIT
"""A clock for time limits that leaves out the time in which the host did not let a guest run.

When other programs use the host's CPUs, a healthy guest answers late. The host's kernel says for
each thread how long it was runnable and had no CPU. And a host may stand still for a while: the
guest's process is stopped (SIGSTOP, a debugger), or the harness is (Ctrl-Z), or both (a paused
container, a paused virtual machine), or the host is suspended. A clock that leaves such times out
runs as slowly as the guest, or as whoever waits for it.

The guest's own clock jumps when the guest goes on. So its kernel may then do, or complain of, what
it would not have otherwise, and the clock says how long the host stood still.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

# The shortest standstill, in seconds, that may change what a kernel does, and how long after it a
# kernel may still complain of it.
NOTICEABLE, AFTERWARDS = 1.0, 30.0
_PROC = Path("/proc")
_NS = 1_000_000_000
# The states of a process that was stopped by a signal or by a debugger.
_STOPPED = ("T", "t")
# The shortest time between two looks because of a beat, in seconds.
_BEAT = 0.05
# How late a beat may be, in seconds, on a host that is only busy. What is beyond does not count.
_LATE = 1.0
# Without a beat for so long, the host stood still.
_STILL = 5.0


class MachineClock:
    """A clock in seconds, like time.monotonic(), without the time that a process could not use.

    All time counts until `follow` is called, and where the host's kernel reports no waiting
    times. Of several threads, the one that waited longest counts. A thread that calls `beat`
    must go on to do so several times a second: when it does not, the harness itself stood still.
    """

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._lock = threading.Lock()
        self._process: Path | None = None
        self._waited: dict[str, int] = {}
        self._looked = time.monotonic()
        self._suspended = _suspended()
        self._beats = False
        # Since when the process has been stopped; None if it is not.
        self._stopped: float | None = None
        self._lost = 0.0
        # The times in which the host stood still: beginning and end by time.monotonic(), seconds.
        self._stills: list[tuple[float, float, float]] = []

    def follow(self, pid: int) -> None:
        """Leave out from now on the time in which the process `pid` could not run."""
        with self._lock:
            self._process = self._proc / str(pid)
            self._waited, self._looked = self._read(), time.monotonic()

    def now(self) -> float:
        """Return the time in seconds."""
        with self._lock:
            return self._look()

    def beat(self) -> float:
        """Look at the process (see the class); return for how many seconds it has been stopped."""
        with self._lock:
            self._beats = True
            # Whoever reads a machine's console comes more often than that while there is output.
            if time.monotonic() - self._looked >= _BEAT:
                self._look()
            return 0.0 if self._stopped is None else self._looked - self._stopped

    def end_beats(self) -> None:
        """Expect no further beats."""
        with self._lock:
            self._beats = False

    def stood_still_since(self, moment: float) -> float:
        """Return for how many seconds the host has stood still since `moment` (time.monotonic()).

        A standstill that began earlier and ended later counts as a whole.
        """
        with self._lock:
            self._look()
            return sum(seconds for _, end, seconds in self._stills if end > moment)

    def _look(self) -> float:
        found, stopped, now = self._read(), self._is_stopped(), time.monotonic()
        suspended = max(self._suspended, _suspended())
        begun, since = self._looked, now - self._looked
        more = [waited - self._waited.get(thread, 0) for thread, waited in found.items()]
        # No thread can have waited for longer than the time since the last reading.
        lost, still = min(max(more, default=0) / _NS, since), 0.0
        if stopped or self._stopped is not None:
            lost = still = since
        elif self._beats and since > _LATE:
            lost = max(lost, since - _LATE)
            still = since if since > _STILL else 0.0
        # While a host is suspended, time.monotonic() stands still as well.
        asleep = suspended - self._suspended
        still += asleep if asleep > _LATE else 0.0
        if still:
            self._note_still(begun, now, still)
        self._lost += lost
        self._waited, self._looked, self._suspended = found, now, suspended
        self._stopped = (begun if self._stopped is None else self._stopped) if stopped else None
        return now - self._lost

    def _note_still(self, begun: float, end: float, seconds: float) -> None:
        """Record a standstill; one that goes on is one."""
        if self._stills and begun <= self._stills[-1][1]:
            first, _, before = self._stills.pop()
            begun, seconds = first, before + seconds
        self._stills.append((begun, end, seconds))

    def _is_stopped(self) -> bool:
        with suppress(OSError, IndexError):
            if self._process is not None:
                # The name before the state may be any text.
                text = (self._process / "stat").read_text(errors="replace")
                return text.rpartition(")")[2].split()[0] in _STOPPED
        return False

    def _read(self) -> dict[str, int]:
        """Return for each thread how many nanoseconds it has waited for a CPU so far."""
        found: dict[str, int] = {}
        # A thread that ends meanwhile has no file, or one that cannot be read.
        with suppress(OSError):
            for thread in (self._process / "task").iterdir() if self._process is not None else ():
                with suppress(OSError, ValueError, IndexError):
                    found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        return found


def _suspended() -> float:
    """Return for how many seconds the host has been suspended since it booted.

    Time that goes by between the two readings makes it less, never more.
    """
    return max(
        time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        for _ in range(3)
    )
