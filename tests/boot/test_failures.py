# SPDX-License-Identifier: MIT
"""A policy, a module or a limit is removed while processes are killed because of it."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from conftest import Sticking
from device_work import (
    APP,
    GIVEN_UP,
    HOLD,
    MIB,
    OTHER,
    POLICY,
    PROC,
    SECONDS,
    STUCK,
    TRIGGER,
    Log,
    climber,
    entry_of,
    eventually,
    in_time,
    is_over,
    killed_of,
    kills_more,
    reaction,
    set_limit,
    storm,
)

from harness.build.modules import ModuleBuild
from harness.kernel_output.proc_mm_limits import COLUMNS
from harness.kernel_output.records import KillRecord, parse_log
from harness.machine.adb import Device
from harness.scenarios.run import DEVICE_FOLDER

SLOTS = 10
LIMIT, SMALL = 40, 6
# MiB of two processes at a time; each is more than SMALL.
HOGS = (100, 100)
# MiB; together with the stuck process more than LIMIT.
ENOUGH = 14
PARAMETER = "/sys/module/my_oom_killer/parameters/policy"
SET_LIMIT = f"{DEVICE_FOLDER}/test_set_mm_limits"
DAEMON = f"{DEVICE_FOLDER}/oom_daemon"
YOUNGEST = f"{DEVICE_FOLDER}/policy_youngest.ko"
GONE = r"mm_limits: policy (youngest) is gone: rss from now on"


@pytest.fixture
def youngest(device: Device, modules: ModuleBuild) -> str:
    """Return the command that loads the policy."""
    device.push(modules.path("policy_youngest"), YOUNGEST, 0o644)
    return f"insmod {YOUNGEST}"


def policies(records: tuple[KillRecord, ...], uid: int) -> Counter[str]:
    return Counter(record.policy for record in records if record.uid == uid)


def chooses_again(log: Log, uid: int, policy: str) -> None:
    """Wait until the policy has chosen one more process of the user."""
    before = policies(log.records, uid)[policy]
    eventually(lambda: policies(log.records, uid)[policy] > before)


def test_a_policy_goes_while_it_chooses(device: Device, youngest: str) -> None:
    rounds = 5
    set_limit(device, APP, SMALL)
    set_limit(device, OTHER, SMALL)
    log = Log(device)
    with storm(device, {APP: HOGS, OTHER: HOGS}) as storms:
        for _ in range(rounds):
            device.shell(
                f"{youngest} && echo youngest > {POLICY} && "
                f"echo uid={OTHER} policy=youngest > {PROC}"
            )
            kills_more(device, [APP, OTHER], 1)
            device.shell("rmmod policy_youngest")
            assert device.read_file(POLICY).strip() == "rss"
        # The entry keeps the policy's name, and the sysctl's policy decides.
        assert entry_of(device, OTHER).policy == "youngest"
        device.shell(f"echo runtime > {POLICY}")
        kills_more(device, [APP, OTHER], 1)
    records = log.records
    for uid, stormy in storms.items():
        assert killed_of(records, uid) == stormy.killed
        assert set(stormy.killed.values()) == {1}
        assert policies(records, uid)["youngest"] >= rounds
        assert [record.policy for record in records if record.uid == uid][-1] == "runtime"
    assert len(log.said(GONE)) == rounds


def test_a_users_own_policy_is_there_again_when_it_is_loaded_again(
    device: Device, youngest: str
) -> None:
    device.shell(youngest)
    device.shell(f"echo uid={APP} max={SMALL}M policy=youngest > {PROC}")
    device.shell("rmmod policy_youngest")
    for command, policy in ((":", "rss"), (youngest, "youngest")):
        device.shell(command)
        log = Log(device)
        with climber(device, APP) as killed:
            killed.running.wait(SECONDS)
        assert [(record.pid, record.policy) for record in log.records] == [(killed.pid, policy)]
    device.shell("rmmod policy_youngest")


def test_a_policy_goes_that_requests_are_to_use(device: Device, youngest: str) -> None:
    """In the module's own parameter, a policy that is gone is an error."""
    device.shell(f"echo none > {TRIGGER}")
    set_limit(device, APP, SMALL)
    log = Log(device)
    daemon = f"{DAEMON} -c 20 0.001 >/dev/null 2>&1"
    with storm(device, {APP: HOGS}, beside=[daemon, daemon]) as storms:
        for _ in range(3):
            device.shell(f"{youngest} && echo youngest > {PARAMETER}")
            # A request in progress keeps the policy that it began with.
            chooses_again(log, APP, "youngest")
            device.shell("rmmod policy_youngest")
            refused = device.shell(f"{DAEMON} -v -c 1 1")
            assert "ret=-1, errno=22" in refused.output
        device.shell(f"echo > {PARAMETER}")
        kills_more(device, [APP], 1)
    assert killed_of(log.records, APP) == storms[APP].killed
    assert set(storms[APP].killed.values()) == {1}


