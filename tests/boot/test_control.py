# SPDX-License-Identifier: MIT
"""Writes to /proc/mm_limits: grace, a user's own policy, dry runs, ranges of users."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from conftest import Booting
from device_work import (
    APP,
    MIB,
    OTHER,
    PROC,
    PROTECTED_SU,
    SECONDS,
    Log,
    entry_of,
    eventually,
    last_time,
)

from harness.kernel_output.records import split_prefix
from harness.machine.adb import Device, RunningCommand
from harness.scenarios.run import parse_limits
from harness.targets.model import QemuMachine, Target

OUTSIDE = 2000
SLOTS = 10
SET_LIMIT = "/data/local/tmp/test_set_mm_limits"
# A hog ends by itself after this many MiB, which is later than the end of any test here.
HOG_MIB = 300000
# The kernel prints so many lines, in so many seconds, about a user of which it kills no process.
SAYS, SAYS_INTERVAL = 10, 5.0
CLIMBS = 40


def write(device: Device, line: str) -> None:
    device.shell(f"echo '{line}' > {PROC}")


def refused(device: Device, line: str, user: int | None = None) -> str:
    """Return what the shell prints about a line that the kernel refuses."""
    result = device.shell(f"echo '{line}' > {PROC}", user=user, check=False)
    assert result.status != 0
    return result.output


def settings(device: Device, uid: int) -> tuple[int, int, str, bool]:
    """Return all that one line can set of a user: limit, grace, policy, dry run."""
    entry = entry_of(device, uid)
    return entry.mm_max, entry.grace, entry.policy, entry.dry_run


@contextmanager
def hog(device: Device, uid: int, mib: int) -> Iterator[RunningCommand]:
    """Run a process of the user that holds `mib` MiB, while the context lasts."""
    dd = f"exec busybox dd if=/dev/zero of=/dev/null bs={mib}M count={HOG_MIB // mib}"
    with closing(device.start(dd, user=uid)) as running:
        yield running
        device.shell(f"pkill -9 -u {uid} busybox", check=False)


def wait_until_rss(device: Device, uid: int, least: int) -> None:
    # A user of a range has no entry before its first allocation.
    eventually(lambda: [one for one in parse_limits(device) if one.uid == uid and one.rss >= least])


def test_everything_is_set_by_one_line_and_shown(device: Device) -> None:
    write(device, f"uid={APP} max=100M grace=5 policy=runtime dry_run=1")
    assert settings(device, APP) == (100 * MIB, 5, "runtime", True)
    write(device, f"uid={APP} grace=0 policy=-")
    assert settings(device, APP) == (100 * MIB, 0, "", True)
    write(device, f"uid={APP} max=none")
    assert parse_limits(device) == ()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("uid=x max=100M", "not understood: uid=x"),
        ("uid=0 max=100M", "not understood: uid=0"),
        ("uid=4294967295 max=100M", "not understood: uid=4294967295"),
        ("uid=10072-10070 max=100M", "not understood: uid=10072-10070"),
        ("uid=10070 max=100Q", "not understood: max=100Q"),
        ("uid=10070 max=4095", "not understood: max=4095"),
        ("uid=10070 max=5G", "not understood: max=5G"),
        ("uid=10070 max=99999999999999999999", "not understood: max=99999999999999999999"),
        ("uid=10070 max=100M grace=-1", "not understood: grace=-1"),
        ("uid=10070 max=100M policy=nosuch", "not understood: policy=nosuch"),
        ("uid=10070 max=100M dry_run=2", "not understood: dry_run=2"),
        ("uid=10070 max=100M color=red", "not understood: color=red"),
        ("uid=10070 max", "not understood: max"),
        ("max=100M", "missing: uid="),
        ("uid=10070-10072 grace=3", "missing: max="),
        ("uid=10070 grace=3", "has no limit: uid="),
        ("uid=10070 max=0x100000", "not understood: max=0x100000"),
        ("uid=10070 max=0x100K", "not understood: max=0x100K"),
        ("uid=10070 max=+100M", "not understood: max=+100M"),
        ("uid=+10070 max=100M", "not understood: uid=+10070"),
        ("uid=10070-+10072 max=100M", "not understood: uid=10070-+10072"),
        ("uid=10070-10072-1 max=100M", "not understood: uid=10070-10072-1"),
        ("uid=4294977366 max=100M", "not understood: uid=4294977366"),
        ("uid= max=100M", "not understood: uid="),
        ("uid=10070 max=", "not understood: max="),
        ("uid=10070 max=M", "not understood: max=M"),
        ("uid=10070 max=100MB", "not understood: max=100MB"),
        ("uid=10070 max=4G", "not understood: max=4G"),
        ("uid=10070 max=99999999999G", "not understood: max=99999999999G"),
        ("uid=10070 max=100M grace=+5", "not understood: grace=+5"),
        ("uid=10070 max=100M grace=0x5", "not understood: grace=0x5"),
        ("uid=10070 max=100M grace=86401", "not understood: grace=86401"),
        ("uid=10070 max=100M policy=", "not understood: policy="),
        ("uid=10070 max=100M max=50M", "said twice: max=50M"),
        ("uid=10070 max=100M uid=10071", "said twice: uid=10071"),
        ("uid=10070 max=100M, grace=5", "not understood: max=100M,"),
        ("uid=10070 max=100M\nuid=10071 max=50M", "a second line: uid=10071"),
        ("uid=10070 max=100M\n\n grace=5", "a second line: grace=5"),
        ("", "missing: uid="),
    ],
)
def test_the_word_that_is_wrong_is_named(device: Device, line: str, complaint: str) -> None:
    log = Log(device)
    assert "Invalid argument" in refused(device, line)
    assert f"mm_limits: {complaint}\n" in log.text
    assert parse_limits(device) == ()


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (r"uid=10070 max=100M\r\n", "not understood: max=100M?"),
        (r"uid=10070 max=100M\0\n", "not understood: max=100M?"),
        (r"uid=10070 max=100M\0 grace=5\n", "not understood: max=100M?"),
        (r"\0uid=10070 max=100M\n", "not understood: ?uid=10070"),
    ],
)
def test_what_cannot_be_seen_is_part_of_a_word(device: Device, octets: str, complaint: str) -> None:
    log = Log(device)
    device.shell(f"busybox printf '{octets}' > {PROC}", check=False)
    assert f"mm_limits: {complaint}\n" in log.text
    assert parse_limits(device) == ()


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        ("010M", 10 * MIB),
        ("0000000000010M", 10 * MIB),
        ("08192", 8192),
        ("9K", 9 << 10),
        ("3G", 3 << 30),
        ("4294967294", 4294967294),
    ],
)
def test_a_size_is_decimal(device: Device, size: str, taken: int) -> None:
    write(device, f"uid={APP} max={size}")
    assert entry_of(device, APP).mm_max == taken


@pytest.mark.parametrize("around", ["{}", "{}\\n", "\\n{}\\n", "\\t {} \\n\\n"])
def test_a_line_is_one_line_with_any_space_around_it(device: Device, around: str) -> None:
    line = around.format(f"uid=0{APP} max=10M  grace=05")
    device.shell(f"busybox printf '{line}' > {PROC}")
    entry = entry_of(device, APP)
    assert (entry.mm_max, entry.grace) == (10 * MIB, 5)


def test_every_write_of_an_open_file_is_a_line(device: Device) -> None:
    lines = f"echo uid={APP} max=10M; echo uid={OTHER} max=20M"
    device.shell(f"{{ {lines}; }} > {PROC}")
    assert {entry.uid for entry in parse_limits(device)} == {APP, OTHER}
    log = Log(device)
    torn = f"busybox printf 'uid={APP} max=1'; busybox printf '1M'"
    device.shell(f"{{ {torn}; }} > {PROC}", check=False)
    text = log.text
    assert "not understood: max=1\n" in text
    assert "not understood: 1M\n" in text
    assert entry_of(device, APP).mm_max == 10 * MIB


@pytest.mark.parametrize(("name", "now"), [("policy", "rss"), ("trigger", "alloc")])
def test_a_sysctl_takes_one_line(device: Device, name: str, now: str) -> None:
    sysctl = f"/proc/sys/vm/mm_limits_{name}"
    other = "none" if name == "trigger" else "runtime"
    for lines in (f"{other}\n{now}", f"{other}\nnonsense", f"{other} {now}"):
        assert "Invalid argument" in device.shell(f"echo '{lines}' > {sysctl}", check=False).output
        assert device.read_file(sysctl).strip() == now
    device.shell(f"busybox printf ' {other} ' > {sysctl}")
    assert device.read_file(sysctl).strip() == other


def test_only_root_may_write(device: Device) -> None:
    assert "denied" in refused(device, f"uid={APP} max=100M", user=APP)
    assert parse_limits(device) == ()


def test_a_line_that_is_too_long(device: Device) -> None:
    assert "too long" in refused(device, f"uid={APP} max=100M" + " " * 300)


def test_a_period_of_grace_ends_in_a_kill(device: Device) -> None:
    log = Log(device)
    write(device, f"uid={APP} max=20M grace=2")
    # By the kernel's clock: the host might see too late that the process is still alive.
    begun = last_time(device)
    with hog(device, APP, 30) as ended:
        ended.wait(SECONDS)
    (record,) = log.records
    assert (record.trigger, record.uid) == ("grace", APP)
    assert record.time is not None
    assert record.time - begun > 2
    # It went on growing during its grace.
    assert entry_of(device, APP).peak_rss >= 25 * MIB


def test_a_user_cannot_begin_its_grace_anew(device: Device) -> None:
    write(device, f"uid={APP} max=20M grace=2")
    anew = f"while :; do {SET_LIMIT} {APP} {20 * MIB}; sleep 0.2; done"
    with closing(device.start(anew, user=APP)), hog(device, APP, 30) as ended:
        ended.wait(SECONDS)
        device.shell(f"pkill -9 -u {APP} sh", check=False)


def test_who_is_below_the_limit_in_time_lives(device: Device) -> None:
    log = Log(device)
    write(device, f"uid={APP} max=20M grace=15")
    with hog(device, APP, 15) as stays:
        # After this wait the other one is certainly younger, even in clock ticks.
        wait_until_rss(device, APP, 14 * MIB)
        with hog(device, APP, 15) as goes:
            wait_until_rss(device, APP, 25 * MIB)
            device.shell(f"pkill -9 -n -u {APP} busybox")
            goes.wait(SECONDS)
            time.sleep(16)
            assert not stays.ended
    assert log.records == ()


def test_a_users_own_policy(device: Device) -> None:
    log = Log(device)
    write(device, f"uid={APP} max=20M policy=badness")
    write(device, f"uid={OTHER} max=20M")
    for uid in (APP, OTHER):
        with hog(device, uid, 30) as ended:
            ended.wait(SECONDS)
    assert [(r.uid, r.policy) for r in log.records] == [(APP, "badness"), (OTHER, "rss")]


def test_a_dry_run_records_once_and_kills_nobody(device: Device) -> None:
    log = Log(device)
    write(device, f"uid={APP} max=20M dry_run=1")
    with hog(device, APP, 30) as ended:
        wait_until_rss(device, APP, 25 * MIB)
        time.sleep(1)
        assert not ended.ended
    (record,) = log.records
    assert record.dry_run
    entry = entry_of(device, APP)
    assert (entry.kills, entry.last_pid) == (0, 0)


@pytest.fixture(scope="module")
def counting(
    booting: Booting, target: Target, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Device]:
    """Boot a device whose clock counts its instructions, so that no host is too slow for it."""
    assert isinstance(target.machine, QemuMachine)
    slow = target.on_machine(target.machine.counting_instructions())
    with booting(slow, tmp_path_factory.mktemp("counting")) as session:
        yield session.device


def go_over_and_over(device: Device, su: str) -> float:
    """Have a user exceed its limit again and again; return the seconds by the device's clock."""
    climb = "busybox dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null"
    marks = ("test: begins", "test: is over")
    # An idle device's clock runs fast: do all in one command, in a new period of the rate limit.
    device.shell(
        f"busybox sleep {2 * SAYS_INTERVAL:g}; echo '<5>{marks[0]}' > /dev/kmsg;"
        f" {su} {APP} sh -c 'for i in $(seq {CLIMBS}); do {climb}; done';"
        f" echo '<5>{marks[1]}' > /dev/kmsg",
        timeout=SECONDS,
    )
    lines = [split_prefix(line) for line in device.kernel_log().splitlines()]
    begun, over = (
        [line.time for line in lines if line.text == text and line.time is not None][-1]
        for text in marks
    )
    return over - begun


