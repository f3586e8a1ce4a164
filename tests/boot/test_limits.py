# SPDX-License-Identifier: MIT
"""The table of limits, who may change it, the switches, and the modules, on a booted kernel."""

from __future__ import annotations

import re

import pytest
from device_work import APP, MIB, OTHER, Log

from harness.build.modules import ModuleBuild
from harness.machine.adb import Device

SLOTS = 10
PROGRAMS = "/data/local/tmp"


def set_limit(
    device: Device, uid: int | str, size: int | str, expect: str = "0", user: int | None = None
) -> str:
    """Call set_mm_limits() on the device; fail unless the answer is `expect`."""
    result = device.shell(
        f"{PROGRAMS}/test_set_mm_limits -e {expect} {uid} {size}", user=user, check=False
    )
    assert result.status == 0, result.output
    return result.output


def limits(device: Device) -> dict[int, int]:
    """Return what /proc/mm_limits shows: uid to limit, in the order of the table."""
    lines = device.shell("cat /proc/mm_limits", user=OTHER).output.splitlines()
    rows = [line.split() for line in lines[1:]]
    assert all(len(row) == len(lines[0].split()) for row in rows)
    return {int(row[0]): int(row[1]) for row in rows}


def test_a_limit_is_set_updated_and_removed(device: Device) -> None:
    set_limit(device, APP, 64 * MIB)
    assert limits(device) == {APP: 64 * MIB}
    set_limit(device, APP, 128 * MIB)
    assert limits(device) == {APP: 128 * MIB}
    set_limit(device, APP, "max")
    assert limits(device) == {}


def test_setting_a_limit_prints_every_entry(device: Device) -> None:
    set_limit(device, APP, 64 * MIB)
    log = Log(device)
    set_limit(device, OTHER, 32 * MIB)
    assert re.findall(r"uid=(\d+), mm_max=(\d+)$", log.text, re.MULTILINE) == [
        (str(APP), str(64 * MIB)),
        (str(OTHER), str(32 * MIB)),
    ]


def test_a_full_table_drops_the_least_recently_set_entry(device: Device) -> None:
    uids = [10000 + i for i in range(SLOTS)]
    for uid in uids:
        set_limit(device, uid, 64 * MIB)
    set_limit(device, uids[0], 65 * MIB)
    log = Log(device)
    set_limit(device, APP, MIB, expect="1")
    dropped = rf"<3>.*mm_limits: table full: dropped uid={uids[1]}, mm_max={64 * MIB}$"
    assert re.search(dropped, log.text, re.MULTILINE)
    assert list(limits(device)) == [*uids[2:], uids[0], APP]


@pytest.mark.parametrize(
    ("uid", "size"),
    [(0, MIB), (0xFFFFFFFF, MIB), (APP, 0), (APP, 4095), (0, "max")],
)
def test_nonsense_is_refused(device: Device, uid: int, size: int | str) -> None:
    set_limit(device, uid, size, expect="EINVAL")
    assert limits(device) == {}


def test_one_page_is_enough(device: Device) -> None:
    set_limit(device, 10099, 4096)
    assert limits(device) == {10099: 4096}


def test_limits_beyond_two_gigabytes_are_kept_whole(device: Device) -> None:
    set_limit(device, APP, 4294967294)
    assert limits(device) == {APP: 4294967294}


def test_a_user_may_lower_its_own_limit_and_nothing_else(device: Device) -> None:
    set_limit(device, APP, 64 * MIB, user=APP)
    set_limit(device, APP, 64 * MIB, user=APP)
    set_limit(device, APP, 32 * MIB, user=APP)
    set_limit(device, APP, 33 * MIB, expect="EPERM", user=APP)
    set_limit(device, APP, "max", expect="EPERM", user=APP)
    set_limit(device, OTHER, 16 * MIB, expect="EPERM", user=APP)
    assert limits(device) == {APP: 32 * MIB}


def test_what_a_user_sets_only_lowers_what_root_sets(device: Device) -> None:
    set_limit(device, APP, 32 * MIB, user=APP)
    set_limit(device, APP, 64 * MIB)
    assert limits(device) == {APP: 32 * MIB}
    set_limit(device, APP, 16 * MIB)
    assert limits(device) == {APP: 16 * MIB}
    set_limit(device, APP, 64 * MIB)
    assert limits(device) == {APP: 32 * MIB}
    # What root set goes, what the user set stays; then that goes, too.
    set_limit(device, APP, "max")
    assert limits(device) == {APP: 32 * MIB}
    set_limit(device, APP, "max")
    assert limits(device) == {}


def test_what_users_set_themselves_goes_first_from_a_full_table(device: Device) -> None:
    uids = [10000 + number for number in range(SLOTS)]
    rooted, own = uids[:2], uids[2:]
    set_limit(device, rooted[0], 64 * MIB)
    for uid in own:
        set_limit(device, uid, 64 * MIB, user=uid)
    set_limit(device, rooted[1], 64 * MIB)
    for number in range(len(own)):
        set_limit(device, 12000 + number, 64 * MIB, expect="1")
        assert list(limits(device)) == [
            *(rooted[0], *own[number + 1 :], rooted[1]),
            *range(12000, 12001 + number),
        ]
    # Only root's are left: the least recently set one goes.
    set_limit(device, 13000, 64 * MIB, expect="1")
    assert rooted[0] not in limits(device)


