# SPDX-License-Identifier: MIT
"""What the device's programs print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernel_output.programs_output import (
    Allocation,
    ChildEnd,
    Done,
    Holding,
    LimitSet,
    ProgramOutput,
    Usage,
    holding_prefix,
    parse_output,
    parse_usage,
)

COURSE = """\
pw->uid=10070
@@@@uid: 10070
@@@@pid: 210
set_mm_limits: uid=10070, mm_max=100000000, ret=0, errno=0
child process start malloc: pid=211, uid=10070, mem=20000
child process finish malloc: pid=211, uid=10070, mem=20000
child process start malloc: pid=212, uid=10070, mem=160000000
holding: marker=5f0c, alive=1
child end: index=0, pid=211, mem=20000, outcome=lived, status=0
child end: index=1, pid=212, mem=160000000, outcome=killed, status=9
done: program=oom_test_kernel, marker=5f0c, checks=2/2
"""


def test_a_whole_output() -> None:
    assert parse_output(COURSE) == ProgramOutput(
        limit_uid=10070,
        uid=10070,
        pid=210,
        limits=(LimitSet(10070, 100000000, 0, 0),),
        started=(Allocation(211, 10070, 20000), Allocation(212, 10070, 160000000)),
        finished=(Allocation(211, 10070, 20000),),
        holding=Holding("5f0c", 1),
        children=(
            ChildEnd(0, 211, 20000, "lived", 0),
            ChildEnd(1, 212, 160000000, "killed", 9),
        ),
        done=Done("oom_test_kernel", "5f0c", 2, 2),
    )
    # A terminal's line ends.
    assert parse_output(COURSE.replace("\n", "\r\n")) == parse_output(COURSE)


def test_what_was_refused() -> None:
    line = "child process failed malloc: pid=3, uid=10070, mem=5, errno=12\n"
    assert parse_output(line).failed == (Allocation(3, 10070, 5),)
    line = "set_mm_limits: uid=10071, mm_max=5, ret=-1, errno=1\n"
    assert parse_output(line).limits == (LimitSet(10071, 5, -1, 1),)


@pytest.mark.parametrize(
    "text",
    [
        COURSE + "more\n",
        COURSE + "done: program=oom_test_kernel, marker=5f0c, checks=2/2\n",
        COURSE.replace("checks=2/2", "checks=2/"),
        COURSE.replace("done: ", "don"),
        "",
    ],
)
def test_only_one_done_line_at_the_end_counts(text: str) -> None:
    assert parse_output(text).done is None


def test_a_line_that_was_cut_is_strange() -> None:
    cut = "child end: index=1, pid=212, mem=160000000, outcome=kil"
    assert parse_output(COURSE.replace(f"{cut}led, status=9", cut)).strange == (cut,)


def test_the_line_to_wait_for() -> None:
    assert "holding: marker=5f0c, alive=1".startswith(holding_prefix("5f0c"))
    assert not "holding: marker=5f0c, alive=1".startswith(holding_prefix("5f0"))


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert parse_output(text).done is None or text
    assert isinstance(parse_usage(text), tuple)


@given(st.integers(0, len(COURSE) - 2))
def test_an_output_that_was_cut_is_never_done(length: int) -> None:
    assert parse_output(COURSE[:length]).done is None


def test_usage_over_time() -> None:
    text = "usage: time=12.000345, uid=10070, rss=8192\nusage: time=12.05, uid=1, rss=1\n"
    assert parse_usage(f"sh: a word\n{text}usage: time=13.000000, uid=10070, rs") == (
        Usage(12.000345, 10070, 8192),
    )
