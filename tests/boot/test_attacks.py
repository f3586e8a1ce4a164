# SPDX-License-Identifier: MIT
"""Attacks on a limit: a user that tries to get round it, or to have others pay for it.

`attack` (in ndk_tests/) does what the device's own programs cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import Sticking
from device_work import (
    APP,
    EARLIER,
    FREE,
    FULL,
    GIVEN_UP,
    KILLED,
    LINES,
    MIB,
    MORE_SHARERS,
    OTHER,
    PAGE,
    PATIENCE,
    PROC,
    RT_THROTTLED,
    SECONDS,
    STUCK,
    TRIGGER,
    Log,
    Process,
    TooLateError,
    climber,
    entry_of,
    eventually,
    first_record,
    holder,
    in_time,
    last_time,
    play,
    process,
    reaction,
    rss,
    set_limit,
    storm,
)

from harness.build.modules import ModuleBuild
from harness.core.errors import DeviceError
from harness.kernel_output.klog import Allowed
from harness.machine.adb import Device
from harness.scenarios.run import DEVICE_FOLDER, parse_limits
from harness.targets.model import Target

LIMIT = 40
# A user that has no limit reads all limits, again and again.
READS = (
    f"su {FREE} sh -c 'i=0; while [ $i -lt 50 ]; do"
    f" while read line; do :; done < {PROC}; i=$((i+1)); done'"
)
READERS = 3
FORKS = 300
# What a system call may take while a victim's memory cannot be had.
FAULTS = 17
# The pages that a fault in a file maps.
AROUND = 16
# Looks for each fork with its exit.
LOOKS_OF_A_FORK = 0.05
# Records of one kill in the log.
MOST_RECORDS = 100
# In a second, at most, of the kernels that are tested.
TICKS = 250
# The unit of CPU time in /proc.
USER_HZ = 100
USE_MM = "/proc/use_mm"
HOLDS_MM = "/sys/module/use_mm/parameters/hold"
FIRST_SUBUID = 100000


@pytest.fixture
def allowed() -> tuple[Allowed, ...]:
    return (
        Allowed(GIVEN_UP, "on a slow host, a victim that is made stuck"),
        Allowed(MORE_SHARERS, "hundreds of sharers die together"),
        Allowed(RT_THROTTLED, "a request at a real-time priority; a busy host makes it long"),
    )


@contextmanager
def looks(device: Device, tracing: str, pid: int) -> Iterator[Callable[[], int]]:
    """Count looks at a user, by one of its processes: return how many there were."""
    event = f"{tracing}/events/mm_limits/mm_limits_candidate"
    device.shell(f"echo > {tracing}/trace; echo 'pid == {pid}' > {event}/filter")
    device.shell(f"echo 1 > {event}/enable")

    def count() -> int:
        trace = device.read_file(f"{tracing}/trace")
        return len(set(re.findall(r"mm_limits_candidate: scan=(\d+) ", trace)))

    try:
        yield count
    finally:
        device.shell(f"echo 0 > {event}/enable; echo 0 > {event}/filter; echo > {tracing}/trace")


def set_bytes(device: Device, uid: int, size: int, more: str = "") -> None:
    device.shell(f"echo uid={uid} max={size} {more} > {PROC}")


def now(device: Device) -> float:
    """Return the time by the kernel log's clock."""
    device.mark_kernel_log("test: now")
    return last_time(device)


# Others pay


@pytest.mark.parametrize("way", ["pipe-write", "pipe-splice", "pipe-read"])
def test_no_pipe_is_held_while_its_user_waits_for_a_victim(
    room: Device, target: Target, sticking: Sticking, way: str
) -> None:
    # A user that waits does so for 200 ms at least. On the debug kernel a call takes that long.
    most_ms = 1000 * (PATIENCE - EARLIER) if target.debug else 200
    in_time(lambda: uses_a_pipe(room, sticking, way, most_ms))


