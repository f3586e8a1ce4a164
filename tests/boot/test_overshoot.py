# SPDX-License-Identifier: MIT
"""How far above its limit a user gets, for each way in which its memory can grow.

The bound is that of docs/design.md: one fault for each thread; and for each fork what it copies
at once, the pages of one page table.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from device_work import (
    APP,
    FULL,
    MIB,
    MORE_SHARERS,
    PAGE,
    PROC,
    SECONDS,
    Log,
    entry_of,
    eventually,
    is_over,
    process,
    set_limit,
    storm,
)

from harness.kernel_output.klog import Allowed
from harness.machine.adb import Device
from harness.scenarios.run import DEVICE_FOLDER

LIMIT = 24
# In pages: what a fault in a file maps, what a page table maps.
AROUND, TABLE = 16, 512
# What a thread takes in a system call while somebody else decides, and one for who does.
DECIDED = 17
# A file that is in the page cache, which is read by one system call.
CACHED, CACHED_SIZE = "/tmp/cached", 80
CLIMB = "busybox dd if=/dev/zero of=/dev/null bs=300M count=1"
READ = f"busybox dd if={CACHED} of=/dev/null bs={CACHED_SIZE}M count=1"


@dataclass(frozen=True)
class Way:
    """A way in which the memory of APP grows beyond LIMIT MiB.

    It grows in `threads` threads, by `fault` pages at a fault, and by `beside` pages more.
    `often` is how often it is tried: how far it gets is a matter of who is interrupted where.
    """

    name: str
    program: str
    threads: int = 1
    fault: int = 1
    beside: int = 0
    often: int = 1

    @property
    def bound(self) -> int:
        return self.threads * self.fault + self.beside


WAYS = (
    Way("one-process", CLIMB),
    Way("looked-at", f"sh -c 'while read line; do :; done < {PROC}; exec {CLIMB}'"),
    Way("processes", f"./oom_test_kernel -a -n {APP} {LIMIT * MIB} {f'{6 * MIB} ' * 8}", 9),
    Way("threads", f"./who_pays deltas 8 {6 * MIB}", 10),
    Way("unmapping", f"./who_pays deltas-unmapping 8 {6 * MIB}", 10),
    Way("file", f"./who_pays deltas-file 8 {6 * MIB}", 10, AROUND),
    Way("shared", f"./who_pays deltas-shared 8 {6 * MIB}", 10),
    Way("forks", f"./who_pays forks 6 {5 * MIB}", 7, beside=TABLE),
    Way("sharers", f"./who_pays deltas-sharers 500 {60 * PAGE}", 500),
    Way("read", READ),
    Way("reads", f"sh -c 'for i in 1 2 3 4; do {READ} & done; wait'", 4, DECIDED, often=20),
    Way("feeble-read", f"nice -n 19 {CLIMB}", 1, DECIDED),
    Way("feeble", f"nice -n 19 ./bench_work touch {2 * LIMIT * MIB // PAGE} 1", 1, DECIDED),
    Way("one-fork", f"./who_pays forks 2 {20 * MIB}", 2, beside=TABLE),
)


@pytest.fixture
def allowed() -> tuple[Allowed, ...]:
    return (Allowed(MORE_SHARERS, "hundreds of sharers die together"),)


def test_who_is_looked_at_by_others_is_decided_about_all_the_same(device: Device) -> None:
    """A scan for a reader of the file must not keep the kernel from enforcing the limit."""
    look = f"while read line; do :; done <{PROC}"
    with storm(device, {}, beside=[look] * 3):
        set_limit(device, APP, LIMIT)
        for times in range(1, 16):
            # The process gets a little above the limit, and takes no other page.
            above = f"busybox dd if=/dev/zero bs={LIMIT + 1}M count=1 1<>{FULL}"
            with process(device, APP, above) as ended:
                ended.running.wait(SECONDS)
            assert entry_of(device, APP).kills == times


def test_who_goes_while_somebody_looks_makes_no_room(device: Device) -> None:
    """A scan does not count a dying process's pages, so freeing them makes no room for others."""
    climb = f"su {APP} {CLIMB} </dev/null"
    for _ in range(5):
        set_limit(device, APP, LIMIT)
        device.shell(
            f"rm -f {FULL}; mkfifo -m 666 {FULL}; su {APP} busybox dd if=/dev/zero bs=20M count=1"
            f" 1<>{FULL} & {is_over(APP, 20)}; kill -9 $(pgrep -u {APP} busybox);"
            f" read line < {PROC}; wait; {climb}",
            check=False,
        )
        assert entry_of(device, APP).overshoot <= 2 * PAGE


@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_a_user_gets_no_further_than_it_is_said(device: Device, way: Way) -> None:
    if way.name.startswith("read"):
        device.shell(f"busybox dd if=/dev/zero of={CACHED} bs=1M count={CACHED_SIZE}")
    for _ in range(way.often):
        set_limit(device, APP, LIMIT)
        log = Log(device)
        device.shell(
            "echo 0 > /proc/$$/oom_score_adj;"
            f" cd {DEVICE_FOLDER}; su {APP} {way.program} </dev/null",
            check=False,
            timeout=SECONDS,
        )
        eventually(lambda: entry_of(device, APP).rss == 0)
        first, *_ = log.records
        assert 0 < first.user_rss - first.mm_max <= way.bound * PAGE
        assert entry_of(device, APP).overshoot <= way.bound * PAGE
