# SPDX-License-Identifier: MIT
"""A clock for time limits that leaves out the time in which a busy host gave a guest no CPU.

When other programs use the host's CPUs, a healthy guest answers late. The host's kernel says for
each thread how long it was runnable and had no CPU. A clock that leaves this time out runs as
slowly as the guest.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_NS = 1_000_000_000


class MachineClock:
    """A clock in seconds, like time.monotonic(), without the time that a process waits for a CPU.

    All time counts until `follow` is called, and where the host's kernel reports no waiting
    times. Of several threads, the one that waited longest counts.
    """

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._lock = threading.Lock()
        self._tasks: Path | None = None
        self._waited: dict[str, int] = {}
        self._looked = time.monotonic()
        self._lost = 0.0

    def follow(self, pid: int) -> None:
        """Leave out the waiting times of the process `pid` from now on."""
        with self._lock:
            self._tasks = self._proc / str(pid) / "task"
            self._waited, self._looked = self._read(), time.monotonic()

    def now(self) -> float:
        """Return the time in seconds."""
        with self._lock:
            found, now = self._read(), time.monotonic()
            more = [waited - self._waited.get(thread, 0) for thread, waited in found.items()]
            # No thread can have waited for longer than the time since the last reading.
            self._lost += min(max(more, default=0) / _NS, now - self._looked)
            self._waited, self._looked = found, now
            return now - self._lost

    def _read(self) -> dict[str, int]:
        """Return for each thread how many nanoseconds it has waited for a CPU so far."""
        found: dict[str, int] = {}
        # A thread that ends meanwhile has no file, or one that cannot be read.
        with suppress(OSError):
            for thread in self._tasks.iterdir() if self._tasks is not None else ():
                with suppress(OSError, ValueError, IndexError):
                    found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        return found
