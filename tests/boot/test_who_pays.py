# SPDX-License-Identifier: MIT
"""Who pays: each mm counts for one user, whatever shares or borrows it. On a booted kernel.

The rule is in docs/design.md. `who_pays` builds each situation as root, in processes of a user
that has no others, so that the usage in /proc/mm_limits is that of these processes. What is
really mapped is read from their page tables.

No program here tests a kernel thread that borrows an mm. With a lazy TLB the thread has only an
active_mm, which a look does not look at; that happens on every switch to a kernel thread, and so
in all of these tests. A thread that takes over an mm is in test_attacks.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from device_work import APP, MIB, OTHER, PAGE, PROC, Log, Scene, entry_of, play

from harness.kernel_output.records import KillRecord
from harness.machine.adb import Device
from harness.scenarios.run import DEVICE_FOLDER
from harness.targets.model import Target

# The memory that a situation holds, and what its program may take besides.
SIZE, BESIDE = 16 * MIB, MIB
# A thread adds its faults to the mm's counters when it has counted more than this many.
HELD_BACK = 65
NO_LIMIT_YET, TOO_LITTLE = 512 * MIB, 4 * MIB
CORE_PATTERN = "/proc/sys/kernel/core_pattern"


@pytest.fixture
def limited(device: Device) -> Device:
    """Return the device with limits for both users that they do not reach."""
    for uid in (APP, OTHER):
        set_limit(device, uid, NO_LIMIT_YET)
        assert rss(device, uid) == 0
    return device


def set_limit(device: Device, uid: int, size: int) -> None:
    device.shell(f"{DEVICE_FOLDER}/test_set_mm_limits -e 0 {uid} {size}")


def rss(device: Device, uid: int) -> int:
    """Return the user's usage, as /proc/mm_limits shows it."""
    return entry_of(device, uid).rss


def mapped(device: Device, pid: int) -> int:
    """Return the bytes that the process's page tables map."""
    # smaps_rollup, which has their sum, does not exist before 4.14.
    found = re.findall(r"^Rss: +(\d+) kB$", device.read_file(f"/proc/{pid}/smaps"), re.M)
    assert found
    return 1024 * sum(map(int, found))


def assert_pays(device: Device, uid: int, pid: int, threads: int = 1) -> None:
    """Fail unless the user has what the process maps, at least SIZE, and nothing else.

    Up to HELD_BACK faults of each thread may not be counted yet. A fault in the program's file
    maps several pages; these are within BESIDE.
    """
    truth, said = mapped(device, pid), rss(device, uid)
    assert SIZE <= truth <= SIZE + BESIDE
    assert truth - threads * HELD_BACK * PAGE - BESIDE <= said <= truth
    assert said >= SIZE - threads * HELD_BACK * PAGE


def assert_gone(device: Device, pid: int) -> None:
    """Fail if the process is still there as more than a zombie."""
    status = device.shell(f"cat /proc/{pid}/status", check=False).output
    assert "State:" not in status or re.search(r"^State:\s+[ZX]", status, re.M)


def kills_by_limit(device: Device, uid: int, size: int = TOO_LITTLE) -> tuple[KillRecord, ...]:
    """Set the limit; return the records of the processes killed for it."""
    log = Log(device)
    set_limit(device, uid, size)
    return log.records


def assert_records(
    records: Sequence[KillRecord],
    uid: int,
    victim: int,
    *sharers: int,
    size: int = SIZE,
    trigger: str = "set",
) -> None:
    """Fail unless the victim's record comes first, and then one of each sharer."""
    first, *others = records
    assert (first.uid, first.pid, first.sharer_of) == (uid, victim, None)
    assert sorted(other.pid for other in others) == sorted(sharers)
    for record in others:
        assert (record.uid, record.sharer_of) == (uid, victim)
    for record in records:
        assert (record.policy, record.trigger, record.comm) == ("rss", trigger, "who_pays")
        assert record.mm_max == TOO_LITTLE
        # They share the memory: it is once in the sum, and each record shows all of it.
        assert record.user_rss == record.rss
        assert abs(record.rss - size) <= BESIDE


def assert_die(scene: Scene, uid: int, victim: int, *sharers: int) -> None:
    """Set the user's limit; fail unless these are killed for it, and the program ends with them."""
    records = kills_by_limit(scene.device, uid)
    scene.ended()
    assert_records(records, uid, victim, *sharers)


# Who is counted


def test_a_process_pays_for_its_threads_once(limited: Device) -> None:
    with play(limited, "-u", APP, "threads", 8, SIZE) as scene:
        assert_pays(limited, APP, scene.process, threads=8)
        assert rss(limited, OTHER) == 0
        scene.end()
    assert rss(limited, APP) == 0


