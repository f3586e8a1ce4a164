# SPDX-License-Identifier: MIT
"""The side of the sweep: a connection to a scheduler, by which it gives orders to workers."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import distributed
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from harness.core.text import visible
from harness.sweep import work
from harness.sweep.address import NO_TLS, Tls
from harness.sweep.announced import Seen
from harness.sweep.cluster.loop import (
    ANSWER_SECONDS,
    PATIENCE_SECONDS,
    Loop,
    no_scheduler,
    quieten,
    security_of,
)
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
from harness.sweep.work import Order

# How often, in seconds, the workers are looked at.
_WATCH_SECONDS = 0.5
# The longest line that a worker's word may become, in characters.
_MOST_TOLD = 500
# The states of an order that a worker has yet to do, or does.
_AT_WORK = ("ready", "constrained", "executing")
# Why dask says that an order was cancelled.
_NO_CONNECTION = "scheduler-connection-lost"


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
    _loop: Loop
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
                security=security_of(self.tls),
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
                told = await asyncio.wait_for(asked, ANSWER_SECONDS)
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
            Seen(
                visible(str(one["name"])),
                address,
                dict(one["resources"]),
                self._others(address, one),
            )
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

    def _others(self, address: str, told: Mapping[str, Any]) -> int:
        """Return how many orders of other sweeps a worker has, from what it said last."""
        counts: Mapping[str, int] = told.get("metrics", {}).get("task_counts", {})
        ours = sum(one.address == address for one in self._flights.values())
        return max(sum(counts.get(state, 0) for state in _AT_WORK) - ours, 0)


def _why(error: Exception) -> str:
    return visible(f"{type(error).__name__}: {error}")[:_MOST_TOLD]


@contextmanager
def connected(
    address: str, tls: Tls = NO_TLS, patience: float = PATIENCE_SECONDS
) -> Iterator[Cluster]:
    """Connect to a scheduler that somebody started. Raise InfrastructureError if none answers."""
    quieten()
    loop = Loop()
    cluster = Cluster(address, tls, loop)
    try:
        loop.do(cluster.open(patience))
        try:
            yield cluster
        finally:
            with suppress(TimeoutError):
                loop.do(cluster.close(), ANSWER_SECONDS)
    finally:
        loop.close()


def _remote_perform() -> Callable[[str, str], tuple[str, bytes]]:
    """Return what a worker calls for an order; as an inner function it is sent as a whole."""

    def perform(text: str, topic: str) -> tuple[str, bytes]:
        from harness.sweep.cluster import serving

        return serving.perform_here(text, topic)

    return perform


def _remote_put() -> Callable[[str, bytes], None]:
    """Return what a worker calls for a bundle that is sent to it."""

    def put(sha256: str, data: bytes) -> None:
        from harness.sweep.cluster import serving

        serving.put_here(sha256, data)

    return put
