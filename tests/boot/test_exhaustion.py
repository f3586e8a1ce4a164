# SPDX-License-Identifier: MIT
"""All of the machine's memory is gone: the stock OOM killer runs, and ours beside it."""

from __future__ import annotations

from collections import Counter

import pytest
from device_work import (
    APP,
    FREE,
    GIVEN_UP,
    MIB,
    OTHER,
    PAGE,
    Log,
    eventually,
    holder,
    killed_of,
    kills_more,
    rss,
    set_limit,
    storm,
)

from harness.adb import Device
from harness.klog import Allowed

STOCK = r"Out of memory: Killed process (\d+) .*"
STOCK_FREE = rf"Out of memory: Killed process (\d+) .*, UID:{FREE} .*"
# What the stock OOM killer says of the machine, beside that.
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
    )
)
# More than the machine has, together. The kernel's reaper flushes what it takes from a
# victim page by page, for which all emulated CPUs stop: large ones would stall it.
HOGS = (220,) * 5
LONG = 300.0


@pytest.fixture
def allowed() -> tuple[Allowed, ...]:
    return (
        Allowed(STOCK, "a test here counts these lines"),
        Allowed(REPORT, "the stock OOM killer's report on the machine"),
        Allowed(
            r"busybox: page allocation failure: order:0, mode:\w+\(GFP_HIGHUSER_MOVABLE.*",
            "the stock OOM killer's victim gets no more before it exits; all of them die here",
        ),
        Allowed(GIVEN_UP, "without memory a victim may take long to exit"),
    )


def test_the_stock_oom_killer_runs_beside_ours(room: Device) -> None:
    times = 3
    set_limit(room, APP, 6)
    set_limit(room, OTHER, 60)
    log = Log(room)
    with holder(room, OTHER, 20) as bystander:
        with storm(room, {APP: (100, 100), FREE: HOGS}) as storms:
            eventually(lambda: len(log.said(STOCK)) >= times, LONG)
            assert room.shell("echo here").output == "here\n"
            kills_more(room, [APP], 2)
        assert rss(room, bystander.pid) >= 20 * MIB
        assert not bystander.running.ended
    records, stock = log.records, log.said(STOCK)
    assert stock == log.said(STOCK_FREE)
    # Each has died once: of the one killer or of the other, which at last ends all of them.
    assert killed_of(records, APP) == storms[APP].killed
    by_stock = Counter(int(pid) for _, pid in stock)
    assert by_stock + killed_of(records, FREE) == storms[FREE].killed
    assert set((storms[APP].killed + storms[FREE].killed).values()) == {1}
    assert {record.uid for record in records} == {APP, FREE}
    assert {record.mm_max for record in records if record.uid == FREE} == {PAGE}
    (first, _), *_, (last, _) = stock
    assert any(first < (record.time or 0) < last for record in records if record.uid == APP)