def test_processes_that_share_an_mm_pay_once(limited: Device) -> None:
    with play(limited, "-u", APP, "clone-vm", 5, SIZE) as scene:
        assert len(scene.processes) == 5
        assert_pays(limited, APP, scene.processes[0], threads=5)
        scene.end()
    assert rss(limited, APP) == 0


def test_the_oldest_user_of_an_mm_pays_and_then_the_next(limited: Device) -> None:
    with play(limited, "clone-vm-across", APP, OTHER, SIZE) as scene:
        younger, elder = scene.processes
        assert_pays(limited, APP, elder, threads=2)
        assert rss(limited, OTHER) == 0
        scene.next_step()
        assert_pays(limited, OTHER, younger, threads=2)
        assert rss(limited, APP) == 0
        scene.end()


def test_whoever_comes_to_pay_gets_the_limit_of_its_range(device: Device) -> None:
    device.shell(f"echo uid=10000-19999 max={4 * SIZE} > {PROC}")
    with play(device, "clone-vm-across", APP, OTHER, SIZE) as scene:
        younger, elder = scene.processes
        assert_pays(device, APP, elder, threads=2)
        scene.next_step()
        assert_pays(device, OTHER, younger, threads=2)
        assert rss(device, APP) == 0
        scene.end()


def test_a_thread_with_another_uid_escapes_nothing(limited: Device) -> None:
    with play(limited, "thread-across", APP, OTHER, SIZE) as scene:
        assert_pays(limited, APP, scene.process, threads=2)
        assert rss(limited, OTHER) == 0
        scene.end()


def test_a_vfork_childs_memory_is_its_parents(limited: Device) -> None:
    with play(limited, "-u", APP, "vfork", SIZE) as scene:
        parent, child = scene.processes
        assert mapped(limited, parent) == mapped(limited, child)
        assert_pays(limited, APP, parent, threads=2)
        scene.end()


def test_a_leader_that_has_exited_still_pays(limited: Device) -> None:
    with play(limited, "-u", APP, "exited-leader", SIZE) as scene:
        assert re.search(r"^State:\s+Z", limited.read_file(f"/proc/{scene.process}/status"), re.M)
        # The leader has no mm any more, so its thread has to show it.
        (tid,) = re.findall(r"tid=(\d+), state=Z", scene.output)
        truth = mapped(limited, int(tid))
        assert SIZE <= truth <= SIZE + BESIDE
        assert truth - 2 * HELD_BACK * PAGE <= rss(limited, APP) <= truth
        scene.end()


def test_an_exited_leader_pays_as_whom_it_was(limited: Device) -> None:
    with play(limited, "exited-leader-down", SIZE, APP) as scene:
        assert rss(limited, APP) == 0
        scene.next_step()
        # The thread that is left is the user's, but the leader keeps the uid of its exit.
        assert rss(limited, APP) == 0
        scene.end()


def test_memory_from_before_an_exec_is_gone(limited: Device) -> None:
    with play(limited, "-u", APP, "exec", SIZE) as scene:
        assert_pays(limited, APP, scene.process)
        scene.next_step()
        assert mapped(limited, scene.process) < BESIDE
        assert 0 < rss(limited, APP) < BESIDE
        assert kills_by_limit(limited, APP) == ()
        scene.end()


def test_after_setuid_the_new_user_pays(limited: Device) -> None:
    with play(limited, "setuid-down", SIZE, APP) as scene:
        assert rss(limited, APP) == 0
        scene.next_step()
        assert_pays(limited, APP, scene.process)
        scene.end()


def test_becoming_root_in_effect_changes_nothing_and_for_good_everything(limited: Device) -> None:
    with play(limited, "setuid-up", SIZE, APP) as scene:
        assert_pays(limited, APP, scene.process)
        scene.next_step()
        assert_pays(limited, APP, scene.process)
        scene.next_step()
        assert rss(limited, APP) == 0
        scene.end()


def test_zombies_pay_nothing(limited: Device) -> None:
    with play(limited, "-u", APP, "zombies", 16) as scene:
        zombies = re.findall(r"^zombie: pid=(\d+)", scene.output, re.M)
        assert len(zombies) == 16
        for pid in zombies:
            assert re.search(r"^State:\s+Z", limited.read_file(f"/proc/{pid}/status"), re.M)
        assert 0 < mapped(limited, scene.process) < BESIDE
        assert 0 < rss(limited, APP) <= mapped(limited, scene.process)
        scene.end()


