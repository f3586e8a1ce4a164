# SPDX-License-Identifier: MIT
"""Tests on the debug kernel: scenarios, fuzzing, and allocations that fail.

That kernel has KASAN, lockdep, kmemleak and more; every line of trouble in its log fails these
tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Emulate, equip
from device_work import APP, MIB

from harness.build import kernel as kernels
from harness.build import modules as module_builds
from harness.build.programs import ProgramBuild
from harness.build.rootfs import Rootfs
from harness.jobs import fuzz
from harness.jobs.options import FuzzOptions
from harness.kernel_output.klog import find_trouble
from harness.machine.adb import Device
from harness.machine.session import Boot, open_session
from harness.scenarios.run import DEVICE_FOLDER
from harness.targets.model import Target
from harness.ui.workspace import Workspace

OTHER_KERNELS = True
ENOMEM = 12
DEBUGFS = "/sys/kernel/debug"
LONG = 900.0
# A choice: one kill after the other, limits that go, and different answers to who pays.
SCENARIOS = ("many-small", "removed", "sharers-of-two", "exited-leader", "setuid", "table-full")
TRY = re.compile(r"try: nth=(\d+), injected=([01]), ret=(-?\d+), errno=(\d+)")


@pytest.fixture(scope="module")
def checking(target: Target) -> Target:
    return target.checking_itself()


def test_scenarios_pass(emulate: Emulate, checking: Target, tmp_path: Path) -> None:
    """Some: `boot-test --debug --file verdicts` runs all scenarios on this kernel."""
    status = emulate(checking, tmp_path, scenarios=SCENARIOS)
    assert status == 0, (tmp_path / "latest/verdict.json").read_text()


def test_rounds_of_fuzzing_pass(workspace: Workspace, checking: Target, tmp_path: Path) -> None:
    options = FuzzOptions(target=checking, seed=40, rounds=3, results=tmp_path)
    status = fuzz.run(workspace, options)
    assert status == 0, (tmp_path / "latest/fuzz.json").read_text()
    counts = json.loads((tmp_path / "latest/fuzz.json").read_text())["counts"]
    assert counts["deaths"] > 0
    may_fail = "slab allocations that fail in a fault" not in checking.lacks
    assert (counts["faults"] > 0) == may_fail


@pytest.fixture(scope="module")
def failing(
    workspace: Workspace,
    checking: Target,
    programs: ProgramBuild,
    rootfs: Rootfs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Device]:
    """Boot a device on which a test can have allocations fail, without a message."""
    kernel = kernels.build(workspace, checking)
    modules = module_builds.build(workspace, kernel)
    boot = Boot(checking, kernel.image, rootfs.initramfs, kernel.release)
    with open_session(workspace, boot, tmp_path_factory.mktemp("failing")) as session:
        device = session.device
        equip(device, modules, programs, ["fail_nth", "test_set_mm_limits"])
        device.shell(f"mount -t debugfs debugfs {DEBUGFS}")
        for kind in ("failslab", "fail_page_alloc"):
            device.shell(f"echo 0 > {DEBUGFS}/{kind}/verbose")
            # By default no allocation fails that may sleep; ours are such.
            device.shell(f"echo N > {DEBUGFS}/{kind}/ignore-gfp-wait")
        yield device
        for _ in range(2):
            device.shell(f"echo scan > {DEBUGFS}/kmemleak", timeout=LONG)
        assert device.shell(f"cat {DEBUGFS}/kmemleak", timeout=LONG).output == ""
        levels_tell = checking.board.boot_levels_tell
        assert find_trouble(device.kernel_log(), levels_tell=levels_tell) == ()


def tries(device: Device, *words: str) -> list[tuple[bool, int, int]]:
    """Return each try: whether an allocation failed in it, the return value, and errno."""
    done = device.shell(f"{DEVICE_FOLDER}/fail_nth {' '.join(words)}", check=False, timeout=LONG)
    found = [tuple(map(int, match.groups())) for match in TRY.finditer(done.output)]
    assert done.status == 0, done.output
    assert [nth for nth, *_ in found] == list(range(1, len(found) + 1))
    return [(bool(injected), ret, errno) for _, injected, ret, errno in found]


def limits(device: Device) -> dict[str, str]:
    lines = device.shell("cat /proc/mm_limits").output.splitlines()[1:]
    return {line.split()[0]: line.split()[1] for line in lines}


@pytest.mark.needs("fail-nth")
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("set", str(APP), str(64 * MIB)), {str(APP): str(64 * MIB)}),
        (("set", str(APP), "max"), {}),
        (("write", "/proc/mm_limits", "'uid=10070 max=32M grace=1'"), {str(APP): str(32 * MIB)}),
        (("write", "/proc/mm_limits", "'uid=10070 max=none'"), {}),
        (("write", "/proc/mm_limits", "uid=10000-19999\\ max=32M"), {"10000-19999": str(32 * MIB)}),
        (("write", "/proc/mm_limits", "uid=10000-19999\\ max=none"), {}),
        (("write", "/proc/sys/vm/mm_limits_policy", "rss"), {}),
        (("write", "/proc/sys/vm/mm_limits_trigger", "alloc"), {}),
        (("read", "/proc/mm_limits"), {}),
        (("read", "/proc/sys/vm/mm_limits_policy"), {}),
        (("kill",), {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_allocation_may_fail(
    failing: Device, words: tuple[str, ...], shown: dict[str, str]
) -> None:
    *failed, last = tries(failing, *words)
    # A call fails with ENOMEM, or does without the allocation; in the last try none fails.
    assert all(injected for injected, _, _ in failed)
    assert all(ret >= 0 or errno == ENOMEM for _, ret, errno in failed)
    assert last == (False, 0, 0)
    assert limits(failing) == shown


@pytest.mark.needs("fail-nth")
def test_there_are_allocations_to_fail(failing: Device) -> None:
    """Without such allocations the tests above would show nothing."""
    assert (True, -1, ENOMEM) in tries(failing, "set", str(APP), str(64 * MIB))
    failing.shell(f"{DEVICE_FOLDER}/test_set_mm_limits {APP} max")


@pytest.mark.needs("fail-nth")
def test_a_user_whose_adoption_fails_is_adopted_at_its_next_allocation(failing: Device) -> None:
    """A try becomes the user, which should adopt it, and then allocates a page as that user."""
    # Every write about the range makes it forget its users.
    failing.shell("echo uid=10000-19999 max=32M > /proc/mm_limits")
    *failed, last = tries(failing, "adopt", str(APP), "uid=10000-19999\\ max=32M")
    assert all(injected for injected, _, _ in failed)
    # The new credentials and the entry, at least.
    assert len(failed) >= 2
    assert {(ret, errno) for _, ret, errno in failed} <= {(0, 0), (-1, ENOMEM)}
    assert last == (False, 0, 0)
    assert limits(failing) == {"10000-19999": str(32 * MIB), str(APP): str(32 * MIB)}
    failing.shell("echo uid=10000-19999 max=none > /proc/mm_limits")
