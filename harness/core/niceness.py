# SPDX-License-Identifier: MIT
"""How much of a busy CPU the harness and its programs get: their nice values.

Each program that the harness starts has a session of its own. Linux shares a CPU among sessions
first (autogroups, sched(7)), and a session begins with the nice value 0, whatever its processes
have.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LEAST = 19


def stand_back() -> None:
    """Let everything else go first that wants a CPU, from now on."""
    os.nice(_LEAST)
    keep_nice(os.getpid())


def keep_nice(pid: int) -> None:
    """Give the session of a process, which is a program of ours, our own nice value."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    # A kernel need not have autogroups, and a user may not change one ten times a second.
    with suppress(OSError):
        if nice > 0:
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))
