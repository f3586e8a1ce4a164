# SPDX-License-Identifier: MIT
"""Work that several workers share, each with something of its own, such as a guest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from harness.core.errors import RunEndedError

Own = TypeVar("Own")
Work = TypeVar("Work")
Result = TypeVar("Result")

# A signal that comes just before a wait begins is seen when it is over.
_SIGNAL_SECONDS = 0.5


class SideBySide(Generic[Own, Work, Result]):
    """`count` threads, each of which opens something of its own and then takes work after work.

    What a thread starts can be bound to its life: each lives until it has closed
    what is its own.
    """

    def __init__(
        self,
        opened: Callable[[int], AbstractContextManager[Own]],
        do: Callable[[Own, Work], Result],
        count: int,
    ) -> None:
        self._opened = opened
        self._do = do
        self._count = count
        self._lock = threading.Lock()
        self._todo: Iterator[tuple[int, Work]] = iter(())
        self._stopped = threading.Event()
        # None: a thread has ended.
        self._said: SimpleQueue[tuple[int, Result] | BaseException | None] = SimpleQueue()

    def stop(self) -> None:
        """No work is begun any more."""
        self._stopped.set()

    def run(
        self, work: Iterable[Work], interrupt: Callable[[], None] = lambda: None
    ) -> Generator[tuple[int, Result], None, None]:
        """The results, each with its work's place in `work`, as they come.

        Work is taken when a thread is free for it.

        The first error that a thread meets ends the work, and is raised when all
        threads have ended. If the caller goes first, or is interrupted, `interrupt`
        is called, which has to end what the threads are waiting for.
        """
        self._todo = iter(enumerate(work))
        # Daemons: whoever does not want to wait for them can still leave.
        threads = [
            threading.Thread(
                target=self._work, args=(number,), name=f"side-by-side-{number}", daemon=True
            )
            for number in range(self._count)
        ]
        first: BaseException | None = None
        try:
            for thread in threads:
                thread.start()
            alive = len(threads)
            while alive:
                said = self._take()
                if said is None:
                    alive -= 1
                elif isinstance(said, BaseException):
                    # That a thread was ended follows from another's error.
                    first = said if first is None or isinstance(first, RunEndedError) else first
                    self.stop()
                else:
                    yield said
        except BaseException:
            self.stop()
            interrupt()
            raise
        finally:
            for thread in threads:
                # None: somebody interrupted the start.
                if thread.ident is not None:
                    thread.join()
        if first is not None:
            raise first

    def _take(self) -> tuple[int, Result] | BaseException | None:
        """What a thread says next."""
        while True:
            with suppress(Empty):
                return self._said.get(timeout=_SIGNAL_SECONDS)

    def _work(self, number: int) -> None:
        try:
            with self._opened(number) as own:
                while (item := self._next()) is not None:
                    self._said.put((item[0], self._do(own, item[1])))
        except BaseException as error:
            # It is raised where the results are taken.
            self._said.put(error)
        finally:
            self._said.put(None)

    def _next(self) -> tuple[int, Work] | None:
        """The next work; None where there is none, or none is to be begun."""
        with self._lock:
            return None if self._stopped.is_set() else next(self._todo, None)
