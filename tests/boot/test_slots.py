# SPDX-License-Identifier: MIT
"""Tables with the fewest and with the most slots, each in a kernel of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from conftest import equip
from device_work import APP, MIB, PAGE, PROC, SECONDS, Log, climber

from harness.build import kernel as kernels
from harness.build import modules as module_builds
from harness.build.programs import ProgramBuild
from harness.build.rootfs import Rootfs
from harness.kernel_output.klog import find_trouble
from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.machine.adb import Device
from harness.machine.session import Boot, open_session
from harness.scenarios.run import DEVICE_FOLDER, parse_limits
from harness.targets.model import Target
from harness.ui.workspace import Workspace

FIRST, LEAST = 20000, 64 * MIB
SET_LIMIT = f"{DEVICE_FOLDER}/test_set_mm_limits"
# The timeout of thousands of calls on a loaded machine.
LONG = 900.0


@pytest.fixture(scope="module", params=[1, 4096])
def slots(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def table(
    slots: int,
    workspace: Workspace,
    plain: Target,
    programs: ProgramBuild,
    rootfs: Rootfs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Device]:
    """Boot a device whose table has so many slots."""
    folder = tmp_path_factory.mktemp("slots")
    config = folder / "slots.config"
    config.write_text(f"CONFIG_MM_LIMITS_SLOTS={slots}\n")
    # Never the debug kernel: the code is the same, and its build takes long.
    kernel = kernels.build(workspace, plain, extra_config=config)
    modules = module_builds.build(workspace, kernel)
    boot = Boot(plain, kernel.image, rootfs.initramfs, kernel.release)
    with open_session(workspace, boot, folder) as session:
        device = session.device
        equip(device, modules, programs, ["test_set_mm_limits", "bench_work"])
        yield device
        levels_tell = plain.board.boot_levels_tell
        assert find_trouble(device.kernel_log(), levels_tell=levels_tell) == ()


def size(uid: int) -> int:
    """Return the limit of a user; each user has a different one."""
    return LEAST + (uid - FIRST) * PAGE


def set_all(device: Device, uids: range) -> None:
    """Set all limits, through the file: the syscall prints all entries each time."""
    first, last = uids[0], uids[-1]
    device.shell(
        f"i={first}; while :; do "
        f"echo uid=$i max=$(({LEAST} + (i - {FIRST}) * {PAGE})) > {PROC} || exit 1; "
        f"[ $i -eq {last} ] && exit 0; i=$((i + {uids.step})); done",
        timeout=LONG,
    )


def new_entries(uids: range) -> tuple[LimitEntry, ...]:
    # No memory, now or ever, and no victim.
    return tuple(LimitEntry(uid, size(uid), 0, 0, 0, 0, 0, "") for uid in uids)


def empty(device: Device, uids: Sequence[int]) -> None:
    device.shell(
        f"i={min(uids)}; while [ $i -le {max(uids)} ]; do "
        f"echo uid=$i max=none > {PROC} || exit 1; i=$((i+1)); done",
        timeout=LONG,
    )


def test_a_table_is_filled_and_found_in(table: Device, slots: int) -> None:
    uids = range(FIRST, FIRST + slots)
    log = Log(table)
    set_all(table, uids)
    assert parse_limits(table) == new_entries(uids)
    # Each entry is found: setting it again drops none, and moves it to the end.
    set_all(table, uids[::-1])
    assert parse_limits(table) == new_entries(uids[::-1])
    assert "mm_limits:" not in log.text
    order = list(uids[::-1])
    check_that_only_root_evicts(table, order)
    check_that_the_limited_one_dies(table, order)
    empty(table, order)
    assert parse_limits(table) == ()


def check_that_only_root_evicts(table: Device, order: list[int]) -> None:
    """Check it; afterwards the first user of `order` is gone, and a new one is at its end."""
    table.shell(f"{SET_LIMIT} -e ENOSPC {APP} {LEAST}", user=APP)
    assert [entry.uid for entry in parse_limits(table)] == order
    more = max(order) + 1
    log = Log(table)
    table.shell(f"{SET_LIMIT} -e 1 {more} {size(more)}", timeout=LONG)
    text = log.text
    dropped = re.findall(r"mm_limits: table full: dropped uid=(\d+), mm_max=(\d+)$", text, re.M)
    assert dropped == [(str(order[0]), str(size(order[0])))]
    order[:] = [*order[1:], more]
    printed = re.findall(r"^<6>\[ *[\d.]+\] uid=(\d+), mm_max=(\d+)$", text, re.M)
    assert printed == [(str(uid), str(size(uid))) for uid in order]
    assert [entry.uid for entry in parse_limits(table)] == order


def check_that_the_limited_one_dies(table: Device, order: list[int]) -> None:
    one = order[len(order) // 2]
    table.shell(f"echo uid={one} max=6M > {PROC}")
    log = Log(table)
    with climber(table, APP, 90) as free, climber(table, one, 90) as limited:
        limited.running.wait(SECONDS)
        assert free.running.wait(SECONDS).status == 0
    assert [(record.uid, record.pid) for record in log.records] == [(one, limited.pid)]
    assert {entry.uid: entry.kills for entry in parse_limits(table) if entry.kills} == {one: 1}
