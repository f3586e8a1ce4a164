# SPDX-License-Identifier: MIT
"""Wrong options of `sweep`, and whole sweeps on a cluster of the test's: what they keep and say.

tests/unit/sweep/ has the parts, and sweeps of real processes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import FakeCluster

from harness.core.errors import HarnessError, UsageError
from harness.jobs import sweep
from harness.sweep import announced, store
from harness.sweep.announced import Seen
from harness.sweep.happening import Finished, Gone, Happening, Lost, Over, Started
from harness.sweep.work import BUILD, Ended, Order
from harness.targets.table import TARGETS
from harness.ui.workspace import Workspace

MATRIX = Path(__file__).parents[3] / "docs" / "portability.toml"
BUNDLE = b"bundle"
TWO_CELLS = """\
policies = ["rss", "runtime"]
[[run]]
task = "emulator-test"
"""
Answer = Callable[[Order, str], Iterable[Happening]]


def worker(name: str, guests: int = 1) -> Seen:
    kernels = tuple(TARGETS)
    can = announced.announced(announced.this_code(), guests, kernels, kernels)
    return Seen(name, f"tcp://{name}", can)


def done(
    order: Order, status: int = 0, line: str = "PASS", seconds: float = 0.0, kernel: str = ""
) -> list[Happening]:
    """Return what happens if an order ends so; a build always passes."""
    ended = Ended(status, line, seconds=seconds)
    if order.task == BUILD:
        sha256 = hashlib.sha256(BUNDLE).hexdigest()
        ended = Ended(0, "built", kernel=kernel, sha256=sha256, packed=BUNDLE)
    return [Started(order.key), Over(order.key), Finished(order.key, ended)]


class Interrupted(BaseException):
    """As Ctrl-C, in a test."""


class Swept:
    """Sweeps of a matrix in `folder`, one after the other, on clusters of the test's."""

    def __init__(self, ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ws, self.monkeypatch = ws, monkeypatch
        self.file, self.results = folder / "m.toml", folder / "results"

    def run(self, answer: Answer, *workers: Seen, resume: Path | None = None) -> int:
        cluster = FakeCluster(list(workers or [worker("w1")]), answer)
        self.monkeypatch.setattr(sweep, "connected", lambda *_: nullcontext(cluster))
        options = sweep.Options(
            file=None if resume else self.file,
            resume=resume,
            scheduler="tcp://fake:1",
            results=self.results,
        )
        return sweep.run(self.ws, options)


@pytest.fixture
def swept(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    made = Swept(ws, tmp_path, monkeypatch)
    made.file.write_text(TWO_CELLS)
    return made


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "a sweep is of one matrix"),
        ({"file": MATRIX, "resume": Path()}, "a sweep is of one matrix"),
        ({"file": MATRIX, "jobs": "many"}, "not a number of guests: many"),
        ({"file": MATRIX, "jobs": "999"}, "999 guests are too many"),
        ({"file": MATRIX, "jobs": "9" * 5000}, "not a number of guests: 999"),
        ({"file": MATRIX, "scheduler": "host"}, "not a scheduler's address: host"),
        ({"file": MATRIX, "scheduler": "host:1", "jobs": "1"}, "has its own --jobs"),
        ({"file": Path("no-such-file")}, "no-such-file: cannot be read"),
        ({"resume": Path(__file__).parent}, "is no sweep"),
        ({"resume": Path("x" * 300)}, "is no sweep"),
    ],
)
def test_what_is_wrong_leaves_no_folder(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        sweep.run(Workspace(), sweep.Options(results=tmp_path / "results", **options))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("first", "status"), [((1, "FAIL: wrong victim"), 1), ((3, "error: adb"), 3), ((0, "PASS"), 3)]
)
def test_what_a_kernel_did_wrong_counts_also_if_the_sweep_ends_early(
    swept: Swept, said: io.StringIO, first: tuple[int, str], status: int
) -> None:
    begun: list[str] = []

    def answer(order: Order, _worker: str) -> list[Happening]:
        if order.task != BUILD:
            begun.append(order.title)
        return [Gone()] if len(begun) == 2 else done(order, *first)

    with pytest.raises(HarnessError, match="the scheduler tcp://fake:1 went away") as error:
        swept.run(answer)
    assert error.value.exit_status == status
    assert f"FAIL: of 2 cells {'1 FAIL, ' * (status == 1)}1 N" in said.getvalue()


def test_the_cells_that_took_longest_the_last_time_begin_first(swept: Swept) -> None:
    begun: list[str] = []

    def answer(order: Order, _worker: str) -> list[Happening]:
        if order.task != BUILD:
            begun.append(order.title.split()[2])
        return done(order, seconds=9.0 if begun[-1:] == ["runtime"] else 1.0)

    assert [swept.run(answer) for _ in range(2)] == [0, 0]
    assert begun == ["rss", "runtime", "runtime", "rss"]


@pytest.mark.parametrize("kernel", ["6.1.1-a", "6.1.2-b"])
def test_a_resumed_sweep_has_one_kernel_in_a_row(swept: Swept, kernel: str) -> None:
    begun: list[str] = []

    def answer(order: Order, _worker: str) -> list[Happening]:
        if order.task != BUILD:
            begun.append(order.title)
        return [Gone()] if len(begun) == 2 else done(order, kernel="6.1.1-a")

    with pytest.raises(HarnessError, match="went away"):
        swept.run(answer)
    (folder,) = swept.results.glob("*-sweep-*")
    if kernel != "6.1.1-a":
        # Somebody has edited the source, or it is a branch that has moved.
        assert swept.run(lambda order, _: done(order, kernel=kernel), resume=folder) == 3
        first, second = store.load(folder).cells
        moved = f"build linux-6.1: it is {kernel} now, and the verdicts before are of 6.1.1-a"
        assert (first.headline, second.headline.partition(": take ")[0]) == ("PASS", moved)
    assert swept.run(lambda order, _: done(order, kernel="6.1.1-a"), resume=folder) == 0
    assert [one.attempts[-1].kernel for one in store.load(folder).cells] == ["6.1.1-a"] * 2


def test_many_cells_have_one_verdict_each_however_often_the_sweep_is_interrupted(
    swept: Swept,
) -> None:
    swept.file.write_text('seeds = "0-199"\n[[run]]\ntask = "fuzz"\n')
    workers, begun = (worker("w1", 2), worker("w2", 3)), 0

    def answer(order: Order, _worker: str) -> list[Happening]:
        nonlocal begun
        if order.task == BUILD:
            return done(order)
        begun += 1
        if begun % 60 == 0:
            raise Interrupted
        if begun % 25 == 0:
            return [Started(order.key), Over(order.key), Lost(order.key)]
        wrong = int(order.words[order.words.index("--seed") + 1]) % 7 == 0
        return done(order, *((1, "FAIL") if wrong else (0, "PASS")))

    folder: Path | None = None
    status: int | None = None
    times = 0
    while status is None:
        times += 1
        with suppress(Interrupted):
            status = swept.run(answer, *workers, resume=folder)
        (folder,) = swept.results.glob("*-sweep-*")
    assert folder is not None
    found = store.load(folder)
    assert (status, times, found.finished, len(found.cells)) == (1, 4, True, 200)
    for one in found.cells:
        verdicts = [each.status for each in one.attempts if each.status is not None]
        assert verdicts == [0 if (one.cell.seed or 0) % 7 else 1]