def is_limited(said: int, seconds: float) -> bool:
    """Return whether `said` lines obey the rate limit; fail if CLIMBS lines would obey it, too."""
    most = SAYS * (2 + int(seconds / SAYS_INTERVAL))
    assert most < CLIMBS, f"{CLIMBS} times in {seconds:.1f} s: that is nothing to limit"
    return 1 < said <= most


def test_who_goes_over_its_limit_again_and_again_is_told_of_at_times_only(
    counting: Device,
) -> None:
    write(counting, f"uid={APP} max=4M dry_run=1")
    log = Log(counting)
    seconds = go_over_and_over(counting, "su")
    assert is_limited(len(log.records), seconds)


def test_who_has_nobody_left_again_and_again_is_told_of_at_times_only(
    counting: Device,
) -> None:
    write(counting, f"uid={APP} max=4M dry_run=0")
    log = Log(counting)
    seconds = go_over_and_over(counting, PROTECTED_SU)
    assert is_limited(log.text.count("nobody left to kill"), seconds)
    assert log.records == ()


def test_a_range_finds_who_has_run_without_a_limit_all_along(device: Device) -> None:
    log = Log(device)
    more = "/tmp/more"
    device.shell(f"rm -f {more}; mkfifo -m 666 {more}")
    # While other users have limits, a task remembers that its user has none.
    write(device, f"uid={OTHER} max=60M")
    grow = "x=$x$x"
    begin = f"while [ ${{#x}} -lt {2 * MIB} ]; do {grow}; done"
    program = f"x=0123; {begin}; echo there; read line <{more}; while :; do {grow}; done"
    with closing(device.start(f"su {APP} sh -c '{program}'")) as grows:
        grows.wait_line(re.compile("there"), SECONDS)
        write(device, "uid=10000-19999 max=20M")
        device.shell(f"echo >{more}")
        grows.wait(SECONDS)
    assert [(record.uid, record.mm_max) for record in log.records] == [(APP, 20 * MIB)]


