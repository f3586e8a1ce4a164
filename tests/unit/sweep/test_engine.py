# SPDX-License-Identifier: MIT
"""Which order goes to which worker, and what is made of its end, on a cluster of the test's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from fake_cluster import FakeCluster

from harness.core.errors import InfrastructureError
from harness.sweep import announced, engine
from harness.sweep.announced import Seen
from harness.sweep.cell import Build, Cell
from harness.sweep.engine import Sweep, Terms
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

CODE = "code"
ONE, TWO = Build("one"), Build("two")
PASS, SHA = Ended(0, "PASS", packed=b"folder"), "ab" * 32


def worker(name: str, guests: int = 1, builds: Sequence[str] = (), code: str = CODE) -> Seen:
    return Seen(name, f"tcp://{name}", announced.announced(code, guests, ("one", "two"), builds))


def cell(name: str, build: Build = ONE, task: str = "emulator-test") -> Cell:
    return Cell(build, task, trigger=name)


@dataclass
class FakeBooks:
    """What a sweep said."""

    said: list[str] = field(default_factory=list)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    bundles: dict[str, bytes] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def workers(self, names: Sequence[str]) -> None:
        self.names |= set(names)

    def say(self, text: str) -> None:
        self.said.append(text)

    def began(self, cell: int | None, title: str, worker: str) -> None:
        pass

    def ended(self, cell: int | None, title: str, attempt: Attempt, ended: Ended | None) -> None:
        self.attempts.setdefault(title, []).append(attempt)

    def keep_bundle(self, sha256: str, data: bytes) -> None:
        self.bundles[sha256] = data

    def kernel(self, build: Build) -> str:
        return ""

    def bundle(self, sha256: str) -> bytes:
        return self.bundles[sha256]

    def of(self, one: Cell) -> list[tuple[int | None, str]]:
        return [(each.status, each.line) for each in self.attempts.get(one.title, ())]


def done(order: Order, _worker: str = "") -> list[Happening]:
    ended = Ended(0, "built", sha256=SHA, packed=b"bundle") if order.task == BUILD else PASS
    return [Started(order.key), Over(order.key), Finished(order.key, ended)]


def run(
    found: FakeCluster, cells: Sequence[Cell], patience: float = 0.0, failed: str = ""
) -> FakeBooks:
    books = FakeBooks()
    terms = Terms(CODE, patience, lambda: failed)
    Sweep(found, books, dict(enumerate(cells)), terms).run()
    return books


def test_a_kernel_is_built_once_and_its_cells_follow_in_order() -> None:
    cells = [cell("a"), cell("b", TWO), cell("c"), cell("d", task="bench"), cell("e", TWO)]
    found = FakeCluster([worker("w1", 1, ("one", "two"))], done)
    books = run(found, cells)
    assert [title for title, _ in found.orders[:2]] == ["build one", "build two"]
    assert [title for title, _ in found.orders[2:]] == [one.title for one in cells]
    assert all(books.of(one) == [(0, "PASS")] for one in cells)
    assert books.bundles == {SHA: b"bundle"}


def test_the_longest_cells_come_first() -> None:
    times = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 3.0}
    cells = [replace(cell(name), seconds=seconds) for name, seconds in times.items()]
    found = FakeCluster([worker("w1", 1, ("one", "two"))], done)
    run(found, cells)
    titles = [cell(name).title for name in ("b", "d", "c", "a")]
    assert [title for title, _ in found.orders[1:]] == titles


def test_no_worker_gets_more_than_it_can_do() -> None:
    found = FakeCluster([worker("w1", 1, ("one",)), worker("w2", 3)], done)
    run(found, [cell(str(number)) for number in range(20)])
    assert found.most["w2"] == 3
    # A build and a guest.
    assert found.most["w1"] <= 2


def test_a_worker_with_orders_of_other_sweeps_comes_last() -> None:
    busy = replace(worker("w1", 2, ("one",)), others=2)
    found = FakeCluster([busy, worker("w2", 1)], done)
    run(found, [cell("a"), cell("b")])
    # But it is used.
    assert found.orders[1:] == [(cell("a").title, "w2"), (cell("b").title, "w1")]


def test_builds_go_to_a_worker_that_can_build() -> None:
    found = FakeCluster([worker("w1", 8), worker("w2", 1, ("one",))], done)
    books = run(found, [cell("a"), cell("b", task="boot-test")])
    assert ("build one", "w2") in found.orders
    assert ("one: boot-test b", "w2") in found.orders
    assert books.names == {"w1", "w2"}


def test_builds_go_to_a_worker_that_has_their_compiler() -> None:
    clang = Build("one", "clang", ("--kernel", "one", "--toolchain", "llvm"))
    cells = [cell("a"), cell("a", clang), cell("b", clang, "boot-test"), cell("b", task="bench")]
    found = FakeCluster([worker("w1", 8, ("one",)), worker("w2", 1, ("one llvm",))], done)
    run(found, cells)
    on = dict(found.orders)
    assert (on["build one"], on["build one clang"], on[cells[2].title]) == ("w1", "w2", "w2")
    assert on[cells[3].title] == "w1"
    books = run(FakeCluster([BUILDER], done), cells)
    assert books.of(cells[0]) == [(0, "PASS")]
    assert books.of(cells[1]) == books.of(cells[2]) == [(3, "no worker can build one llvm")]


def lost(times: int, started: bool = True) -> Callable[[Order, str], list[Happening]]:
    left = {"build": 0, "cell": times}

    def answer(order: Order, name: str) -> list[Happening]:
        kind = order.key.partition("-")[0]
        if left[kind] > 0:
            left[kind] -= 1
            return [*([Started(order.key)] if started else []), Lost(order.key)]
        return done(order, name)

    return answer


BUILDER = worker("w1", 1, ("one", "two"))


def test_a_lost_cell_is_run_once_more() -> None:
    assert run(FakeCluster([BUILDER], lost(1)), [cell("a")]).of(cell("a")) == [
        (None, engine.LOST),
        (0, "PASS"),
    ]
    twice = run(FakeCluster([BUILDER], lost(2)), [cell("a"), cell("b")])
    assert twice.of(cell("b")) == [(0, "PASS")] or twice.of(cell("a"))[-1] == (0, "PASS")
    both = [(None, engine.LOST)] * 2
    assert run(FakeCluster([BUILDER], lost(9)), [cell("a")]).of(cell("a")) == both


def test_a_cell_that_had_not_begun_was_not_tried() -> None:
    found = run(FakeCluster([BUILDER], lost(5, started=False)), [cell("a")])
    assert found.of(cell("a")) == [(0, "PASS")]


def test_a_cell_that_never_begins_has_no_verdict_in_the_end() -> None:
    found = run(FakeCluster([BUILDER], lost(99, started=False)), [cell("a")])
    assert found.of(cell("a"))[-1] == (None, engine.LOST)


def test_a_worker_that_ends_gets_nothing_more() -> None:
    def answer(order: Order, name: str) -> list[Happening]:
        if name == "w2":
            return [Started(order.key), Finished(order.key, Ended(None, "stopped"))]
        return done(order, name)

    cells = [cell(str(number)) for number in range(5)]
    found = FakeCluster([BUILDER, worker("w2", 1)], answer)
    books = run(found, cells)
    assert all(books.of(one)[-1] == (0, "PASS") for one in cells)
    assert [name for _, name in found.orders].count("w2") == 1


def test_a_worker_that_comes_after_one_of_another_version_is_waited_for() -> None:
    other = worker("other", 1, ("one",), "another")
    found = FakeCluster([other], done)
    found.workers.append(BUILDER)
    found.see()
    assert run(found, [cell("a")]).of(cell("a")) == [(0, "PASS")]


def test_each_attempt_has_its_own_key() -> None:
    keys: list[str] = []

    def answer(order: Order, name: str) -> list[Happening]:
        keys.append(order.key)
        return lost(1)(order, name)

    run(FakeCluster([BUILDER], answer), [cell("a")])
    assert len(set(keys)) == len(keys) == 3


@pytest.mark.parametrize(
    ("happening", "line"),
    [
        (lambda key: Finished(key, Ended(3, "no compiler")), "build one: no compiler"),
        (lambda key: Lost(key, "ImportError: x"), "build one: ImportError: x"),
        (lambda key: Lost(key), f"build one: {engine.LOST}"),
    ],
)
def test_without_its_build_a_cell_has_no_verdict(
    happening: Callable[[str], Happening], line: str
) -> None:
    def answer(order: Order, name: str) -> list[Happening]:
        if order.title == "build one":
            return [Started(order.key), happening(order.key)]
        return done(order, name)

    books = run(FakeCluster([BUILDER], answer), [cell("a"), cell("b", TWO)])
    assert books.of(cell("a")) == [(3, line)]
    assert books.of(cell("b", TWO)) == [(0, "PASS")]


def test_a_worker_with_a_full_disk_is_set_aside() -> None:
    def answer(order: Order, name: str) -> list[Happening]:
        if name == "w2":
            return [Started(order.key), Finished(order.key, Ended(3, "disk full", full=True))]
        return done(order, name)

    cells = [cell(str(number)) for number in range(5)]
    found = FakeCluster([BUILDER, worker("w2", 1)], answer)
    books = run(found, cells)
    assert all(books.of(one)[-1] == (0, "PASS") for one in cells)
    assert [name for _, name in found.orders].count("w2") == 1
    assert "w2 is not used: disk full" in books.said
    with pytest.raises(InfrastructureError, match="w2: disk full"):
        run(FakeCluster([worker("w2", 1, ("one",))], answer), cells)


def test_a_worker_of_another_version_is_not_used() -> None:
    other = worker("other", 8, ("one",), "another")
    found = FakeCluster([other, BUILDER], done)
    books = run(found, [cell("a")])
    assert {name for _, name in found.orders} == {"w1"}
    assert books.said == ["other is not used: it has another version of this project or of Python"]
    with pytest.raises(InfrastructureError, match="other: it has another version"):
        run(FakeCluster([other], done), [cell("a")])


def test_a_worker_whose_files_were_changed_gets_nothing_more() -> None:
    def answer(order: Order, name: str) -> list[Happening]:
        if name == "w2":
            return [Started(order.key), Finished(order.key, Ended(None, "changed", changed=True))]
        return done(order, name)

    cells = [cell(str(number)) for number in range(5)]
    found = FakeCluster([BUILDER, worker("w2", 1)], answer)
    books = run(found, cells)
    assert all(books.of(one)[-1] == (0, "PASS") for one in cells)
    assert sorted(len(books.of(one)) for one in cells) == [1, 1, 1, 1, 2]
    assert [name for _, name in found.orders].count("w2") == 1
    assert "w2 is not used: it has another version of this project or of Python" in books.said


def test_a_sweep_of_this_machine_ends_if_its_files_were_changed() -> None:
    def answer(order: Order, name: str) -> list[Happening]:
        return [Started(order.key), Finished(order.key, Ended(None, "changed", changed=True))]

    other = worker("w1", 1, ("one",), "another")
    for found in (FakeCluster([BUILDER], answer), FakeCluster([other], done)):
        sweep = Sweep(found, FakeBooks(), {0: cell("a")}, Terms(CODE, own=True))
        with pytest.raises(InfrastructureError, match="files of this project were changed"):
            sweep.run()
        assert len(found.orders) == (found.workers != [other])


def test_without_a_worker_the_sweep_ends() -> None:
    with pytest.raises(InfrastructureError, match="there was none for 0 s") as ended:
        run(FakeCluster([], done), [cell("a")])
    assert "./inv worker tcp://fake:1" in ended.value.hint
    with pytest.raises(InfrastructureError, match="no worker starts here: why"):
        run(FakeCluster([], done), [cell("a")], failed="why")


def test_what_no_worker_can_do_has_no_verdict_and_the_rest_goes_on() -> None:
    found = FakeCluster([worker("w1", 1, ("one",))], done)
    books = run(found, [cell("b", TWO), cell("c", TWO, "bench"), cell("a")])
    assert books.of(cell("a")) == [(0, "PASS")]
    assert books.of(cell("b", TWO)) == [(3, "no worker can build two")]
    assert books.of(cell("c", TWO, "bench")) == [(3, "no worker can build two")]


def test_a_bundle_is_given_to_who_asks_for_it() -> None:
    def answer(order: Order, name: str) -> list[Happening]:
        asked = [Asked("tcp://w1", order.bundle or "unknown")]
        return [*asked, *done(order, name)]

    found = FakeCluster([BUILDER], answer)
    run(found, [cell("a")])
    assert found.given == [("tcp://w1", SHA, b"bundle")]


def test_the_scheduler_goes_away() -> None:
    with pytest.raises(InfrastructureError, match="tcp://fake:1 went away"):
        run(FakeCluster([BUILDER], lambda *_: [Gone()]), [cell("a")])


class Interrupted(BaseException):
    """As Ctrl-C, in a test."""


def test_stop_waits_until_nothing_runs() -> None:
    keys: list[str] = []

    def answer(order: Order, name: str) -> list[Happening]:
        if order.task == BUILD:
            return done(order, name)
        keys.append(order.key)
        if len(keys) == 2:
            found.happenings.append(Started(order.key))
            raise Interrupted
        return [Started(order.key)]

    found = FakeCluster([worker("w1", 3, ("one",))], answer)
    books = FakeBooks()
    sweep = Sweep(found, books, dict(enumerate([cell("a"), cell("b")])), Terms(CODE))
    with pytest.raises(Interrupted):
        sweep.run()
    # A cell that has just ended is stopped as well: its result is not known.
    found.happenings += [Over(keys[0]), None, Finished(keys[0], PASS), Over(keys[1])]
    assert sweep.stop()
    assert sorted(found.cancelled) == sorted(keys)
    assert not found.happenings
    assert books.of(cell("a"))[0][0] is None


@pytest.mark.parametrize(
    ("last", "is_over"),
    [
        (lambda key: [Over(key)], True),
        # Of an order that had not begun nothing is heard.
        (lambda _: [None], False),
        (lambda _: [Gone()], False),
        (lambda _: [Workers(())], False),
    ],
)
def test_stop_says_whether_nothing_runs_any_more(
    monkeypatch: pytest.MonkeyPatch, last: Callable[[str], list[Happening | None]], is_over: bool
) -> None:
    monkeypatch.setattr(engine, "_STOP_SECONDS", -GRACE_SECONDS + 0.2)

    def answer(order: Order, name: str) -> list[Happening]:
        if order.task == BUILD:
            return done(order, name)
        found.happenings += [Started(order.key), *last(order.key)]
        raise Interrupted

    found = FakeCluster([BUILDER], answer)
    sweep = Sweep(found, FakeBooks(), {0: cell("a")}, Terms(CODE))
    with pytest.raises(Interrupted):
        sweep.run()
    assert sweep.stop() == is_over


@pytest.mark.parametrize("is_over", [False, True])
def test_what_a_worker_ran_that_vanished_before_may_still_run(
    monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    if is_over:
        monkeypatch.setattr(engine, "_VANISHED_SECONDS", -1.0)

    def answer(order: Order, name: str) -> list[Happening]:
        if order.task == BUILD:
            return done(order, name)
        if name == "w1":
            return [Started(order.key), Workers((worker("w2"),)), Lost(order.key)]
        raise Interrupted

    found = FakeCluster([BUILDER, worker("w2")], answer)
    sweep = Sweep(found, FakeBooks(), {0: cell("a")}, Terms(CODE))
    with pytest.raises(Interrupted):
        sweep.run()
    assert sweep.stop() == is_over


def test_a_scheduler_that_is_gone_is_not_waited_for() -> None:
    found = FakeCluster([BUILDER], lambda order, _: [Started(order.key), Gone()])
    sweep = Sweep(found, FakeBooks(), {0: cell("a")}, Terms(CODE))
    with pytest.raises(InfrastructureError, match="went away"):
        sweep.run()
    found.happenings += [None, None]
    assert not sweep.stop()
    assert len(found.happenings) == 2
