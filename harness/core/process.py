# SPDX-License-Identifier: MIT
"""Running programs: logging them, explaining their failures and ending them.

Every program gets a session of its own. When the harness stops waiting for it for any reason
(Ctrl-C, a time limit, an error elsewhere), the whole process group is ended.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.core.cache import disk_full_named
from harness.core.environment import environment_of
from harness.core.errors import (
    CommandError,
    DiskFullError,
    HarnessError,
    InfrastructureError,
    ToolMissingError,
)
from harness.core.lifetime import check_stopped
from harness.core.niceness import keep_nice
from harness.core.text import last_lines
from harness.core.tools import is_foreign, package_of

# The seconds that a process group has between SIGTERM and SIGKILL.
GRACE_SECONDS = 2.0
# The seconds that the harness reads on after a program has ended. A daemon that the program left
# behind may hold its output open for ever.
_LINGER_SECONDS = 1.0
# How often, in seconds, a program that prints nothing is checked.
_POLL_SECONDS = 0.2
_CHUNK = 1 << 16
# As much as a pipe can hold.
_PIPE = 1 << 20
_STDERR = 2
# For a missing tool: its package is known here, but not the kernel that needs it.
_INSTALL = "apt-get install {} (or ./inv setup, with --kernel as here)"
# For a compiler that the user named.
LOOK_AT_PREFIX = "look at --cross-compile"
# Compilers for old kernels are often 32-bit programs. If their loader is missing, the system
# reports that the program itself does not exist.
_NO_LOADER = (
    "if it is a 32-bit program: apt-get install libc6-i386 lib32stdc++6 lib32z1; "
    "if a script: install what its first line names"
)
# The second is tar's message.
_NO_SPACE = re.compile(r"No space left on device|Wrote only \d+ of \d+ bytes")


# A carriage return ends a line, too: programs that show their progress print no line feeds.
_LINE_END = re.compile(rb"(?<=\n)|(?<=\r)(?!\n|$)")


@dataclass(frozen=True)
class Completed:
    """The end of a program: its status and its output (stdout and stderr together)."""

    argv: tuple[str, ...]
    status: int
    output: str


def require(*tools: str) -> None:
    """Raise ToolMissingError naming all of `tools` that are not on PATH."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise ToolMissingError(f"not installed: {', '.join(missing)}", hint=_how_to_get(*missing))


def _how_to_get(*tools: str) -> str:
    """Return the hint for missing programs; empty if no hint is known."""
    packages = sorted({package for tool in tools if (package := package_of(tool))})
    hints = [_INSTALL.format(" ".join(packages))] if packages else []
    if any(is_foreign(tool) for tool in tools):
        hints.append(LOOK_AT_PREFIX)
    return "; ".join(hints)


