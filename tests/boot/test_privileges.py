# SPDX-License-Identifier: MIT
"""Permissions: users, capabilities, user namespaces; and what a user can print into the log."""

from __future__ import annotations

import errno
import re
import shlex
import time

import pytest
from device_work import APP, MIB, OTHER, PROC, Log

from harness.kernel_output.proc_mm_limits import COLUMNS
from harness.kernel_output.records import parse_log
from harness.machine.adb import Device
from harness.scenarios.run import parse_limits

ONE_CPU = True

ROOT, SHELL, NOBODY = 0, 2000, 10099
OVERFLOW = 65534
SLOTS = 10
PROGRAMS = "/data/local/tmp"
SWITCHES = {
    "/proc/sys/vm/mm_limits_policy": "badness",
    "/proc/sys/vm/mm_limits_trigger": "none",
}
PARAMETER = "/sys/module/my_oom_killer/parameters/policy"

# The sets of capabilities to try where one is needed, and whether each contains that one.
SETTERS = {"none": False, "sys_resource": True, "-sys_resource": False, "all": True}
KILLERS = {"none": False, "kill": True, "-kill": False, "all": True}
USERS = (ROOT, SHELL, APP, OTHER)

# The answer to a call: the step that it comes from, and 0 (or more) or the negated errno.
Answer = tuple[str, int]
OPEN_REFUSED, WRITE_REFUSED = ("open", -errno.EACCES), ("write", -errno.EPERM)


def ask(device: Device, user: int, caps: str, call: str, options: str = "") -> Answer:
    """Return the kernel's answer to a call of a user with exactly these capabilities."""
    said = device.shell(f"{PROGRAMS}/privileges {options} {user} {caps} {call}").output
    found = re.fullmatch(r"call: name=(\w+), ret=(-?\d+), errno=(\d+)\n", said)
    assert found is not None, said
    return found[1], int(found[2]) if found[2] != "-1" else -int(found[3])


def set_limit(
    device: Device, user: int, caps: str, uid: int, size: int | str, options: str = ""
) -> int:
    name, answer = ask(device, user, caps, f"set {uid} {size}", options)
    assert name == "set_mm_limits"
    return answer


def give(device: Device, *limits: tuple[int, int]) -> None:
    """Set limits as root, in this order."""
    lines = [f"echo uid={uid} max={size} > {PROC}" for uid, size in limits]
    device.shell(" && ".join(lines))


def limits(device: Device) -> dict[int, int]:
    return {entry.uid: entry.mm_max for entry in parse_limits(device)}


def write(text: str, path: str = PROC) -> str:
    return f"write {path} {shlex.quote(text)}"


# The syscalls


@pytest.mark.parametrize("caps", SETTERS)
@pytest.mark.parametrize("user", [SHELL, APP, OTHER])
def test_ones_own_limit(device: Device, user: int, caps: str) -> None:
    refused = 0 if SETTERS[caps] else -errno.EPERM
    for size, expected in (
        (64 * MIB, 0),
        (64 * MIB, 0),
        (63 * MIB, 0),
        (63 * MIB + 1, refused),
        ("max", refused),
    ):
        assert set_limit(device, user, caps, user, size) == expected, size
    assert limits(device) == ({} if SETTERS[caps] else {user: 63 * MIB})


@pytest.mark.parametrize("caps", SETTERS)
@pytest.mark.parametrize("user", USERS)
def test_another_users_limit(device: Device, user: int, caps: str) -> None:
    has, hasnt = NOBODY, NOBODY + 1
    give(device, (has, 64 * MIB))
    expected = 0 if SETTERS[caps] else -errno.EPERM
    for uid, size in (
        (has, 65 * MIB),
        (has, 65 * MIB),
        (has, 63 * MIB),
        (hasnt, 63 * MIB),
        (hasnt, "max"),
    ):
        assert set_limit(device, user, caps, uid, size) == expected, (uid, size)
    assert limits(device) == {has: (63 if SETTERS[caps] else 64) * MIB}
    assert set_limit(device, user, caps, has, "max") == expected


@pytest.mark.parametrize("caps", SETTERS)
@pytest.mark.parametrize("user", USERS)
def test_roots_limit_is_nobodys(device: Device, user: int, caps: str) -> None:
    for uid, size in ((0, 64 * MIB), (0, "max"), (2**32 - 1, 64 * MIB), (NOBODY, 4095)):
        assert set_limit(device, user, caps, uid, size) == -errno.EINVAL, (uid, size)
    assert limits(device) == {}