def test_what_a_user_set_before_root_did_is_roots_in_a_full_table(device: Device) -> None:
    set_limit(device, APP, 32 * MIB, user=APP)
    set_limit(device, APP, 64 * MIB)
    set_limit(device, OTHER, 32 * MIB, user=OTHER)
    for number in range(SLOTS - 2):
        set_limit(device, 12000 + number, 64 * MIB)
    set_limit(device, 13000, 64 * MIB, expect="1")
    assert APP in limits(device)
    assert OTHER not in limits(device)


def test_an_unprivileged_user_evicts_nobody(device: Device) -> None:
    for i in range(SLOTS):
        set_limit(device, 10000 + i, 64 * MIB)
    before = limits(device)
    set_limit(device, APP, 64 * MIB, expect="ENOSPC", user=APP)
    assert limits(device) == before


def test_the_switches_take_their_words_and_no_others(device: Device) -> None:
    for name, good, bad in (
        ("policy", ("runtime", "badness", "rss"), "oldest"),
        ("trigger", ("none", "alloc"), "timer"),
    ):
        path = f"/proc/sys/vm/mm_limits_{name}"
        for word in good:
            device.shell(f"echo {word} > {path}")
            assert device.read_file(path).strip() == word
        refused = device.shell(f"echo {bad} > {path}", check=False)
        assert refused.status != 0
        assert "Invalid argument" in refused.output
        assert device.read_file(path).strip() == good[-1]
        assert device.shell(f"echo {good[0]} > {path}", user=APP, check=False).status != 0


def test_the_modules_policy_is_checked(device: Device) -> None:
    path = "/sys/module/my_oom_killer/parameters/policy"
    device.shell(f"echo badness > {path}")
    assert device.read_file(path).strip() == "badness"
    assert device.shell(f"echo worst > {path}", check=False).status != 0
    assert device.read_file(path).strip() == "badness"
    device.shell(f"echo > {path}")
    assert device.read_file(path).strip() == ""


def test_a_kill_on_request_needs_cap_kill(device: Device) -> None:
    refused = device.shell(f"{PROGRAMS}/oom_daemon -v -c 1 0.1", user=APP, check=False)
    assert refused.status == 1
    assert "errno=1" in refused.output
    allowed = device.shell(f"{PROGRAMS}/oom_daemon -v -c 1 0.1")
    assert "ret=0" in allowed.output


def test_modules_come_and_go_while_syscalls_are_in_flight(device: Device) -> None:
    set_limit(device, APP, 64 * MIB)
    device.shell("rm -f /tmp/calm")
    storm = device.start(
        "n=0; while [ ! -e /tmp/calm ]; do "
        f"{PROGRAMS}/test_set_mm_limits -e 0 {APP} {64 * MIB} >/dev/null; "
        f"{PROGRAMS}/oom_daemon -c 1 0.001 >/dev/null 2>&1; n=$((n+1)); done; echo rounds $n"
    )
    try:
        for _ in range(10):
            device.shell("rmmod my_oom_killer && rmmod set_mm_limits")
            device.shell(f"insmod {PROGRAMS}/set_mm_limits.ko")
            device.shell(f"insmod {PROGRAMS}/my_oom_killer.ko policy=runtime")
    finally:
        device.shell("touch /tmp/calm")
        result = storm.wait(300)
        device.shell("rm /tmp/calm")
    assert int(result.output.split("rounds")[1]) > 10
    assert device.read_file("/sys/module/my_oom_killer/parameters/policy").strip() == "runtime"
    set_limit(device, APP, 32 * MIB)


def test_without_the_modules_there_is_no_such_syscall(device: Device) -> None:
    device.shell("rmmod my_oom_killer && rmmod set_mm_limits")
    try:
        set_limit(device, APP, MIB, expect="ENOSYS")
        assert device.shell(f"{PROGRAMS}/oom_daemon -c 1 0.1", check=False).status == 1
    finally:
        device.shell(f"insmod {PROGRAMS}/set_mm_limits.ko")
        device.shell(f"insmod {PROGRAMS}/my_oom_killer.ko")


def test_a_policy_can_be_loaded_chosen_and_taken_away(device: Device, modules: ModuleBuild) -> None:
    module = f"{PROGRAMS}/policy_youngest.ko"
    path = "/proc/sys/vm/mm_limits_policy"
    device.push(modules.path("policy_youngest"), module, 0o644)
    taken = device.shell(f"insmod {module} name=badness", check=False)
    assert "File exists" in taken.output
    nonsense = device.shell(f"insmod {module} name=two,words", check=False)
    assert "nvalid" in nonsense.output
    device.shell(f"insmod {module} && echo youngest > {path}")
    # The last child is the smallest; it is also the one that crosses the limit.
    set_limit(device, APP, 40_000_000)
    sizes = "20000000 15000000 9000000"
    device.shell(f"{PROGRAMS}/oom_test_kernel -n -e LLK {APP} 40000000 {sizes}", user=APP)
    log = device.kernel_log()
    assert re.search(r"start_time=\d+,\tpolicy=youngest,\ttrigger=alloc,\tcomm=", log)
    device.shell("rmmod policy_youngest")
    assert device.read_file(path).strip() == "rss"
    assert "mm_limits: policy youngest is gone: rss from now on" in device.kernel_log()
