# SPDX-License-Identifier: MIT
"""A sweep as JUnit XML, read back."""

from __future__ import annotations

import sweeps
from hypothesis import given
from junitparser import Error, Failure, JUnitXml
from sweeps import BUILDS

from harness.results.run_result import Status
from harness.sweep.cell import Cell
from harness.sweep.junit import sweep_junit
from harness.sweep.result import CellResult, SweepResult


def read(found: SweepResult) -> JUnitXml:
    return JUnitXml.fromstring(sweep_junit(found).encode())


def test_a_build_is_a_suite_and_a_cell_a_case() -> None:
    suites = list(read(sweeps.one_wrong_victim()))
    assert [suite.name for suite in suites] == ["linux-6.1", "linux-6.1 debug", "goldfish-3.4"]
    assert [(one.tests, one.failures, one.errors) for one in suites] == [
        *((10, 1, 0), (10, 0, 0), (10, 0, 0))
    ]
    first, second, *_ = suites[0]
    assert (first.classname, first.name) == (
        "linux-6.1.emulator-test",
        "emulator-test rss alloc",
    )
    assert first.time == 24.3
    (result,) = first.result
    assert isinstance(result, Failure)
    assert result.message == result.text == sweeps.WRONG
    assert "./inv emulator-test --kernel linux-6.1 --policy rss" in first.system_out
    assert second.result == []


def test_what_has_no_verdict_is_an_error() -> None:
    suites = list(read(sweeps.one_lost_worker()))
    assert [(one.failures, one.errors, one.skipped) for one in suites][2] == (0, 1, 0)
    (lost,) = (case for case in suites[2] if case.result)
    assert isinstance(lost.result[0], Error)
    assert "attempt 2 on tcp-2: the worker was lost" in lost.system_out
    # The one that was tried again passed, and both attempts are told.
    assert "attempt 1 on tcp-1: the worker was lost" in next(iter(suites[1])).system_out
    cells = sweeps.sweep([CellResult(Cell(BUILDS[0], "bench"))], finished=False, problem="no power")
    not_run, ended = read(cells)
    assert (not_run.errors, ended.errors) == (1, 1)
    assert next(iter(not_run)).result[0].message == "not run"
    assert next(iter(ended)).result[0].message == "no power"


def test_flaky_repetitions_are_told() -> None:
    (suite, *_) = read(sweeps.flaky())
    told = {case.name: "flaky" in (case.system_out or "") for case in suite}
    flaky = [name for name, is_flaky in told.items() if is_flaky]
    assert flaky == [f"emulator-test rss alloc{again}" for again in ("", " #2", " #4", " #3")]


@given(sweeps.sweeps())
def test_every_sweep_makes_valid_xml(found: SweepResult) -> None:
    suites = list(read(found))
    assert sum(suite.tests for suite in suites) == len(found.cells) + bool(found.problem)
    failed = sum(one.status is Status.FAILED for one in found.cells)
    passed = sum(one.status is Status.PASSED for one in found.cells)
    assert sum(suite.failures for suite in suites) == failed
    errors = len(found.cells) - failed - passed + bool(found.problem)
    assert sum(suite.errors for suite in suites) == errors


def test_a_password_stays_here() -> None:
    cell = Cell(BUILDS[0], "bench", ("--source", "https://me:secret@a.example/b"))
    found = sweeps.sweep([sweeps.ended(cell, 3, "https://me:secret@a.example/b failed")])
    text = sweep_junit(found)
    assert "a.example" in text
    assert "secret" not in text


def test_thousands_of_cells_are_counted_once() -> None:
    # Counting them anew for each case takes minutes here.
    text = sweep_junit(sweeps.huge())
    assert text.count("<testcase ") == 10_000
