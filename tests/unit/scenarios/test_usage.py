# SPDX-License-Identifier: MIT
"""What users used over time, with their limits."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness.kernel_output.proc_mm_limits import LimitEntry
from harness.kernel_output.programs_output import Usage
from harness.kernel_output.records import KillRecord
from harness.scenarios.evidence import (
    KILL_RECORD,
    PROC_MM_LIMITS,
    LimitChange,
    Meanwhile,
    Peak,
    samples,
    samples_of,
)
from harness.scenarios.evidence import UsageSample as Sample

TIMES = st.floats(0, 100)
UIDS = st.integers(10000, 10003)
USAGE = st.builds(Usage, TIMES, UIDS, st.integers(0, 1 << 40))
CHANGES = st.builds(LimitChange, TIMES, UIDS, st.none() | st.integers(4096, 1 << 40))


def test_each_sample_has_the_limit_by_then() -> None:
    usage = [Usage(2.0, 10070, 50), Usage(4.0, 10070, 70), Usage(4.5, 10071, 5)]
    limits = [LimitChange(3.0, 10070, 60), LimitChange(5.0, 10070, None)]
    assert samples(usage, limits) == (
        Sample(2.0, 10070, 50, None),
        Sample(3.0, 10070, 50, 60),
        Sample(4.0, 10070, 70, 60),
        Sample(4.5, 10071, 5, None),
        Sample(5.0, 10070, 70, None),
    )


@given(st.lists(USAGE), st.lists(CHANGES))
def test_nothing_is_lost_and_time_goes_on(usage: list[Usage], limits: list[LimitChange]) -> None:
    found = samples(usage, limits)
    assert len(found) == len(usage) + len(limits)
    assert [one.time for one in found] == sorted(one.time for one in found)
    seen = {(one.time, one.uid, one.rss) for one in found}
    assert {(one.time, one.uid, one.rss) for one in usage} <= seen


def test_both_ends_of_a_time_belong_to_it() -> None:
    usage = [Usage(time, 10070, 1) for time in (1.0, 2.0, 3.0, 4.0)]
    found = samples_of(Meanwhile(2.0, 3.0), usage, [], ahead=0.0)
    assert [one.time for one in found] == [2.0, 3.0]


def entry(uid: int, rss: int, peak: int, last_uid: int | None = None) -> LimitEntry:
    return LimitEntry(uid, 60, rss, peak, 0, 0, 0, "", last_uid)


def test_the_kernels_own_sums_stand_among_those_that_were_seen() -> None:
    kill = KillRecord(13.25, 10070, 90, 60, 7, 50, None, "rss", "alloc", None, "x")
    unplaced = replace(kill, time=None)
    entries = (entry(10070, 40, 95), entry(10071, 0, 0), entry(10100, 0, 0, last_uid=10200))
    meanwhile = Meanwhile(2.0, 5.0, (LimitChange(2.5, 10070, 60),), 4.0, entries)
    seen = [Usage(1.0, 10070, 1), Usage(3.0, 10070, 50), Usage(6.0, 10070, 1)]
    assert samples_of(meanwhile, seen, [kill, unplaced], ahead=10.0) == (
        Sample(12.5, 10070, 0, 60),
        Sample(13.0, 10070, 50, 60),
        Sample(13.25, 10070, 90, 60, KILL_RECORD),
        Sample(14.0, 10070, 40, 60, PROC_MM_LIMITS),
    )
    # Nobody else had a limit and used anything.
    assert meanwhile.peaks == (Peak(10070, 95, 60),)


def test_what_was_not_read_has_no_peaks() -> None:
    meanwhile = Meanwhile(2.0, 5.0)
    assert samples_of(meanwhile, [], [], ahead=0.0) == ()
    assert meanwhile.peaks == ()
