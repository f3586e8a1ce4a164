# SPDX-License-Identifier: MIT
"""An event of each class, with values that are hard to encode."""

from __future__ import annotations

from dataclasses import replace

from harness.kernel_output.records import KillRecord
from harness.ui.events import (
    CellBegin,
    CellEnd,
    Error,
    Event,
    Kill,
    Message,
    PhaseBegin,
    PhaseEnd,
    Planned,
    RunBegin,
    RunEnd,
    ScenarioBegin,
    ScenarioEnd,
    Usage,
)

RECORD = KillRecord(
    time=12.5,
    uid=10070,
    user_rss=2**64 - 1,
    mm_max=12_000_000,
    pid=88,
    rss=8_327_168,
    figure=1_010_710_192,
    policy="runtime",
    trigger="alloc",
    sharer_of=87,
    comm="a\x1b\x00\xff\n",
    dry_run=True,
)
EVENTS: list[Event] = [
    RunBegin(
        ("./inv", "emulator-test"),
        "linux-6.1",
        "all",
        "alloc",
        (Planned("", "boot"), Planned("rss", "report")),
    ),
    RunBegin(()),
    PhaseBegin(1, "build kernel"),
    PhaseEnd(1, "build kernel", 12.25, cached=True, stopped=False),
    ScenarioBegin("report", "rss", "alloc", 2, "as in the report"),
    ScenarioEnd("report", "rss", "alloc", "NOT_KILLED", False, ("a", "b\u2028\n"), 1.5, 2),
    Kill(RECORD, "report", 2),
    Kill(replace(RECORD, time=None, figure=None, sharer_of=None, dry_run=False)),
    Usage(10070, 5_000_000, 12_000_000, 3),
    Usage(10070, 5_000_000, None),
    CellBegin("linux-6.1: fuzz seed 7", "node-1", ("./inv", "fuzz", "--seed", "7")),
    CellEnd("linux-6.1: fuzz seed 7", "node-1", "FAILED", 1, "FAIL: x", 7.5, "results/x/cells/1/1"),
    CellEnd("linux-6.1: fuzz seed 7", "node-1", "ERROR", None, "the worker was lost", 0.5),
    Message("ü [red]\n\x1b[2J", result=True),
    Error("no QEMU", "./inv setup", 3, "/logs/x.log", "last\nlines"),
    RunEnd("PASS: 3 scenarios", 0, "results/x"),
]
