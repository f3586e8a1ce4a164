# SPDX-License-Identifier: MIT
"""A sweep's report for KernelCI, by KernelCI's own schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import sweeps
from hypothesis import given
from kcidb_io.schema import V5_3
from sweeps import BUILDS, emulator_test, fuzz, passed

from harness.sweep.cell import Build, Cell
from harness.sweep.kcidb import sweep_kcidb
from harness.sweep.result import CellResult, SweepResult


def report(found: SweepResult, *origin: str) -> Any:
    """The report as who gets the file has it, held against the schema."""
    read = json.loads(json.dumps(sweep_kcidb(found, *origin), allow_nan=False))
    V5_3.validate_exactly(read)
    return read


@given(sweeps.sweeps())
def test_every_sweep_makes_a_valid_report(found: SweepResult) -> None:
    read = report(found)
    assert sorted(one["status"] for one in read["tests"]) == sorted(
        one.status.value for one in found.cells
    )
    assert len(read["tests"]) == len(found.cells)
    builds = {one["id"] for one in read["builds"]}
    assert len(builds) == len(read["builds"]) == len(read["checkouts"])
    assert {one["build_id"] for one in read["tests"]} == builds
    assert {one["checkout_id"] for one in read["builds"]} == {
        one["id"] for one in read["checkouts"]
    }
    assert len({one["id"] for one in read["tests"]}) == len(found.cells)


def test_each_build_with_its_cells() -> None:
    read = report(sweeps.one_wrong_victim())
    assert [one["comment"] for one in read["builds"]] == [
        *("linux-6.1", "linux-6.1 debug", "goldfish-3.4")
    ]
    assert {one["architecture"] for one in read["builds"]} == {"arm"}
    assert {one["status"] for one in read["builds"]} == {"PASS"}
    assert read["checkouts"][1]["misc"]["configuration"] == "debug"
    wrong, right, *_ = read["tests"]
    assert wrong["path"] == "mm_limits.emulator-test.alloc.rss"
    assert (wrong["status"], wrong["comment"]) == ("FAIL", sweeps.WRONG)
    assert (right["status"], right["duration"]) == ("PASS", 24.3)
    assert right["start_time"] == "2026-11-28T20:15:00.000+00:00"
    assert right["environment"] == {"comment": "worker tcp-1"}
    assert wrong["misc"]["command"][:2] == ["./inv", "emulator-test"]
    paths = {one["path"] for one in read["tests"]}
    assert {
        "mm_limits.fuzz.seed_7",
        "mm_limits.boot-test.test_limits_py",
        "mm_limits.bench",
    } <= paths


def test_a_lost_worker_says_nothing_of_the_kernel() -> None:
    found = sweeps.sweep(
        [sweeps.lost_twice(fuzz(BUILDS[0], 7)), CellResult(Cell(Build("no-such-kernel"), "bench"))]
    )
    read = report(found)
    assert [one["status"] for one in read["tests"]] == ["ERROR", "MISS"]
    first, second = read["builds"]
    assert "status" not in first
    assert "architecture" not in second
    assert [one["worker"] for one in read["tests"][0]["misc"]["attempts"]] == ["tcp-1", "tcp-2"]


def test_flaky_repetitions_are_tests_with_one_path() -> None:
    again = emulator_test(BUILDS[0], "rss", "alloc", 2)
    found = sweeps.sweep(
        [passed(replace(again, repetition=1)), sweeps.ended(again, 1, sweeps.WRONG)]
    )
    one, other = report(found)["tests"]
    assert one["path"] == other["path"]
    assert (one["status"], other["status"]) == ("PASS", "FAIL")


def test_the_origin_is_the_senders() -> None:
    read = report(sweeps.green(), "my_lab")
    for part in (*read["checkouts"], *read["builds"], *read["tests"]):
        assert part["origin"] == "my_lab"
        assert part["id"].startswith("my_lab:")


def test_a_password_stays_here() -> None:
    url = "https://me:secret@a.example/b"
    cell = Cell(Build("linux-6.1", url, ("--source", url)), "bench", (url,))
    text = json.dumps(report(sweeps.sweep([sweeps.ended(cell, 3, f"{url} failed")], file=url)))
    assert "a.example" in text
    assert "secret" not in text
