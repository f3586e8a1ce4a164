# SPDX-License-Identifier: MIT
"""/proc/mm_limits, read from text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernel_output.proc_mm_limits import COLUMNS, LimitEntry, parse_mm_limits
from harness.kernel_output.records import escape

HEADER = " ".join(COLUMNS) + "\n"


def test_entries() -> None:
    text = HEADER + (
        "10070 100000000 2838528 100003840 3840 1 0 - 0 211 oom_test_kernel\n"
        "10071 64000000 0 0 0 0 5 runtime 1 0 -\n"
        "10000-19999 64000000 0 0 0 0 0 - 0 0 -\n"
    )
    assert parse_mm_limits(text) == (
        LimitEntry(10070, 100000000, 2838528, 100003840, 3840, 1, 211, "oom_test_kernel"),
        LimitEntry(10071, 64000000, 0, 0, 0, 0, 0, "", None, 5, "runtime", True),
        LimitEntry(10000, 64000000, 0, 0, 0, 0, 0, "", 19999),
    )
    # A terminal's line ends.
    assert parse_mm_limits(text.replace("\n", "\r\n")) == parse_mm_limits(text)
    assert parse_mm_limits(HEADER) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No such file or directory\n",
        HEADER.strip(),
        HEADER + "1 2 3 4 5 6 0 - 0 7 name",
        HEADER + "1 2 3 4 5 6 0 - 7 name\n",
        HEADER + "1 2 3 4 5 6 0 - 0 -7 name\n",
        HEADER + "\n",
        HEADER + "1 2 3 4 5 0 0 - 0 0 -\n" * 2,
        "1 2 3 4 5 6 0 - 0 7 name\n",
    ],
)
def test_what_is_not_that_file_raises(text: str) -> None:
    with pytest.raises(ValueError, match="mm_limits"):
        parse_mm_limits(text)


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6),
    st.integers(1, 2**22),
    st.binary(max_size=15).map(lambda name: name.replace(b"\0", b"").decode("latin-1")),
)
def test_every_name_comes_back(numbers: list[int], pid: int, name: str) -> None:
    line = " ".join(map(str, [*numbers, "0 - 0", pid, escape(name) or r"\x00"]))
    (entry,) = parse_mm_limits(HEADER + line + "\n")
    uid, mm_max, rss, peak_rss, overshoot, kills = numbers
    assert entry == LimitEntry(uid, mm_max, rss, peak_rss, overshoot, kills, pid, name)
    assert len(COLUMNS) == len(numbers) + 5
