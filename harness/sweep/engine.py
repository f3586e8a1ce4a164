# SPDX-License-Identifier: MIT
"""Which order is given to which worker when, and what is made of its end.

A kernel is built once; its cells follow as soon as its bundle is there. A cell whose worker was
lost is run once more. What a cluster is is not known here: see cluster.py.
"""

from __future__ import annotations

import heapq
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Protocol

from harness.core.errors import EXIT_INFRASTRUCTURE, InfrastructureError
from harness.sweep import announced
from harness.sweep.announced import Seen
from harness.sweep.cell import Build, Cell
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
from harness.sweep.result import Attempt
from harness.sweep.work import BUILD, GRACE_SECONDS, Ended, Order

# How often a lost cell is run in all.
_TRIES = 2
# How long, in seconds, a worker that can do what is left is waited for.
PATIENCE_SECONDS = 60.0
_TICK_SECONDS = 0.5
# How often in a row a worker may be lost before a cell begins on it: it might be the cell's fault.
_MOST_UNBEGUN = 5
# After so long the user is told what the sweep waits for; workers of this machine take less.
_WAIT_SECONDS = 15.0
# After the grace of commands that are stopped, workers have so long to say that they have.
_STOP_SECONDS = 45.0
# So long after a worker has vanished, the keepers of its commands have ended them.
_VANISHED_SECONDS = GRACE_SECONDS + _STOP_SECONDS
# No sweep has more.
_MOST_CELLS = 1 << 40
LOST = "the worker was lost"
_STOPPED = "stopped: the sweep has ended early"
_MOVED = "take back what changed it, or begin a new sweep"
_START_ONE = "./inv worker {} on a machine with the same version of this project"


class Cluster(Protocol):
    """What is needed of a cluster; see cluster.Cluster."""

    address: str

    def next(self, timeout: float) -> Happening | None:
        """Return what happens next."""

    def submit(self, order: Order, worker: Seen, needed: Mapping[str, float]) -> None:
        """Have a worker do an order."""

    def cancel(self, keys: Sequence[str]) -> None:
        """Have workers stop orders."""

    def give(self, address: str, sha256: str, data: bytes) -> None:
        """Send a bundle to a worker."""


class Books(Protocol):
    """Where a sweep keeps what it learns, and tells of it. Cells are counted from 0."""

    def workers(self, names: Sequence[str]) -> None:
        """Take note of the workers that take part now."""

    def say(self, text: str) -> None:
        """Tell the user something."""

    def began(self, cell: int | None, title: str, worker: str) -> None:
        """Take note that a cell runs, or the build of a kernel."""

    def ended(self, cell: int | None, title: str, attempt: Attempt, ended: Ended | None) -> None:
        """Take note of an attempt at a cell, or at a build; `ended` has its result folder."""

    def kernel(self, build: Build) -> str:
        """Return the release of the kernel that a build's verdicts are of; empty if unknown."""

    def keep_bundle(self, sha256: str, data: bytes) -> None:
        """Store a bundle."""

    def bundle(self, sha256: str) -> bytes:
        """Return a bundle."""


@dataclass
class _Job:
    """A cell, or a build, that is to be done: those of the lowest rank first.

    `number` is the cell's. `lost` counts the workers that were lost with it, `unbegun` those that
    were lost before they had begun it.
    """

    rank: int
    build: Build
    cell: Cell | None = None
    number: int | None = None
    lost: int = 0
    unbegun: int = 0

    @property
    def title(self) -> str:
        return f"build {self.build.title}" if self.cell is None else self.cell.title


@dataclass
class _Flight:
    """A job that a worker does."""

    job: _Job
    worker: Seen
    needed: Mapping[str, float]
    given: datetime
    started: bool = False


@dataclass
class _Group:
    """Jobs with the same needs, in a heap by their rank; a number tells apart those of one rank."""

    needed: Mapping[str, float]
    heap: list[tuple[int, int, _Job]] = field(default_factory=list)
    # Since when there is no worker for them; None if there is one.
    hopeless: float | None = None


@dataclass(frozen=True)
class Terms:
    """What a sweep asks of its workers.

    They must have the code with the key `code`: see announced.this_code(). For `patience` seconds a
    worker is waited for. `failed` says why the cluster's own workers do not start, if so; `own`
    that there are no others, so all have the code of the sweep.
    """

    code: str
    patience: float = PATIENCE_SECONDS
    failed: Callable[[], str] = lambda: ""
    own: bool = False


