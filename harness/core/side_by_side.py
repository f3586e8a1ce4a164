# SPDX-License-Identifier: MIT
"""Work that several threads share, each with a resource of its own, such as a guest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from harness.core.errors import RunEndedError

Own = TypeVar("Own")
Work = TypeVar("Work")
Result = TypeVar("Result")

# Seconds of one wait. A signal that arrives just before a wait is only handled after it.
_SIGNAL_SECONDS = 0.5


class SideBySide(Generic[Own, Work, Result]):
    """`count` threads, each of which opens a resource of its own and then works with it.

    `choose` takes a thread's number, from 0, and the work that nobody has taken yet, and returns
    the index of what the thread takes next; None if it takes none of it. By default that is the
    first.

    A process that is bound to a thread's life may be started here: each thread lives until it
    has closed its resource.
    """

    def __init__(
        self,
        opened: Callable[[int], AbstractContextManager[Own]],
        do: Callable[[Own, Work], Result],
        count: int,
        choose: Callable[[int, Sequence[Work]], int | None] | None = None,
    ) -> None:
        self._opened = opened
        self._do = do
        self._count = count
        self._choose = choose
        self._lock = threading.Lock()
        self._todo: Iterator[tuple[int, Work]] = iter(())
        # The same, if there is a choice.
        self._left: list[tuple[int, Work]] = []
        self._stopped = threading.Event()
        # None means that a thread has ended.
        self._said: SimpleQueue[tuple[int, Result] | BaseException | None] = SimpleQueue()

    def stop(self) -> None:
        """Let the threads begin no further work."""
        self._stopped.set()

    def run(
        self, work: Iterable[Work], interrupt: Callable[[], None] = lambda: None
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield each result with its work's index in `work`, in the order in which they come.

        A thread takes the next piece of work when it is free.

        The first error in a thread ends the work, and is raised when all threads have ended. If
        the caller stops iterating, or is interrupted, `interrupt` is called, which has to end
        what the threads are waiting for.
        """
        self._lay_out(work)
        # Daemon threads, so that a caller who does not want to wait for them can still exit.
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
                try:
                    said = self._said.get(timeout=_SIGNAL_SECONDS)
                except Empty:
                    continue
                if said is None:
                    alive -= 1
                elif isinstance(said, BaseException):
                    # A RunEndedError only follows from another thread's error, which takes
                    # precedence.
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
                # The ident is None if the start was interrupted.
                if thread.ident is not None:
                    thread.join()
        if first is not None:
            raise first

    def _lay_out(self, work: Iterable[Work]) -> None:
        if self._choose is None:
            self._todo = iter(enumerate(work))
        else:
            self._left = list(enumerate(work))

    def _work(self, number: int) -> None:
        try:
            with self._opened(number) as own:
                while (item := self._next(number)) is not None:
                    self._said.put((item[0], self._do(own, item[1])))
        except BaseException as error:
            # It is raised again where the results are taken.
            self._said.put(error)
        finally:
            self._said.put(None)

    def _next(self, number: int) -> tuple[int, Work] | None:
        """Return the next work with its index; None if there is none or the threads are to stop."""
        with self._lock:
            if self._stopped.is_set():
                return None
            if self._choose is None:
                return next(self._todo, None)
            index = self._choose(number, [work for _, work in self._left])
            return None if index is None else self._left.pop(index)