def test_modules_go_while_daemons_kill(device: Device) -> None:
    rounds = 6
    device.shell(f"echo none > {TRIGGER}")
    set_limit(device, APP, SMALL)
    log = Log(device)
    daemon = f"{DAEMON} -c 20 0.001 >/dev/null 2>&1"
    with storm(device, {APP: HOGS}, beside=[daemon] * 3) as storms:
        for _ in range(rounds):
            kills_more(device, [APP], 1)
            device.shell("rmmod my_oom_killer && rmmod set_mm_limits")
            # The syscall is gone.
            assert device.shell(daemon, check=False).status == 1
            device.shell(f"insmod {DEVICE_FOLDER}/set_mm_limits.ko")
            device.shell(f"insmod {DEVICE_FOLDER}/my_oom_killer.ko")
        kills_more(device, [APP], 1)
        triggers = Counter(record.trigger for record in log.records)
    assert set(triggers) == {"syscall"}
    assert triggers["syscall"] > rounds
    assert killed_of(log.records, APP) == storms[APP].killed
    assert set(storms[APP].killed.values()) == {1}


def fill(first: int, count: int) -> str:
    """Return the command that gives so many users a limit, in the order of their uids."""
    return (
        f"i={first}; while [ $i -lt {first + count} ]; do "
        f"echo uid=$i max={LIMIT}M > {PROC} || exit; i=$((i+1)); done"
    )


@pytest.mark.parametrize(
    "change",
    [
        f"echo uid={APP} max=200M > {PROC}",
        f"{SET_LIMIT} {APP} {200 * MIB}",
        f"echo uid={APP} max=none > {PROC}",
        f"{SET_LIMIT} {APP} max",
        fill(20000, SLOTS),
        f"echo none > {TRIGGER}",
    ],
    ids=["raised", "raised by the syscall", "removed", "removed by it", "evicted", "switched off"],
)
def test_who_waits_for_a_victim_goes_on_when_the_limit_does(
    device: Device, sticking: Sticking, change: str
) -> None:
    def attempt() -> None:
        set_limit(device, APP, LIMIT)
        log = Log(device)
        with (
            sticking() as stuck,
            reaction(device, stuck.pid, f"{is_over(APP, LIMIT)}; {change}") as changes,
            climber(device, APP, ENOUGH) as waits,
        ):
            status = waits.running.wait(SECONDS).status
            changes.over(log)
            assert status == 0
            # It got all its memory before the kernel could give up on the victim.
            assert log.said(GIVEN_UP) == []
            assert [record.pid for record in log.records] == [stuck.pid]

    in_time(attempt)


