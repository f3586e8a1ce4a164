# SPDX-License-Identifier: MIT
"""A cluster of the test's, for sweeps without a scheduler and without processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.sweep.announced import Seen
from harness.sweep.happening import Finished, Happening, Lost, Workers
from harness.sweep.work import Order


@dataclass
class FakeCluster:
    """A cluster whose workers do at once what `answer` says of an order."""

    workers: list[Seen]
    answer: Callable[[Order, str], Iterable[Happening]]
    address: str = "tcp://fake:1"
    orders: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    given: list[tuple[str, str, bytes]] = field(default_factory=list)
    running: dict[str, set[str]] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    # None: nothing happens for a while.
    happenings: list[Happening | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.see()

    def see(self) -> None:
        self.happenings.append(Workers(tuple(self.workers)))

    def next(self, timeout: float) -> Happening | None:
        del timeout
        happening = self.happenings.pop(0) if self.happenings else None
        if isinstance(happening, Finished | Lost):
            for keys in self.running.values():
                keys.discard(happening.key)
        return happening

    def submit(self, order: Order, worker: Seen, needed: Mapping[str, float]) -> None:
        del needed
        self.orders.append((order.title, worker.name))
        keys = self.running.setdefault(worker.name, set())
        keys.add(order.key)
        self.most[worker.name] = max(self.most.get(worker.name, 0), len(keys))
        self.happenings += self.answer(order, worker.name)

    def cancel(self, keys: Sequence[str]) -> None:
        self.cancelled += keys

    def give(self, address: str, sha256: str, data: bytes) -> None:
        self.given.append((address, sha256, data))
