# SPDX-License-Identifier: MIT
"""The time that a machine had, for limits that a busy host must not use up.

Where other programs have the host's CPUs, a guest that does nothing wrong answers late.
The kernel says for each thread how long it could have run and had no CPU; a clock from
which that is taken away goes as slowly as the guest.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_NS = 1_000_000_000


class MachineClock:
    """Seconds, as time.monotonic() has them, but for those that a process had to wait for a CPU.

    Until it is told of a process, and where the host's kernel does not say, they are all
    counted. A machine with several threads has waited as long as the one that waited most.
    """

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._lock = threading.Lock()
        self._tasks: Path | None = None
        self._waited: dict[str, int] = {}
        self._looked = time.monotonic()
        self._lost = 0.0

    def follow(self, pid: int) -> None:
        """From now on it is about this process."""
        with self._lock:
            self._tasks = self._proc / str(pid) / "task"
            self._waited, self._looked = self._read(), time.monotonic()

    def now(self) -> float:
        """The time."""
        with self._lock:
            found, now = self._read(), time.monotonic()
            more = [waited - self._waited.get(thread, 0) for thread, waited in found.items()]
            # No thread can have waited for longer than that.
            self._lost += min(max(more, default=0) / _NS, now - self._looked)
            self._waited, self._looked = found, now
            return now - self._lost

    def _read(self) -> dict[str, int]:
        """By thread, how many nanoseconds it has waited for a CPU by now."""
        found: dict[str, int] = {}
        # One that ends meanwhile is not there, or cannot be read.
        with suppress(OSError):
            for thread in self._tasks.iterdir() if self._tasks is not None else ():
                with suppress(OSError, ValueError, IndexError):
                    found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        return found