def test_a_limit_is_lowered_while_a_victim_dies(device: Device, sticking: Sticking) -> None:
    # The processes that live fit into the first limit, so none is killed for it.
    first, second = f"uid={APP} max={LIMIT - 5}M", f"uid={APP} max=2M"
    lowered = "test: lowered once"
    lower = (
        f"{is_over(APP, LIMIT)}; echo {first} > {PROC}; "
        f"echo '<5>{lowered}' > /dev/kmsg; echo {second} > {PROC}"
    )

    def attempt() -> None:
        set_limit(device, APP, LIMIT)
        log = Log(device)
        with (
            sticking() as stuck,
            reaction(device, stuck.pid, lower) as lowers,
            climber(device, APP, ENOUGH) as waits,
        ):
            waits.running.wait(SECONDS)
            lowers.over(log)
            assert log.said(GIVEN_UP) == []
            assert [(record.pid, record.mm_max) for record in log.records] == [
                (stuck.pid, LIMIT * MIB),
                (waits.pid, 2 * MIB),
            ]
            before, _, _ = log.text.partition(lowered)
            assert [record.pid for record in parse_log(before, raw=True).records] == [stuck.pid]

    in_time(attempt)


def test_a_limit_that_is_set_again_has_no_second_kill(device: Device, sticking: Sticking) -> None:
    # The limit is less than the dying process has, and more than the other one wants.
    again = f"echo uid={APP} max=none > {PROC}; echo uid={APP} max={STUCK - 5}M > {PROC}"
    set_again = f"{again}; {again}; {again}; grep '^{APP} ' {PROC}; echo 0 > {HOLD}"

    def attempt() -> None:
        set_limit(device, APP, LIMIT)
        log = Log(device)
        with (
            sticking() as stuck,
            reaction(device, stuck.pid, set_again) as sets,
            climber(device, APP, ENOUGH) as waits,
        ):
            status = waits.running.wait(SECONDS).status
            said = sets.over(log)
            (entry,) = [line.split() for line in said.splitlines() if line.startswith(f"{APP} ")]
            assert dict(zip(COLUMNS, entry, strict=True))["kills"] == "0"
            assert status == 0
            assert [(record.pid, record.mm_max) for record in log.records] == [
                (stuck.pid, LIMIT * MIB)
            ]
            assert log.said(GIVEN_UP) == []

    in_time(attempt)


def test_the_last_limit_goes_while_large_processes_fork(device: Device) -> None:
    """Pages that a fork copies while the last limit is removed count for the user as usual."""
    fork = f"cd {DEVICE_FOLDER}; su {APP} ./who_pays forks 4 {LIMIT // 4 * MIB} </dev/null"
    change = f"echo uid={APP} max=900M > {PROC}; echo uid={APP} max=none > {PROC}"
    with storm(device, {}, beside=[fork, change, change]):
        time.sleep(10)
    set_limit(device, APP, LIMIT)
    assert entry_of(device, APP).rss == 0
    with climber(device, APP) as ended:
        ended.running.wait(SECONDS)
    assert entry_of(device, APP).kills == 1


def test_limits_change_all_the_time_while_processes_are_killed(device: Device) -> None:
    by_syscall = "; ".join(
        f"{SET_LIMIT} {APP} {size} >/dev/null" for size in (4 * MIB, "max", 60 * MIB, SMALL * MIB)
    )
    by_file = "; ".join(
        f"echo uid={APP} {words} > {PROC}"
        for words in ("max=8M", "max=70M policy=runtime", "max=none", f"max={SMALL}M", "max=5M")
    )
    # This evicts the user's entry as well.
    by_others = f"{fill(20000, SLOTS)}; sleep 0.1"
    set_limit(device, APP, SMALL)
    log = Log(device)
    with storm(device, {APP: (16, 16)}, beside=[by_syscall, by_file, by_others]) as storms:
        eventually(lambda: len(log.records) > 40)
    records = log.records
    assert killed_of(records, APP) == storms[APP].killed
    assert set(storms[APP].killed.values()) == {1}
    assert {record.uid for record in records} == {APP}
    assert {"alloc", "set"} <= {record.trigger for record in records}
    assert "table full: dropped" in log.text
