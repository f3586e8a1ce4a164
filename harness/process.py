# SPDX-License-Identifier: MIT
"""Running programs: one place that logs them, explains failures and ends them.

Every program gets a session of its own. When the harness stops waiting for it,
for whatever reason (Ctrl-C, a time limit, an error elsewhere), the whole
process group goes with it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.cache import disk_full_named
from harness.errors import CommandError, DiskFullError, HarnessError, ToolMissingError
from harness.tools import package_of

TAIL_LINES = 8
# What a group that was asked to end may take before it is made to.
_GRACE_SECONDS = 2.0
_NO_SPACE = "No space left on device"


@dataclass(frozen=True)
class Completed:
    """How a program ended: its status, its output (stdout and stderr together)."""

    argv: tuple[str, ...]
    status: int
    output: str


def require(*tools: str) -> None:
    """Raises ToolMissingError naming all of `tools` that are not on PATH."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({package_of(tool) for tool in missing}))
        raise ToolMissingError(
            f"not installed: {', '.join(missing)}",
            hint=f"./inv setup (or: apt-get install {packages})",
        )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its group: SIGTERM, then SIGKILL after a short while."""
    for number, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            if number == signal.SIGTERM:
                # The leader is gone; a child that ignored SIGTERM may not be.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            return


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    check: bool = True,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    error: type[HarnessError] = CommandError,
    what: str = "",
) -> Completed:
    """Runs a program to its end and returns its status and output.

    `env` is added to the harness's own environment. The output is appended to
    `log` as it comes, and each line is given to `on_line`. With `check`, a
    status other than 0 raises `error(message, log=…, tail=…)`, whose message
    begins with `what` (default: the program's name); a full disk raises
    DiskFullError instead. `timeout` is in seconds.
    """
    words = tuple(os.fspath(word) for word in argv)
    name = what or Path(words[0]).name
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except FileNotFoundError as missing:
        if cwd is not None and not cwd.is_dir():
            raise
        tool = Path(words[0]).name
        raise ToolMissingError(
            f"{name}: {tool} is not installed",
            hint=f"./inv setup (or: apt-get install {package_of(tool)})",
        ) from missing
    try:
        output = _drain(process, words, log, on_line, timeout, name)
        status = process.wait()
    finally:
        if process.poll() is None:
            end_group(process)
        if process.stdout is not None:
            process.stdout.close()
    if check and status != 0:
        tail = "\n".join(output.splitlines()[-TAIL_LINES:])
        if _NO_SPACE in output:
            raise DiskFullError(
                f"{name}: no space left on the disk", log=log, tail=tail, hint="free some space"
            )
        ended = f"signal {-status}" if status < 0 else f"status {status}"
        raise error(f"{name} failed ({ended}): {shlex.join(words)[:200]}", log=log, tail=tail)
    return Completed(words, status, output)


def _drain(
    process: subprocess.Popen[bytes],
    words: tuple[str, ...],
    log: Path | None,
    on_line: Callable[[str], None] | None,
    timeout: float | None,
    name: str,
) -> str:
    """Reads the program's output to its end, into the log and the answer."""
    timed_out = threading.Event()

    def give_up() -> None:
        timed_out.set()
        end_group(process)

    timer = threading.Timer(timeout or 0.0, give_up)
    timer.daemon = True
    lines: list[str] = []
    with ExitStack() as stack:
        stream: IO[bytes] | None = None
        if log is not None:
            stack.enter_context(disk_full_named(log.parent))
            log.parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(log.open("ab"))
            stream.write(f"$ {shlex.join(words)}\n".encode())
        if timeout is not None:
            timer.start()
            stack.callback(timer.cancel)
        assert process.stdout is not None
        for raw in process.stdout:
            if stream is not None:
                stream.write(raw)
                stream.flush()
            lines.append(raw.decode(errors="replace"))
            if on_line is not None:
                on_line(lines[-1].rstrip("\n"))
    if timed_out.is_set():
        raise CommandError(
            f"{name} did not end within {timeout:g} s",
            log=log,
            tail="".join(lines[-TAIL_LINES:]),
        )
    return "".join(lines)
