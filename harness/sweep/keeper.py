# SPDX-License-Identifier: MIT
"""A program between a worker and the command of a cell: nothing of the command outlives it.

It is run as a script, with the standard library and psutil alone, because it has to start quickly:

    keeper.py GRACE FOLDER COMMAND...

The worker holds the other end of its stdin. If that is closed, or a byte comes, the command gets
SIGTERM, and after GRACE seconds SIGKILL. A closed stdin also means that the worker has gone without
a word, and FOLDER, which has the files of the cell, is removed; until then nobody else removes it
(see harness/core/scratch.py). Whatever the command has left
running is killed: the keeper is the subreaper of all that descends from it, so also what has become
a daemon. At the end the keeper prints the status of the command: negative for a signal.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
# How often, in seconds, the command is looked at.
_POLL_SECONDS = 0.1
# After SIGKILL. A process that waits for a broken disk may take longer; nothing more can be done.
_KILLED_SECONDS = 20.0
_HELD = "held"


def become_subreaper() -> None:
    """Have orphans among this process's descendants become its children, not those of init."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants(spared: frozenset[int] = frozenset()) -> bool:
    """Kill and reap all descendants but `spared` and theirs; return whether none is left."""
    deadline = time.monotonic() + _KILLED_SECONDS
    while True:
        left = _descendants(spared)
        for one in left:
            with suppress(psutil.Error):
                one.kill()
        for one in left:
            # Only a child of ours can be reaped here.
            with suppress(ChildProcessError):
                os.waitpid(one.pid, os.WNOHANG)
        if not left or time.monotonic() >= deadline:
            return not left
        time.sleep(0.01)


def _descendants(spared: frozenset[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    with suppress(psutil.Error):
        for child in psutil.Process().children():
            if child.pid not in spared:
                found.append(child)
                with suppress(psutil.Error):
                    found += child.children(recursive=True)
    return found


def main(grace: float, folder: Path, command: list[str]) -> int:
    """Run the command; return its status."""
    become_subreaper()
    # Ctrl-C and the end of a session are for the worker, which then says so here.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    held = os.open(folder / _HELD, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=_default_signals,
        )
    left_alone = _wait(process)
    if left_alone is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    if process.poll() is None:
        process.kill()
        process.wait()
    kill_descendants()
    if left_alone:
        shutil.rmtree(folder, ignore_errors=True)
    return process.returncode


def _default_signals() -> None:
    """Undo in the command what this program ignores."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _wait(process: subprocess.Popen[bytes]) -> bool | None:
    """Wait for the end of the command or of stdin.

    Return None if the command has ended, else whether the worker has gone without a word.
    """
    while process.poll() is None:
        ready, _, _ = select.select([0], [], [], _POLL_SECONDS)
        if ready:
            return os.read(0, 1) == b""
    return None


if __name__ == "__main__":
    status = main(float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    # The worker may have gone.
    with suppress(OSError):
        os.write(1, f"{status}\n".encode())
