# SPDX-License-Identifier: MIT
"""How long the processes behind a session live, and who learns of their end."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from harness.core.errors import HarnessError, RunEndedError
from harness.core.patience import MachineClock

# What ends what a thread does before its time.
_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """The programs that this thread runs meanwhile end when `event` is set.

    Whoever waits for one, or for another run, gets RunEndedError.
    """
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


def check_stopped() -> None:
    """Raises RunEndedError if what this thread does is to end: see stopped_by()."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise RunEndedError("the run was ended")


def bound_to_us(argv: Sequence[str]) -> list[str]:
    """`argv` as a command that the kernel kills when the harness dies, however that is.

    The signal comes when the thread that started the command ends: start it
    from one that lives as long as the command should.
    """
    return ["setpriv", "--pdeathsig", "KILL", *argv]


class Health:
    """The first cause of a session's end.

    Whoever finds that something went wrong says so once; from then on
    everybody who waits, and everybody who comes later, gets that error.
    """

    def __init__(self) -> None:
        # By which limits on what the machine does are measured.
        self.clock = MachineClock()
        self._changed = threading.Condition()
        self._cause: HarnessError | None = None
        self._listeners: list[Callable[[], None]] = []

    def fail(self, cause: HarnessError) -> None:
        """Poisons the session with `cause`, unless there is an earlier one."""
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
        """Raises the first cause if there is one."""
        if self._cause is not None:
            # A copy: an exception that is raised twice would collect both tracebacks.
            raise copy.copy(self._cause)

    def pause(self, seconds: float) -> bool:
        """Sleeps, or returns True at once when there is a first cause."""
        with self._changed:
            return self._changed.wait_for(lambda: self._cause is not None, seconds)

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` on the first failure; at once if that has been."""
        with self._changed:
            self._listeners.append(listener)
            failed = self._cause is not None
        if failed:
            listener()

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Ends what `listen` began."""
        with self._changed:
            self._listeners.remove(listener)


class Healths:
    """Those of several machines, each in a thread of its own, which one thread can end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Health] = []
        self._ended = False

    def add(self, health: Health) -> None:
        """One more; if all have been ended, it is at once."""
        with self._lock:
            self._all.append(health)
            ended = self._ended
        if ended:
            health.fail(_ended())

    @property
    def ended(self) -> bool:
        """Whether all of them have been ended."""
        return self._ended

    def end(self) -> None:
        """Wakes everybody who waits for one of the machines, or will."""
        with self._lock:
            self._ended = True
            known = tuple(self._all)
        for health in known:
            health.fail(_ended())


def _ended() -> HarnessError:
    return RunEndedError("the run was ended")