def uses_a_pipe(room: Device, sticking: Sticking, way: str, most_ms: float) -> None:
    set_limit(room, APP, LIMIT)
    eventually(lambda: entry_of(room, APP).rss == 0)
    log = Log(room)
    with sticking() as stuck, play(room, way, APP, program="attack", reach=False) as pipe:

        def calls() -> list[str]:
            return re.findall(r"^calls: count=\d+, longest_ms=(\d+)$", pipe.output, re.M)

        assert first_record(log).pid == stuck.pid
        before = len(calls())
        # One has begun since then. On a busy host the kernel may have given up on the victim
        # meanwhile, and killed the user of the pipe; the line after that tells of all calls.
        eventually(lambda: len(calls()) >= before + 2 or pipe.is_over)
        assert len(calls()) > before
        # A busy host may hold a call up, too, but not each time.
        if int(calls()[-1]) >= most_ms:
            raise TooLateError


@pytest.mark.parametrize(
    ("way", "room_left"), [("forks", 1_400_000), ("forks", 500_000), ("programs", 2_000_000)]
)
def test_forks_near_the_limit_lead_to_no_looks(
    device: Device, tracing: str, way: str, room_left: int
) -> None:
    set_limit(device, APP, 500)
    with play(device, way, FORKS, program="attack", user=APP) as forks:
        with looks(device, tracing, forks.pid) as count:
            set_bytes(device, APP, entry_of(device, APP).rss + room_left)
            before = count()
            forks.next_step()
            assert count() - before <= LOOKS_OF_A_FORK * FORKS
            # The look that a call asks for is counted.
            set_bytes(device, APP, entry_of(device, APP).rss + room_left)
            assert count() > before
        forks.end()
    assert entry_of(device, APP).kills == 0


@pytest.fixture
def serve_first(device: Device) -> Iterator[Callable[[], None]]:
    """Return what has adbd's shells get a CPU before all that has no real-time priority.

    So a shell waits for what others hold, and not for the CPUs that they never leave.
    """

    def serve(policy: str, priority: int) -> None:
        set_it = f"toybox chrt -{policy} -p ${{task##*/}} {priority}"
        each = f"for task in /proc/$(busybox pidof adbd)/task/*; do {set_it}; done"
        device.shell(each, timeout=SECONDS)

    def is_gone() -> bool:
        # Shells that come one after the other would take the CPUs from what has to end.
        device.shell("busybox sleep 2")
        return entry_of(device, APP).rss == 0

    yield lambda: serve("f", 10)
    # Not only the process that is told to end, and passes that on when it gets a CPU: those that
    # take all of them. An adbd without the priority would wait behind them.
    device.shell(f"pkill -9 -u {APP}", check=False)
    eventually(is_gone)
    serve("o", 0)


@pytest.fixture
def hogs(target: Target) -> int:
    """Return how many processes keep the CPUs busy, so that a nice one waits seconds for its turn.

    Among more of them the debug kernel's own threads get none, either.
    """
    return 10 if target.debug else 40


def times_of_asking(device: Device, often: int = 3) -> list[float]:
    """Have the kernel check every limit; return how many seconds each time takes."""
    asks = f"busybox time {DEVICE_FOLDER}/oom_daemon -c 1 0.1"
    loop = f"i=0; while [ $((i+=1)) -le {often} ]; do busybox sleep 1; {asks}; done"
    said = device.shell(loop, timeout=SECONDS)
    times = re.findall(r"real\s+(\d+)m\s*([\d.]+)s", said.output)
    assert len(times) == often
    return [60 * int(minutes) + float(seconds) for minutes, seconds in times]


def test_a_task_without_cpu_time_holds_nobody_up(
    device: Device, serve_first: Callable[[], None], hogs: int
) -> None:
    set_limit(device, APP, 900)
    # On the debug kernel no shell gets that far among them.
    serve_first()
    with play(device, "starved", hogs, 300, 100 * MIB, program="attack", user=APP) as scene:
        before = times_of_asking(device)
        set_bytes(device, APP, entry_of(device, APP).rss, "dry_run=1")
        scene.go_on()
        assert max(times_of_asking(device)) < max(PATIENCE, 10 * max(before))


