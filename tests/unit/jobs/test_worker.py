# SPDX-License-Identifier: MIT
"""What a machine can do for sweeps, in one line."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
from fake_host import FakeHost

from harness.core.errors import InfrastructureError, UsageError
from harness.jobs import pool, worker
from harness.jobs.worker import Ability
from harness.sweep.cell import Build, Cell
from harness.targets.table import TARGETS

KERNELS = tuple(TARGETS)


def of(*lacks: str, jobs: str = "1", build: bool = True) -> Ability:
    host = FakeHost()
    host.lacks |= set(lacks)
    return worker.ability(jobs, build=build, host=host, targets=TARGETS)


def test_a_machine_with_everything() -> None:
    can = of(jobs="3")
    assert (can.guests, set(can.boots)) == (3, set(KERNELS))
    assert set(can.builds) == {*KERNELS, "linux-6.1 llvm"}
    assert can.line == "can run 3 guests; can build"


def test_without_a_tool_nothing_is_built() -> None:
    can = of("mmdebstrap", "bc")
    assert (can.builds, can.boots) == ((), KERNELS)
    assert can.line == "can run 1 guest; cannot build: bc, mmdebstrap are missing (./inv setup)"
    # Only tests need it.
    assert of("chromium").line == "can run 1 guest; can build"


def test_a_cross_compiler_is_for_some_kernels() -> None:
    can = of("arm-linux-gnueabi-gcc")
    assert can.builds
    assert set(can.builds) == {"linux-6.1", "linux-6.1 llvm"}
    only = f"can run 1 guest; can build {', '.join(can.builds)} alone: arm-linux-gnueabi-gcc is"
    assert can.line == f"{only} missing (./inv setup)"


def test_clang_is_for_some_builds() -> None:
    can = of("clang", "ld.lld")
    assert can.builds == KERNELS
    only = f"can run 1 guest; can build {', '.join(KERNELS)} alone: clang, ld.lld are missing"
    assert can.line == f"{only} (./inv setup --toolchain llvm)"
    assert of("clang", "bc").line.endswith("cannot build: bc, clang are missing (./inv setup)")


def test_a_worker_that_is_not_to_build() -> None:
    assert of("bc", build=False).line == "can run 1 guest; cannot build"


def test_no_guest_can_run() -> None:
    with pytest.raises(InfrastructureError, match="no guest can run here: not installed: adb"):
        of("adb")
    with pytest.raises(InfrastructureError, match="qemu-system-arm"):
        of("qemu-system-arm")


def test_a_wrong_number_of_guests() -> None:
    with pytest.raises(UsageError):
        of(jobs="many")


TESTED = Cell(Build("linux-6.1"), "emulator-test")
CHECKING_ITSELF = Cell(Build("linux-6.1", "debug", ("--kernel", "linux-6.1", "--debug")), "fuzz")


@pytest.mark.parametrize(
    ("cells", "guests"),
    [
        ((TESTED,), 4),
        ((CHECKING_ITSELF,), 2),
        ((Cell(CHECKING_ITSELF.build, "emulator-test"),), 2),
        ((Cell(TESTED.build, "fuzz"),), 2),
        ((Cell(Build("goldfish-3.4"), "emulator-test"),), 2),
        ((TESTED, TESTED, CHECKING_ITSELF), 2),
    ],
)
def test_cells_whose_guests_have_one_cpu_take_one(
    monkeypatch: pytest.MonkeyPatch, cells: tuple[Cell, ...], guests: int
) -> None:
    monkeypatch.setattr(pool, "usable_cpus", lambda: 4)
    free = SimpleNamespace(available=64 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert worker.guests_for(cells) == guests
    assert worker.guests_for(cells, "3") == 3