def test_page_tables_are_nobodys(limited: Device) -> None:
    """A page table of 2 MiB each, with the page of zeros: docs/design.md says how much that is."""
    tables = 640
    with play(limited, "-u", APP, "tables", tables * 2 * MIB) as scene:
        status = limited.read_file(f"/proc/{scene.process}/status")
        (size,) = re.findall(r"^VmPTE:\s+(\d+) kB$", status, re.M)
        # Half a page each: what Linux itself has in it.
        assert tables * PAGE <= 2 * 1024 * int(size) < (tables + 32) * PAGE
        assert rss(limited, APP) < BESIDE
        scene.end()


@pytest.mark.parametrize("pages", [40, 64, 1000])
def test_what_threads_hold_back_counts(limited: Device, pages: int) -> None:
    threads = 8
    limited.shell("echo none > /proc/sys/vm/mm_limits_trigger")
    with play(limited, "-u", APP, "deltas", threads, pages * PAGE) as scene:
        assert mapped(limited, scene.process) == rss(limited, APP)
        scene.next_step()
        assert mapped(limited, scene.process) == rss(limited, APP)
        scene.end()


def test_threads_hold_back_again_far_from_the_limit(limited: Device) -> None:
    """Near the limit each page is counted at once, which costs; threads do so no longer then."""
    threads = 20
    words = ("threads", threads, 1, 5 * PAGE)
    with play(limited, *words, program="attack", user=APP) as scene:
        set_limit(limited, APP, rss(limited, APP) + MIB)
        set_limit(limited, APP, NO_LIMIT_YET)
        scene.next_step()
        known = PAGE * int(limited.read_file(f"/proc/{scene.pid}/statm").split()[1])
        assert mapped(limited, scene.pid) - known >= threads * 4 * PAGE
        scene.end()


def test_what_threads_hold_back_of_files_counts(limited: Device) -> None:
    """Threads count faults, and a fault maps up to 16 pages of the page cache."""
    threads = 8
    limited.shell("echo none > /proc/sys/vm/mm_limits_trigger")
    with play(limited, "-u", APP, "deltas-file", threads, 3 * MIB) as scene:
        assert mapped(limited, scene.process) == rss(limited, APP)
        scene.next_step()
        assert mapped(limited, scene.process) == rss(limited, APP)
        scene.end()


def test_there_is_room_for_what_new_threads_hold_back(limited: Device) -> None:
    """The new threads fault no more, and another process reaches the limit."""
    threads = 8
    set_limit(limited, APP, SIZE)
    with play(limited, "-u", APP, "deltas", threads, 60 * PAGE) as scene:
        climb = f"su {APP} busybox dd if=/dev/zero of=/dev/null bs=300M count=1"
        limited.shell(climb, check=False)
        entry = entry_of(limited, APP)
        assert entry.kills == 1
        assert entry.overshoot <= (threads + 2) * PAGE
        scene.next_step()
        scene.end()


# Who is killed


def test_whoever_shares_the_memory_dies_with_it(limited: Device) -> None:
    with play(limited, "-k", 4, "-u", APP, "clone-vm", 4, SIZE) as scene:
        assert_die(scene, APP, *scene.processes)
    assert rss(limited, APP) == 0


def test_the_limit_is_that_of_the_one_who_pays(limited: Device) -> None:
    with play(limited, "-k", 2, "clone-vm-across", APP, OTHER, SIZE) as scene:
        younger, elder = scene.processes
        assert kills_by_limit(limited, OTHER) == ()
        assert_die(scene, APP, elder, younger)


def test_what_a_younger_sharer_takes_counts_for_the_elder_at_once(limited: Device) -> None:
    log = Log(limited)
    set_limit(limited, APP, TOO_LITTLE)
    with play(limited, "-k", 2, "clone-vm-across", APP, OTHER, SIZE, reach=False) as scene:
        scene.ended()
        younger, elder = scene.processes
    records = log.records
    assert_records(records, APP, elder, younger, size=TOO_LITTLE, trigger="alloc")
    assert records[0].user_rss <= TOO_LITTLE + 2 * HELD_BACK * PAGE


def test_whoever_comes_to_pay_has_its_limit_kept(limited: Device) -> None:
    with play(limited, "-k", 1, "clone-vm-across", APP, OTHER, SIZE) as scene:
        scene.next_step()
        assert kills_by_limit(limited, APP) == ()
        assert_die(scene, OTHER, scene.processes[0])


