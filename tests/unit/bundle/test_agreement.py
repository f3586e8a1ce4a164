# SPDX-License-Identifier: MIT
"""A run that was repeated, beside the original."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bundle.agreement import compare
from harness.bundle.manifest import Original, Told

BOOT = Told("", "boot", "NOTHING_TO_KILL")
VICTIM = Told("rss", "report", "WRONG_VICTIM")
DIFFERS = "differs from the original in"
MORE = "report (policy rss): wrong victim, was not judged"


def original(*outcomes: Told, result: str = "FAIL: something") -> Original:
    return Original(False, result, outcomes)


@pytest.mark.parametrize(
    ("before", "now", "line"),
    [
        (
            original(BOOT, VICTIM),
            original(BOOT, VICTIM, result="FAIL: otherwise"),
            "agrees with the original: all 2 outcomes are the same",
        ),
        (
            original(BOOT, VICTIM),
            original(BOOT, Told("rss", "report", "PASSED")),
            f"{DIFFERS} 1 of 2 outcomes: report (policy rss): passed, was wrong victim",
        ),
        (
            original(BOOT, VICTIM),
            original(BOOT),
            f"{DIFFERS} 1 of 2 outcomes: report (policy rss): not judged, was wrong victim",
        ),
        (
            original(BOOT),
            original(Told("", "boot", "KERNEL_COMPLAINED"), VICTIM),
            f"{DIFFERS} 2 of 2 outcomes: boot: kernel complained, was nothing to kill; {MORE}",
        ),
        (original(), original(), "agrees with the original: FAIL: something"),
        (
            original(),
            original(result="FAIL: no adb"),
            "cannot be compared with the original, which ended: FAIL: something",
        ),
    ],
)
def test_one_line_says_it(before: Original, now: Original, line: str) -> None:
    found = compare(before, now)
    assert found.line == line
    assert found.agrees == line.startswith("agrees")


def test_many_differences_are_counted() -> None:
    before = [Told("rss", str(number), "PASSED") for number in range(9)]
    found = compare(original(*before), original())
    assert len(found.differences) == 9
    assert found.line.endswith("; and 6 more")


TOLD = st.builds(Told, st.sampled_from(("", "rss")), st.text(max_size=2), st.text(max_size=2))


@given(st.lists(TOLD, max_size=5), st.lists(TOLD, max_size=5))
def test_it_is_always_one_line_and_a_run_agrees_with_itself(
    before: list[Told], now: list[Told]
) -> None:
    found = compare(original(*before), original(*now))
    assert found.line.isprintable()
    assert compare(original(*before), original(*before)).agrees
    assert found.count >= len(found.differences)
