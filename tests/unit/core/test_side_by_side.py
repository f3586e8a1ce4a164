# SPDX-License-Identifier: MIT
"""Work that is shared: all of it is done once, and errors and interruptions end it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.side_by_side import SideBySide


class Pool:
    """Opens numbers, and knows which are open."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.most = 0

    @contextmanager
    def opened(self, number: int) -> Iterator[int]:
        self.open.add(number)
        self.most = max(self.most, len(self.open))
        try:
            yield number
        finally:
            self.open.remove(number)


@given(st.integers(1, 5), st.lists(st.integers(), max_size=30))
def test_all_is_done_once(count: int, work: list[int]) -> None:
    pool = Pool()
    shared = SideBySide[int, int, int](pool.opened, lambda _, what: what * 2, count)
    found = dict(shared.run(work))
    assert found == {place: what * 2 for place, what in enumerate(work)}
    assert pool.open == set()


def test_they_work_at_the_same_time() -> None:
    pool = Pool()
    barrier = threading.Barrier(3, timeout=120)

    def meet(_own: int, _what: int) -> int:
        return barrier.wait()

    assert len(dict(SideBySide(pool.opened, meet, 3).run([1, 2, 3]))) == 3
    assert pool.most == 3


def test_each_takes_what_is_chosen_for_it() -> None:
    pool, taken = Pool(), []

    def choose(number: int, left: Sequence[int]) -> int | None:
        return next((place for place, what in enumerate(left) if what % 2 == number), None)

    def do(own: int, what: int) -> int:
        taken.append((own % 2, what))
        return what

    assert dict(SideBySide(pool.opened, do, 2, choose).run([4, 1, 3, 2])) == dict(
        enumerate([4, 1, 3, 2])
    )
    assert [what for own, what in taken if own == 0] == [4, 2]
    assert [what for own, what in taken if own == 1] == [1, 3]


def test_the_first_error_ends_it() -> None:
    pool, done = Pool(), []

    def do(_own: int, what: int) -> int:
        done.append(what)
        if what == 2:
            raise ValueError("two")
        return what

    with pytest.raises(ValueError, match="two"):
        list(SideBySide(pool.opened, do, 1).run([1, 2, 3]))
    assert done == [1, 2]
    assert pool.open == set()


def test_what_cannot_be_opened_is_an_error() -> None:
    @contextmanager
    def opened(_number: int) -> Iterator[int]:
        raise OSError("no room")
        yield 1

    with pytest.raises(OSError, match="no room"):
        list(SideBySide[int, int, int](opened, lambda _, what: what, 2).run([1]))


def test_who_goes_first_ends_what_is_waited_for() -> None:
    pool, over = Pool(), threading.Event()

    def do(_own: int, what: int) -> int:
        if what:
            over.wait(120)
        return what

    results = SideBySide(pool.opened, do, 2).run([0, 1, 2], interrupt=over.set)
    assert next(results) == (0, 0)
    # As an interruption does.
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert over.is_set()
    assert pool.open == set()


def test_it_can_be_stopped_in_between() -> None:
    pool, turn = Pool(), threading.Semaphore(1)

    def do(_own: int, what: int) -> int:
        turn.acquire(timeout=120)
        return what

    shared = SideBySide(pool.opened, do, 1)
    done = []
    for _, what in shared.run(range(1000)):
        done.append(what)
        shared.stop()
        turn.release()
    # The second had been begun.
    assert done in ([0], [0, 1])
    assert pool.open == set()