@pytest.mark.parametrize("caps", SETTERS)
@pytest.mark.parametrize("user", [SHELL, APP, OTHER])
def test_a_full_table(device: Device, user: int, caps: str) -> None:
    fillers = [(11000 + number, 64 * MIB) for number in range(SLOTS)]
    give(device, *fillers)
    expected = 1 if SETTERS[caps] else -errno.ENOSPC
    assert set_limit(device, user, caps, user, 64 * MIB) == expected
    after = [*fillers[1:], (user, 64 * MIB)] if SETTERS[caps] else fillers
    assert list(limits(device).items()) == after
    # A user that has a slot keeps it. Only with the capability does it move to the end.
    give(device, (user, 64 * MIB), *fillers[1:])
    before = list(limits(device))
    assert set_limit(device, user, caps, user, 63 * MIB) == 0
    rest = [uid for uid in before if uid != user]
    assert list(limits(device)) == ([*rest, user] if SETTERS[caps] else before)


@pytest.mark.parametrize("caps", ["none", "-sys_resource"])
@pytest.mark.parametrize("trigger", ["alloc", "none"])
def test_nobody_raises_what_a_range_gives(device: Device, trigger: str, caps: str) -> None:
    """Nor can a user without an entry from the range: with `none` no user gets one."""
    device.shell(f"echo {trigger} > /proc/sys/vm/mm_limits_trigger")
    device.shell(f"echo uid=10000-19999 max=40M > {PROC}")
    assert set_limit(device, APP, caps, APP, 40 * MIB + 1) == -errno.EPERM
    assert set_limit(device, APP, caps, APP, "max") == -errno.EPERM
    assert set_limit(device, APP, caps, APP, 40 * MIB) == 0
    assert set_limit(device, SHELL, caps, SHELL, 50 * MIB) == 0


@pytest.mark.parametrize("caps", KILLERS)
@pytest.mark.parametrize("user", USERS)
def test_a_kill_on_request(device: Device, user: int, caps: str) -> None:
    expected = 0 if KILLERS[caps] else -errno.EPERM
    assert ask(device, user, caps, "kill") == ("my_oom_killer", expected)


@pytest.mark.parametrize("user", USERS)
def test_no_capability_stands_for_another(device: Device, user: int) -> None:
    others = "dac_override,kill,sys_admin"
    assert set_limit(device, user, others, NOBODY, 64 * MIB) == -errno.EPERM
    others = "dac_override,sys_admin,sys_resource"
    assert ask(device, user, others, "kill") == ("my_oom_killer", -errno.EPERM)


# Files

BOTH = "dac_override,sys_resource"
WRITERS: list[tuple[int, str, Answer | None]] = [
    (ROOT, "none", WRITE_REFUSED),
    (ROOT, "dac_override", WRITE_REFUSED),
    (ROOT, "-sys_resource", WRITE_REFUSED),
    (ROOT, "sys_resource", None),
    (ROOT, "all", None),
    *[
        row
        for user in (SHELL, APP, OTHER)
        for row in (
            (user, "none", OPEN_REFUSED),
            (user, "sys_resource", OPEN_REFUSED),
            (user, "-dac_override", OPEN_REFUSED),
            (user, "dac_override", WRITE_REFUSED),
            (user, "-sys_resource", WRITE_REFUSED),
            (user, BOTH, None),
            (user, "all", None),
        )
    ],
]


@pytest.mark.parametrize(("user", "caps", "expected"), WRITERS)
def test_who_writes_to_the_file(
    device: Device, user: int, caps: str, expected: Answer | None
) -> None:
    line = f"uid={user or NOBODY} max=64M"
    answer = ask(device, user, caps, write(line))
    assert answer == (expected or ("write", len(line)))
    assert limits(device) == ({} if expected else {user or NOBODY: 64 * MIB})