def end_group(process: subprocess.Popen[bytes], grace: float = GRACE_SECONDS) -> None:
    """End a process and its group: SIGTERM, then SIGKILL after `grace` seconds."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    # Also when the leader is gone: a child may have ignored SIGTERM.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass(frozen=True)
class RunOptions:
    """How run() runs a program, where it is not as usual.

    `env` is added to what the program may see of the harness's own environment: see
    harness/core/environment.py. Each line of the output is passed to `on_line`. After `timeout`
    seconds the program is ended. A program that is ended early gets `grace` seconds to clean up.
    `stdin` is a file descriptor that it reads from; by default it finds nothing to read.
    """

    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    timeout: float | None = None
    on_line: Callable[[str], None] | None = None
    grace: float = GRACE_SECONDS
    stdin: int = subprocess.DEVNULL


def run(
    argv: Sequence[str | os.PathLike[str]],
    options: RunOptions = RunOptions(),
    *,
    log: Path | None = None,
    check: bool = True,
    error: type[HarnessError] = CommandError,
    what: str = "",
) -> Completed:
    """Run a program to its end and return its status and output.

    The output is appended to `log` as it comes. With `check`, a status other than 0 raises
    `error(message, log=…, tail=…)`, whose message begins with `what` (default: the program's
    name); a full disk raises DiskFullError instead. A timeout raises CommandError, with or
    without `check`. Raises ToolMissingError if there is no such program, and InfrastructureError
    if it cannot be started.
    """
    words = tuple(os.fspath(word) for word in argv)
    name = what or Path(words[0]).name
    output = bytearray()
    with _opened(log, words) as stream:
        process: subprocess.Popen[bytes] | None = None
        try:
            with _signals_held():
                process = _start(words, options, name)
            for line in _lines(process, options.timeout):
                output += line
                if stream is not None:
                    stream.write(line)
                    stream.flush()
                if options.on_line is not None:
                    options.on_line(line.decode(errors="replace").rstrip("\r\n"))
            status = process.wait()
        except subprocess.TimeoutExpired as late:
            assert process is not None
            end_group(process, options.grace)
            raise CommandError(
                f"{name} did not end within {options.timeout:g} s",
                log=log,
                tail=last_lines(output.decode(errors="replace")),
            ) from late
        except BaseException:
            if process is not None:
                end_group(process, options.grace)
            raise
        finally:
            if process is not None and process.stdout is not None:
                process.stdout.close()
    done = Completed(words, status, output.decode(errors="replace"))
    if check and status != 0:
        raise _failure(done, name, log, error)
    return done


def run_on_terminal(argv: Sequence[str]) -> int:
    """Run a program that talks to the user, such as sudo; return its status.

    It prints to our stderr, because another program may read our stdout.
    """
    with subprocess.Popen(argv, env=environment_of(argv[0]), stdout=_STDERR) as process:
        return process.wait()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back signals that arrive inside the `with` block, and handle them after it.

    Otherwise a program that was just started, and is not recorded yet, would outlive us.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python handles signals in the main thread only.
        yield
        return
    came: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for held, handler in previous.items():
            signal.signal(held, handler)
    for number in came:
        signal.raise_signal(number)


def _start(words: tuple[str, ...], options: RunOptions, name: str) -> subprocess.Popen[bytes]:
    """Start the program; an error says why it cannot be started."""
    cwd = options.cwd
    try:
        started = subprocess.Popen(
            words,
            cwd=cwd,
            env=environment_of(words[0], options.env),
            stdin=options.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as failed:
        if cwd is not None and not cwd.is_dir():
            raise
        raise _not_started(words[0], name, failed) from failed
    keep_nice(started.pid)
    return started


def _not_started(tool: str, name: str, failed: OSError) -> InfrastructureError:
    """Return the error for a program that the system did not start."""
    if shutil.which(tool) is None and not os.access(tool, os.F_OK):
        return ToolMissingError(f"{name}: {tool} is not installed", hint=_how_to_get(tool))
    # The file exists: what is missing is the loader or interpreter that it names.
    no_file = isinstance(failed, FileNotFoundError)
    reason = "its loader is missing" if no_file else failed.strerror
    hint = _NO_LOADER if no_file or failed.errno == errno.ENOEXEC else ""
    return InfrastructureError(f"{name}: {tool} cannot be started here: {reason}", hint=hint)


@contextmanager
def _opened(log: Path | None, words: tuple[str, ...]) -> Iterator[IO[bytes] | None]:
    """Open the log and append the command to it; yield None without a log."""
    if log is None:
        yield None
        return
    with disk_full_named(log.parent):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            stream.write(f"$ {shlex.join(words)}\n".encode(errors="surrogateescape"))
            stream.flush()
            yield stream


def _lines(process: subprocess.Popen[bytes], timeout: float | None) -> Iterator[bytes]:
    """Yield the program's output line by line until its end; TimeoutExpired after `timeout`."""
    pending = b""
    for chunk in _chunks(process, timeout):
        *whole, pending = _LINE_END.split(pending + chunk)
        yield from whole
    if pending:
        yield pending


def _chunks(process: subprocess.Popen[bytes], timeout: float | None) -> Iterator[bytes]:
    """Yield the program's output as it comes, until the program has ended and closed its output.

    If another process keeps the output open, reading stops _LINGER_SECONDS after the end.
    """
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    linger = float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        open_end = True
        while open_end or process.poll() is None:
            now = time.monotonic()
            if timeout is not None and now >= deadline:
                raise subprocess.TimeoutExpired(process.args, timeout)
            check_stopped()
            if now >= linger:
                # What is there already, without a wait for more.
                os.set_blocking(pipe, False)
                with suppress(BlockingIOError):
                    yield os.read(pipe, _PIPE)
                return
            if linger == float("inf") and process.poll() is not None:
                linger = now + _LINGER_SECONDS
            if not open_end:
                # The output is closed; only the program's end is awaited.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
            elif selector.select(_POLL_SECONDS):
                chunk = os.read(pipe, _CHUNK)
                open_end = chunk != b""
                yield chunk


def _failure(
    done: Completed, name: str, log: Path | None, error: type[HarnessError]
) -> HarnessError:
    """Return the error for a program that failed."""
    tail = last_lines(done.output)
    if _NO_SPACE.search(done.output):
        return DiskFullError(
            f"{name}: no space left on the disk", log=log, tail=tail, hint="free some space"
        )
    ended = f"signal {-done.status}" if done.status < 0 else f"status {done.status}"
    return error(f"{name} failed ({ended}): {shlex.join(done.argv)[:200]}", log=log, tail=tail)
