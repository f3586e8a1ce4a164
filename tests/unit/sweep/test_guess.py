# SPDX-License-Identifier: MIT
"""Guesses of how long cells take."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from summaries import summary, verdict

from harness.results.run_result import VERDICT, verdict_json
from harness.sweep import guess, result
from harness.sweep.cell import Build, Cell
from harness.sweep.matrix_file import Work
from harness.sweep.result import Attempt, CellResult, SweepResult

BUILD = Build("linux-6.1", words=("--kernel", "linux-6.1"))
WORDS = ("--policy", "rss", "--trigger", "alloc")
CELL = Cell(BUILD, "emulator-test", WORDS, policy="rss", trigger="alloc", seconds=9.0)
DEBUG = replace(CELL, build=Build("linux-6.1", "debug", (*BUILD.words, "--debug")), seconds=36.0)
FUZZ = Cell(BUILD, "fuzz", ("--seed", "1", "--rounds", "1"), seed=1, seconds=7.5)


def leave_run(results: Path, time: str, words: tuple[str, ...], **changes: Any) -> None:
    """Leave a result of emulator-test, whose two scenarios took 2.5 s together."""
    ran = summary(verdict(), verdict("course"), policy="rss", **changes)
    folder = results / f"{time}-linux-6.1-rss"
    folder.mkdir()
    (folder / VERDICT).write_text(verdict_json(ran))
    (folder / "command.txt").write_text(f"{shlex.join(words)}\n")


def leave_sweep(results: Path, time: str, *cells: CellResult) -> None:
    folder = results / f"{time}-sweep"
    folder.mkdir()
    told = SweepResult(run=time, file="m.toml", sha256="", cells=cells)
    (folder / result.MATRIX).write_text(result.to_text(told))


def seconds(results: Path, *cells: Cell) -> list[float]:
    return [cell.seconds for cell in guess.from_results(cells, results)]


@pytest.mark.parametrize(
    ("work", "policy", "file", "expected"),
    [
        (Work(task="emulator-test"), "rss", "", guess.EMULATOR_TEST),
        (Work(task="emulator-test"), "all", "", guess.EMULATOR_TEST_ALL),
        (Work(task="fuzz"), "", "", guess.FUZZ_BEGIN + guess.FUZZ_ROUND),
        (Work(task="fuzz", minutes=2), "", "", guess.FUZZ_BEGIN + 120),
        (Work(task="bench"), "", "", guess.BENCH),
        (Work(task="bench", quick=True), "", "", guess.BENCH_QUICK),
        (Work(task="boot-test"), "", "slots", guess.BOOT_TEST_FILE),
    ],
)
def test_each_task_has_a_guess(work: Work, policy: str, file: str, expected: float) -> None:
    assert guess.seconds_of(work, policy, file, daemon=False, debug=False) == expected
    assert guess.seconds_of(work, policy, file, daemon=False, debug=True) == guess.DEBUG * expected


def test_scenarios_that_wait_for_a_daemon_take_longer() -> None:
    work = Work(task="emulator-test")
    assert guess.seconds_of(work, "rss", "", daemon=True, debug=False) > guess.EMULATOR_TEST


def test_fewer_scenarios_and_files_take_less() -> None:
    short = Work(task="emulator-test", scenarios=("course",))
    assert guess.seconds_of(short, "rss", "", daemon=False, debug=False) < guess.EMULATOR_TEST
    tests = Work(task="boot-test")
    assert guess.seconds_of(tests, "", "", daemon=False, debug=False) > guess.BOOT_TEST_FILE


def test_without_results_the_table_holds(tmp_path: Path) -> None:
    assert seconds(tmp_path, CELL, FUZZ) == [9.0, 7.5]
    assert seconds(tmp_path / "none", CELL) == [9.0]


def test_the_last_run_of_the_same_test_counts(tmp_path: Path) -> None:
    leave_run(tmp_path, "20261101-000000", (*CELL.command, "--jobs", "3"))
    assert seconds(tmp_path, CELL, DEBUG) == [2.5, 36.0]
    # Later ones are of another kind.
    leave_run(tmp_path, "20261102-000000", DEBUG.command, judged=())
    leave_run(tmp_path, "20261103-000000", (*CELL.command, "--scenario", "x"), judged=())
    leave_run(tmp_path, "20261104-000000", CELL.command, finished=False)
    leave_run(tmp_path, "20261105-000000", CELL.command, trigger="daemon")
    (tmp_path / "20261106-000000-linux-6.1-rss").mkdir()
    (tmp_path / "20261106-000000-linux-6.1-rss" / VERDICT).write_text("{")
    assert seconds(tmp_path, CELL) == [2.5]


def test_a_sweep_knows_it_best(tmp_path: Path) -> None:
    leave_run(tmp_path, "20261101-000000", CELL.command)
    leave_sweep(
        tmp_path,
        "20261102-000000",
        CellResult(CELL, (Attempt("a", seconds=12.0, status=0),)),
        CellResult(FUZZ, (Attempt("a", seconds=1.0, status=3),)),
    )
    leave_sweep(tmp_path, "20261103-000000", CellResult(CELL), CellResult(FUZZ))
    # A cell without a verdict may have ended at once.
    assert seconds(tmp_path, CELL, FUZZ) == [12.0, 7.5]


def test_guests_share_the_cells() -> None:
    cells = [replace(CELL, seconds=one) for one in (10.0, 10.0, 30.0)]
    assert guess.wall_seconds(cells, 1) == 50.0
    assert guess.wall_seconds(cells, 2) == 30.0
    assert guess.wall_seconds(cells[:1], 2) == 10.0
    assert guess.wall_seconds([], 2) == 0.0


def test_what_builds_for_itself_runs_one_after_the_other() -> None:
    alone = [replace(CELL, task="boot-test", file=name, seconds=20.0) for name in ("a", "b", "c")]
    assert guess.wall_seconds([CELL, *alone], 8) == 60.0
    assert [guess.side_by_side(one, 8) for one in (alone, [CELL, *alone], [CELL] * 9)] == [1, 2, 8]