@pytest.mark.parametrize("caps", [*SETTERS, "dac_override"])
@pytest.mark.parametrize("user", USERS)
def test_a_file_that_root_has_opened(device: Device, user: int, caps: str) -> None:
    line = f"uid={user or NOBODY} max=64M"
    expected = ("write", len(line)) if SETTERS.get(caps) else WRITE_REFUSED
    assert ask(device, user, caps, write(line), "-o") == expected
    assert limits(device) == ({user or NOBODY: 64 * MIB} if SETTERS.get(caps) else {})


@pytest.mark.parametrize("path", SWITCHES)
def test_the_switches_are_roots(device: Device, path: str) -> None:
    """As in all of /proc/sys, only the user counts, and is checked at each write."""
    word, before = SWITCHES[path], device.read_file(path)
    for user in (SHELL, APP, OTHER):
        for caps in ("none", "all"):
            assert ask(device, user, caps, write(word, path)) == OPEN_REFUSED
            assert ask(device, user, caps, write(word, path), "-o") == WRITE_REFUSED
    assert device.read_file(path) == before
    for caps in ("all", "none"):
        assert ask(device, ROOT, caps, write(word, path)) == ("write", len(word))
        assert device.read_file(path) == f"{word}\n"


@pytest.mark.parametrize("user", [SHELL, APP, OTHER])
def test_the_modules_policy_is_roots(device: Device, user: int) -> None:
    for caps in ("none", "kill", "-dac_override"):
        assert ask(device, user, caps, write("badness", PARAMETER)) == OPEN_REFUSED
    assert device.read_file(PARAMETER).strip() == ""


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("path", [PROC, *SWITCHES])
def test_all_may_read(device: Device, user: int, path: str) -> None:
    said = device.shell(f"{PROGRAMS}/privileges {user} none read {path}").output
    assert said == device.read_file(path) + "call: name=read, ret=0, errno=0\n"


# User namespaces. In its own one, a user has all capabilities, but none that we check.


@pytest.mark.needs("user namespaces")
@pytest.mark.parametrize("inside", [5, 10070])
@pytest.mark.parametrize("caps", ["none", "all"])
def test_in_a_namespace_one_is_who_one_is_outside(device: Device, inside: int, caps: str) -> None:
    give(device, (OTHER, 64 * MIB))
    names = f"-m {inside}={APP} -m 6={OTHER} -m {OTHER}=10072"
    for uid, size, expected in (
        (inside, 64 * MIB, 0),
        (inside, 63 * MIB, 0),
        (inside, 64 * MIB, -errno.EPERM),
        (inside, "max", -errno.EPERM),
        (6, 32 * MIB, -errno.EPERM),
        (6, "max", -errno.EPERM),
        (OTHER, 32 * MIB, -errno.EPERM),
        (0, 32 * MIB, -errno.EINVAL),
        (7, 32 * MIB, -errno.EINVAL),
        (OVERFLOW, 32 * MIB, -errno.EINVAL),
        (2**32 - 1, 32 * MIB, -errno.EINVAL),
    ):
        assert set_limit(device, APP, caps, uid, size, names) == expected, (uid, size)
    assert limits(device) == {OTHER: 64 * MIB, APP: 63 * MIB}


@pytest.mark.needs("user namespaces")
@pytest.mark.parametrize("user", [ROOT, SHELL, APP])
@pytest.mark.parametrize("caps", ["none", "all"])
def test_a_namespaces_root(device: Device, user: int, caps: str) -> None:
    give(device, (OTHER, 64 * MIB), (user or NOBODY, 64 * MIB))
    before = limits(device)
    names = f"-m 0={user} -m 6={OTHER}"
    for uid, size, expected in (
        (6, 32 * MIB, -errno.EPERM),
        (6, "max", -errno.EPERM),
        # As outside, uid 0 is refused, and so is a uid that is not mapped.
        (0, 32 * MIB, -errno.EINVAL),
        (0, "max", -errno.EINVAL),
        (APP, 32 * MIB, -errno.EINVAL),
    ):
        assert set_limit(device, user, caps, uid, size, names) == expected, (uid, size)
    assert ask(device, user, caps, "kill", names) == ("my_oom_killer", -errno.EPERM)
    line = f"uid={OTHER} max=32M"
    opened = WRITE_REFUSED if user == ROOT else OPEN_REFUSED
    assert ask(device, user, caps, write(line), names) == opened
    assert ask(device, user, caps, write(line), f"-o {names}") == WRITE_REFUSED
    for path, word in SWITCHES.items():
        if user != ROOT:
            assert ask(device, user, caps, write(word, path), names) == OPEN_REFUSED
            assert ask(device, user, caps, write(word, path), f"-o {names}") == WRITE_REFUSED
    assert limits(device) == before


