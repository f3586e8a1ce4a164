# SPDX-License-Identifier: MIT
"""A machine's console, which only this module reads.

The machine (QEMU) runs on a pseudo-terminal of its own, as leader of a process session. One
thread reads that terminal, copies it to a log as the output comes, and watches it for lines
that report a kernel failure, and for the machine's end. The first of these becomes the first
cause of the session's end (see Health).
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import pexpect

from harness.core.environment import environment_of
from harness.core.errors import (
    BootError,
    HarnessError,
    InfrastructureError,
    MachineKilledError,
)
from harness.core.lifetime import Health, bound_to_us
from harness.core.niceness import keep_nice
from harness.core.patience import AFTERWARDS, NOTICEABLE
from harness.kernel_output.records import kernel_line
from harness.kernel_output.troubles import trouble_in

# How many lines of the console an error shows.
TAIL_LINES = 12
# After its first line of trouble a kernel prints a call trace, and perhaps panics. The trace
# counts as complete after the first duration without output, at the latest after the second.
_TRACE_SECONDS, _MOST_TRACE_SECONDS = 0.5, 10.0
# How long one read of the reader may block; limits how late it notices a deadline.
_READ_SECONDS = 0.1
_READ_BYTES = 1 << 16
# How long a machine may take to end after a request, before it is killed.
_GRACE_SECONDS = 2.0
# How long a machine's process may be stopped before its session ends.
_MOST_STOPPED_SECONDS = 600.0
# How long the reader may take to copy the last output to the log.
_READER_SECONDS = 30.0


def find_trouble(line: str) -> str:
    """Return the name of the failure that a line reports; empty if it reports none.

    After such a failure the kernel cannot be trusted any more. A program may write to the console
    or to /dev/kmsg, too, but begins a line with the kernel's prefix and words only on purpose.
    """
    found = trouble_in(_text_of(line))
    return "" if found is None else found.line.kind.console


def _text_of(line: str) -> str:
    """Return the kernel's text in a console line, without its time; empty if there is none."""
    told = kernel_line(line)
    return "" if told is None or told.time is None else told.text


def check_terminals() -> None:
    """Raise InfrastructureError if this host cannot allocate a pseudo-terminal.

    Each console needs one; a container without devpts has none.
    """
    try:
        ends = os.openpty()
    except OSError as failed:
        why = failed.strerror or failed
        raise InfrastructureError(
            f"this host gives out no pseudo-terminals ({why}): a guest's console needs one",
            hint="mount -t devpts -o ptmxmode=666 devpts /dev/pts, "
            "or start the container with a /dev/pts",
        ) from failed
    for end in ends:
        os.close(end)


# pexpect forks; filelock, which the cache uses, refuses that to a thread while another one forks.
_FORK = threading.Lock()