def test_a_range_limits_everybody_in_it_and_takes_no_slots(device: Device) -> None:
    log = Log(device)
    write(device, "uid=10000-19999 max=20M")
    write(device, f"uid={OTHER} max=60M")
    users = [10000 + number for number in range(SLOTS + 2)]
    for uid in (*users, APP):
        with hog(device, uid, 30) as ended:
            ended.wait(SECONDS)
    for uid in (OTHER, OUTSIDE):
        with hog(device, uid, 30) as ended:
            time.sleep(1)
            assert not ended.ended
    assert [(r.uid, r.mm_max) for r in log.records] == [(uid, 20 * MIB) for uid in (*users, APP)]
    assert "table full" not in log.text
    adopted = entry_of(device, APP)
    assert (adopted.mm_max, adopted.kills) == (20 * MIB, 1)
    # A new limit for the range replaces those of all its users.
    write(device, "uid=10000-19999 max=40M")
    with hog(device, APP, 30) as ended:
        wait_until_rss(device, APP, 25 * MIB)
        assert not ended.ended
    write(device, "uid=10000-19999 max=none")
    assert [entry.uid for entry in parse_limits(device)] == [OTHER]


def test_who_is_there_already_gets_what_its_range_gives_then(device: Device) -> None:
    go = "/tmp/go"
    log = Log(device)
    device.shell(f"rm -f {go}; mkfifo -m 666 {go}")
    write(device, "uid=10000-19999 max=40M")
    climb = f"echo here; read line < {go}; exec busybox dd if=/dev/zero of=/dev/null bs=30M count=1"
    with closing(device.start(f"su {APP} sh -c '{climb}'")) as climber:
        climber.wait_line("here", SECONDS)
        write(device, "uid=10000-19999 max=20M")
        device.shell(f"echo > {go}")
        climber.wait(SECONDS)
    assert [(r.uid, r.mm_max) for r in log.records] == [(APP, 20 * MIB)]