@pytest.mark.needs("user namespaces")
def test_root_by_another_name_has_no_limit_either(device: Device) -> None:
    assert set_limit(device, ROOT, "all", APP, 64 * MIB, f"-m {APP}=0") == -errno.EINVAL
    assert limits(device) == {}


@pytest.mark.needs("user namespaces")
def test_a_full_table_in_a_namespace(device: Device) -> None:
    give(device, *[(11000 + number, 64 * MIB) for number in range(SLOTS)])
    before = limits(device)
    assert set_limit(device, APP, "all", 5, 64 * MIB, f"-m 5={APP}") == -errno.ENOSPC
    assert limits(device) == before


@pytest.mark.needs("user namespaces")
def test_in_a_namespace_the_file_names_whom_it_knows(device: Device) -> None:
    give(device, (APP, 64 * MIB), (OTHER, 63 * MIB), (SHELL, 62 * MIB))
    said = device.shell(f"{PROGRAMS}/privileges -m 5={APP} -m 0={SHELL} {APP} none read {PROC}")
    rows = [line.split() for line in said.output.splitlines()[1:-1]]
    assert [(int(row[0]), int(row[1])) for row in rows] == [
        (5, 64 * MIB),
        (OVERFLOW, 63 * MIB),
        (0, 62 * MIB),
    ]


@pytest.mark.needs("user namespaces")
@pytest.mark.parametrize(("maker", "payer"), [(APP, APP), (ROOT, OTHER)])
def test_who_made_the_namespace_pays(device: Device, maker: int, payer: int) -> None:
    """A user has the uids of many in its own namespace, and one limit."""
    give(device, (APP, 24 * MIB), (OTHER, 24 * MIB))
    log = Log(device)
    names = f"-m 0={maker} -m 5={OTHER} -m 6={NOBODY}"
    calls = (f"-u 5 {names} {maker} all touch {size * MIB}" for size in (16, 32))
    fits, exceeds = (
        device.shell(f"{PROGRAMS}/privileges {call}", check=False).output for call in calls
    )
    assert fits == "call: name=touch, ret=0, errno=0\n"
    assert exceeds != fits
    assert [(kill.uid, kill.mm_max) for kill in log.records] == [(payer, 24 * MIB)]
    # Root is no user with a limit, whatever namespace it is in.
    inside = device.shell(
        f"{PROGRAMS}/privileges -u 0 -m 0=0 -m 5={OTHER} {ROOT} all touch {32 * MIB}"
    )
    assert inside.output == fits


@pytest.mark.needs("user namespaces")
def test_the_uids_of_a_namespace_take_no_slots(device: Device) -> None:
    names = f"-m 5={OTHER} -m 6={APP}"
    answers = [set_limit(device, APP, "all", 5, 64 * MIB, f"-u {user} {names}") for user in (5, 6)]
    assert answers == [-errno.EPERM, -errno.EPERM]
    assert set_limit(device, APP, "all", 6, 64 * MIB, f"-u 6 {names}") == 0
    assert limits(device) == {APP: 64 * MIB}


# The log

CALLS = 4000
# The rate limit: in five seconds, three calls without privileges print the table.
PRINTS, PERIOD = 3, 5


def test_a_user_who_asks_thousands_of_times_prints_little(device: Device) -> None:
    give(device, *[(11000 + number, 64 * MIB) for number in range(SLOTS - 1)])
    log = Log(device)
    begun = time.monotonic()
    for size in (64 * MIB, 63 * MIB):
        answer = ask(device, APP, "none", f"set {APP} {size}", f"-n {CALLS}")
        assert answer == ("set_mm_limits", 0)
    # The first period may have begun before, and the last one ends later.
    periods = int(time.monotonic() - begun) // PERIOD + 2
    assert 0 < len(log.ours) <= periods * PRINTS * SLOTS
    assert all(re.fullmatch(r"uid=\d+, mm_max=\d+", line) for line in log.ours)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (f"set {APP} 65000000", -errno.EPERM),
        (f"set {APP} max", -errno.EPERM),
        (f"set {OTHER} 64000000", -errno.EPERM),
        (f"set {OTHER} max", -errno.EPERM),
        (f"set {APP} 4095", -errno.EINVAL),
        ("set 0 64000000", -errno.EINVAL),
        ("set 4294967295 max", -errno.EINVAL),
        ("kill", -errno.EPERM),
        (write(f"uid={OTHER} max=none"), -errno.EACCES),
        (write("rubbish"), -errno.EACCES),
    ],
)
def test_what_is_refused_prints_nothing(device: Device, call: str, expected: int) -> None:
    give(device, (APP, 64_000_000))
    log = Log(device)
    assert ask(device, APP, "none", call, f"-n {CALLS}")[1] == expected
    assert log.ours == []