class Sweep:
    """The cells of a sweep that are still to be run: those whose numbers are the keys of `todo`."""

    def __init__(
        self, cluster: Cluster, books: Books, todo: Mapping[int, Cell], terms: Terms
    ) -> None:
        self._cluster, self._books, self._terms = cluster, books, terms
        self._groups: dict[tuple[tuple[str, float], ...], _Group] = {}
        self._flights: dict[str, _Flight] = {}
        # The digest of each bundle, the release of its kernel, and the cells that wait for it.
        self._bundles: dict[Build, str] = {}
        self._kernels: dict[Build, str] = {}
        self._waiting: dict[Build, list[_Job]] = {}
        self._workers: tuple[Seen, ...] = ()
        # By address: why a worker is not used.
        self._aside: dict[str, str] = {}
        # By address: workers that end, and get nothing more to do.
        self._ending: set[str] = set()
        self._has_waited = False
        # Whether something may run of which nothing is heard any more; and until when that may be
        # on workers that have vanished.
        self._unheard, self._unheard_until = False, float("-inf")
        # By order: where something runs for it.
        self._busy: dict[str, str] = {}
        self._pushed = count()
        # The longest first: otherwise one of them may be all that still runs at the end.
        in_turn = sorted(todo.items(), key=lambda item: (-item[1].seconds, item[0]))
        for rank, (number, cell) in enumerate(in_turn):
            self._want(_Job(rank, cell.build, cell, number))

    def run(self) -> None:
        """Have all cells run. Raise InfrastructureError if the sweep cannot go on."""
        while self._flights or any(group.heap for group in self._groups.values()):
            self._place()
            happening = self._cluster.next(_TICK_SECONDS)
            if happening is not None:
                self._take(happening)
            self._check_hope()

    def stop(self) -> bool:
        """Have everything stopped that runs, and wait until nothing does; return if that is known.

        Of a worker that was lost just before it is not, nor without the scheduler.
        """
        flights, self._flights = self._flights, {}
        self._cluster.cancel(tuple(flights))
        # If the scheduler has gone already, nothing more is heard.
        patience = 0.0 if self._unheard else GRACE_SECONDS + _STOP_SECONDS
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            happening = self._cluster.next(_TICK_SECONDS)
            # In a while without a word, whatever had just begun would have said so.
            if happening is None and not self._busy:
                break
            if isinstance(happening, Gone):
                self._unheard = True
                break
            if happening is not None:
                self._take_stopping(happening, flights)
        for one in flights.values():
            if one.started:
                self._tell(one, None, _STOPPED)
        unheard = self._unheard or time.monotonic() < self._unheard_until
        return not (self._busy or unheard)

    def _take_stopping(self, happening: Happening, flights: Mapping[str, _Flight]) -> None:
        match happening:
            case Started(key) if key in flights:
                flights[key].started = True
                self._busy[key] = flights[key].worker.address
            case Over(key):
                self._busy.pop(key, None)
            case Workers(seen):
                self._see(seen)

    # --- what is to be done ---

    def _want(self, job: _Job) -> None:
        """Have a job done, and what it depends on before."""
        build = job.build
        if job.cell is not None and job.cell.is_bundled and build not in self._bundles:
            if build not in self._waiting:
                self._waiting[build] = []
                # Before all cells: others wait for it.
                self._want(_Job(job.rank - _MOST_CELLS, build))
            self._waiting[build].append(job)
            return
        needed = self._needed(job)
        group = self._groups.setdefault(tuple(sorted(needed.items())), _Group(needed))
        heapq.heappush(group.heap, (job.rank, next(self._pushed), job))

    def _needed(self, job: _Job) -> Mapping[str, float]:
        is_build = job.cell is None
        at_once = job.cell is not None and not job.cell.is_bundled
        kernel, code = job.build.kernel, self._terms.code
        build = job.build.compiled if is_build or at_once else ""
        return announced.needs(kernel, code, guest=not is_build, build=build)

    def _place(self) -> None:
        """Give workers that are free what they can do."""
        free = {one.address: dict(one.resources) for one in self._usable()}
        for flight in self._flights.values():
            left = free.get(flight.worker.address, {})
            for name, amount in flight.needed.items():
                left[name] = left.get(name, 0.0) - amount
        workers = {one.address: one for one in self._usable()}
        while True:
            ready = sorted(
                (group.heap[0][:2], key) for key, group in self._groups.items() if group.heap
            )
            for _, key in ready:
                group = self._groups[key]
                able = [place for place, has in free.items() if _covers(has, group.needed)]
                if able:
                    break
            else:
                return
            # The one with the most guests free: it disturbs the fewest others. What other sweeps
            # have on a worker is known too late to count on, but an order behind it has to wait.
            address = max(
                able,
                key=lambda place: free[place].get(announced.GUEST, 0.0) - workers[place].others,
            )
            for name, amount in group.needed.items():
                free[address][name] -= amount
            self._give(heapq.heappop(group.heap)[-1], workers[address], group.needed)

    def _give(self, job: _Job, worker: Seen, needed: Mapping[str, float]) -> None:
        key = f"{'build' if job.cell is None else 'cell'}-{secrets.token_hex(8)}"
        order = Order(key, job.title, BUILD, build=job.build.words)
        if job.cell is not None:
            sha256 = self._bundles[job.build] if job.cell.is_bundled else ""
            order = replace(order, task=job.cell.task, words=job.cell.words, bundle=sha256)
        self._flights[key] = _Flight(job, worker, needed, datetime.now(UTC))
        self._cluster.submit(order, worker, needed)

    # --- what happens ---

    def _take(self, happening: Happening) -> None:
        match happening:
            case Workers(seen):
                self._see(seen)
            case Started(key):
                self._start(key)
            case Over(key):
                self._busy.pop(key, None)
            case Asked(address, sha256) if sha256 in self._bundles.values():
                self._cluster.give(address, sha256, self._books.bundle(sha256))
            case Finished(key, ended) if key in self._flights:
                self._finish(self._flights.pop(key), ended)
            case Lost(key, why) if key in self._flights:
                self._lose(self._flights.pop(key), why)
            case Gone():
                self._unheard = True
                raise InfrastructureError(f"the scheduler {self._cluster.address} went away")

    def _start(self, key: str) -> None:
        if (flight := self._flights.get(key)) is not None:
            flight.started = True
            self._busy[key] = flight.worker.address
            self._books.began(flight.job.number, flight.job.title, flight.worker.name)

    def _see(self, seen: Sequence[Seen]) -> None:
        self._workers = tuple(seen)
        here = {one.address for one in seen}
        if not here.issuperset(self._busy.values()):
            self._unheard_until = time.monotonic() + _VANISHED_SECONDS
        self._busy = {key: place for key, place in self._busy.items() if place in here}
        for one in seen:
            if not one.is_of(self._terms.code):
                self._put_aside(one, _DIFFERS)
        self._books.workers([one.name for one in self._usable()])

    def _finish(self, flight: _Flight, ended: Ended) -> None:
        job = flight.job
        if ended.status is None:
            # It was stopped, though not from here: its worker ends, or runs other code.
            self._ending.add(flight.worker.address)
            if ended.changed:
                self._put_aside(flight.worker, _DIFFERS)
            self._lose(flight, "", ended.line)
            return
        if ended.full:
            self._put_aside(flight.worker, ended.line)
        again = ended.full and job.lost + 1 < _TRIES
        self._tell(flight, ended, ended.line)
        if again:
            job.lost += 1
            self._want(job)
        elif job.cell is None:
            self._built(job, flight, ended)

    def _built(self, job: _Job, flight: _Flight, ended: Ended) -> None:
        waiting, why = self._waiting.pop(job.build, []), ""
        if not ended.sha256:
            why = ended.line
        elif (known := self._books.kernel(job.build)) not in ("", ended.kernel):
            # Otherwise all cells of it could pass, and no single kernel has passed them.
            why = f"it is {ended.kernel} now, and the verdicts before are of {known}: {_MOVED}"
        if why:
            self._give_up(waiting, f"{job.title}: {why}", flight.worker.name)
            return
        self._books.keep_bundle(ended.sha256, ended.packed)
        self._bundles[job.build], self._kernels[job.build] = ended.sha256, ended.kernel
        for one in waiting:
            self._want(one)

    def _lose(self, flight: _Flight, why: str, line: str = LOST) -> None:
        """Take note that an order did not end; have its job done once more, unless it has been."""
        job = flight.job
        if why:
            # An error of the worker's own code: it would come again.
            job.lost = _TRIES
        elif not flight.started and job.unbegun < _MOST_UNBEGUN:
            # That was no attempt.
            job.unbegun += 1
            self._want(job)
            return
        job.lost += 1
        self._tell(flight, None, why or line)
        if job.lost < _TRIES:
            self._want(job)
        elif job.cell is None:
            waiting = self._waiting.pop(job.build, [])
            self._give_up(waiting, f"{job.title}: {why or line}", flight.worker.name)

    def _tell(self, flight: _Flight, ended: Ended | None, line: str) -> None:
        job = flight.job
        attempt = Attempt(flight.worker.name, flight.given, line=line)
        if ended is not None:
            attempt = Attempt(
                flight.worker.name, ended.started, ended.seconds, ended.status, ended.line
            )
        else:
            seconds = (datetime.now(UTC) - flight.given).total_seconds()
            attempt = replace(attempt, seconds=max(seconds, 0.0))
        if job.cell is not None and job.cell.is_bundled:
            attempt = replace(attempt, kernel=self._kernels[job.build])
        self._books.ended(job.number, job.title, attempt, ended)

    def _give_up(self, jobs: Sequence[_Job], line: str, worker: str = "") -> None:
        """Take note that nothing can be known of these cells."""
        attempt = Attempt(worker, datetime.now(UTC), status=EXIT_INFRASTRUCTURE, line=line)
        for job in jobs:
            self._books.ended(job.number, job.title, attempt, None)

    # --- whether there is hope ---

    def _put_aside(self, worker: Seen, why: str) -> None:
        if worker.address not in self._aside:
            self._aside[worker.address] = why
            self._books.say(f"{worker.name} is not used: {why}")

    def _usable(self) -> list[Seen]:
        unused = self._aside.keys() | self._ending
        return [one for one in self._workers if one.address not in unused]

    def _check_hope(self) -> None:
        """Give up what no worker can do.

        Raise InfrastructureError if there has been no worker for anything for too long.
        """
        self._check_own()
        usable, now = self._usable(), time.monotonic()
        # A worker of the right version may still come, but these will not have more space.
        reasons = [self._aside.get(one.address, _DIFFERS) for one in self._workers]
        if reasons and _DIFFERS not in reasons and not self._flights:
            raise self._no_worker()
        for group in self._groups.values():
            able = any(_covers(one.resources, group.needed) for one in usable)
            if able or not group.heap:
                group.hopeless = None
            elif group.hopeless is None:
                group.hopeless = now
            elif not usable and not self._has_waited and now - group.hopeless >= _WAIT_SECONDS:
                self._has_waited = True
                self._books.say(f"waiting for a worker: {self._start_one}")
            elif now - group.hopeless >= self._terms.patience:
                if usable:
                    self._drop(group)
                elif not self._flights:
                    raise self._no_worker()

    def _check_own(self) -> None:
        """Raise InfrastructureError if no worker of the cluster's own will do any more."""
        if why := self._terms.failed():
            raise InfrastructureError(f"no worker starts here: {why}")
        if self._terms.own and _DIFFERS in self._aside.values():
            what = "the files of this project were changed while the sweep ran"
            raise InfrastructureError(what, hint="a new sweep, from a clone that nobody edits")

    def _no_worker(self) -> InfrastructureError:
        aside = [one for one in self._workers if one.address in self._aside]
        reasons = [f"{one.name}: {self._aside[one.address]}" for one in aside]
        why = "; ".join(reasons) or f"there was none for {self._terms.patience:g} s"
        return InfrastructureError(f"no worker can be used: {why}", hint=self._start_one)

    @property
    def _start_one(self) -> str:
        return _START_ONE.format(self._cluster.address)

    def _drop(self, group: _Group) -> None:
        jobs = [job for *_, job in sorted(group.heap, key=lambda one: one[:2])]
        group.heap.clear()
        for job in jobs:
            builds = announced.BUILD in group.needed
            can = f"build {job.build.compiled}" if builds else f"boot {job.build.kernel}"
            line = f"no worker can {can}"
            dropped = [job] if job.cell is not None else self._waiting.pop(job.build, [])
            self._give_up(dropped, line)


_DIFFERS = "it has another version of this project or of Python"


def _covers(has: Mapping[str, float], needed: Mapping[str, float]) -> bool:
    return all(has.get(name, 0.0) >= amount for name, amount in needed.items())