def test_a_user_may_lower_what_its_range_gives_and_no_more(device: Device) -> None:
    write(device, "uid=10000-19999 max=40M")
    with hog(device, APP, 10):
        wait_until_rss(device, APP, MIB)
        assert device.shell(f"{SET_LIMIT} -e EPERM {APP} {50 * MIB}", user=APP).status == 0
        assert device.shell(f"{SET_LIMIT} -e 0 {APP} {30 * MIB}", user=APP).status == 0
    assert entry_of(device, APP).mm_max == 30 * MIB


def maximum_of(device: Device, uid: int) -> int | None:
    entry = entry_of(device, uid)
    return None if entry is None else entry.mm_max


def test_a_users_own_limit_only_lowers_what_a_range_gives_whatever_came_first(
    device: Device,
) -> None:
    device.shell(f"{SET_LIMIT} -e 0 {APP} {2**32 - 2}", user=APP)
    write(device, "uid=10000-19999 max=16M")
    assert maximum_of(device, APP) == 16 * MIB
    log = Log(device)
    device.shell("busybox dd if=/dev/zero of=/dev/null bs=100M count=1", user=APP, check=False)
    assert [(one.uid, one.mm_max) for one in log.records] == [(APP, 16 * MIB)]
    device.shell(f"{SET_LIMIT} -e 0 {APP} {10 * MIB}", user=APP)
    for given, expected in (("40M", 10), ("8M", 8), ("40M", 10), ("none", 10)):
        write(device, f"uid=10000-19999 max={given}")
        assert maximum_of(device, APP) == expected * MIB, given