@pytest.mark.parametrize("caps", ["none", "dac_override"])
@pytest.mark.parametrize("text", ["rubbish", f"uid={OTHER} max=64M", "x" * 300])
def test_a_file_that_root_has_opened_prints_nothing(device: Device, text: str, caps: str) -> None:
    log = Log(device)
    assert ask(device, APP, caps, write(text), f"-o -n {CALLS}") == WRITE_REFUSED
    assert log.ours == []


def test_a_full_table_prints_nothing(device: Device) -> None:
    give(device, *[(11000 + number, 64 * MIB) for number in range(SLOTS)])
    log = Log(device)
    answer = ask(device, APP, "none", f"set {APP} {64 * MIB}", f"-n {CALLS}")
    assert answer == ("set_mm_limits", -errno.ENOSPC)
    assert log.ours == []


# Names

LIMIT, SIZE = 20_000_000, 30_000_000
NAMES = (
    b"\nuid=0,\tuRSS=1",
    b"\n<3>[1.0] uid=1",
    b"\r\n<3>uid=1,\tp",
    b",\tcomm=x",
    b",\tpid=1,\tpRSS=",
    b"dry_run=1",
    b"\"'`$(id);|&*?",
    b"\x1b[2J\x1b[31mred",
    b"\x1b]0;title\x07",
    b"\\x0a\\n\\\\\\",
    b"%s%n%d%p%lu",
    b" ",
    b" a  b ",
    b"\t\t\n\n",
    b"-",
    b"\\x00",
    b"0 0 0 0 0 -",
    b"\xe2\x80\xa8\xc2\x85\xff\xfe\xc0\x80",
    b"\n" * 15,
    b"\xff" * 15,
    b"",
)
# Every byte that a name can have, fifteen in each name.
BYTES = bytes(range(1, 256))
ALL_BYTES = tuple(BYTES[first : first + 15] for first in range(0, len(BYTES), 15))


def kill(device: Device, names: tuple[bytes, ...]) -> list[str]:
    """Have children with these names killed, one by one; return the names in the records."""
    escaped = ["".join(f"\\x{byte:02x}" for byte in name) for name in names]
    children = " ".join(shlex.quote(f"{SIZE},name={name}") for name in escaped)
    log = Log(device)
    device.shell(
        f"{PROGRAMS}/oom_test_kernel -n -s 10 -e {'K' * len(names)} {APP} {LIMIT} {children}",
        user=APP,
    )
    parsed = parse_log(log.text, raw=True)
    assert parsed.torn == ()
    assert {(record.uid, record.mm_max, record.trigger) for record in parsed.records} == {
        (APP, LIMIT, "alloc")
    }
    # No other line looks like one of ours.
    assert len(log.ours) == len(names)
    return [record.comm for record in parsed.records]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_no_name_forges_a_record(device: Device, name: bytes) -> None:
    give(device, (APP, LIMIT))
    assert kill(device, (name,)) == [name.decode("latin-1")]
    (entry,) = parse_limits(device)
    assert (entry.kills, entry.last_comm) == (1, name.decode("latin-1"))
    header, row = device.read_file(PROC).splitlines()
    assert len(header.split()) == len(COLUMNS)
    # The name is one word, so that a reader can split the columns at spaces.
    assert len(row.split()) == len(COLUMNS)
    assert row.isascii()
    assert row.isprintable()


def test_every_byte_of_a_name_comes_back(device: Device) -> None:
    give(device, (APP, LIMIT))
    assert kill(device, ALL_BYTES) == [name.decode("latin-1") for name in ALL_BYTES]