def test_who_gets_no_cpu_keeps_nobody_from_the_table_of_limits(
    device: Device, serve_first: Callable[[], None], hogs: int
) -> None:
    for uid in range(20000, 20009):
        set_limit(device, uid, 900)
    set_limit(device, APP, 900)
    serve_first()
    with play(device, "nice-sets", hogs, 800 * MIB, program="attack", user=APP) as scene:
        before = times_of_asking(device)
        scene.go_on()
        # It gets a CPU every few seconds, and loses it again with what it holds.
        assert max(times_of_asking(device, 20)) < max(PATIENCE, 10 * max(before))


def test_threads_that_wait_do_not_look_one_after_the_other(room: Device, tracing: str) -> None:
    threads = 200
    set_limit(room, APP, 900)
    with (
        holder(room, APP, STUCK) as held,
        play(room, "threads", threads, 300, 5 * PAGE, program="attack", user=APP) as scene,
        looks(room, tracing, scene.pid) as count,
    ):
        set_bytes(room, APP, entry_of(room, APP).rss + 2 * MIB)
        before = count()
        log = Log(room)
        # What all of them take fits into the victim's room.
        scene.next_step()
        assert [record.pid for record in log.records] == [held.pid]
        assert count() - before <= threads // 8
        scene.end()


def test_a_user_above_its_limit_by_what_threads_hold_back_keeps_no_worker_busy(
    room: Device, tracing: str
) -> None:
    threads, pages = 20, 50
    set_limit(room, APP, 500)
    with (
        play(room, "threads", threads, 0, pages * PAGE, program="attack", user=APP) as scene,
        looks(room, tracing, scene.pid) as count,
    ):
        scene.next_step()
        # Its counters are below it.
        size = entry_of(room, APP).rss - threads * pages * PAGE // 2
        set_bytes(room, APP, size, "dry_run=1")
        room.shell("busybox sleep 1")
        assert 0 < count() < 10
        scene.end()


@pytest.mark.parametrize("less", [0, 1])
def test_who_sets_its_own_limit_all_the_time_keeps_no_worker_busy(
    room: Device, tracing: str, less: int
) -> None:
    """It is nice, so that a worker looks for it."""
    set_limit(room, APP, 500)
    with (
        play(room, "sets", 2000, less, 400 * MIB, program="attack", user=APP) as scene,
        looks(room, tracing, scene.pid) as count,
    ):
        begun = now(room)
        scene.next_step()
        assert count() <= TICKS * (now(room) - begun) + 10
        scene.end()


def test_who_lowers_its_limit_all_the_time_is_killed_all_the_same(room: Device) -> None:
    mib = 32
    set_limit(room, APP, mib)
    log = Log(room)
    # With so many processes a look takes longer than a call.
    with play(room, "lowers", 80, 4, mib * MIB, program="attack", user=APP) as scene:
        scene.go_on()
        assert first_record(log).pid == scene.pid
        scene.killed()


def workers_time(device: Device) -> float:
    """Return how many seconds of CPU time all workers of the kernel have had."""
    said = device.shell("cat /proc/[0-9]*/stat", check=False).output
    found = re.findall(r"^\d+ \(kworker/.*\) \S(?: \S+){10} (\d+) (\d+) ", said, re.M)
    assert found
    return sum(int(user) + int(system) for user, system in found) / USER_HZ


