# SPDX-License-Identifier: MIT
"""The machines that run a sweep, by dask.distributed: the only module that knows of it.

Dask finds the workers, says what they have announced, carries orders and results, and notices when
a worker, the scheduler or a sweep goes away. An order is given to a worker that is free, and to no
other: so dask never repeats one by itself when a worker was lost, and never queues one behind a
build that cannot begin yet (a worker takes orders with resources strictly in their order).

A scheduler need not know this harness, and a worker's version of it must be the sweep's: so what
is sent are functions without references to it, and texts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import signal
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future as ThreadFuture
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import dask
import distributed
from distributed.client import FutureCancelledError
from distributed.core import Status
from distributed.scheduler import KilledWorker
from distributed.worker import Worker, get_worker

from harness.core.errors import InfrastructureError
from harness.core.paths import REPO
from harness.core.ports import LOOPBACK
from harness.core.text import visible
from harness.sweep import keeper, work
from harness.sweep.address import NO_TLS, Tls
from harness.sweep.announced import BUILD, GUEST, Seen
from harness.sweep.happening import (
    Asked,
    Finished,
    Gone,
    Happening,
    Lost,
    Over,
    Started,
    Workers,
)
from harness.sweep.work import Here, Order

T = TypeVar("T")

# How long, in seconds, a scheduler is waited for.
PATIENCE_SECONDS = 20.0
# How often the workers are looked at, and for how long an answer is awaited.
_WATCH_SECONDS = 0.5
_ANSWER_SECONDS = 30.0
# A worker's works have so long to end after the grace of their commands.
_CLOSE_SECONDS = 45.0
# The longest line that a worker's word may become, in characters.
_MOST_TOLD = 500
# Why dask says that an order was cancelled.
_NO_CONNECTION = "scheduler-connection-lost"
_LOGGERS = ("asyncio", "bokeh", "dask", "distributed", "distributed.client", "distributed.gc")


def _security(tls: Tls) -> distributed.Security | None:
    if not tls.ca:
        return None
    roles = ("client", "scheduler", "worker")
    return distributed.Security(
        require_encryption=True,
        tls_ca_file=tls.ca,
        **{f"tls_{role}_cert": tls.cert for role in roles},
        **{f"tls_{role}_key": tls.key for role in roles},
    )


def _throwaway_tls(folder: Path) -> Tls:
    """Write files for a cluster of this machine alone: others on it could run code as this user."""
    made = distributed.Security.temporary()
    found = Tls(*(str(folder / f"{name}.pem") for name in ("ca", "cert", "key")))
    texts = (made.tls_ca_file, made.tls_client_cert, made.tls_client_key)
    for file, text in zip((found.ca, found.cert, found.key), texts, strict=True):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
    return found


def _quiet() -> None:
    """Keep what dask logs and warns of from the terminal: what matters is told by the sweep."""
    for name in (*_LOGGERS, "tornado", "tornado.application"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"(dask|distributed|tornado)\b")
    dask.config.set({"distributed.admin.system-monitor.interval": "10s"})


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, work: Coroutine[Any, Any, T]) -> ThreadFuture[T]:
        """Begin a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def do(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine, and return its result; TimeoutError if it takes too long."""
        started = self.start(work)
        try:
            return started.result(timeout)
        except BaseException:
            started.cancel()
            raise

    def close(self) -> None:
        """End the loop; what still runs in it is given up."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_ANSWER_SECONDS)


# --- the side of the sweep ------------------------------------------------------------


@dataclass
class _Flight:
    """An order that was given to a worker."""

    address: str
    future: distributed.Future[Any]
    cancelled: bool = False


@dataclass
class Cluster:
    """A connection to a scheduler; see connected(). What happens comes out of next()."""

    address: str
    tls: Tls
    _loop: _Loop
    topic: str = field(default_factory=lambda: f"goldfish-oom-{os.urandom(8).hex()}")
    _queue: queue.SimpleQueue[Happening] = field(default_factory=queue.SimpleQueue)
    _flights: dict[str, _Flight] = field(default_factory=dict)
    _seen: tuple[Seen, ...] | None = None
    # The bundles that are being sent: to whom, and which.
    _giving: set[tuple[str, str]] = field(default_factory=set)

    async def open(self, patience: float) -> None:
        """Connect. Raise InfrastructureError if no scheduler answers."""
        try:
            # As long as this, a client tries to connect again; the sweep has given up by then.
            self._client = await distributed.Client(
                self.address,
                asynchronous=True,
                set_as_default=False,
                security=_security(self.tls),
                timeout=patience,
                name="sweep",
            )
        except (OSError, TimeoutError, RuntimeError, ImportError) as error:
            raise no_scheduler(self.address) from error
        self._client.subscribe_topic(self.topic, self._take)
        self._watch = asyncio.ensure_future(self._watching())

    async def close(self) -> None:
        """Give up the connection; what runs for this sweep on workers is stopped there."""
        self._watch.cancel()
        with suppress(Exception):
            await self._client.close(timeout=2)

    def next(self, timeout: float) -> Happening | None:
        """Return what happens next; None after `timeout` seconds."""
        with suppress(queue.Empty):
            return self._queue.get(timeout=timeout)
        return None

    def submit(self, order: Order, worker: Seen, needed: Mapping[str, float]) -> None:
        """Have a worker do an order."""
        text = work.order_text(order)
        self._loop.start(self._submit(order.key, text, worker.address, dict(needed)))

    async def _submit(self, key: str, text: str, address: str, needed: dict[str, float]) -> None:
        try:
            future = self._client.submit(
                _remote_perform(),
                text,
                self.topic,
                key=key,
                workers=[address],
                allow_other_workers=False,
                resources=needed,
                retries=0,
                pure=False,
            )
        except Exception as error:
            self._queue.put(Lost(key, _why(error)))
            return
        self._flights[key] = flight = _Flight(address, future)
        happened: Happening
        try:
            ended = work.read_ended(await future)
            # It may be from another sweep's worker, or from a program that printed no line ends.
            happened = Finished(key, replace(ended, line=visible(ended.line)[:_MOST_TOLD]))
        except FutureCancelledError as error:
            # A client that has lost its connection gives up all that it has submitted.
            happened = Gone() if error.reason == _NO_CONNECTION else Lost(key)
        except (KilledWorker, asyncio.CancelledError):
            happened = Lost(key)
        except Exception as error:
            happened = Lost(key, _why(error))
        if self._flights.pop(key, None) is not None and not flight.cancelled:
            self._queue.put(happened)
        # Otherwise the scheduler would keep its result.
        future.release()

    def cancel(self, keys: Sequence[str]) -> None:
        """Have workers stop what they do for these orders. Of each, only Over may still come."""
        self._loop.start(self._cancel(tuple(keys)))

    async def _cancel(self, keys: Sequence[str]) -> None:
        flights = [self._flights[key] for key in keys if key in self._flights]
        for one in flights:
            one.cancelled = True
        if flights:
            with suppress(OSError):
                await self._client.cancel([one.future for one in flights], force=True)

    def give(self, address: str, sha256: str, data: bytes) -> None:
        """Send a bundle to a worker that asked for it."""
        self._loop.start(self._give(address, sha256, data))

    async def _give(self, address: str, sha256: str, data: bytes) -> None:
        # A worker asks again and again; over a slow network one copy is on its way for long.
        if (address, sha256) in self._giving:
            return
        self._giving.add((address, sha256))
        try:
            # If it does not arrive, the worker asks again.
            with suppress(Exception):
                await self._client.run(_remote_put(), sha256, data, workers=[address])
        finally:
            self._giving.discard((address, sha256))

    def _take(self, event: tuple[float, Mapping[str, str]]) -> None:
        """Pass on what a worker says; called in the loop."""
        _, said = event
        match said.get("what"):
            case "started":
                self._queue.put(Started(said["key"]))
            case "over":
                self._queue.put(Over(said["key"]))
            case "ask":
                self._queue.put(Asked(said["address"], said["sha256"]))

    async def _watching(self) -> None:
        """Look at the workers, again and again."""
        try:
            while self._client.status == "running":
                asked = self._client.scheduler.identity(n_workers=-1)
                told = await asyncio.wait_for(asked, _ANSWER_SECONDS)
                self._see(told["workers"])
                await asyncio.sleep(_WATCH_SECONDS)
        except (OSError, TimeoutError, AttributeError):
            pass
        finally:
            # Whatever ended it: a sweep that hears of nothing any more would wait for ever. Also if
            # the client connects again: it has lost its orders.
            self._queue.put(Gone())

    def _see(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        seen = tuple(
            Seen(visible(str(one["name"])), address, dict(one["resources"]))
            for address, one in found.items()
            if one.get("status") in ("running", "paused")
        )
        # In this order: otherwise a lost order could be given to the worker that lost it.
        if seen != self._seen:
            self._seen = seen
            self._queue.put(Workers(seen))
        for key, flight in list(self._flights.items()):
            if flight.address not in found and not flight.cancelled:
                flight.cancelled = True
                self._queue.put(Lost(key))
                self._loop.start(self._cancel((key,)))


def _why(error: Exception) -> str:
    return visible(f"{type(error).__name__}: {error}")[:_MOST_TOLD]


def no_scheduler(address: str) -> InfrastructureError:
    """Return the error for a scheduler that cannot be reached."""
    return InfrastructureError(
        f"no scheduler answers at {address}", hint="is `dask scheduler` running there?"
    )


@contextmanager
def connected(
    address: str, tls: Tls = NO_TLS, patience: float = PATIENCE_SECONDS
) -> Iterator[Cluster]:
    """Connect to a scheduler that somebody started. Raise InfrastructureError if none answers."""
    _quiet()
    loop = _Loop()
    cluster = Cluster(address, tls, loop)
    try:
        loop.do(cluster.open(patience))
        try:
            yield cluster
        finally:
            with suppress(TimeoutError):
                loop.do(cluster.close(), _ANSWER_SECONDS)
    finally:
        loop.close()


def _remote_perform() -> Callable[[str, str], tuple[str, bytes]]:
    """Return what a worker calls for an order; as an inner function it is sent as a whole."""

    def perform(text: str, topic: str) -> tuple[str, bytes]:
        from harness.sweep import cluster

        return cluster.perform_here(text, topic)

    return perform


def _remote_put() -> Callable[[str, bytes], None]:
    """Return what a worker calls for a bundle that is sent to it."""

    def put(sha256: str, data: bytes) -> None:
        from harness.sweep import cluster

        cluster.put_here(sha256, data)

    return put


# --- a cluster of this machine --------------------------------------------------------


class LocalCluster:
    """A scheduler in this process, and workers of this machine that come back if they are lost.

    `command` returns the command of a worker, from the scheduler's address and the worker's
    number, from 1. A worker ends when this process does, because its scheduler is gone then.
    """

    def __init__(self, command: Callable[[str, int], Sequence[str]], count: int) -> None:
        self._command, self._count = command, count
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        # How often a worker may end: more often is no accident.
        self._lives = 3 * count + 5
        self._stop = threading.Event()
        self._failed = ""

    def __enter__(self) -> Cluster:
        """Start the scheduler and the workers."""
        _quiet()
        self._folder = tempfile.TemporaryDirectory(prefix="goldfish-oom-sweep-")
        self._tls = _throwaway_tls(Path(self._folder.name))
        self._connection: Any = None
        self._loop = _Loop()
        try:
            self._scheduler = self._loop.do(self._started(), _ANSWER_SECONDS)
            self._connection = connected(self._scheduler.address, self._tls)
            cluster: Cluster = self._connection.__enter__()
            for number in range(1, self._count + 1):
                self._start(number)
            self._nurse = threading.Thread(target=self._nursing, daemon=True)
            self._nurse.start()
        except BaseException:
            self._close()
            raise
        return cluster

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self._close()

    @property
    def processes(self) -> Mapping[int, int]:
        """The process ids of the workers, by number."""
        return {number: one.pid for number, one in self._processes.items()}

    @property
    def failed(self) -> str:
        """Why no worker of this machine starts any more; empty if they do."""
        return self._failed

    async def _started(self) -> distributed.Scheduler:
        scheduler: distributed.Scheduler = await distributed.Scheduler(
            host=LOOPBACK,
            port=0,
            protocol="tls://",
            dashboard=False,
            security=_security(self._tls),
            # An order whose worker was lost is not given to another one: the sweep decides.
            allowed_failures=0,
        )
        return scheduler

    def _said(self, number: int) -> Path:
        return Path(self._folder.name) / f"worker-{number}.log"

    def _start(self, number: int) -> None:
        with self._said(number).open("wb") as said:
            self._processes[number] = subprocess.Popen(
                self._command(self._scheduler.address, number),
                cwd=REPO,
                env={**os.environ, **self._tls.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                # Ctrl-C is for the sweep, which then stops its workers.
                start_new_session=True,
            )

    def _nursing(self) -> None:
        """Start a worker again that has ended."""
        while not self._stop.wait(_WATCH_SECONDS):
            for number, one in self._processes.items():
                if one.poll() is None or self._failed:
                    continue
                self._lives -= 1
                if self._lives > 0:
                    self._start(number)
                else:
                    said = self._said(number).read_text(errors="replace").split("\n")
                    self._failed = visible(said[0]) or "the workers end as soon as they start"

    def _close(self) -> None:
        self._stop.set()
        if hasattr(self, "_nurse"):
            self._nurse.join()
        # Closed first: workers stop what they do when the sweep has gone.
        if self._connection is not None:
            self._connection.__exit__(None, None, None)
        for one in self._processes.values():
            with suppress(ProcessLookupError):
                one.send_signal(signal.SIGTERM)
        for one in self._processes.values():
            try:
                one.wait(work.GRACE_SECONDS + _CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                # The keepers of its commands see that it has gone.
                one.kill()
                one.wait()
        if hasattr(self, "_scheduler"):
            with suppress(TimeoutError):
                self._loop.do(self._scheduler.close(), _ANSWER_SECONDS)
        self._loop.close()
        self._folder.cleanup()


# --- the side of a worker -------------------------------------------------------------


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

    here = Here(
        cache=works.here.cache,
        ask=lambda sha256: say("ask", address=worker.address, sha256=sha256),
        program=works.here.program,
        name=str(worker.name),
        grace=works.here.grace,
    )
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
    work.put_bundle(_works.here.cache, sha256, data)


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
    _quiet()
    keeper.become_subreaper()
    _works = works = _Works(here)
    loop = _Loop()
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-worker-") as folder:
        worker: Worker | None = None
        try:
            # Not in another process, whose end would have to be watched: no nanny.
            worker = loop.do(_registered(options, folder))
            ready()
            finished = loop.start(worker.finished())
            while not finished.done():
                with suppress(TimeoutError):
                    finished.result(1.0)
        finally:
            works.stop.set()
            works.wait(here.grace + _CLOSE_SECONDS)
            if worker is not None:
                with suppress(Exception):
                    loop.do(worker.close(timeout=5, nanny=False), _ANSWER_SECONDS)
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
            security=_security(options.tls),
            death_timeout=options.patience,
        )
        return worker
    except ValueError as error:
        # The scheduler has refused it: two workers of one name.
        raise InfrastructureError(f"the scheduler refuses this worker: {error}") from error
    except (OSError, TimeoutError, RuntimeError) as error:
        raise no_scheduler(options.scheduler) from error
