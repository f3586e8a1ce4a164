# SPDX-License-Identifier: MIT
"""How much of a busy CPU the harness and its programs get: their nice values.

Each program that the harness starts has a session of its own. Linux shares a CPU among sessions
first (autogroups, sched(7)), and a session begins with the nice value 0, whatever its processes
have.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

# A tenth of what another program gets: who waits for this one does not wait for ever.
_NICE = 10
# Without CAP_SYS_ADMIN, one session of the whole host can be made nice in a tenth of a second.
_ATTEMPTS = 40
_PAUSE_SECONDS = 0.05


def stand_back() -> None:
    """Let most of a busy CPU go to others, from now on."""
    os.nice(_NICE)
    keep_nice(os.getpid())


def keep_nice(pid: int) -> None:
    """Give the session of a process, which is a program of ours, our own nice value."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice <= 0:
        return
    # A kernel need not have autogroups.
    with suppress(OSError):
        for _ in range(_ATTEMPTS):
            try:
                Path(f"/proc/{pid}/autogroup").write_text(str(nice))
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
            else:
                return
