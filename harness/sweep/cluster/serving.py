# SPDX-License-Identifier: MIT
"""The side of a worker: it performs the orders that sweeps give it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from distributed.core import Status
from distributed.worker import Worker, get_worker

from harness.core.errors import InfrastructureError
from harness.core.scratch import scratch
from harness.sweep import keeper, work
from harness.sweep.address import NO_TLS, Tls
from harness.sweep.announced import BUILD, GUEST
from harness.sweep.cluster.loop import (
    ANSWER_SECONDS,
    PATIENCE_SECONDS,
    Loop,
    no_scheduler,
    quieten,
    security_of,
)
from harness.sweep.work import Here

# A worker's works have so long, in seconds, to end after the grace of their commands.
CLOSE_SECONDS = 45.0


class _Works:
    """The works of this process, which is a worker."""

    def __init__(self, here: Here) -> None:
        self.here = here
        self.stop = threading.Event()
        self._idle = threading.Condition()
        self._count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a work."""
        with self._idle:
            self._count += 1
        try:
            yield
        finally:
            with self._idle:
                self._count -= 1
                self._idle.notify_all()

    def wait(self, timeout: float) -> None:
        """Wait until no work is left."""
        with self._idle:
            self._idle.wait_for(lambda: not self._count, timeout)


_works: _Works | None = None


def perform_here(text: str, topic: str) -> tuple[str, bytes]:
    """Perform an order on this worker; called by dask in a thread."""
    assert _works is not None, "not a worker of a sweep"
    order, worker, works = work.read_order(text), get_worker(), _works

    def say(what: str, **more: str) -> None:
        # The scheduler may have gone.
        with suppress(Exception):
            worker.log_event(topic, {"what": what, "key": order.key, **more})

    def should_stop() -> bool:
        # Dask releases an order if it is cancelled, or if the sweep that gave it has gone.
        task = worker.state.tasks.get(order.key)
        released = task is None or task.state == "cancelled"
        return released or works.stop.is_set() or worker.status not in _AT_WORK

    here = replace(works.here, ask=lambda sha256: say("ask", address=worker.address, sha256=sha256))
    with works.one():
        say("started")
        try:
            return work.ended_parts(work.perform(order, here, should_stop))
        finally:
            say("over")


_AT_WORK = (Status.running, Status.paused)


def put_here(sha256: str, data: bytes) -> None:
    """Keep a bundle that a sweep has sent to this worker."""
    assert _works is not None, "not a worker of a sweep"
    work.receive(_works.here, sha256, data)


@dataclass(frozen=True)
class WorkerOptions:
    """A worker: its scheduler, what it announces, and how long it waits for the scheduler."""

    scheduler: str
    name: str
    resources: Mapping[str, float]
    tls: Tls = NO_TLS
    patience: float = PATIENCE_SECONDS


def serve(options: WorkerOptions, here: Here, ready: Callable[[], None]) -> None:
    """Be a worker until the scheduler goes away, or a signal raises an exception here.

    `ready` is called when the scheduler has answered. Whatever ends this, nothing that was run here
    is left. Raise InfrastructureError if no scheduler answers.
    """
    global _works
    quieten()
    keeper.become_subreaper()
    _works = works = _Works(here)
    loop = Loop()
    with scratch("worker") as folder:
        worker: Worker | None = None
        try:
            # Not in another process, whose end would have to be watched: no nanny.
            worker = loop.do(_registered(options, str(folder)))
            ready()
            finished = loop.start(worker.finished())
            while not finished.done():
                with suppress(TimeoutError):
                    finished.result(1.0)
        finally:
            works.stop.set()
            works.wait(here.grace + CLOSE_SECONDS)
            if worker is not None:
                with suppress(Exception):
                    loop.do(worker.close(timeout=5, nanny=False), ANSWER_SECONDS)
            loop.close()


async def _registered(options: WorkerOptions, folder: str) -> Worker:
    try:
        worker: Worker = await Worker(
            options.scheduler,
            name=options.name,
            # As many as orders that it may be given: no cell waits behind a build.
            nthreads=max(1, round(options.resources[GUEST] + options.resources.get(BUILD, 0))),
            resources=dict(options.resources),
            memory_limit=0,
            local_directory=folder,
            dashboard=False,
            security=security_of(options.tls),
            death_timeout=options.patience,
        )
        return worker
    except ValueError as error:
        # The scheduler has refused it: two workers of one name.
        raise InfrastructureError(f"the scheduler refuses this worker: {error}") from error
    except (OSError, TimeoutError, RuntimeError) as error:
        raise no_scheduler(options.scheduler) from error
