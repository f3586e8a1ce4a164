# SPDX-License-Identifier: MIT
"""The cells of a matrix as jobs of a CI workflow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.core.errors import UsageError
from harness.sweep.cell import Build, Cell
from harness.sweep.ci_jobs import MOST_JOBS, ci_matrix

OWN = Build("linux-6.1", words=("--kernel", "linux-6.1"))
LLVM = Build("linux-6.1", "llvm", (*OWN.words, "--toolchain", "llvm"))
TEST = Cell(OWN, "emulator-test", ("--policy", "rss"), "rss", "alloc", seconds=9.0)
FUZZ = Cell(OWN, "fuzz", ("--seed", "1"), seed=1, seconds=5.0)


def builds(count: int) -> list[Build]:
    return [Build("linux-6.1", f"c{number}", OWN.words) for number in range(count)]


def test_the_cells_of_a_build_task_and_trigger_are_a_job() -> None:
    cells = [
        TEST,
        replace(TEST, policy="badness", words=("--policy", "badness")),
        replace(TEST, trigger="daemon"),
        replace(TEST, build=LLVM),
        FUZZ,
        replace(FUZZ, repetition=2),
        replace(FUZZ, seed=2, words=("--seed", "2")),
    ]
    jobs = ci_matrix(cells).include
    assert [job.name for job in jobs] == [
        "linux-6.1: emulator-test alloc",
        "linux-6.1: emulator-test daemon",
        "linux-6.1 llvm: emulator-test alloc",
        "linux-6.1: fuzz",
    ]
    assert jobs[0].command.splitlines() == [
        "./inv emulator-test --kernel linux-6.1 --policy rss",
        "./inv emulator-test --kernel linux-6.1 --policy badness",
    ]
    assert (jobs[0].kernel, jobs[0].setup, jobs[0].seconds) == ("linux-6.1", "./inv setup", 18.0)
    assert jobs[2].setup == "./inv setup --toolchain llvm"
    done = [line for job in jobs for line in job.command.splitlines()]
    assert sorted(done) == sorted(cell.line for cell in cells)


@pytest.mark.parametrize(
    ("count", "name"),
    [(MOST_JOBS // 2, "alloc"), (MOST_JOBS // 2 + 1, "emulator-test"), (MOST_JOBS, "emulator")],
)
def test_there_are_never_too_many(count: int, name: str) -> None:
    cells = [
        replace(TEST, build=build, trigger=trigger)
        for build in builds(count)
        for trigger in ("alloc", "daemon")
    ]
    jobs = ci_matrix(cells).include
    assert len(jobs) <= MOST_JOBS
    assert name in jobs[0].name
    assert sum(len(job.command.splitlines()) for job in jobs) == len(cells)


def test_several_tasks_of_many_kernels_share_a_job() -> None:
    cells = [replace(one, build=build) for build in builds(MOST_JOBS) for one in (TEST, FUZZ)]
    jobs = ci_matrix(cells).include
    assert [job.name for job in jobs[:2]] == ["linux-6.1 c0", "linux-6.1 c1"]
    assert len(jobs) == MOST_JOBS


def test_too_many_kernels_are_wrong_usage() -> None:
    with pytest.raises(UsageError, match="257 kernels are more than the 256 jobs"):
        ci_matrix([replace(TEST, build=build) for build in builds(MOST_JOBS + 1)])
