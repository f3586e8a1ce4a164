# SPDX-License-Identifier: MIT
"""What users used over time, with their limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.evidence import UsageSample as Sample
from harness.programs_output import Usage
from harness.usage import LimitChange, between, samples

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
    assert [one.time for one in between(usage, 2.0, 3.0)] == [2.0, 3.0]