def test_what_root_sets_for_a_user_holds_over_its_range(device: Device) -> None:
    write(device, "uid=10000-19999 max=16M")
    write(device, f"uid={APP} max=64M")
    assert maximum_of(device, APP) == 64 * MIB
    write(device, "uid=10000-19999 max=8M")
    assert maximum_of(device, APP) == 64 * MIB
    assert device.shell(f"{SET_LIMIT} -e 0 {APP} {32 * MIB}", user=APP).status == 0
    assert maximum_of(device, APP) == 32 * MIB
    # Without root's exception it has what its range gives, or its own where that is less.
    write(device, f"uid={APP} max=none")
    assert maximum_of(device, APP) == 8 * MIB
    write(device, "uid=10000-19999 max=48M")
    assert maximum_of(device, APP) == 32 * MIB


def test_what_else_a_range_gives_stays_when_a_user_lowers_its_limit(device: Device) -> None:
    write(device, "uid=10000-19999 max=40M grace=5 policy=runtime dry_run=1")
    assert device.shell(f"{SET_LIMIT} -e 0 {APP} {30 * MIB}", user=APP).status == 0
    assert settings(device, APP) == (30 * MIB, 5, "runtime", True)


def test_a_range_holds_also_where_no_slot_is_left(device: Device) -> None:
    write(device, "uid=10000-19999 max=40M")
    for uid in range(20000, 20000 + SLOTS):
        write(device, f"uid={uid} max=40M")
    with hog(device, APP, 10):
        wait_until_rss(device, APP, MIB)
        before = entry_of(device, APP)
        device.shell(f"{SET_LIMIT} -e ENOSPC {APP} {30 * MIB}", user=APP)
        after = entry_of(device, APP)
    assert after.peak_rss >= before.peak_rss > 0


def test_ranges_do_not_cut_each_other(device: Device) -> None:
    write(device, "uid=10000-19999 max=40M")
    assert "busy" in refused(device, "uid=19999-20001 max=40M")
    for first in range(20000, 20070, 10):
        write(device, f"uid={first}-{first + 9} max=40M")
    assert "space" in refused(device, "uid=30000-30001 max=40M")
    shown = [(entry.uid, entry.last_uid) for entry in parse_limits(device) if entry.is_range]
    assert shown[0] == (10000, 19999)
    assert len(shown) == 8
    write(device, "uid=20000-20009 max=none")
    write(device, "uid=30000-30001 max=40M")


@pytest.mark.parametrize("by_root", [False, True], ids=["range", "range and root"])
def test_what_is_not_given_any_more_goes_also_from_who_has_its_own_limit(
    device: Device, by_root: bool
) -> None:
    more = "grace=5 policy=runtime dry_run=1"
    write(device, f"uid=10000-19999 max=40M {'' if by_root else more}")
    if by_root:
        write(device, f"uid={APP} max=40M {more}")
    device.shell(f"{SET_LIMIT} {APP} {20 * MIB}", user=APP)
    assert settings(device, APP) == (20 * MIB, 5, "runtime", True)
    write(device, f"uid={APP} max=none" if by_root else "uid=10000-19999 max=40M")
    assert settings(device, APP) == (20 * MIB, 0, "", False)


def stops(device: Device) -> int:
    """Return how often all CPUs of the guest were stopped, as for a change of the kernel's code."""
    lines = device.shell(
        "for comm in /proc/[0-9]*/comm; do"
        " read -r name < $comm 2> /dev/null && case $name in"
        " migration/*) grep ^voluntary ${comm%comm}status;; esac; done; true"
    ).output.splitlines()
    assert lines
    return sum(int(line.split()[1]) for line in lines)


def test_nothing_to_take_away_stops_no_cpu(device: Device) -> None:
    """The kernel's code changes with the first limit that comes, and with the last that goes."""
    writes = 100
    before = stops(device)
    device.shell(
        f"for uid in $(busybox seq 20000 {20000 + writes // 2 - 1}); do"
        f" echo uid=$uid max=none > {PROC}; echo uid=$uid-$uid max=none > {PROC};"
        " done"
    )
    assert stops(device) - before < writes


def test_limits_of_both_kinds_leave_no_trace(device: Device) -> None:
    """Of 64 or more adopted users, the next adoption removes those that have no memory left."""
    write(device, "uid=10000-19999 max=40M")
    for uid in range(10100, 10200):
        device.shell("true", user=uid)
    assert len([entry for entry in parse_limits(device) if not entry.is_range]) <= 66
    assert re.search("^10000-19999 ", device.shell(f"cat {PROC}").output, re.MULTILINE)
