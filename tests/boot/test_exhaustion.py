# SPDX-License-Identifier: MIT
"""The machine's memory is used up: the stock OOM killer runs, and ours beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Booting
from device_work import (
    APP,
    CALM,
    FREE,
    FULL,
    GIVEN_UP,
    MIB,
    OTHER,
    PAGE,
    PROC,
    SECONDS,
    Log,
    holder,
    killed_of,
    rss,
    set_limit,
    storm,
)

from harness.kernel_output.klog import Allowed, find_trouble
from harness.machine.adb import Device
from harness.targets.model import QemuMachine, Target

# Before 3.6 this was a line of its own, and before 5.4 it did not contain the UID.
STOCK_BEGINS = "Killed process "
STOCK = rf"(?:Out of memory: )?{STOCK_BEGINS}(\d+) .*"
STOCK_FREE = rf"(?:Out of memory: )?{STOCK_BEGINS}(\d+) (?:.*, UID:{FREE} .*|(?:(?!UID:).)*)"
# The stock OOM killer's other lines, about the machine.
REPORT = "|".join(
    (
        r"\S+ invoked oom-killer: .*",
        r"CPU: \d+ PID: \d+ Comm: .*",
        r"Hardware name: .*",
        r" [\w.]+ from [\w.]+\+0x\w+/0x\w+",
        r"Exception stack\(.*\)",
        r"[0-9a-f]{4}: [0-9a-f ]*",
        r"Mem-Info:",
        r" ?\w+:\d+(?: \w+:\d+)*",
        r"Node 0 active_anon:.*",
        r"Normal(?: free)?:.*",
        r"lowmem_reserve\[\]:.*",
        r"\d+ (?:total pagecache pages|pages (?:RAM|HighMem/MovableOnly|reserved))",
        # Before 3.10.
        r"\[<\w+>\] \([\w.]+\+0x\w+/0x\w+\) from .*",
        r"(?:Normal|HighMem) per-cpu:|CPU +\d+: hi: +\d+, btch: +\d+ usd: +\d+",
        r"(?:active_anon|active_file| unevictable| free|mapped):.*",
        r"(?:Free|Total) swap += 0kB|Swap cache stats: .*",
        r"\d+ (?:pages of RAM|free pages|(?:reserved|slab) pages|pages (?:shared|swap cached))",
        r"\d+ pages in swap cache",
        r"Out of memory: Kill process \d+ .* or sacrifice child",
    )
)
ALLOWED = (
    Allowed(rf"{STOCK}|Out of memory: OOM victim .*", "the test counts the victims"),
    Allowed(REPORT, "the stock OOM killer's report on the machine"),
    Allowed(
        # Before 4.6 these flags had no names.
        r"busybox: page allocation failure: order:0, mode:(?:\w+\(GFP_HIGHUSER_MOVABLE.*|0x200da)",
        "the stock OOM killer's victim gets no more before it exits; all of them die here",
    ),
    Allowed(GIVEN_UP, "without memory a victim may take long to exit"),
)
MEMORY = 512
# MiB: together more than the machine has, and each more than any process that has to survive.
HOGS = (90,) * 6
LONG = 1800.0


@pytest.fixture
def small(booting: Booting, target: Target, tmp_path: Path) -> Iterator[Device]:
    """Boot a device with little memory and one CPU.

    With two CPUs, an emulator on a loaded host comes to a standstill: the reaper of the stock
    OOM killer flushes page by page, and each time all emulated CPUs have to stop.
    """
    machine = target.machine
    assert isinstance(machine, QemuMachine)
    little = target.on_machine(replace(machine, smp=1, memory_mib=MEMORY))
    with booting(little, tmp_path) as session:
        # Before 5.1 a process is refused at once what is not free, and so nobody is killed for it.
        session.device.shell(f"mkfifo -m 666 {FULL}; echo 1 > /proc/sys/vm/overcommit_memory")
        yield session.device
        log = session.device.kernel_log()
        assert find_trouble(log, ALLOWED, levels_tell=target.board.boot_levels_tell) == ()


def test_the_stock_oom_killer_runs_beside_ours(small: Device) -> None:
    set_limit(small, APP, 6)
    set_limit(small, OTHER, 60)
    log = Log(small)
    # The device may now take longer to answer than adb waits, so it ends the storm by itself.
    count = f"$(busybox dmesg | grep -c '{STOCK_BEGINS}')"
    ours = f"$(grep '^{APP} ' {PROC} | cut -d ' ' -f 6)"
    watch = (
        f"n=$(({count} + 3)); echo watches; until [ {count} -ge $n ]; do sleep 0.2; done; "
        f"n={ours}; until [ {ours} -gt $n ]; do sleep 0.2; done; "
        f"touch {CALM}; echo uid={FREE} max={PAGE} > {PROC}"
    )
    with (
        holder(small, OTHER, 20) as bystander,
        closing(small.start(watch)) as watching,
    ):
        watching.wait_line("watches", SECONDS)
        with storm(small, {APP: (100, 100), FREE: HOGS}) as storms:
            assert watching.wait(LONG).status == 0
        assert rss(small, bystander.pid) >= 20 * MIB
        assert not bystander.running.ended
    records, stock = log.records, log.said(STOCK)
    assert stock == log.said(STOCK_FREE)
    # Each process was killed once, by the stock killer or by ours, which kills all that are left.
    assert killed_of(records, APP) == storms[APP].killed
    by_stock = Counter(int(pid) for _, pid in stock)
    assert by_stock + killed_of(records, FREE) == storms[FREE].killed
    assert set((storms[APP].killed + storms[FREE].killed).values()) == {1}
    assert {record.uid for record in records} == {APP, FREE}
    assert {record.mm_max for record in records if record.uid == FREE} == {PAGE}
    times = [record.time or 0 for record in records if record.uid == APP]
    assert min(times) < stock[-1][0]
    assert max(times) > stock[0][0]