class Console:
    """The console of a machine: runs `argv` as the machine and reads its output to the end.

    `log` gets all output, `health` the first cause. `env` replaces the program's default
    environment (see environment_of). Raises the errors of starting a program.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        health: Health,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self.health = health
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._last_output = health.clock.now()
        self._end_expected = False
        self._ended = threading.Event()
        # The first line of trouble with its index, and when its trace counts as complete.
        self._trouble: tuple[str, str, int] | None = None
        self._trace_end = self._last_trace_end = 0.0
        check_terminals()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._stream: IO[bytes] = log.open("wb")
        command, *arguments = bound_to_us(argv)
        with _FORK:
            self._child: pexpect.spawn[bytes] = pexpect.spawn(
                command,
                arguments,
                env=environment_of(argv[0]) if env is None else env,
                echo=False,
                timeout=None,
                use_poll=True,
                dimensions=(50, 500),
            )
        keep_nice(self.pid)
        health.clock.follow(self.pid)
        self._reader = threading.Thread(target=self._read_all, name="console", daemon=True)
        health.listen(self._wake)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The machine's process id, which is also its process group's."""
        pid = self._child.pid
        assert pid is not None
        return pid

    @property
    def ended(self) -> bool:
        """Whether the machine's process is gone."""
        return self._ended.is_set()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the console's last lines."""
        return "\n".join(self._lines[-lines:])

    def wait_for(self, pattern: str, *, timeout: float, silence: float) -> re.Match[str]:
        """Wait for the first line of the whole console that contains `pattern`; return the match.

        Raises BootError, which becomes the first cause, if there is no such line after
        `timeout` seconds, or no output for `silence` seconds. Only time in which the
        machine had a CPU counts. Raises the first cause if there is one.
        """
        deadline = self.health.clock.now() + timeout
        seen = 0
        while True:
            with self._changed:
                lines = self._lines[seen:]
                if not lines:
                    # Not longer, so that `silence` is checked often enough.
                    self._changed.wait(_READ_SECONDS)
                    lines = self._lines[seen:]
            seen += len(lines)
            for line in lines:
                if match := re.search(pattern, line):
                    return match
            if not lines:
                self.health.check()
            self._check_limits(pattern, deadline, timeout, silence)

    def _check_limits(self, pattern: str, deadline: float, timeout: float, silence: float) -> None:
        now = self.health.clock.now()
        if now - self._last_output > silence:
            said = "" if self._lines else "; it has printed nothing at all"
            self._fail(f"the kernel has been silent for {silence:g} s while it booted{said}")
        elif now > deadline:
            self._fail(f"the kernel did not come up within {timeout:g} s: no {pattern!r}")

    def _fail(self, message: str) -> None:
        self.health.fail(BootError(message, log=self.log, tail=self.tail()))
        self.health.check()

    def expect_end(self) -> None:
        """Treat the machine's end as no failure from now on."""
        self._end_expected = True

    def close(self) -> None:
        """Wait a short while for the machine's end, then kill it. Never raises its failure."""
        self.expect_end()
        try:
            self._ended.wait(_GRACE_SECONDS)
        finally:
            self.kill()
            self._reader.join(_READER_SECONDS)
            self.health.unlisten(self._wake)

    def kill(self) -> None:
        """Kill the machine's process group at once."""
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _read_all(self) -> None:
        """Run the reader thread: read to the console's end, then report how the machine ended."""
        rest = b""
        with self._stream:
            while (data := self._read()) is not None:
                rest = self._take(rest + data)
            if rest:
                self._take(rest + b"\n")
        self.health.clock.end_beats()
        self._child.close(force=True)
        self._report_trouble()
        if not self._end_expected:
            self.health.fail(self._end_error())
        self._ended.set()
        self._wake()

    def _read(self) -> bytes | None:
        """Return new output, empty if none comes for a short while, None at the end."""
        self._look_at_process()
        if self._trouble is not None and self.health.clock.now() > self._trace_end:
            self._report_trouble()
        try:
            data: bytes = self._child.read_nonblocking(_READ_BYTES, _READ_SECONDS)
        except pexpect.TIMEOUT:
            return b""
        except pexpect.EOF:
            return None
        self._stream.write(data.replace(b"\r", b""))
        self._stream.flush()
        return data

    def _look_at_process(self) -> None:
        """Have the clock notice that the host stands still; end the session if it does for long."""
        if self.health.clock.beat() > _MOST_STOPPED_SECONDS:
            stopped = f"the machine (QEMU) has been stopped for {_MOST_STOPPED_SECONDS:g} s"
            hint = f"kill -CONT {self.pid} lets it go on"
            self.health.fail(MachineKilledError(stopped, log=self.log, hint=hint))

    def _take(self, data: bytes) -> bytes:
        """Process the complete lines of `data`; return the rest."""
        *whole, rest = data.split(b"\n")
        if not data:
            return rest
        with self._changed:
            self._last_output = self.health.clock.now()
            for raw in whole:
                self._look_at(raw.replace(b"\r", b"").decode(errors="replace"))
            self._changed.notify_all()
        return rest

    def _look_at(self, line: str) -> None:
        self._lines.append(line)
        if self._trouble is None and (trouble := find_trouble(line)):
            self._trouble = (line, trouble, len(self._lines) - 1)
            self._last_trace_end = self._last_output + _MOST_TRACE_SECONDS
        self._trace_end = min(self._last_output + _TRACE_SECONDS, self._last_trace_end)

    def _report_trouble(self) -> None:
        if self._trouble is None:
            return
        line, trouble, index = self._trouble
        tail = "\n".join(self._lines[index : index + 2 * TAIL_LINES])
        message = f"{trouble}: {_text_of(line)}{self._stood_still()}"
        self.health.fail(BootError(message, log=self.log, tail=tail))

    def _stood_still(self) -> str:
        """Return in words whether the host stood still lately, which may be why."""
        seconds = self.health.clock.stood_still_since(time.monotonic() - AFTERWARDS)
        return f" (the host stood still for {seconds:.1f} s)" if seconds >= NOTICEABLE else ""

    def _end_error(self) -> HarnessError:
        """Return the error for an unexpected end of the machine."""
        kind: type[HarnessError] = BootError
        if self._child.signalstatus is not None:
            kind = MachineKilledError
            end = f"was killed by {signal.Signals(self._child.signalstatus).name}"
        elif self._child.exitstatus:
            end = f"ended with status {self._child.exitstatus}"
        else:
            end = "ended unasked: the kernel restarted it or switched it off"
        return kind(f"the machine (QEMU) {end}", log=self.log, tail=self.tail())
