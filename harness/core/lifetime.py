# SPDX-License-Identifier: MIT
"""Ending the processes behind a session, and telling all waiting threads why it ended."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from harness.core.errors import HarnessError, RunEndedError
from harness.core.patience import MachineClock

# The event that stops the current thread's work early.
_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """End the programs that this thread runs inside the `with` block when `event` is set.

    A wait for such a program, or for another run, then raises RunEndedError.
    """
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


def check_stopped() -> None:
    """Raise RunEndedError if this thread's work is to stop: see stopped_by()."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise _ended()


def bound_to_us(argv: Sequence[str]) -> list[str]:
    """Return `argv` as a command that the kernel kills when the harness dies for any reason.

    The signal comes when the thread that started the command ends: start it from a thread that
    lives as long as the command should.
    """
    return ["setpriv", "--pdeathsig", "KILL", *argv]


class Health:
    """The first cause of a session's end.

    A thread that finds a failure reports it once. From then on every thread that waits, now or
    later, gets that error.
    """

    def __init__(self) -> None:
        # The clock for time limits on what the machine does.
        self.clock = MachineClock()
        self._changed = threading.Condition()
        self._cause: HarnessError | None = None
        self._listeners: list[Callable[[], None]] = []

    def fail(self, cause: HarnessError) -> None:
        """End the session with `cause`, unless there is an earlier cause."""
        with self._changed:
            if self._cause is not None:
                return
            self._cause = cause
            listeners = tuple(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener()

    @property
    def failed(self) -> bool:
        """Whether there is a first cause."""
        return self._cause is not None

    def check(self) -> None:
        """Raise the first cause if there is one."""
        if self._cause is not None:
            # A copy: an exception that is raised twice would collect both tracebacks.
            raise copy.copy(self._cause)

    def pause(self, seconds: float) -> bool:
        """Sleep and return False, or return True as soon as there is a first cause."""
        with self._changed:
            return self._changed.wait_for(lambda: self._cause is not None, seconds)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the first failure, or at once if that has already happened."""
        with self._changed:
            self._listeners.append(listener)
            failed = self._cause is not None
        if failed:
            listener()

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Remove a listener that `listen` added."""
        with self._changed:
            self._listeners.remove(listener)


class Healths:
    """The Health of several machines, one per thread, which one call can end together."""

    def __init__(self) -> None:
        self._run = Health()

    def add(self, health: Health) -> None:
        """Add a Health; it fails at once if all have already been ended."""
        self._run.listen(lambda: health.fail(_ended()))

    @property
    def ended(self) -> bool:
        """Whether all of them have been ended."""
        return self._run.failed

    def end(self) -> None:
        """Wake all threads that wait for one of the machines, now or later."""
        self._run.fail(_ended())


def _ended() -> HarnessError:
    return RunEndedError("the run was ended")