def test_what_it_takes_then_counts_for_whoever_has_come_to_pay(limited: Device) -> None:
    log = Log(limited)
    with play(limited, "-k", 1, "clone-vm-across", APP, OTHER, SIZE) as scene:
        set_limit(limited, OTHER, SIZE + TOO_LITTLE)
        scene.next_step()
        assert rss(limited, APP) == 0
        scene.go_on()
        scene.ended()
    (record,) = log.records
    assert (record.uid, record.pid, record.trigger) == (OTHER, scene.processes[0], "alloc")
    assert record.user_rss <= SIZE + TOO_LITTLE + 2 * HELD_BACK * PAGE


def test_threads_die_as_one(limited: Device) -> None:
    with play(limited, "-k", 1, "-u", APP, "threads", 8, SIZE) as scene:
        assert_die(scene, APP, scene.process)


def test_the_threads_of_a_leader_that_has_exited_die(limited: Device) -> None:
    with play(limited, "-k", 1, "-u", APP, "exited-leader", SIZE) as scene:
        assert_die(scene, APP, scene.process)


def test_a_vfork_child_dies_with_its_parent(limited: Device) -> None:
    with play(limited, "-k", 1, "-u", APP, "vfork", SIZE) as scene:
        parent, child = scene.processes
        assert_die(scene, APP, parent, child)
        assert_gone(limited, child)


def test_a_user_that_setuid_puts_over_its_limit(limited: Device) -> None:
    """It is killed at once, without another allocation."""
    log = Log(limited)
    set_limit(limited, APP, TOO_LITTLE)
    with play(limited, "-k", 1, "setuid-down", SIZE, APP) as scene:
        scene.go_on()
        scene.ended()
    assert_records(log.records, APP, scene.process, trigger="alloc")


def test_a_thread_with_another_uid_is_stopped(limited: Device) -> None:
    set_limit(limited, APP, TOO_LITTLE)
    log = Log(limited)
    with play(limited, "-k", 1, "thread-across", APP, OTHER, SIZE, reach=False) as scene:
        scene.ended()
        (record,) = log.records
        assert (record.uid, record.pid, record.trigger) == (APP, scene.process, "alloc")
        # At its first check beyond the limit.
        assert record.user_rss <= TOO_LITTLE + 2 * HELD_BACK * PAGE


def nobody_left(device: Device, uid: int) -> int:
    """Return how often the kernel says that nobody is left to kill, if asked three times."""
    log = Log(device)
    set_limit(device, uid, TOO_LITTLE)
    called = device.shell(f"{DEVICE_FOLDER}/oom_daemon -v -c 3 0.1").output
    assert called.count("my_oom_killer: ret=0, errno=0") == 3
    assert log.records == ()
    return len(re.findall(rf"mm_limits: uid={uid} is over its limit and has nobody left", log.text))


def protect(device: Device, pid: int) -> None:
    device.write_file(f"/proc/{pid}/oom_score_adj", "-1000")


def oom_score_adj(device: Device, pid: int) -> int:
    return int(device.read_file(f"/proc/{pid}/oom_score_adj"))


def test_a_protected_sharer_saves_all(limited: Device, target: Target) -> None:
    with play(limited, "-u", APP, "clone-vm", 3, SIZE) as scene:
        protect(limited, scene.processes[-1])
        adjs = {oom_score_adj(limited, pid) for pid in scene.processes}
        # Linux itself gives the value to the other sharers.
        alone = "one oom_score_adj for all who share memory" in target.lacks
        assert adjs == ({0, -1000} if alone else {-1000})
        assert nobody_left(limited, APP) == 1
        assert_pays(limited, APP, scene.processes[0], threads=3)
        scene.end()


@pytest.mark.parametrize("protected", [0, 1])
def test_a_protected_vfork_parent_or_child_saves_both(limited: Device, protected: int) -> None:
    with play(limited, "-u", APP, "vfork", SIZE) as scene:
        protect(limited, scene.processes[protected])
        # Here Linux does not give the value to the other one.
        assert oom_score_adj(limited, scene.processes[1 - protected]) == 0
        assert nobody_left(limited, APP) == 1
        scene.end()


@pytest.mark.needs("core dumps that SIGKILL ends")
def test_who_dumps_core_dies_with_one_record(limited: Device) -> None:
    before = limited.read_file(CORE_PATTERN)
    # A helper that reads nothing, so that the dump does not end by itself.
    limited.write_file(CORE_PATTERN, "|/system/bin/sleep 3600")
    try:
        # As the user from the start: a process that has changed its uid dumps no core.
        with play(limited, "-k", 1, "threads", 4, SIZE, user=APP) as scene:
            limited.shell(f"kill -SEGV {scene.process}")
            records = kills_by_limit(limited, APP)
            assert len(records) == 1
            assert records[0].pid == scene.process
            scene.ended()
    finally:
        limited.write_file(CORE_PATTERN, before)
        limited.shell("killall sleep", check=False)