def test_very_many_victims_keep_no_worker_busy(room: Device) -> None:
    """When a period of grace has ended, a worker kills."""
    count, left = 600, 100
    set_limit(room, APP, 900)
    log = Log(room)
    with play(room, "crowd", count, 32 * PAGE, program="attack", user=APP) as scene:
        # All of them end with it.
        room.shell(f"echo -1000 > /proc/{scene.pid}/oom_score_adj")
        before = workers_time(room)
        set_bytes(room, APP, entry_of(room, APP).rss * left // count, "grace=1")
        eventually(lambda: entry_of(room, APP).kills > count - 2 * left)
        took = workers_time(room) - before
        times = [record.time for record in log.records if record.time is not None]
        assert took <= 0.75 * (times[-1] - times[0])
        scene.end()


def test_one_call_that_tries_again_takes_no_more(room: Device, sticking: Sticking) -> None:
    in_time(lambda: populates(room, sticking))


def anonymous(statm: str) -> int:
    """Return the number of pages that are of no file, by a process's line in /proc."""
    _, resident, shared, *_ = map(int, statm.split())
    return resident - shared


def populates(room: Device, sticking: Sticking) -> None:
    set_limit(room, APP, LIMIT)
    # An attempt before has left a victim.
    eventually(lambda: entry_of(room, APP).rss == 0)
    log = Log(room)
    size = LIMIT * MIB // 2
    with (
        sticking() as stuck,
        play(room, "populate", size, program="attack", user=APP) as scene,
        reaction(room, stuck.pid, f"cat /proc/{scene.pid}/statm; echo > {LINES}") as reacting,
        climber(room, APP),
    ):
        try:
            scene.reach_step()
            after = room.read_file(f"/proc/{scene.pid}/statm")
        except DeviceError:
            if log.said(GIVEN_UP):
                raise TooLateError from None
            raise
        if log.said(GIVEN_UP):
            raise TooLateError
        before = re.search(r"^[\d ]+$", reacting.over(log), re.MULTILINE)
        assert before
        assert log.records[0].pid == stuck.pid
        # In the call, and what the program needs around it.
        assert anonymous(after) - anonymous(before[0]) <= 2 * FAULTS
        scene.end()


def test_a_victim_in_a_system_call_does_not_take_the_kernel_with_it(device: Device) -> None:
    count, size = 200, 4 * MIB
    set_limit(device, APP, 6)
    log = Log(device)
    with play(device, "calls", count, size, program="attack", user=APP) as scene:
        scene.next_step()
        scene.end()
    assert len(log.records) == entry_of(device, APP).kills == count


def test_memory_that_moves_between_processes_counts_once(device: Device) -> None:
    others, size = 1500, 64 * PAGE
    set_limit(device, APP, 900)
    with play(device, "passes", others, size, program="attack", user=APP) as scene:
        # The first process holds as much for good as both do in turn.
        set_bytes(device, APP, entry_of(device, APP).rss + size + 8 * PAGE)
        scene.go_on()
        device.shell(f"{DEVICE_FOLDER}/oom_daemon -c 300 0.01", timeout=SECONDS)
        assert entry_of(device, APP).kills == 0
        assert entry_of(device, APP).overshoot == 0


# Readers of /proc/mm_limits


def test_no_growth_slips_by_while_limits_are_read(device: Device) -> None:
    set_limit(device, APP, LIMIT)
    log = Log(device)
    with play(device, "slips", 2 * LIMIT * MIB, program="attack", user=APP) as scene:
        scene.go_on()
        scene.killed()
    assert [record.pid for record in log.records] == [scene.pid]
    assert entry_of(device, APP).overshoot <= 2 * PAGE


@contextmanager
def readers(device: Device) -> Iterator[None]:
    with storm(device, {}, beside=[READS] * READERS):
        yield


def test_readers_lose_no_record_of_a_dry_run(room: Device) -> None:
    set_bytes(room, APP, 20 * MIB, "dry_run=1")
    log = Log(room)
    # Not more than the rate limit allows.
    times = 8
    with readers(room):
        for _ in range(times):
            with holder(room, APP, 21):
                pass
            eventually(lambda: entry_of(room, APP).rss == 0)
    assert [record.dry_run for record in log.records] == [True] * times


def test_readers_do_not_cut_a_period_of_grace_short(room: Device) -> None:
    with readers(room):
        in_time(lambda: goes_over_twice(room))


def goes_over_twice(room: Device) -> None:
    grace = 3
    set_bytes(room, APP, 20 * MIB, f"grace={grace}")
    eventually(lambda: entry_of(room, APP).rss == 0)
    takes = "busybox dd if=/dev/zero bs=21M count=1"
    if room.shell(f"{takes} of=/dev/null", user=APP, check=False).status == KILLED:
        raise TooLateError
    eventually(lambda: entry_of(room, APP).rss == 0)
    log = Log(room)
    begun = last_time(room)
    with process(room, APP, f"{takes} 1<>{FULL}") as holds:
        holds.running.wait(SECONDS)
    (record,) = log.records
    assert record.time is not None
    assert (record.trigger, record.pid) == ("grace", holds.pid)
    assert record.time - begun > grace


def test_readers_keep_no_user_of_a_range_from_its_limit(room: Device) -> None:
    uids = range(10000, 10010)
    device_range = f"{uids[0]}-{uids[-1]}"
    log = Log(room)
    with readers(room):
        room.shell(f"echo uid={device_range} max=20M > {PROC}")
        for uid in uids:
            climb = "busybox dd if=/dev/zero of=/dev/null bs=30M count=1"
            assert room.shell(climb, user=uid, check=False).status == KILLED
    assert [record.uid for record in log.records] == list(uids)


@pytest.mark.parametrize("room_left", [100 * MIB, MIB // 2, -MIB])
def test_readers_force_no_looks(room: Device, tracing: str, room_left: int) -> None:
    set_limit(room, APP, 500)
    with holder(room, APP, 10) as held, looks(room, tracing, held.pid) as count:
        set_bytes(room, APP, entry_of(room, APP).rss + room_left, "dry_run=1")
        before = count()
        assert before > 0
        room.shell(READS)
        assert count() == before


# No more dies than must


def stop(device: Device, pid: int) -> None:
    device.shell(f"kill -STOP {pid}")
    eventually(lambda: "State:\tT" in device.read_file(f"/proc/{pid}/status"))


def test_a_stopped_victim_costs_nobody_else_its_life(room: Device) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)
    with holder(room, APP, STUCK) as held:
        stop(room, held.pid)
        with climber(room, APP, STUCK) as next_one:
            assert next_one.running.wait(SECONDS).status == 0
    assert [record.pid for record in log.records] == [held.pid]
    assert log.said(GIVEN_UP) == []


def test_a_victim_whose_tracer_keeps_it_costs_nobody_else_its_life(room: Device) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)
    with play(room, "traced", STUCK * MIB, program="attack", user=APP) as scene:
        victim = int(re.findall(r"^holds: pid=(\d+)", scene.output, re.M)[0])
        for _ in range(3):
            with climber(room, APP, STUCK) as next_one:
                assert next_one.running.wait(SECONDS).status == 0
        # It has not ended yet.
        scene.next_step()
        assert f"traced: pid={victim}, ends=1" in scene.output
        assert rss(room, victim) < MIB
        scene.end()
    assert [record.pid for record in log.records] == [victim]


def test_the_user_of_a_sharer_that_ends_last_does_not_pay(device: Device) -> None:
    heir = APP + 1
    for uid in (APP, heir):
        set_limit(device, uid, 8)
    log = Log(device)
    with play(device, "heir", APP, 7 * MIB, program="attack") as scene:
        set_limit(device, heir, 4)
        before = entry_of(device, heir)
        set_limit(device, APP, 5)
        scene.next_step()
        assert entry_of(device, heir).rss <= before.rss
        assert (entry_of(device, heir).kills, entry_of(device, heir).overshoot) == (0, 0)
        assert len(log.records) == 2
        scene.end()


def test_a_task_that_has_killed_itself_kills_no_other(device: Device, tracing: str) -> None:
    children = 40
    device.shell(f"echo 1 > {tracing}/events/mm_limits/mm_limits_kill/enable")
    for _ in range(4):
        device.shell(f"echo none > {TRIGGER}; echo > {tracing}/trace")
        set_limit(device, APP, 10)
        with play(
            device, "large", children, 20 * MIB, program="attack", user=APP, reach=False
        ) as scene:
            scene.next_step()
            # It grows all the time: so it looks before the worker does, which has to be woken.
            scene.go_on()
            device.shell(f"echo alloc > {TRIGGER}")
            scene.killed()
        eventually(lambda: entry_of(device, APP).rss == 0)
        trace = device.read_file(f"{tracing}/trace")
        kills = re.findall(r"-(\d+) .* mm_limits_kill: uid=\d+ .* pid=(\d+) ", trace)
        assert kills[0][1] == str(scene.pid)
        dead = set[str]()
        for killer, victim in kills:
            assert killer not in dead
            dead.add(victim)


def test_sharers_that_fork_without_end_die_all(device: Device) -> None:
    most = 400
    set_limit(device, APP, 3)
    # What a test before has killed may still be there.
    eventually(lambda: entry_of(device, APP).rss == 0)
    log = Log(device)
    with play(device, "sharers", most, 2 * MIB, program="attack", user=APP) as scene:
        scene.go_on()
        scene.killed()
        eventually(lambda: device.shell(f"pgrep -u {APP}", check=False).status != 0)
    first, *others = log.records
    assert (first.pid, first.sharer_of) == (scene.pid, None)
    assert {other.sharer_of for other in others} == {scene.pid}
    pids = {record.pid for record in log.records}
    assert len(pids) == len(log.records) == MOST_RECORDS
    # The log is not theirs alone.
    ((_, more),) = log.said(MORE_SHARERS)
    assert MOST_RECORDS + int(more) == entry_of(device, APP).kills <= most
    assert log.said(GIVEN_UP) == []


def test_who_grew_while_nobody_was_to_look_dies_afterwards(room: Device) -> None:
    room.shell(f"echo none > {TRIGGER}")
    set_limit(room, APP, 20)
    log = Log(room)
    with holder(room, APP, 21) as held:
        assert list(log.records) == []
        room.shell(f"echo alloc > {TRIGGER}")
        # Without a page more, or less.
        held.running.wait(SECONDS)
    (record,) = log.records
    assert (record.pid, record.trigger) == (held.pid, "alloc")


def test_pages_of_a_file_that_a_thread_copies_count_once(device: Device) -> None:
    threads, size = 100, 64 * PAGE
    set_limit(device, APP, 500)
    log = Log(device)
    with play(device, "copies", threads, size, program="attack", user=APP) as scene:
        pages = [line.split() for line in device.read_file(f"/proc/{scene.pid}/smaps").splitlines()]
        mapped = sum(int(words[1]) << 10 for words in pages if words[0] == "Rss:")
        assert threads * size < mapped < threads * size + 4 * MIB
        assert entry_of(device, APP).rss == mapped
        set_bytes(device, APP, mapped + MIB)
        scene.next_step()
        assert list(log.records) == []
        scene.end()


# Grace


@contextmanager
def over(device: Device, grace: int) -> Iterator[Process]:
    """Run a process that puts its user over its limit, in a period of grace."""
    set_bytes(device, APP, 20 * MIB, f"grace={grace}")
    with holder(device, APP, 21) as held:
        yield held


def test_a_period_of_grace_that_is_shortened_ends_soon(room: Device) -> None:
    log = Log(room)
    with over(room, 86400) as held:
        begun = now(room)
        room.shell(f"echo uid={APP} grace=1 > {PROC}")
        held.running.wait(SECONDS)
    (record,) = log.records
    assert record.time is not None
    assert (record.trigger, record.pid) == ("grace", held.pid)
    assert record.time - begun > 1


def test_a_period_of_grace_that_is_made_longer_ends_late(room: Device) -> None:
    in_time(lambda: makes_longer(room))


def makes_longer(room: Device) -> None:
    log = Log(room)
    with over(room, 8) as held:
        room.shell("busybox sleep 2")
        begun = now(room)
        room.shell(f"echo uid={APP} grace=10 > {PROC}")
        if list(log.records):
            raise TooLateError
        held.running.wait(SECONDS)
    (record,) = log.records
    assert record.time is not None
    assert (record.trigger, record.pid) == ("grace", held.pid)
    # A new one has begun: the old one, made longer, ends two seconds earlier. Both clocks differ by
    # a tick, or by many where the host has not run the CPU that counts them.
    assert record.time - begun > 9


# Who pays


@pytest.mark.needs("user namespaces")
def test_a_user_of_many_uids_has_one_limit(device: Device) -> None:
    """Whoever has made the namespace pays for all of its users, whatever range they are in."""
    users = 8
    set_limit(device, APP, 100)
    device.shell(f"echo uid={FIRST_SUBUID}-{FIRST_SUBUID + 65535} max=4M > {PROC}")
    log = Log(device)
    with play(device, "subuids", APP, users, 5 * MIB, program="attack") as scene:
        usage = {entry.uid: entry.rss for entry in parse_limits(device) if not entry.is_range}
        assert users * 5 * MIB <= usage.pop(APP) < users * 6 * MIB
        assert not any(usage.values())
        assert not list(log.records)
        set_limit(device, APP, 20)
        eventually(lambda: entry_of(device, APP).rss <= 20 * MIB)
        assert {record.uid for record in log.records} == {APP}
        scene.end()


@pytest.fixture
def keeping(device: Device, testing_modules: ModuleBuild) -> Iterator[Device]:
    """Load a module whose kernel thread takes over an mm, and keeps it until the test is over."""
    module = f"{DEVICE_FOLDER}/use_mm.ko"
    device.push(testing_modules.path("use_mm"), module, 0o644)
    device.shell(f"insmod {module} && chmod 666 {USE_MM}")
    yield device
    device.shell(f"echo 0 > {HOLDS_MM}")
    eventually(lambda: device.shell("rmmod use_mm", check=False).status == 0)


def test_a_kernel_thread_in_a_users_memory_saves_no_process(keeping: Device) -> None:
    set_limit(keeping, APP, LIMIT)
    log = Log(keeping)
    with play(keeping, "kthread", 2 * LIMIT * MIB, program="attack", user=APP) as scene:
        scene.go_on()
        scene.killed()
        records = log.records
        assert [record.pid for record in records] == [scene.pid]
        # What the thread has taken counts, and is given back while it keeps the mm.
        assert records[0].user_rss > LIMIT * MIB
        eventually(lambda: entry_of(keeping, APP).rss < MIB)
        assert keeping.shell("pgrep use_mm", check=False).status == 0


@pytest.mark.parametrize("before", [None, 5 * LIMIT], ids=["the first limit", "another limit"])
def test_a_process_that_is_gone_counts_for_a_limit_that_came_later(
    keeping: Device, before: int | None
) -> None:
    """Its user had no limit when it went, or has another one since."""
    if before:
        set_limit(keeping, APP, before)
    with play(keeping, "kept", 5 * LIMIT * MIB, program="attack", user=APP) as scene:
        if before:
            keeping.shell(f"echo uid={APP} max=none > {PROC}")
        set_limit(keeping, APP, LIMIT)
        scene.go_on()
        # It got that far, and no further. Where it takes longer than the kernel is patient
        # with what is gone, it dies for it.
        if scene.ended_or_killed() == 0:
            assert int(scene.said("took: ").rpartition(" ")[2]) <= LIMIT * MIB
        assert entry_of(keeping, APP).peak_rss > (LIMIT - 1) * MIB
    assert entry_of(keeping, APP).overshoot <= FAULTS * PAGE


@pytest.mark.parametrize("writer", [APP, OTHER])
def test_memory_that_is_written_for_a_process_that_is_gone_counts(
    room: Device, writer: int
) -> None:
    """Also where two users do so together: whose the memory is has reached its limit."""
    for uid in (APP, OTHER):
        set_limit(room, uid, LIMIT)
    with play(room, "remote", APP, writer, 5 * LIMIT * MIB, program="attack") as scene:
        scene.go_on()
        took = int(scene.said("took: ").rpartition(" ")[2])
        assert took <= LIMIT * MIB
        scene.ended()
    assert entry_of(room, APP).overshoot <= FAULTS * PAGE


def test_what_who_ends_still_takes_is_bounded(room: Device) -> None:
    # Each makes thousands of mappings, which the debug kernel checks at each change.
    ends = 5
    set_limit(room, APP, LIMIT)
    with play(room, "robust", ends, program="attack", user=APP) as scene:
        scene.go_on()
        most = int(scene.said("most: ").rpartition(" ")[2])
        # For each of them faults in what the list is read from, and in what is written.
        assert most - LIMIT * MIB <= ends * FAULTS * (AROUND + 1) * PAGE
        scene.ended()


def test_pages_that_are_mapped_without_a_fault_count_at_once(room: Device) -> None:
    set_limit(room, APP, LIMIT)
    log = Log(room)
    with play(room, "ring", APP, 2 * LIMIT * MIB, program="attack"):
        assert first_record(log).user_rss > LIMIT * MIB


def test_the_words_of_a_new_program_count_once(room: Device) -> None:
    words, size = 15, 100_000
    set_limit(room, APP, 500)
    with play(room, "execs", words, 8 * MIB, program="attack", user=APP) as scene:
        # They would not fit in twice.
        set_bytes(room, APP, entry_of(room, APP).rss + words * size * 3 // 2)
        scene.go_on()
        scene.ended()
    assert entry_of(room, APP).kills == 0


def test_the_user_of_a_thread_that_executes_a_program_pays_for_it(room: Device) -> None:
    set_limit(room, APP, 900)
    with play(room, "thread-execs", APP, program="attack") as scene:
        assert entry_of(room, APP).rss > 0
        scene.next_step()
        scene.end()


@pytest.mark.parametrize("grace", [0, 1])
def test_a_victim_of_very_many_parts_is_given_back(room: Device, grace: int) -> None:
    """Not all of it at once, or others would wait meanwhile."""
    pages = 4000
    set_limit(room, APP, 500)
    with play(room, "parts", pages // 2, program="attack", user=APP) as scene:
        held = entry_of(room, APP).rss
        set_bytes(room, APP, held - MIB, f"grace={grace}")
        eventually(lambda: entry_of(room, APP).rss <= held - pages * PAGE)
        assert entry_of(room, APP).kills == 1
        scene.next_step()
        scene.end()


def test_a_dry_run_takes_nothing_from_anybody(room: Device) -> None:
    set_limit(room, APP, 500)
    with play(room, "traced", 2 * LIMIT * MIB, program="attack", user=APP) as scene:
        room.shell(f"echo uid={APP} max={LIMIT}M dry_run=1 > {PROC}")
        (child,) = re.findall(r"\d+", room.shell(f"pgrep -P {scene.pid} attack").output)
        room.shell(f"kill -9 {child}")
        scene.next_step()
        assert "ends=1" in scene.output
        # Who is dying, and this one, are above the limit together.
        read = f"busybox dd if=/dev/zero of=/dev/null bs={LIMIT // 2}M count=1"
        # Not less of it in one call.
        assert "1+0 records in" in room.shell(f"su {APP} {read} </dev/null 2>&1").output
        scene.end()
